"""ONNX operators that read or write at computed positions: gather, scatter, one-hot, top-k.

In: values and attributes of a node. Out: values. Negative indices are wrapped here; the graph's gather and scatter take
indices in range.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import Unsupported
from ...graph.conditions import brief
from ...graph.ir import Value, constant
from ...scalar.dim import LEAST, Size, dim_min
from ...scalar.dtype import BOOL, I64, STRING, DType
from ..registry import onnx_op
from ..values import bound, demanded, fold, shape_arg


def wrapped(index: Value, dim: Size) -> Value:
    """Indices in [0, dim): negative ones count from the end."""
    data = fold(index) if index.data is not None else None
    if data is None or (data.size and not isinstance(dim, int)):
        text = f"must be within the inclusive range [-{brief(dim)},{brief(dim - 1)}]"
        return checked_index(index.cast(I64).wrap_index(dim), dim, f"indices element out of data bounds, {text}")
    if data.size and not (-dim <= data.min() and data.max() < dim):
        raise ValueError(f"an index is out of the range of a dim of {dim}")
    return constant(np.where(data < 0, data + dim, data).astype(data.dtype))


def checked_index(index: Value, dim: Size, text: str = "an index, or a position, is out of range") -> Value:
    """The indices, with a check that they are in [0, dim)."""
    at = index.cast(I64)
    return at.require((at >= 0).map("and", at < at.const_size(dim)), text)


def iota(shape: Sequence[Size], axis: int, like: Value) -> Value:
    """A tensor of `shape` whose elements are their own positions along `axis`, in the dtype of `like`."""
    return like.emit("iota", [], shape=tuple(shape), axis=axis, dtype=like.dtype)[0]


@onnx_op("Gather")
def gather(x: Value, indices: Value, *, axis: int = 0) -> Value:
    return x.take(wrapped(indices, x.shape[x.axis(axis)]), axis)


def _element_indices(x: Value, indices: Value, axis: int) -> list[Value]:
    """An index tensor for each axis of x: `indices` along `axis`, the element's own position along the others."""
    if indices.rank != x.rank:
        raise ValueError(f"indices of rank {indices.rank} for rank {x.rank}")
    axis = x.axis(axis)
    at = wrapped(indices, x.shape[axis])
    for a, (d, limit) in enumerate(zip(indices.shape, x.shape)):
        if a != axis:
            text = f"indices of {brief(d)} along axis {a}, where data has {brief(limit)}"
            at = demanded(at, dim_min(d, limit), d, text)
    return [at if a == axis else iota(indices.shape, a, indices) for a in range(x.rank)]


@onnx_op("GatherElements", since=11)
def gather_elements(x: Value, indices: Value, *, axis: int = 0) -> Value:
    return x.gather(_element_indices(x, indices, axis), range(x.rank))


def _tuples(x: Value, indices: Value, batch_dims: int = 0) -> tuple[Value, list[Value]]:
    """x, and an index tensor for each of its leading axes, as GatherND and ScatterND have them.

    The last axis of `indices` has an index for each axis of x from `batch_dims` on. If it is empty, x gets an axis of 1
    to index."""
    depth = indices.shape[-1] if indices.rank else 0
    if not isinstance(depth, int):
        raise Unsupported(f"tuples of the symbolic length {depth}")
    if not 0 <= batch_dims < indices.rank or batch_dims + depth > x.rank:
        raise ValueError(f"indices of shape {list(indices.shape)} after {batch_dims} axes, for rank {x.rank}")
    batches = x.shape[:batch_dims]
    indices = indices.ensure_shape(*batches, *indices.shape[batch_dims:], text="batches of GatherND differ")
    shape = indices.shape[:-1]
    parts = [iota(shape, a, indices) for a in range(batch_dims)]
    for i in range(depth):
        parts.append(wrapped(indices.narrow(-1, i, 1).squeeze(-1), x.shape[batch_dims + i]))
    if depth == 0:
        x = x.unsqueeze(batch_dims)
        parts.append(indices.const(0).broadcast(*shape))
    return x, parts


@onnx_op("GatherND", since=11)
def gather_nd(x: Value, indices: Value, *, batch_dims: int = 0) -> Value:
    x, parts = _tuples(x, indices, batch_dims)
    return x.gather(parts, range(len(parts)))


_REDUCTIONS = ("none", "add", "mul", "max", "min")


def combining(reduction: str, dtype: DType) -> str | None:
    """The primitive that combines an element and an update, or None; for bools, a sum is `or`, and a product `and`."""
    if reduction not in _REDUCTIONS:
        raise ValueError(f"there is no reduction '{reduction}'")
    if dtype == STRING and reduction != "none":
        raise Unsupported(f"the reduction '{reduction}' of strings")
    of_bools = {"add": "or", "mul": "and"}
    return None if reduction == "none" else of_bools.get(reduction, reduction) if dtype == BOOL else reduction


