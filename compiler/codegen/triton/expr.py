"""Sizes and scalar expressions -> Triton statements over tiles.

In: a Kernel's sizes, buffers and expressions, and for each loop variable its block of positions. Out: statements
(`t0 = ...`), one for each operation, and the helper functions that they call. Indices are int32. Names come from
counters, never from a model.

A tile has up to two axes. The value of an expression varies along some of them; along the others its shape is 1, or it
is a scalar if it varies along none. Masks belong to axes: where a tile overhangs the end of a loop, nothing is read or
written. Floats of 8 bits or fewer are represented by their bits (uint8), as most have no type in Triton.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ...kernel.ir import Let
from ...scalar import convert, prims
from ...scalar.dim import Dim, FloorDiv, Max, Min, Mod, Size, Symbol, lower_bound, prod, symbols
from ...scalar.dtype import BOOL, F32, DType
from ...scalar.expr import Acc, Call, Const, Expr, Index, Load, Local, Require, Var, walk

LONG_SUM = 32  # terms; Triton's recursion is as deep as a sum is long

Axes = frozenset[int]
NONE: Axes = frozenset()

# Triton's names: of types in expressions, and of pointers to buffers in signatures.
_TYPES = {
    "f32": "float32", "f64": "float64", "f16": "float16", "bf16": "bfloat16", "bool": "int1",
    "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64",
    "u8": "uint8", "u16": "uint16", "u32": "uint32", "u64": "uint64",
}  # fmt: skip
_BUFFERS = {
    "f32": "fp32", "f64": "fp64", "f16": "fp16", "bf16": "bf16", "bool": "u8",
    "i8": "i8", "i16": "i16", "i32": "i32", "i64": "i64", "u8": "u8", "u16": "u16", "u32": "u32", "u64": "u64",
    "i4": "i8", "i2": "i8",
}  # fmt: skip


def value_type(dtype: DType) -> str:
    """The type of a value in an expression, such as tl.float32."""
    return "tl." + _TYPES.get(dtype.name, "int8" if dtype.kind == "i" else "uint8")


def buffer_type(dtype: DType) -> str:
    """The type of a buffer's elements in a signature."""
    return _BUFFERS.get(dtype.name, "u8")


class Value(NamedTuple):
    """The text of a value, a name or a literal, and the axes of the tile along which it varies."""

    text: str
    axes: Axes = NONE


_ACC = Value("acc", frozenset((0, 1)))


class Functions:
    """The helper functions that a source needs, each defined once, callees first."""

    def __init__(self) -> None:
        self.definitions: dict[str, list[str]] = {}

    def of_expression(self, name: str, formals: Sequence[Var], body: Expr) -> str:
        """A function with an expression as its body."""
        if name not in self.definitions:
            printer = Printer(self, {}, (), expands=True)
            text = printer.value(body).text
            head = f"def {name}({', '.join(v.name for v in formals)}):"
            self.definitions[name] = [head, *(f"    {line}" for line in printer.lines), f"    return {text}"]
        return name

    def combine(self, prim: str, dtype: DType) -> str:
        """The function by which tl.reduce and tl.associative_scan combine two elements."""
        formals = Var("x", dtype), Var("y", dtype)
        return self.of_expression(f"{prim}_{dtype}", formals, Call(prim, formals, dtype))


