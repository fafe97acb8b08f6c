"""Sequences, as lists, and optionals: None, or what they have. Both are values, which no function changes."""

from __future__ import annotations

from typing import Any

import numpy as np

from .registry import function

Array = np.ndarray[Any, Any]


@function("sequence")
def sequence(*items: Any) -> list[Any]:
    return list(items)


@function("optional")
def optional(*item: Any) -> Any:
    return item[0] if item else None


@function("has_element")
def has_element(value: Any) -> Array:
    return np.array(value is not None)


@function("element")
def element(value: Any) -> Any:
    """The element of an optional."""
    if value is None:
        raise ValueError("the optional is empty")
    return value


@function("sizes")
def sizes(tensor: Array) -> Array:
    """The shape of a tensor."""
    return np.array(np.shape(tensor), np.int64)


@function("tensor")
def tensor(value: Array) -> Array:
    return value


@function("reshape")
def reshape(elements: Array, sizes: Array) -> Array:
    """A tensor of these sizes, where -1 stands for none."""
    return elements.reshape(sizes[sizes >= 0])


@function("length")
def length(items: list[Any]) -> Array:
    return np.array(len(items), np.int64)


def _place(position: Array | None, count: int, last: int) -> int:
    """A position in a sequence of `count`, by default the `last` one; negative ones count from the end."""
    at = last if position is None else int(np.reshape(position, -1)[0])
    if not -count <= at <= last:
        raise ValueError(f"Invalid sequence index ({at}) specified for sequence of size ({count})")
    return at + count if at < 0 else at


@function("at")
def at(items: list[Any], position: Array) -> Any:
    return items[_place(position, len(items), len(items) - 1)]


@function("insert")
def insert(items: list[Any], item: Any, position: Array | None = None) -> list[Any]:
    where = _place(position, len(items), len(items))
    return [*items[:where], item, *items[where:]]


@function("erase")
def erase(items: list[Any], position: Array | None = None) -> list[Any]:
    where = _place(position, len(items), len(items) - 1)
    return items[:where] + items[where + 1 :]


@function("join")
def join(items: list[Array], *, axis: int, new_axis: bool) -> Array:
    """All tensors along an axis, or along a new one."""
    if not items:
        raise ValueError("a sequence of no tensors cannot be joined")
    return np.stack(items, axis) if new_axis else np.concatenate(items, axis)


@function("stack")
def stack(items: list[Array], *, dtype: str, rank: int) -> Array:
    """Rows that a loop has collected, along a new first axis; without any, of no size."""
    return np.stack(items) if items else np.empty((0,) * rank, dtype)


@function("split")
def split(x: Array, sizes: Array | None = None, *, axis: int, squeezed: bool = False) -> list[Array]:
    """Parts of these sizes along an axis; one size: of each but the last; None: of 1, `squeezed` or not."""
    extent = x.shape[axis]
    if sizes is None:
        parts = np.split(x, extent, axis) if extent else []
        return [part.squeeze(axis) for part in parts] if squeezed else parts
    if sizes.ndim == 0:
        size = int(sizes)
        if size <= 0:
            raise ValueError(f"parts of the size {size}")
        return np.split(x, range(size, extent, size), axis) if extent else []
    if (sizes < 0).any() or sizes.sum() != extent:
        raise ValueError(f"parts of the sizes {sizes.tolist()} of an axis of {extent}")
    return np.split(x, np.cumsum(sizes)[:-1], axis)
