"""Operations with positions that depend on data: gather, scatter, sort, sort_rows, nonzero."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...scalar import prims
from ...scalar.dim import Size, prod
from ...scalar.dtype import BOOL, I64
from ..conditions import Condition, at_most, broadcasts, equals
from ..ir import Array, Node, Signature, Trait, Value, dtype_of
from ..tensor import broadcast_shapes
from .common import Attrs, Shape, check, check_axes, check_count, register


def gathered_shape(x: Sequence[Size], index: Sequence[Size], axes: Sequence[int]) -> Shape:
    """The shape of x[.., index, ..]: the axes of the index replace `axes`, at the place of the first one."""
    kept = [d for a, d in enumerate(x) if a not in axes]
    at = axes[0] if axes else 0
    return (*kept[:at], *index, *kept[at:])


def _check_indices(name: str, x: Value, indices: Sequence[Value], axes: Sequence[int]) -> Shape:
    check(len(indices) == len(axes) > 0, "{}: {} indices for {} axes", name, len(indices), len(axes))
    check_axes(name, axes, x.rank)
    for v in indices:
        check(v.dtype.is_integer, "{}: an index of {}", name, v.dtype)
    return broadcast_shapes(*(v.shape for v in indices))


def _demand_indices(x: Value, indices: Sequence[Value], axes: Sequence[int], name: str) -> Iterator[Condition]:
    """Indices are clamped to [0, dim), which must not be empty if there are any indices."""
    common = broadcast_shapes(*(v.shape for v in indices))
    for v in indices:
        yield from broadcasts(v.shape, common)
    for axis in axes:
        yield from at_most(1, x.shape[axis], name + " an axis of no elements", of=prod(common))


def _infer_gather(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """gather(x, *indices; axes): indices, broadcast to one shape I, replace the (ascending) axes.

    I's axes stand where the first of `axes` stood. Every index is in [0, dim)."""
    check(len(inputs) > 0, "gather takes a value")
    x, *indices = inputs
    index = _check_indices("gather", x, indices, attrs["axes"])
    return [(gathered_shape(x.shape, index, attrs["axes"]), x.dtype)]


def _demand_gather(node: Node) -> Iterator[Condition]:
    x, *indices = node.inputs
    yield from _demand_indices(x, indices, node.attrs["axes"], "a gather from")


def _places(x: Array, indices: Sequence[Array], axes: Sequence[int]) -> tuple[Any, ...]:
    """numpy indices for x with `axes` moved to the front. Raises IndexError for one outside of its axis."""
    whole = [np.asarray(i, np.int64) for i in indices]
    for i, axis in zip(whole, axes):
        if i.size and (i.min() < 0 or i.max() >= x.shape[axis]):
            raise IndexError(f"an index is outside of [0, {x.shape[axis]})")
    return tuple(whole)