@dataclass
class Printer:
    """Prints the expressions of one kernel as lines.

    names: of loop variables, sizes and bound symbols; masks: the text of the mask of each axis that overhangs; lanes:
    the positions within the tile, by axis; local: the value of an earlier stage's result; acc: the accumulator of a
    template; expands: primitives are expanded wherever possible, as expansions rely on the error bounds of others.
    Equal texts are computed once within a block of lines.
    """

    functions: Functions
    names: dict[Symbol, Value]
    buffers: Sequence[str]
    masks: dict[int, str] = field(default_factory=dict)
    lanes: dict[int, str] = field(default_factory=dict)
    local: Callable[[Local], Value] | None = None
    acc: Value = _ACC
    expands: bool = False
    lines: list[str] = field(default_factory=list)
    _known: dict[str, Value] = field(default_factory=dict)
    _temporaries: int = 0
    _indent: int = 0

    # -- lines -------------------------------------------------------------------------------------------------------

    def line(self, text: str) -> None:
        self.lines.append("    " * self._indent + text)

    def name(self, text: str, axes: Axes) -> Value:
        """A name for the value of `text`: that of an earlier equal line, else a new one."""
        if text not in self._known:
            self._temporaries += 1
            self._known[text] = Value(f"t{self._temporaries - 1}", axes)
            self.line(f"{self._known[text].text} = {text}")
        return self._known[text]

    def fresh(self) -> str:
        """A new name, which the caller assigns."""
        self._temporaries += 1
        return f"t{self._temporaries - 1}"

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Lines inside a `for` or `if`, whose names are forgotten after it."""
        self.line(head)
        known, self._known = self._known, dict(self._known)
        self._indent += 1
        yield
        self._indent -= 1
        self._known = known

    @contextmanager
    def apart(self) -> Iterator[list[str]]:
        """Separate lines, for a hole of a template: they use no names of other lines, nor these theirs."""
        state = self.lines, self._known, self._indent
        self.lines, self._known, self._indent = [], {}, 0
        yield self.lines
        self.lines, self._known, self._indent = state

    def forget(self) -> None:
        """Forgets loaded values, since memory has changed."""
        self._known = {text: value for text, value in self._known.items() if "tl.load" not in text}

    # -- sizes -------------------------------------------------------------------------------------------------------

    def axes_of(self, x: Size) -> Axes:
        return frozenset().union(*(self.names[s].axes for s in symbols(x))) if not isinstance(x, int) else NONE

    def size(self, x: Size) -> str:
        """An int32 expression, in parentheses unless it is one name or number."""
        if isinstance(x, int):
            return str(x) if x >= 0 else f"({x})"
        if len(x.terms) > LONG_SUM:
            parts = (sum(c * prod(m) for c, m in x.terms[i : i + LONG_SUM]) for i in range(0, len(x.terms), LONG_SUM))
            return f"({' + '.join(self.name(self.size(part), self.axes_of(part)).text for part in parts)})"
        terms = sorted((c < 0, -len(m), self._product(abs(c), m)) for c, m in x.terms)
        text = ""
        for negative, _, product in terms:
            text += (" - " if negative else " + ") + product if text else ("-" if negative else "") + product
        return f"({text})" if len(terms) > 1 or text.startswith("-") or " " in text else text

    def _product(self, coefficient: int, atoms: Sequence[Dim]) -> str:
        factors = sorted(self._atom(a) for a in atoms)
        if coefficient != 1 or not factors:
            factors.append(str(coefficient))
        return " * ".join(factors)

    def _atom(self, x: Dim) -> str:
        if isinstance(x, Symbol):
            return self.names[x].text
        if isinstance(x, (FloorDiv, Mod)):
            a, b = self.size(x.a), self.size(x.b)
            lowest, divisor = lower_bound(x.a), lower_bound(x.b)
            if lowest is not None and lowest >= 0 and divisor is not None and divisor >= 0:
                return f"({a} {'//' if isinstance(x, FloorDiv) else '%'} {b})"
            return f"{'floor_div' if isinstance(x, FloorDiv) else 'floor_mod'}({a}, {b})"
        assert isinstance(x, (Min, Max))
        text, *others = sorted(self.size(arg) for arg in x.args)
        for other in others:
            text = f"{'tl.minimum' if isinstance(x, Min) else 'tl.maximum'}({text}, {other})"
        return text

    # -- expressions -------------------------------------------------------------------------------------------------

    def bind(self, lets: Sequence[Let]) -> None:
        """Computes the symbols that depend on data, for the current tile."""
        for let in lets:
            text, axes = self.value(let.value)
            self.names[let.symbol] = self.name(f"({text}).to(tl.int32)", axes)

    def value(self, root: Expr) -> Value:
        """The value of an expression at the current tile."""
        done: dict[Expr, Value] = {}
        for e in walk(root):
            done[e] = self._node(e, [done[c] for c in e.children])
        return done[root]

    def _node(self, e: Expr, args: Sequence[Value]) -> Value:
        if isinstance(e, Const):
            return Value(literal(e))
        if isinstance(e, Index):
            return self.name(f"tl.cast({self.size(e.size)}, tl.int64)", self.axes_of(e.size))
        if isinstance(e, Acc):
            return self.acc
        if isinstance(e, Var):
            return Value(e.name)
        if isinstance(e, Local):
            assert self.local is not None
            return self.local(e)
        if isinstance(e, Load):
            return self._load(e, args)
        if isinstance(e, Require):  # devices report no faults, as those of onnxruntime do not
            return args[1]
        assert isinstance(e, Call)
        return self._call(e, args)

    def _load(self, e: Load, args: Sequence[Value]) -> Value:
        index, axes = self.size(e.index), self.axes_of(e.index)
        mask = ""
        if e.mask is not None:
            axes = axes | args[0].axes
            mask = args[0].text
            index = self.spread(index, self.axes_of(e.index), axes)
        masks = [self.masks[a] for a in sorted(axes) if a in self.masks]
        mask = " & ".join([*masks, *([mask] if mask else [])])
        pointer = f"{self.buffers[e.buffer]} + {index}"
        if not mask:
            loaded = self.name(f"tl.load({pointer})", axes)
        else:
            other = literal(e.other) if e.other is not None else "0"
            loaded = self.name(f"tl.load({pointer}, mask={mask}, other={_as_stored(other, e.dtype)})", axes)
        return self.name(f"{loaded.text} != 0", axes) if e.dtype == BOOL else loaded

    def spread(self, index: str, axes: Axes, target: Axes) -> str:
        """An index that varies along `axes`, with the shape of all `target` axes."""
        zeros = [f"{self.lanes[a]} * 0" for a in sorted(target - axes)]
        return f"({' + '.join([index, *zeros])})" if zeros else index

    def store(self, buffer: int, index: Size, value: Value, dtype: DType, lets: Sequence[Let] = ()) -> None:
        """Writes a value to buffer[index] at the current tile; dtype: of the buffer."""
        axes = self.axes_of(index) | value.axes
        text = self.spread(self.size(index), self.axes_of(index), axes)
        masks = " & ".join(self.masks[a] for a in sorted(axes) if a in self.masks)
        mask = f", mask={masks}" if masks else ""
        stored = f"{value.text}.to(tl.uint8)" if dtype == BOOL else value.text
        self.line(f"tl.store({self.buffers[buffer]} + {text}, {stored}{mask})")
        self.forget()

    def _call(self, e: Call, args: Sequence[Value]) -> Value:
        axes = frozenset().union(*(a.axes for a in args))
        prim = prims.TABLE[e.prim]
        if e.prim in ("cast", "cast_unsaturated"):
            return self.cast(e.args[0].dtype, e.dtype, args[0], saturate=e.prim == "cast")
        if e.prim == "bitcast":
            if value_type(e.args[0].dtype) == value_type(e.dtype):
                return args[0]
            return self.name(f"{args[0].text}.to({value_type(e.dtype)}, bitcast=True)", axes)
        dtype = e.args[-1].dtype
        spelling = prim.triton_spelling(dtype)
        if spelling is None or (self.expands and prim.expand is not None and dtype == F32):
            name = self.functions.of_expression(f"{e.prim}_f32", *prims.expansion(e.prim))
            return self.name(f"{name}({', '.join(a.text for a in args)})", axes)
        return self.name(spelling.format(*(a.text for a in args), bits=dtype.bits), axes)

    def cast(self, source: DType, target: DType, arg: Value, saturate: bool = True) -> Value:
        """Converts a value: floats to integers saturate, integers wrap around, 8-bit floats go through f32's bits."""
        if source == target:
            return arg
        text, axes = arg
        if source.is_float and source.bits == 16 and not target.is_float:
            return self.cast(F32, target, self.name(f"{text}.to(tl.float32)", axes))
        if any(d.is_float and d.bits <= 8 for d in (source, target)):
            name = f"{'cast' if saturate else 'overflow'}_{source}_{target}"
            expansion = convert.narrow_cast(source, target, saturate)
            return self.name(f"{self.functions.of_expression(name, *expansion)}({text})", axes)
        if source.is_integer:
            text = _low_bits(text, source)
        if target.kind == "b":
            return self.name(f"{text} != 0", axes)
        if source.kind == "f" and target.is_integer:
            return self.name(_saturated(text, source, target), axes)
        if target.is_float and target.bits == 16:
            formal = Var("x", source)
            odd = convert.to_odd_f32(formal)
            if odd != Call("cast", (formal,), F32):
                text = f"{self.functions.of_expression(f'odd_{source}', (formal,), odd)}({text})"
        value = self.name(f"{text}.to({value_type(target)})", axes)
        return self.name(_low_bits(value.text, target), axes) if target.name[1:] in ("2", "4") else value


