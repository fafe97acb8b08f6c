"""Sizes and scalar expressions -> C text, by one precedence table.

In: a Kernel's sizes, buffers and expressions. Out: texts and SSA statements (`const float t0 = ...;`) in C, and the
static inline functions that they call. Indices are int64_t. Names come from counters, never from a model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...kernel.ir import Let
from ...scalar import convert, prims
from ...scalar.dim import Dim, FloorDiv, Max, Min, Mod, Size, Symbol, lower_bound, symbols
from ...scalar.dtype import BOOL, F32, F64, I64, DType
from ...scalar.expr import Acc, Call, Const, Expr, Index, Load, Local, Require, Var, finds_faults, walk
from ..render import render

Text = tuple[str, int]  # C text and the precedence of its outermost operator

# C's operators, from loosest to tightest; equal numbers associate to the left.
PRECEDENCE = {
    "?:": 1, "||": 2, "&&": 3, "|": 4, "^": 5, "&": 6, "==": 7, "!=": 7, "<": 8, "<=": 8, ">": 8, ">=": 8,
    "<<": 9, ">>": 9, "+": 10, "-": 10, "*": 11, "/": 11, "%": 11,
}  # fmt: skip
_BITWISE = frozenset(("&", "|", "^", "<<", ">>"))
_COMPARISONS = frozenset(("==", "!=", "<", "<=", ">", ">="))
_UNARY = 12  # prefix operators and casts
PRIMARY = 13  # names, literals, calls, subscripts
_LONG = 100  # characters from which an expression becomes a statement of its own
LONG_SIZE = 200  # characters from which a size is computed once


# The C type of buffers of each dtype. Narrow floats are represented by their bits.
_CTYPES = {
    "f32": "float", "f64": "double", "f16": "uint16_t", "bf16": "uint16_t", "bool": "uint8_t",
    "i8": "int8_t", "i16": "int16_t", "i32": "int32_t", "i64": "int64_t",
    "u8": "uint8_t", "u16": "uint16_t", "u32": "uint32_t", "u64": "uint64_t",
    "u4": "uint8_t", "i4": "int8_t", "u2": "uint8_t", "i2": "int8_t", "f4e2m1": "uint8_t", "f8e8m0": "uint8_t",
    "f8e4m3fn": "uint8_t", "f8e4m3fnuz": "uint8_t", "f8e5m2": "uint8_t", "f8e5m2fnuz": "uint8_t",
}  # fmt: skip


def ctype(dtype: DType) -> str:
    """The C type of a buffer's elements. Raises KeyError for dtypes that no kernel handles (strings, complex)."""
    return _CTYPES[dtype.name]


def value_type(dtype: DType) -> str:
    """The C type of a value in an expression: that of a buffer, except for bool, which is _Bool."""
    return "_Bool" if dtype == BOOL else ctype(dtype)


def literal(value: bool | int | float, dtype: DType) -> Text:
    """The C literal that is exactly a constant."""
    if dtype.is_float and dtype.bits < 32:
        bits = np.asarray(value, np.float32).astype(dtype.to_numpy())
        return str(int(bits.view(np.uint16 if dtype.bits == 16 else np.uint8))), PRIMARY
    if dtype.kind == "f":
        text = _float_literal(float(value), dtype)
    elif dtype.kind == "b":
        return ("1" if value else "0"), PRIMARY
    else:
        number = int(value)
        if number in (-(1 << 63), -(1 << 31)):
            return f"({number + 1} - 1)", PRIMARY
        text = str(number) + ("u" if number >= 1 << 63 else "")
    return text, _UNARY if text.startswith("-") else PRIMARY


def _float_literal(value: float, dtype: DType) -> str:
    single = dtype != F64
    if value != value:
        return '__builtin_nanf("")' if single else '__builtin_nan("")'
    with np.errstate(over="ignore"):
        rounded = float(np.float32(value)) if single else value
    if rounded in (float("inf"), float("-inf")):
        return ("-" if rounded < 0 else "") + ("__builtin_inff()" if single else "__builtin_inf()")
    return f"{np.float32(value)!s}f" if single else repr(value)


