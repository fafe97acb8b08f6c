"""Rebuilding kernel bodies: one traversal of every size, symbol and expression in a body.

`map_sizes` renames or replaces symbols; `sizes_of` lists what a body mentions. Both go by the types of the dataclass
fields, so a new kind of body needs nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar, get_args, get_type_hints

from ..scalar.dim import Dim, FloorDiv, Max, Min, Mod, Size, Symbol, dim_max, dim_min, floor_div, mod
from ..scalar.dtype import DType
from ..scalar.expr import Expr, Index, Load, Local, rewrite, walk

T = TypeVar("T")
SizeMap = Callable[[Size], Size]


def map_sizes(item: T, change: SizeMap) -> T:
    """`item` (a body, stage, expression or tuple) with `change` applied to every Size in it, loop symbols included."""
    return _map(item, change)  # type: ignore[no-any-return]


def _map(item: Any, change: SizeMap) -> Any:
    if isinstance(item, Dim) or (isinstance(item, int) and not isinstance(item, bool)):
        return change(item)
    if isinstance(item, Expr):
        return map_expr(item, change)
    return map_parts(item, lambda part: _map(part, change))


def map_parts(item: Any, change: Callable[[Any], Any]) -> Any:
    """A tuple, or what holds sizes or expressions in its fields, with `change` applied to these."""
    if isinstance(item, tuple):
        return tuple(map(change, item))
    if is_dataclass(item) and not isinstance(item, type):
        return replace(item, **{name: change(getattr(item, name)) for name in _with_sizes(type(item))})
    return item


@lru_cache
def _with_sizes(kind: type) -> tuple[str, ...]:
    """The fields of a dataclass that hold sizes, by their types: a plain integer is none."""
    hints = get_type_hints(kind, localns={"Dim": Dim})  # of which `Size` speaks, wherever it is used
    return tuple(f.name for f in fields(kind) if _holds_sizes(hints[f.name]))


def _holds_sizes(hint: Any) -> bool:
    if get_args(hint):
        return any(map(_holds_sizes, get_args(hint)))
    if not isinstance(hint, type):  # the ellipsis of a tuple
        return False
    return issubclass(hint, (Dim, Expr)) or (is_dataclass(hint) and bool(_with_sizes(hint)))


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

    _map(item, note)
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
