"""Rebuilding kernel bodies: one traversal of every size, symbol and expression in a body.

`substitute_body` renames or replaces symbols; `sizes_of` lists what a body mentions. Both go by the dataclass fields,
so a new kind of body needs nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from ..scalar.dim import Dim, FloorDiv, Max, Min, Mod, Size, Symbol, dim_max, dim_min, floor_div, mod
from ..scalar.dtype import DType
from ..scalar.expr import Expr, Index, Load, Local, rewrite, walk

T = TypeVar("T")
SizeMap = Callable[[Size], Size]


def map_sizes(item: T, change: SizeMap, keep: frozenset[str] = frozenset()) -> T:
    """`item` (a body, stage, expression or tuple) with `change` applied to every Size in it, loop symbols included.

    keep: names of dataclass fields to leave alone (plain integers that are no sizes)."""
    return _map(item, change, keep)  # type: ignore[no-any-return]


_NUMBERS = frozenset({"buffer", "w", "nr", "groups", "taps", "strides", "dilations", "slot", "xw", "r", "rb",
                      "peephole", "h0", "c0", "lengths", "y", "yh", "yc",
                      "roots", "nodes", "weights", "owners", "relations"})  # fmt: skip


def _map(item: Any, change: SizeMap, keep: frozenset[str]) -> Any:
    if isinstance(item, Dim) or (isinstance(item, int) and not isinstance(item, bool)):
        return change(item)
    if isinstance(item, Expr):
        return map_expr(item, change)
    if isinstance(item, tuple):
        return tuple(_map(i, change, keep) for i in item)
    if is_dataclass(item) and not isinstance(item, (type, DType)):
        changed = {
            f.name: _map(getattr(item, f.name), change, keep)
            for f in fields(item)
            if f.name not in _NUMBERS and f.name not in keep
        }
        return replace(item, **changed)
    return item


def map_expr(root: Expr, change: SizeMap) -> Expr:
    """An expression with `change` applied to each index in it."""

    def rule(e: Expr) -> Expr | None:
        if isinstance(e, Index):
            return Index(change(e.size))
        if isinstance(e, Load):
            return Load(e.buffer, change(e.index), e.dtype, e.mask, e.other)
        if isinstance(e, Local):
            return Local(e.slot, change(e.index), e.dtype)
        return None

    return rewrite(root, rule)


def sizes_of(item: Any) -> Iterator[Size]:
    """Every Size in `item`, in a deterministic order; extents of loop symbols included."""
    found: list[Size] = []

    def note(size: Size) -> Size:
        found.append(size)
        if isinstance(size, Symbol) and size.extent is not None:
            found.append(size.extent)
        return size

    _map(item, note, frozenset())
    return iter(found)


def expressions(item: Any) -> Iterator[Expr]:
    """Every distinct expression node in `item`."""
    if isinstance(item, Expr):
        yield from walk(item)
    elif isinstance(item, tuple):
        for i in item:
            yield from expressions(i)
    elif is_dataclass(item) and not isinstance(item, (type, DType)):
        for f in fields(item):
            yield from expressions(getattr(item, f.name))


def rebuild(size: Dim, change: SizeMap) -> Size:
    """A compound size with `change` applied to what it consists of: its integers, and the factors of its terms, or what
    is in the one that it is."""
    total: Size = 0
    for coefficient, atoms in size.terms:
        product: Size = 1 if abs(coefficient) == 1 and atoms else change(abs(coefficient))
        for atom in atoms:
            if isinstance(atom, Symbol) or size.terms != atom.terms:
                product = product * change(atom)
            elif isinstance(atom, FloorDiv):
                product = product * floor_div(change(atom.a), change(atom.b))
            elif isinstance(atom, Mod):
                product = product * mod(change(atom.a), change(atom.b))
            elif isinstance(atom, (Min, Max)):
                join = dim_min if isinstance(atom, Min) else dim_max
                product = product * join(*(change(x) for x in atom.args))
        total = total + product * (1 if coefficient > 0 else -1)
    return total