def element_at(name: str, index: str) -> str:
    """An element of the pointer `name`, which has an EXTENT (templates/c/bounds.h); a primary expression."""
    return f"AT({name}, {index})"


def _paren(text: Text, at_least: int) -> str:
    return text[0] if text[1] >= at_least else f"({text[0]})"


def _infix(operator: str, a: Text, b: Text) -> Text:
    level = PRECEDENCE[operator]
    if operator in _BITWISE:  # compilers warn about operands without parentheses
        return f"{_paren(a, _UNARY)} {operator} {_paren(b, _UNARY)}", level
    if operator in _COMPARISONS:  # none is an operand of another without parentheses
        return f"{_paren(a, PRECEDENCE['<<'])} {operator} {_paren(b, PRECEDENCE['<<'])}", level
    return f"{_paren(a, level)} {operator} {_paren(b, level + 1)}", level


def _prefix(operator: str, a: Text) -> Text:
    # Two signs are separated: `--x` is a decrement.
    operand = _paren(a, _UNARY)
    return operator + (f"({operand})" if operand.startswith("-") else operand), _UNARY


def _ternary(c: Text, a: Text, b: Text) -> Text:
    level = PRECEDENCE["?:"]
    return f"{_paren(c, PRECEDENCE['=='])} ? {_paren(a, level + 1)} : {_paren(b, level)}", level


def size_text(x: Size, names: Mapping[Symbol, str]) -> str:
    """C text of a size over `names`, which calls functions of `size_prelude`."""
    return Printer(symbols=dict(names)).size(x)


def size_prelude() -> str:
    """The head of a C source that prints sizes alone."""
    functions = Functions()
    for name in ("floordiv", "mod", "min", "max"):
        functions.integer(name)
    return functions.prelude


# Functions that the CPU has an instruction for, of which templates/c/halves.h tells.
_HALVES = {"ig_cast_f32_f16": "(uint16_t)intaglio_half(x)", "ig_round_f16_f32": "intaglio_rounded(x)"}