@onnx_op("ScatterElements", since=11)
def scatter_elements(x: Value, indices: Value, updates: Value, *, axis: int = 0, reduction: str = "none") -> Value:
    at = _element_indices(x, indices, axis)
    return x.emit("scatter", [x, updates, *at], axes=tuple(range(x.rank)), combine=combining(reduction, x.dtype))[0]


@onnx_op("Scatter", since=9)
def scatter(x: Value, indices: Value, updates: Value, *, axis: int = 0) -> Value:
    return scatter_elements(x, indices, updates, axis=axis)


@onnx_op("ScatterND", since=11)
def scatter_nd(x: Value, indices: Value, updates: Value, *, reduction: str = "none") -> Value:
    target, at = _tuples(x, indices)
    attrs = {"axes": tuple(range(len(at))), "combine": combining(reduction, x.dtype)}
    written = x.emit("scatter", [target, updates, *at], **attrs)[0]
    return written.reshape(*x.shape)


@onnx_op("TensorScatter", since=24)
def tensor_scatter(
    past: Value, update: Value, write_indices: Value | None = None, *, axis: int = -2, mode: str = "linear"
) -> Value:
    """Writes `update` into a cache, starting at a position of each batch."""
    if mode not in ("linear", "circular"):
        raise ValueError(f"there is no mode '{mode}'")
    axis, dim = past.axis(axis), past.shape[past.axis(axis)]
    if not axis:
        raise ValueError("the axis of batches cannot be written along")
    length = update.shape[axis] if update.rank == past.rank else 0
    like = [length if a == axis else d for a, d in enumerate(past.shape)]
    update = update.ensure_shape(*like, text="an update is as its cache, but for the axis that is written along")
    update = demanded(update, dim_min(length, dim), length, "an update is longer than its cache")
    at = iota(update.shape, axis, update.const(0, I64))
    if write_indices is not None:
        start = write_indices.ensure_shape(past.shape[0], text="TensorScatter has a write index for each batch")
        inside = start >= 0
        if mode == "linear":
            inside = inside.map("and", start <= start.const_size(dim - length))
        start = start.require(inside, "a write index is out of the bounds of the cache")
        if mode == "circular":  # before the sum below, which may overflow
            start = start.map("mod", start.const_size(dim))
        at = at + start.reshape(start.shape[0], *[1] * (past.rank - 1))
    if mode == "circular":
        at = at.map("mod", at.const_size(dim))
    parts = [at if a == axis else iota(update.shape, a, at) for a in range(past.rank)]
    return past.emit("scatter", [past, update, *parts], axes=tuple(range(past.rank)), combine=None)[0]


@onnx_op("OneHot", since=9)
def one_hot(indices: Value, depth: Value, values: Value, *, axis: int = -1) -> Value:
    """Indices outside of [-depth, depth) give rows of the off value."""
    count = shape_arg(depth, "depth")[0] if depth.dtype.is_integer else bound(depth.reshape().cast(I64), LEAST)
    rank = indices.rank + 1
    if rank == 1:
        raise ValueError("the indices are a scalar")
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is out of range for rank {rank}")
    at = indices.cast(I64).wrap_index(count).unsqueeze(axis % rank)
    shape = [1] * rank
    row: list[Size] = [*shape]
    row[axis % rank] = count
    hot = iota(row, axis % rank, at).map("eq", at)
    return hot.select(values.narrow(0, 1, 1).reshape(), values.narrow(0, 0, 1).reshape())


@onnx_op("ReverseSequence", since=10)
def reverse_sequence(x: Value, lengths: Value, *, batch_axis: int = 1, time_axis: int = 0) -> Value:
    if {batch_axis, time_axis} != {0, 1}:
        raise ValueError("batch_axis and time_axis must be 0 and 1")
    plane = x.shape[:2]
    time = iota(plane, time_axis, lengths)
    batch = iota(plane, batch_axis, lengths)
    lengths = lengths.ensure_shape(x.shape[batch_axis], text="ReverseSequence has a length for each batch")
    lengths = checked_index(lengths, x.shape[time_axis] + 1, "a sequence length is out of range")
    length = lengths.reshape(*(lengths.shape[0] if a == batch_axis else 1 for a in (0, 1)))
    source = (time < length).select(length - time - 1, time)
    return x.gather([source, batch] if time_axis == 0 else [batch, source], [0, 1])


@onnx_op("TopK", since=11)
def top_k(x: Value, k: Value, *, axis: int = -1, largest: int = 1, sorted: int = 1) -> tuple[Value, ...]:
    count = shape_arg(k, "k")[0]
    return x.emit("sort", [x], axis=x.axis(axis), descending=bool(largest), k=count)


@onnx_op("TopK", since=10)
def top_k_10(x: Value, k: Value, *, axis: int = -1) -> tuple[Value, ...]:
    return top_k(x, k, axis=axis)


@onnx_op("TopK")
def top_k_legacy(x: Value, *, k: int, axis: int = -1) -> tuple[Value, ...]:
    if k < 1:
        raise ValueError(f"Invalid value for attribute k: {k}")
    return top_k(x, x.const(k, I64), axis=axis)
