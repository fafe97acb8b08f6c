"""Scalar expressions: what one iteration of a kernel computes.

    expr ::= Const(value)                      a literal
           | Index(size)                       an integer expression of loop variables and dims, as an i64 value
           | Load(buffer, index [, mask, other])  buffer[index]; where mask is false, `other` without an access
           | Local(slot, index)                a value kept by an earlier stage of the same kernel
           | Acc()                             the accumulator of a template kernel, in its epilogue
           | Var(name)                         a formal parameter (bodies of primitives' expansions)
           | Call(prim, args)                  a primitive of `prims.TABLE`
           | Require(ok, value, number)        the value; where `ok` is false, the kernel reports fault `number`

Nodes are interned: equal expressions are the same object, so `is`, `==` and `hash` are all cheap, and a shared
sub-expression is computed once. An Index or a Load index is a `Size` of `dim.py`. Where an index depends on data
(gather), it contains a `Symbol` that the enclosing stage binds to an expression (`Stage.lets`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from .dim import Size
from .dtype import BOOL, I64, DType

_E = TypeVar("_E", bound="Expr")
_interned: WeakValueDictionary[tuple[Any, ...], Any] = WeakValueDictionary()


class Expr:
    """Base of all expression nodes; `dtype` is the type of the value. Operators build `Call` nodes."""

    __slots__ = ("__weakref__", "dtype")
    dtype: DType
    _fields: tuple[str, ...] = ()

    def __new__(cls: type[_E], *fields: Any) -> _E:
        # bool, int and float constants that compare equal (1, 1.0, True) stay distinct through their types;
        # -0.0 and NaN through their repr.
        key = (cls, *((type(f), repr(f)) if isinstance(f, (float, bool)) else f for f in fields))
        node = _interned.get(key)
        if node is None:
            node = object.__new__(cls)
            for name, value in zip(cls._fields, fields, strict=True):
                object.__setattr__(node, name, value)
            _interned[key] = node
        return node

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("expressions are immutable")

    @property
    def children(self) -> tuple[Expr, ...]:
        return ()

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), tuple(getattr(self, f) for f in self._fields))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(repr(getattr(self, f)) for f in self._fields)})"

    def _binary(self, prim: str, other: Expr | float, swap: bool = False, dtype: DType | None = None) -> Call:
        right = other if isinstance(other, Expr) else Const(other, self.dtype)
        args = (right, self) if swap else (self, right)
        return Call(prim, args, dtype or self.dtype)

    def __add__(self, other: Expr | float) -> Call:
        return self._binary("add", other)

    def __radd__(self, other: float) -> Call:
        return self._binary("add", other, swap=True)

    def __sub__(self, other: Expr | float) -> Call:
        return self._binary("sub", other)

    def __rsub__(self, other: float) -> Call:
        return self._binary("sub", other, swap=True)

    def __mul__(self, other: Expr | float) -> Call:
        return self._binary("mul", other)

    def __rmul__(self, other: float) -> Call:
        return self._binary("mul", other, swap=True)

    def __truediv__(self, other: Expr | float) -> Call:
        return self._binary("div", other)

    def __rtruediv__(self, other: float) -> Call:
        return self._binary("div", other, swap=True)

    def __neg__(self) -> Call:
        return Call("neg", (self,), self.dtype)

    def __lt__(self, other: Expr | float) -> Call:
        return self._binary("lt", other, dtype=BOOL)

    def __le__(self, other: Expr | float) -> Call:
        return self._binary("le", other, dtype=BOOL)

    def __gt__(self, other: Expr | float) -> Call:
        return self._binary("lt", other, swap=True, dtype=BOOL)

    def __ge__(self, other: Expr | float) -> Call:
        return self._binary("le", other, swap=True, dtype=BOOL)


class Const(Expr):
    """A literal: a Python bool, int or float, of `dtype`."""

    __slots__ = ("value",)
    _fields = ("value", "dtype")
    value: bool | int | float


class Index(Expr):
    """An integer expression of loop variables and dims as a value; its dtype is i64."""

    __slots__ = ("size",)
    _fields = ("size",)
    size: Size
    dtype = I64


class Load(Expr):
    """buffer[index], where `buffer` is the number of a kernel parameter; a load whose mask is false gives `other`."""

    __slots__ = ("buffer", "index", "mask", "other")
    _fields = ("buffer", "index", "dtype", "mask", "other")
    buffer: int
    index: Size
    mask: Expr | None
    other: Const | None

    def __new__(
        cls, buffer: int, index: Size, dtype: DType, mask: Expr | None = None, other: Const | None = None
    ) -> Load:
        return super().__new__(cls, buffer, index, dtype, mask, other)

    @property
    def children(self) -> tuple[Expr, ...]:
        return () if self.mask is None else (self.mask,)


class Local(Expr):
    """A value that stage `slot` of this kernel stored: a scalar (index 0) or an element of its row."""

    __slots__ = ("index", "slot")
    _fields = ("slot", "index", "dtype")
    slot: int
    index: Size


class Acc(Expr):
    """The accumulated value of a template kernel at the current output element."""

    __slots__ = ()
    _fields = ("dtype",)


class Var(Expr):
    """A formal parameter, in the expansion of a primitive."""

    __slots__ = ("name",)
    _fields = ("name", "dtype")
    name: str


class Call(Expr):
    """A primitive applied to arguments. `dtype` is the result's type (for `cast` and `bitcast`: the target)."""

    __slots__ = ("args", "prim")
    _fields = ("prim", "args", "dtype")
    prim: str
    args: tuple[Expr, ...]

    @property
    def children(self) -> tuple[Expr, ...]:
        return self.args


class Require(Expr):
    """The value, with a check of data: where `ok` is false, the kernel continues and reports fault `number`."""

    __slots__ = ("number", "ok", "value")
    _fields = ("ok", "value", "number", "dtype")
    ok: Expr
    value: Expr
    number: int

    def __new__(cls, ok: Expr, value: Expr, number: int, dtype: DType | None = None) -> Require:
        return super().__new__(cls, ok, value, number, dtype or value.dtype)

    @property
    def children(self) -> tuple[Expr, ...]:
        return self.ok, self.value


def walk(*roots: Expr) -> Iterator[Expr]:
    """Every distinct node under `roots`, children first."""
    seen: set[int] = set()
    stack: list[tuple[Expr, bool]] = [(r, False) for r in reversed(roots)]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            yield node
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((c, False) for c in reversed(node.children))


def as_type(e: Expr, dtype: DType) -> Expr:
    """An expression, cast to `dtype` if it has another type."""
    return e if e.dtype == dtype else Call("cast", (e,), dtype)


def finds_faults(root: Expr) -> bool:
    """Whether an expression contains a `Require`."""
    return any(isinstance(e, Require) for e in walk(root))


def rewrite(root: Expr, rule: Callable[[Expr], Expr | None]) -> Expr:
    """Rebuild `root` bottom up; `rule` sees each node with its children already rebuilt and may replace it."""
    done: dict[int, Expr] = {}
    for node in walk(root):
        new = node
        if isinstance(node, Call):
            args = tuple(done[id(a)] for a in node.args)
            if args != node.args:
                new = Call(node.prim, args, node.dtype)
        elif isinstance(node, Load) and node.mask is not None:
            new = Load(node.buffer, node.index, node.dtype, done[id(node.mask)], node.other)
        elif isinstance(node, Require):
            new = Require(done[id(node.ok)], done[id(node.value)], node.number)
        done[id(node)] = rule(new) or new
    return done[id(root)]