class Functions:
    """The static inline functions that a source needs, each defined once, callees first."""

    def __init__(self) -> None:
        self._definitions: dict[str, str] = {}

    @property
    def prelude(self) -> str:
        """The head of a C source: the headers that every kernel includes, then the functions printed so far."""
        functions = list(self._definitions.values())
        halves = not {*_HALVES, "ig_cast_f16_f32"}.isdisjoint(self._definitions)
        return render("c/prelude.h.j2", functions=functions, halves=halves)

    def apply(self, node: Call, args: Sequence[Text]) -> Text:
        """The C text of a Call whose arguments are printed."""
        prim = prims.TABLE[node.prim]
        operand = node.args[-1].dtype
        if prim.expand is not None and operand == F32:
            return self._called(self._expanded(prim.name), args)
        spelling = prim.c_spelling(operand)
        if spelling == "cast":
            return self._cast(node, args[0])
        if spelling == "bitcast":
            return self._called(self._bitcast(operand, node.dtype), args)
        if spelling == "?:":
            return _ternary(*args)
        if spelling in PRECEDENCE:
            return _infix(spelling, args[0], args[1]) if len(args) == 2 else _prefix(spelling, args[0])
        if spelling in ("!", "~"):
            return _prefix(spelling, args[0])
        if spelling.startswith("__builtin_") and spelling.isidentifier():
            return self._called(spelling + ("f" if operand == F32 else ""), args)
        return self._called(self._written(prim, spelling, operand, node.dtype), args)

    def integer(self, name: str) -> str:
        """The name of a primitive as a function of int64_t, for sizes."""
        prim = prims.TABLE[name]
        return self._written(prim, prim.c_spelling(I64), I64, I64)

    @staticmethod
    def _called(name: str, args: Sequence[Text]) -> Text:
        return f"{name}({', '.join(text for text, _ in args)})", PRIMARY

    def _define(self, name: str, result: DType, formals: Sequence[tuple[str, DType]], body: Sequence[str]) -> None:
        head = f"static inline {value_type(result)} {name}({', '.join(f'{value_type(d)} {n}' for n, d in formals)})"
        self._definitions[name] = head + " {\n" + "".join(f"    {line}\n" for line in body) + "}"

    def _written(self, prim: prims.Prim, spelling: str, operand: DType, result: DType) -> str:
        """The name of a function with the body that the primitive's row gives in C."""
        name = f"ig_{prim.name}_{operand}"
        if name not in self._definitions:
            body = _fill(spelling, operand)
            formals = [(n, operand) for n in "abc"[: prim.arity]]
            self._define(name, result, formals, [body if "return" in body else f"return {body};"])
        return name

    def _expanded(self, prim: str) -> str:
        """The name of a function with the primitive's expansion as its body."""
        name = f"ig_{prim}_f32"
        if name not in self._definitions:
            formals, body = prims.expansion(prim)
            self._from_expression(name, formals, body)
        return name

    def _from_expression(self, name: str, formals: Sequence[Var], body: Expr) -> None:
        lines, (text,) = Printer(functions=self).statements([body])
        lines.append(f"return {text};")
        if name in _HALVES:
            lines = ["#ifdef INTAGLIO_HALVES", f"return {_HALVES[name]};", "#else", *lines, "#endif"]
        self._define(name, body.dtype, [(v.name, v.dtype) for v in formals], lines)

    def _bitcast(self, source: DType, target: DType) -> str:
        name = f"ig_bitcast_{source}_{target}"
        if name not in self._definitions:
            body = [f"{value_type(target)} b;", "__builtin_memcpy(&b, &a, sizeof b);", "return b;"]
            self._define(name, target, [("a", source)], body)
        return name

    def _cast(self, node: Call, arg: Text) -> Text:
        source, target = node.args[0].dtype, node.dtype
        if source == target:
            return arg
        rule = convert.c_cast(source, target, saturate=node.prim == "cast")
        if rule == "cast":
            return _prefix(f"({value_type(target)})", arg)
        name = f"ig_{node.prim}_{source}_{target}"
        if name not in self._definitions:
            if isinstance(rule, str):
                self._define(name, target, [("a", source)], [f"return {_fill(rule, target)};"])
            else:
                self._from_expression(name, *rule)
        return self._called(name, [arg])


def _fill(spelling: str, dtype: DType) -> str:
    """A C spelling with its placeholders filled for arguments of `dtype`."""
    values = {"{T}": ctype(dtype), "{f}": "f" if dtype == F32 else "", "{bits}": str(dtype.bits)}
    values["{U}"] = "uint64_t" if dtype.bits == 64 else "uint32_t"
    for key, value in values.items():
        spelling = spelling.replace(key, value)
    return spelling