def _evaluate_gather(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    x, *indices = arrays
    axes: tuple[int, ...] = attrs["axes"]
    places = _places(x, indices, axes)
    front = np.moveaxis(x, axes, range(len(axes)))
    out = np.asarray(front[places], x.dtype)
    rank = len(np.broadcast_shapes(*(i.shape for i in places)))
    return [np.moveaxis(out, range(rank), range(axes[0], axes[0] + rank))]


register("gather", _infer_gather, _evaluate_gather, "axes", symbolic=True, demands=_demand_gather)


def _infer_scatter(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """scatter(x, updates, *indices; axes, combine): x with its elements at the indices replaced by updates.

    `updates` has the shape of the gather at the same indices. combine: None, or the primitive that combines an element
    and an update; without it, the last of several updates of an element counts."""
    check(len(inputs) >= 2, "scatter takes a value and updates")
    x, updates, *indices = inputs
    index = _check_indices("scatter", x, indices, attrs["axes"])
    check(updates.dtype == x.dtype, "scatter of {} into {}", updates.dtype, x.dtype)
    expected = gathered_shape(x.shape, index, attrs["axes"])
    check(updates.rank == len(expected), "scatter: updates {} where {} is wanted", updates.shape, expected)
    combine = attrs["combine"]
    check(combine is None or combine in prims.TABLE, "scatter: there is no primitive '{}'", combine)
    return [(x.shape, x.dtype)]


def _demand_scatter(node: Node) -> Iterator[Condition]:
    x, updates, *indices = node.inputs
    axes = node.attrs["axes"]
    yield from _demand_indices(x, indices, axes, "a scatter into")
    expected = gathered_shape(x.shape, broadcast_shapes(*(v.shape for v in indices)), axes)
    yield from equals(updates.shape, expected, "updates, and what they replace")


def _evaluate_scatter(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    x, updates, *indices = arrays
    axes: tuple[int, ...] = attrs["axes"]
    places = _places(x, indices, axes)
    out = np.array(x)
    front = np.moveaxis(out, axes, range(len(axes)))
    shape = np.broadcast_shapes(*(i.shape for i in places))
    rank = len(shape)
    updates = np.moveaxis(updates, range(axes[0], axes[0] + rank), range(rank))
    if attrs["combine"] is None:
        front[places] = updates
        return [out]
    flat = [np.broadcast_to(i, shape).reshape(-1) for i in places]
    rows = updates.reshape(math.prod(shape), *updates.shape[rank:])
    for row, *place in zip(rows, *flat):
        at = tuple(place)
        front[at] = prims.evaluate(attrs["combine"], [np.asarray(front[at]), np.asarray(row)])
    return [out]


register("scatter", _infer_scatter, _evaluate_scatter, "axes combine", demands=_demand_scatter, traits=Trait.HEAVY)


def _infer_sort(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """sort(x; axis, descending, k) -> values, indices: the first k elements of a stable sort; NaN is the largest."""
    check_count("sort", inputs, 1)
    x, axis, k = inputs[0], attrs["axis"], attrs["k"]
    check_axes("sort", [axis], x.rank)
    shape = (*x.shape[:axis], k, *x.shape[axis + 1 :])
    return [(shape, x.dtype), (shape, I64)]


def _demand_sort(node: Node) -> Iterator[Condition]:
    size, k = node.inputs[0].shape[node.attrs["axis"]], node.attrs["k"]
    yield from at_most(k, size, "the first {} of {} elements", k, size)


def _evaluate_sort(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    x, axis = arrays[0], attrs["axis"]
    key = x.astype(dtype_of(x).compute.to_numpy())
    if attrs["descending"]:  # of equal elements the first one still comes first
        order = x.shape[axis] - 1 - np.flip(np.argsort(np.flip(key, axis), axis, kind="stable"), axis)
    else:
        order = np.argsort(key, axis, kind="stable")
    order = np.take(order, np.arange(attrs["k"]), axis).astype(np.int64)
    return [np.take_along_axis(x, order, axis), order]


register("sort", _infer_sort, _evaluate_sort, "axis descending k", demands=_demand_sort, traits=Trait.HEAVY)


def _infer_sort_rows(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """sort_rows(x) -> indices, begins: the i64 positions [n] of the rows of x [n, c] in lexicographic order, and
    whether each row differs from the one before; stable, ascending; NaN is the largest, and equal to itself."""
    check_count("sort_rows", inputs, 1)
    check(inputs[0].rank == 2, "sort_rows of rank {}", inputs[0].rank)
    rows = inputs[0].shape[:1]
    return [(rows, I64), (rows, BOOL)]


def _evaluate_sort_rows(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    (x,) = arrays
    key = x.astype(dtype_of(x).compute.to_numpy())
    order = np.lexsort(key.T[::-1]) if x.shape[1] else np.arange(len(x))
    here, before = key[order], key[np.roll(order, 1)]
    begins = ((here != before) & ~((here != here) & (before != before))).any(1)
    begins[:1] = True
    return [order, begins]


register("sort_rows", _infer_sort_rows, _evaluate_sort_rows, traits=Trait.HEAVY)


def _infer_nonzero(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """nonzero(mask) -> places [n], count []: the i64 positions where a bool [n] is true, ascending, and their number.

    Places after the first `count` are undefined."""
    check_count("nonzero", inputs, 1)
    mask = inputs[0]
    check(mask.rank == 1 and mask.dtype == BOOL, "nonzero of {}{}", mask.dtype, list(mask.shape))
    return [(mask.shape, I64), ((), I64)]


def _evaluate_nonzero(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    (positions,) = np.nonzero(arrays[0])
    places = np.zeros(len(arrays[0]), np.int64)
    places[: len(positions)] = positions
    return [places, np.asarray(len(positions), np.int64)]


register("nonzero", _infer_nonzero, _evaluate_nonzero, traits=Trait.HEAVY)