def literal(e: Const) -> str:
    """A typed constant."""
    value = e.value
    if e.dtype.is_float and e.dtype.bits <= 8:
        value = int(convert.cast(np.asarray(value, np.float32), e.dtype).view(np.uint8))
    text = f'float("{value!r}")' if isinstance(value, float) and value - value != 0 else repr(value)
    if e.dtype == BOOL:
        return f"tl.full((), {int(bool(value))}, tl.int1)"
    return f"tl.full((), {text}, {value_type(e.dtype)})"


def _as_stored(text: str, dtype: DType) -> str:
    """The text of a constant as an element of a buffer, in which bools are bytes."""
    match = re.fullmatch(r"tl\.full\(\(\), (\d), tl\.int1\)", text)
    return match[1] if match else text


def _low_bits(text: str, dtype: DType) -> str:
    """The value of the low bits, for integers of less than 8 bits."""
    bits = int(dtype.name[1:])
    if bits >= 8:
        return text
    sign = 1 << (bits - 1)
    return f"((({text} & {2 * sign - 1}) ^ {sign}) - {sign})" if dtype.kind == "i" else f"({text} & {2 * sign - 1})"


def _saturated(text: str, source: DType, target: DType) -> str:
    """Float to integer: the nearest end of the range for values outside it, 0 for NaN."""
    low, high = convert.integer_range(target)
    kind = value_type(target)
    above, below, zero = (literal(Const(x, source)) for x in (float(high + 1), float(low), 0.0))
    whole = f"tl.where(({text} > {below}) & ({text} < {above}), {text}, {zero}).to({kind})"
    least, greatest = literal(Const(low, target)), literal(Const(high, target))
    return f"tl.where({text} >= {above}, {greatest}, tl.where({text} <= {below}, {least}, {whole}))"