@dataclass
class Printer:
    """Prints the expressions of one kernel.

    symbols, buffers and local give the C names of what expressions mention; functions collects what they call.
    Each call of `statements` starts a new scope, but names of temporaries are never reused.
    put_aside: stores a long size, given its text, and returns its name; None: long sizes are printed in place. Sizes
    are graphs, whose texts may be exponentially longer.
    """

    functions: Functions = field(default_factory=Functions)
    symbols: dict[Symbol, str] = field(default_factory=dict)
    buffers: Sequence[str] = ()
    local: Callable[[Local], str] | None = None
    acc: str = "acc"
    put_aside: Callable[[Dim, str], str] | None = None
    _temporaries: int = 0
    _sizes: dict[Dim, Text] = field(default_factory=dict)

    # -- sizes -------------------------------------------------------------------------------------------------------

    def size(self, x: Size, at_least: int = 0) -> str:
        """C text of a size, in parentheses if its operator binds looser than `at_least`."""
        return _paren(self.size_text(x), at_least)

    def size_text(self, x: Size) -> Text:
        if isinstance(x, int):
            return literal(x, I64)
        return self._known(x, self._sum)

    def _known(self, x: Dim, spelled: Callable[[Dim], Text]) -> Text:
        if self.put_aside is None:
            return spelled(x)
        if x not in self._sizes:
            text = spelled(x)
            self._sizes[x] = (self.put_aside(x, text[0]), PRIMARY) if len(text[0]) > LONG_SIZE else text
        return self._sizes[x]

    def _sum(self, x: Dim) -> Text:
        # Terms and factors are in the order of their texts, not of the names of symbols, so that kernels which differ
        # in those alone are equal. Positive terms come first, so that few sums start with a sign.
        terms = [(c < 0, -len(atoms), self._product(abs(c), atoms)) for c, atoms in x.terms]
        total: Text | None = None
        for negative, _, product in sorted(terms):
            if total is None:
                total = _prefix("-", product) if negative else product
            else:
                total = _infix("-" if negative else "+", total, product)
        assert total is not None
        return total

    def _product(self, coefficient: int, atoms: Sequence[Dim]) -> Text:
        factors = sorted(self._atom(a) for a in atoms)
        if coefficient != 1 or not factors:
            factors.append(literal(coefficient, I64))
        product = factors[0]
        for factor in factors[1:]:
            product = _infix("*", product, factor)
        return product

    def _atom(self, x: Dim) -> Text:
        if isinstance(x, Symbol):
            return self.symbols[x], PRIMARY
        return self._known(x, self._compound)

    def _compound(self, x: Dim) -> Text:
        if isinstance(x, (FloorDiv, Mod)):
            a, b = self.size_text(x.a), self.size_text(x.b)
            lowest, divisor = lower_bound(x.a), lower_bound(x.b)
            if lowest is not None and lowest >= 0 and divisor is not None and divisor > 0:
                return _infix("/" if isinstance(x, FloorDiv) else "%", a, b)
            name = self.functions.integer("floordiv" if isinstance(x, FloorDiv) else "mod")
            return f"{name}({a[0]}, {b[0]})", PRIMARY
        assert isinstance(x, (Min, Max))
        name = self.functions.integer("min" if isinstance(x, Min) else "max")
        text, *others = sorted(self.size(arg) for arg in x.args)
        for other in others:
            text = f"{name}({text}, {other})"
        return text, PRIMARY

    # -- expressions -------------------------------------------------------------------------------------------------

    def statements(self, roots: Sequence[Expr]) -> tuple[list[str], list[str]]:
        """Statements that compute shared values, and the text of each root in terms of them."""
        scope = Scope(self, {}, 1)
        texts = [_paren(t, 0) for t in scope.add(roots)]
        return scope.lines[0], texts

    def temporary(self) -> str:
        self._temporaries += 1
        return f"t{self._temporaries - 1}"

    def node(self, e: Expr, args: Sequence[Text]) -> Text:
        """The text of one node whose children are printed; children of a masked Load are its mask."""
        if isinstance(e, Const):
            return literal(e.value, e.dtype)
        if isinstance(e, Index):
            return self.size_text(e.size)
        if isinstance(e, Acc):
            return self.acc, PRIMARY
        if isinstance(e, Var):
            return e.name, PRIMARY
        if isinstance(e, Local):
            assert self.local is not None
            return self.local(e), PRIMARY
        if isinstance(e, Load):
            element: Text = (element_at(self.buffers[e.buffer], self.size(e.index)), PRIMARY)
            if e.dtype == BOOL:
                element = _infix("!=", element, ("0", PRIMARY))
            if e.mask is None:
                return element
            assert e.other is not None
            return _ternary(args[0], element, literal(e.other.value, e.dtype))
        if isinstance(e, Require):
            return args[1]
        assert isinstance(e, Call)
        return self.functions.apply(e, args)


