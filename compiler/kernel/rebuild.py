"""Traversals of kernel bodies: of every size, symbol and expression.

`map_sizes` replaces sizes, `sizes_of` lists them. Both follow the types of the dataclass fields, so a new kind of body
needs no change here.
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
    """A tuple with `change` applied to its items, or a dataclass with `change` applied to fields that hold sizes."""
    if isinstance(item, tuple):
        return tuple(map(change, item))
    if is_dataclass(item) and not isinstance(item, type):
        return replace(item, **{name: change(getattr(item, name)) for name in _with_sizes(type(item))})
    return item


@lru_cache
def _with_sizes(kind: type) -> tuple[str, ...]:
    """The fields of a dataclass whose types contain sizes or expressions; plain integers are not sizes."""
    hints = get_type_hints(kind, localns={"Dim": Dim})  # the name in the definition of `Size`
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
    """Every Size in `item`, in a deterministic order, including extents of loop symbols."""
    sizes: list[Size] = []

    def note(size: Size) -> Size:
        sizes.append(size)
        if isinstance(size, Symbol) and size.extent is not None:
            sizes.append(size.extent)
        return size

    _map(item, note)
    return iter(sizes)


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
    """A compound size with `change` applied to its parts.

    The parts of a sum are its coefficients and the factors of its terms, those of a single atom its arguments."""
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