class Scope:
    """The statements of nested loops: each value is computed in the outermost loop where its operands are known.

    level: symbol -> 1 + the depth of its loop; other symbols are at level 0, outside all loops. lines[i]: the
    statements of level i, which stand at the start of that loop's body. faults: those that the statements may find.
    """

    def __init__(self, printer: Printer, level: Mapping[Symbol, int], levels: int, lets: Sequence[Let] = ()):
        self.printer = printer
        self.level = dict(level)
        self.lines: list[list[str]] = [[] for _ in range(levels)]
        self.faults: set[int] = set()
        self._lets = {let.symbol: let.value for let in lets}  # in order: a value mentions earlier symbols only
        self._done: dict[Expr, Text] = {}
        self._depth: dict[Expr, int] = {}
        for let in lets:
            if finds_faults(let.value):  # whether or not its value is used
                self.require(let.symbol)
                self.lines[self.level[let.symbol]].append(f"(void){self.printer.symbols[let.symbol]};")

    def require(self, x: Size) -> None:
        """Binds the lets that a size mentions, each in the loop where its value is known."""
        if symbols(x).isdisjoint(self._lets):
            return
        needed: set[Symbol] = set()
        pending = [x]
        while pending:
            new = (symbols(pending.pop()) & self._lets.keys()) - needed
            needed |= new
            for symbol in new:
                pending += (_position(e) for e in walk(self._lets[symbol]) if isinstance(e, (Index, Load, Local)))
        for symbol in [s for s in self._lets if s in needed]:
            value = self._lets.pop(symbol)
            (text,) = self.add([value], inside=0)
            self.level[symbol] = self._depth[value]
            self.printer.symbols[symbol] = name = self.printer.temporary()
            self.lines[self.level[symbol]].append(f"const int64_t {name} = {text[0]};")

    def add(self, roots: Sequence[Expr], inside: int | None = None) -> list[Text]:
        """The texts of `roots`, which are used at level `inside` (None: the innermost)."""
        used_at = len(self.lines) - 1 if inside is None else inside
        nodes = [e for e in walk(*roots) if e not in self._done]
        for e in nodes:
            if isinstance(e, (Index, Load, Local)):
                self.require(_position(e))
        nodes = [e for e in nodes if e not in self._done]
        uses: Counter[Expr] = Counter(roots)
        innermost_use: dict[Expr, int] = {}
        for e in nodes:
            self._depth[e] = max((self._own_depth(e), *(self._depth[c] for c in e.children)), default=0)
        for e in reversed(nodes):
            for c in e.children:
                uses[c] += 1
                innermost_use[c] = max(innermost_use.get(c, 0), self._depth[e])
        for e in roots:
            innermost_use[e] = max(innermost_use.get(e, 0), used_at)
        for e in nodes:
            if isinstance(e, Require):
                self.lines[self._depth[e]].append(f"fault{e.number} |= {self._fault(e.ok)};")
                self.faults.add(e.number)
            text = self.printer.node(e, [self._done[c] for c in e.children])
            if not self._cheap(e) and (
                uses[e] > 1 or innermost_use[e] > self._depth[e] or (len(text[0]) > _LONG and e not in roots)
            ):
                name = self.printer.temporary()
                self.lines[self._depth[e]].append(f"const {value_type(e.dtype)} {name} = {text[0]};")
                text = name, PRIMARY
            self._done[e] = text
        return [self._done[e] for e in roots]

    def _fault(self, ok: Expr) -> str:
        """The text of a number that is 0 if `ok` holds: of an equality of integers, their exclusive or."""
        if isinstance(ok, Call) and ok.prim == "eq" and ok.args[0].dtype.is_integer:
            return f"(uint64_t)({_infix('^', *(self._done[a] for a in ok.args))[0]})"
        return _prefix("!", self._done[ok])[0]

    def depth(self, x: Size) -> int:
        """The level at which a size is known."""
        return max((self.level.get(s, 0) for s in symbols(x)), default=0)

    def _own_depth(self, e: Expr) -> int:
        return self.depth(_position(e)) if isinstance(e, (Index, Load, Local)) else 0

    @staticmethod
    def _cheap(e: Expr) -> bool:
        """Whether a node needs no name: a literal, a name, plain index arithmetic, or a read of a stage's result."""
        return isinstance(e, (Const, Acc, Var)) or (isinstance(e, Index) and _is_plain(e.size)) or isinstance(e, Local)


def _position(e: Index | Load | Local) -> Size:
    return e.size if isinstance(e, Index) else e.index


def _is_plain(size: Size) -> bool:
    return isinstance(size, int) or all(isinstance(a, Symbol) for _, m in size.terms for a in m)
