"""ONNX operators that arrange elements: reshape, slice, pad, join, tile, and those that make tensors from shapes.

In: values and attributes of a node. Out: values. Contents of shape tensors may be symbolic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...graph.conditions import brief
from ...graph.ir import Value, constant, size_value
from ...graph.tensor import broadcast_shapes
from ...scalar.dim import Size, ceil_div, dim_eq, dim_max, dim_min, known_le, known_lt, mod, prod
from ...scalar.dtype import BOOL, BY_ONNX, F64, I64
from .. import dynamic
from ..registry import Diverging, Imported, onnx_op
from ..values import bound, concat, demanded, fold, scalar, scalar_arg, shape_arg, truth, vector
from .control import IDENTITY, Run, Trace, either
from .index import iota
from .select import true_positions

Array = npt.NDArray[Any]
TILE_LIMIT = 1 << 32  # bytes, as in onnxruntime
FARTHEST = 1 << 62  # a diagonal outside of every matrix; its sum with a row number does not overflow

# -- same elements, other axes ---------------------------------------------------------------------------------------


@onnx_op("Reshape", since=5)
def reshape(x: Value, shape: Value, *, allowzero: int = 0) -> Value:
    dims = list(shape_arg(shape))
    if any(not isinstance(d, int) and known_le(0, d) is None for d in dims):
        return dynamic.reshaped(x, dims, bool(allowzero))
    for i, d in enumerate(dims):
        if d == 0 and not allowzero:
            if i >= x.rank:
                raise ValueError(f"dim {i} of the shape is 0 (copied), but the input has rank {x.rank}")
            dims[i] = x.shape[i]
        elif i < x.rank and known_lt(0, prod(x.shape)) and not allowzero and known_lt(0, d) is None:
            dims[i] = d + dim_eq(d, 0) * x.shape[i]  # a symbolic dim that turns out to be 0 keeps the dim
    rest = prod(d for d in dims if d != -1)
    if dims.count(-1) > 1 or any(isinstance(d, int) and d < -1 for d in dims) or (-1 in dims and rest == 0):
        raise ValueError(f"no shape for {list(x.shape)} is {dims}")
    return x.reshape(*dims)


@onnx_op("Reshape")
def reshape_legacy(x: Value, *, shape: list[int], consumed_inputs: list[int] | None = None) -> Value:
    return reshape(x, vector(shape))


@onnx_op("Flatten")
def flatten(x: Value, *, axis: int = 1) -> Value:
    if not -x.rank <= axis <= x.rank:
        raise ValueError(f"axis {axis} is out of range for rank {x.rank}")
    return x.flatten(axis + x.rank if axis < 0 else axis)


@onnx_op("Transpose")
def transpose(x: Value, *, perm: list[int] | None = None) -> Value:
    order = perm if perm is not None else list(reversed(range(x.rank)))
    if sorted(x.axis(a) for a in order) != list(range(x.rank)):
        raise ValueError(f"perm {order} is no permutation of {x.rank} axes")
    return x.permute(*(x.axis(a) for a in order))


def squeezed(x: Value, axes: Sequence[int]) -> Value:
    """x without `axes`, with a check that their dims are 1."""
    where = {x.axis(a) for a in axes}
    shape = (1 if a in where else d for a, d in enumerate(x.shape))
    return x.ensure_shape(*shape, text="the dims that Squeeze takes away must be 1").squeeze(*where)


def _without_ones(x: Value, run: Run, trace: Trace, ones: tuple[bool, ...] = ()) -> Value:
    """x without the axes whose dim is 1. ones: whether the first axes are such.

    Raises Diverging where that is known only when the model runs."""
    if len(ones) == x.rank:
        return squeezed(x, [axis for axis, one in enumerate(ones) if one])
    is_one = size_value(x.shape[len(ones)]).map("eq", 1)
    known = truth(is_one)
    if isinstance(known, int):
        return _without_ones(x, run, trace, (*ones, bool(known)))

    def side(holds: bool) -> Any:
        return IDENTITY, lambda capture: [_without_ones(capture(x), run, trace, (*ones, holds))]

    raise Diverging(either(is_one, side, run, trace))


@onnx_op("Squeeze", since=13)
def squeeze(x: Value, axes: Value | None = None, *, run: Run, trace: Trace) -> Value:
    if axes is None:
        return _without_ones(x, run, trace)
    where = shape_arg(axes, "axes")
    if not all(isinstance(a, int) for a in where):
        return dynamic.in_range(x, where, x.rank).reshape(*_without(x, axes, where))
    return squeezed(x, where)  # type: ignore[arg-type]


def _without(x: Value, axes: Value, where: Sequence[Size]) -> Sequence[Size]:
    """The shape of x without `axes`, which are known only when the model runs."""
    kept = vector(x.shape).take(true_positions(_among(axes, x.rank).map("not")), 0)
    return shape_arg(kept.narrow(0, 0, x.rank - len(where)))


def _among(axes: Value, rank: int) -> Value:
    """Which of `rank` axes are among `axes`: bool [rank]."""
    each = iota((rank, 1), 0, axes)
    return each.map("eq", axes.wrap_index(rank)).reduce("or", 1)


@onnx_op("Squeeze")
def squeeze_legacy(x: Value, *, axes: list[int] | None = None, run: Run, trace: Trace) -> Value:
    return _without_ones(x, run, trace) if axes is None else squeezed(x, axes)


def unsqueezed(x: Value, axes: Sequence[int]) -> Value:
    rank = x.rank + len(axes)
    if len({a % rank for a in axes}) != len(axes) or not all(-rank <= a < rank for a in axes):
        raise ValueError(f"axes {list(axes)} are not distinct axes of rank {rank}")
    return x.unsqueeze(*axes)


@onnx_op("Unsqueeze", since=13)
def unsqueeze(x: Value, axes: Value) -> Value:
    where = shape_arg(axes, "axes")
    if not all(isinstance(a, int) for a in where):
        return dynamic.distinct(x, where, x.rank + len(where)).reshape(*_with(x, axes, where))
    return unsqueezed(x, where)  # type: ignore[arg-type]


def _with(x: Value, axes: Value, where: Sequence[Size]) -> Sequence[Size]:
    """The shape of x with dims of 1 at `axes`, which are known only when the model runs."""
    rank = x.rank + len(where)
    if x.rank == 0:
        return [1] * rank
    new = _among(axes, rank)
    before = new.cast(I64).emit("scan", [new.cast(I64)], kind="add", axis=0, exclusive=False, reverse=False)[0]
    source = (iota((rank,), 0, before) - before).map("max", 0).map("min", x.rank - 1)
    return shape_arg(new.select(1, vector(x.shape).take(source, 0)))


@onnx_op("Unsqueeze")
def unsqueeze_legacy(x: Value, *, axes: list[int]) -> Value:
    return unsqueezed(x, axes)


@onnx_op("Identity")
def identity(x: Imported) -> Imported:
    return x


@onnx_op("DepthToSpace")
def depth_to_space(x: Value, *, blocksize: int, mode: str = "DCR") -> Value:
    n, c, *spatial = x.shape
    rank, blocks = len(spatial), [blocksize] * len(spatial)
    rest = c // blocksize**rank
    first = 2 + rank  # the axes after (n, blocks, rest) or (n, rest, blocks)
    b, r = (list(range(1, 1 + rank)), 1 + rank) if mode == "DCR" else (list(range(2, 2 + rank)), 1)
    split = x.reshape(n, *blocks, rest, *spatial) if mode == "DCR" else x.reshape(n, rest, *blocks, *spatial)
    order = [axis for i in range(rank) for axis in (first + i, b[i])]
    return split.permute(0, r, *order).reshape(n, rest, *(d * blocksize for d in spatial))


@onnx_op("SpaceToDepth")
def space_to_depth(x: Value, *, blocksize: int, mode: str = "DCR") -> Value:
    n, c, *spatial = x.shape
    rank = len(spatial)
    split = x.reshape(n, c, *(d for s in spatial for d in (s // blocksize, blocksize)))
    outer = [2 + 2 * i for i in range(rank)]
    inner = [3 + 2 * i for i in range(rank)]
    order = [0, *inner, 1, *outer] if mode == "DCR" else [0, 1, *inner, *outer]
    return split.permute(*order).reshape(n, c * blocksize**rank, *(s // blocksize for s in spatial))


# -- repeated and joined ---------------------------------------------------------------------------------------------


@onnx_op("Expand", since=8)
def expand(x: Value, shape: Value) -> Value:
    target = shape_arg(shape)
    expanded = broadcast_shapes(x.shape, target)
    for s, d in zip(target, expanded[len(expanded) - len(target) :]):
        x = demanded(x, (s - 1) * (s - d), 0, f"a size of {brief(s)} does not expand to {brief(d)}")
    return x.broadcast(*expanded)


@onnx_op("Tile", since=6)
def tile(x: Value, repeats: Value) -> Value:
    times = shape_arg(repeats, "repeats")
    if repeats.rank != 1 or len(times) != x.rank:
        raise ValueError(f"repeats of shape {list(repeats.shape)} for rank {x.rank}")
    size = prod(t * d for t, d in zip(times, x.shape)) * x.dtype.itemsize
    x = demanded(x, dim_max(size, TILE_LIMIT), TILE_LIMIT, "the size of what Tile makes exceeds the supported maximum")
    pairs = [size for pair in zip(times, x.shape) for size in pair]
    spread = x.reshape(*(size for d in x.shape for size in (1, d)))
    return spread.broadcast(*pairs).reshape(*(t * d for t, d in zip(times, x.shape)))


@onnx_op("Tile")
def tile_legacy(x: Value, tiles: Value, axis: Value) -> Value:
    times: list[Size] = [1] * x.rank
    times[x.axis(scalar_arg(axis, "axis"))] = shape_arg(tiles, "tiles")[0]
    return tile(x, vector(times))


@onnx_op("Concat")
def concat_(*xs: Value, axis: int = 1) -> Value:
    return concat(xs, axis)


def split_sizes(x: Value, axis: int, sizes: Sequence[Size]) -> tuple[Value, ...]:
    """The parts of x along an axis, with a check that their `sizes` add up to the dim."""
    axis = x.axis(axis)
    x = demanded(x, sum(sizes, start=0), x.shape[axis], "the sizes of a Split do not add up to the axis")
    parts: list[Value] = []
    start: Size = 0
    for size in sizes:
        parts.append(x.narrow(axis, start, size))
        start = start + size
    return tuple(parts)


def _equal_parts(x: Value, axis: int, count: int) -> tuple[Value, ...]:
    dim = x.shape[x.axis(axis)]
    return split_sizes(demanded(x, mod(dim, count), 0, f"no {count} equal parts"), axis, [dim // count] * count)


@onnx_op("Split", since=18)
def split(
    x: Value, sizes: Value | None = None, *, axis: int = 0, num_outputs: int | None = None, n_outputs: int = 1
) -> tuple[Value, ...]:
    """num_outputs: the number of parts, which are equal except for the last, which may be smaller."""
    if sizes is not None:
        return split_13(x, sizes, axis=axis, n_outputs=n_outputs)
    if num_outputs is None:
        return _equal_parts(x, axis, n_outputs)
    dim = x.shape[x.axis(axis)]
    if num_outputs < 1:
        raise ValueError(f"num_outputs is {num_outputs}")
    step = ceil_div(dim, num_outputs)
    last = dim - step * (num_outputs - 1)
    x = demanded(x, dim_min(last, 1), 1, f"of {num_outputs} parts, nothing is left for the last one")
    return split_sizes(x, axis, [step] * (num_outputs - 1) + [last])[:n_outputs]


@onnx_op("Split", since=13)
def split_13(x: Value, sizes: Value | None = None, *, axis: int = 0, n_outputs: int = 1) -> tuple[Value, ...]:
    if sizes is None:
        return _equal_parts(x, axis, n_outputs)
    parts = shape_arg(sizes, "split")
    if len(parts) != n_outputs:
        raise ValueError(f"{n_outputs} outputs for {len(parts)} sizes")
    return split_sizes(x, axis, parts)


@onnx_op("Split")
def split_legacy(
    x: Value, sizes: Value | None = None, *, axis: int = 0, split: list[int] | None = None, n_outputs: int = 1
) -> tuple[Value, ...]:
    return split_13(x, sizes if split is None else vector(split), axis=axis, n_outputs=n_outputs)


# -- parts and borders -----------------------------------------------------------------------------------------------


def sliced(
    x: Value, starts: Sequence[Size], ends: Sequence[Size], axes: Sequence[int] | None, steps: Sequence[int] | None
) -> Value:
    where = range(len(starts)) if axes is None else [x.axis(a) for a in axes]
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(where) == len(steps) or len(set(where)) != len(where):
        raise ValueError("starts, ends, axes and steps do not fit each other")
    begin: list[Size] = [0] * x.rank
    sizes, stride = list(x.shape), [1] * x.rank
    for a, start, end, step in zip(where, starts, ends, steps):
        dim = x.shape[a]
        if step == 0:
            raise ValueError("a step is 0")
        step = max(min(step, dynamic.FAR), -dynamic.FAR)
        if step > 0:
            first, last = dynamic.bound(start, 0, dim, dim), dynamic.bound(end, 0, dim, dim)
            size = ceil_div(last - first, step)
        else:
            first, last = dynamic.bound(start, 0, dim - 1, dim), dynamic.bound(end, -1, dim - 1, dim)
            size = ceil_div(first - last, -step)
        begin[a], sizes[a], stride[a] = first, dim_max(size, 0), step
    return x.slice(begin, sizes, stride)


@onnx_op("Slice", since=10)
def slice_(x: Value, starts: Value, ends: Value, axes: Value | None = None, steps: Value | None = None) -> Value:
    begin, end = shape_arg(starts, "starts"), shape_arg(ends, "ends")
    where = tuple(range(len(begin))) if axes is None else shape_arg(axes, "axes")
    stride: tuple[Size, ...] = (1,) * len(begin) if steps is None else shape_arg(steps, "steps")
    if all(isinstance(v, int) for v in (*where, *stride)):
        return sliced(x, begin, end, where, stride)  # type: ignore[arg-type]
    if not len(begin) == len(end) == len(where) == len(stride):
        raise ValueError("starts, ends, axes and steps do not fit each other")
    x = dynamic.distinct(x, where, x.rank)
    for axis in range(x.rank):
        hit = [dim_eq(mod(a, x.rank), axis) for a in where]
        is_other = 1 - sum(hit, start=0)
        if is_other == 1:
            continue
        first, last, step = (
            sum((m * dynamic.near(v) for m, v in zip(hit, of)), start=0) for of in (begin, end, stride)
        )
        x = dynamic.strided(x, axis, first, last + is_other * x.shape[axis], step + is_other)
    return x


@onnx_op("Slice")
def slice_legacy(x: Value, *, starts: list[int], ends: list[int], axes: list[int] | None = None) -> Value:
    return sliced(x, starts, ends, axes, None)


def padded(x: Value, low: Sequence[Size], high: Sequence[Size], mode: str, value: Value | float = 0) -> Value:
    """Pads x; negative amounts crop."""
    out = [b + d + a for b, d, a in zip(low, x.shape, high)]
    start = [dim_min(dim_max(-b, 0), d) for b, d in zip(low, x.shape)]
    kept = [dim_max(dim_min(d, d + a) - s, 0) for s, d, a in zip(start, x.shape, high)]
    x = x.slice(start, kept)
    low = [dim_min(dim_max(b, 0), n) for b, n in zip(low, out)]
    high = [n - b - k for n, b, k in zip(out, low, kept)]
    if mode == "constant":
        if not isinstance(value, Value):
            return x.pad(low, high, value)
        data = fold(value)
        if data is not None:
            return x.pad(low, high, data.reshape(-1).tolist()[0])
        inside = scalar(True, BOOL).broadcast(*x.shape).pad(low, high, False)
        return inside.select(x.pad(low, high), value.reshape())
    for axis, (before, after) in enumerate(zip(low, high)):
        if isinstance(before, int) and isinstance(after, int) and before == after == 0:
            continue
        x = x.take(_padded_index(x.shape[axis], before, after, mode), axis)
    return x


def _padded_index(dim: Size, before: Size, after: Size, mode: str) -> Value:
    """The source index of each position of a padded axis."""
    i = scalar(0, I64).emit("iota", [], shape=(before + dim + after,), axis=0, dtype=I64)[0]
    i = i - i.const_size(before)
    if mode == "edge":
        return i.map("max", 0).map("min", i.const_size(dim - 1))
    if mode == "wrap":
        return i.map("mod", i.const_size(dim))
    if mode != "reflect":
        raise ValueError(f"there is no padding mode '{mode}'")
    period = i.const_size(dim_max(2 * dim - 2, 1))
    folded = i.map("mod", period)
    return folded.map("min", period - folded)


@onnx_op("Pad", since=11)
def pad(
    x: Value, pads: Value, value: Value | None = None, axes: Value | None = None, *, mode: str = "constant"
) -> Value:
    amounts = shape_arg(pads, "pads")
    where = tuple(range(x.rank)) if axes is None else shape_arg(axes, "axes")
    if len(amounts) != 2 * len(where):
        raise ValueError(f"{len(amounts)} pads for {len(where)} axes")
    low: list[Size] = [0] * x.rank
    high: list[Size] = [0] * x.rank
    for i, axis in enumerate(where):
        for a in range(x.rank):
            hit = dim_eq(mod(axis, x.rank), a)
            low[a], high[a] = low[a] + hit * amounts[i], high[a] + hit * amounts[i + len(where)]
    return padded(x, low, high, mode, 0 if value is None else value)


@onnx_op("Pad", since=2)
def pad_attributes(x: Value, *, pads: list[int], mode: str = "constant", value: float = 0.0) -> Value:
    return padded(x, pads[: x.rank], pads[x.rank :], mode, value)


@onnx_op("Pad")
def pad_first(x: Value, *, paddings: list[int], mode: str = "constant", value: float = 0.0) -> Value:
    return padded(x, paddings[: x.rank], paddings[x.rank :], mode, value)


# -- made from shapes ------------------------------------------------------------------------------------------------


@onnx_op("Shape")
def shape(x: Value, *, start: int = 0, end: int | None = None) -> Value:
    return vector(x.shape[slice(start, end)])


@onnx_op("Size")
def size(x: Value) -> Value:
    return scalar(0, I64).const_size(prod(x.shape))


@onnx_op("Constant")
def constant_(
    *, value: Array | None = None, sparse_value: Array | None = None, value_float: float | None = None,
    value_floats: list[float] | None = None, value_int: int | None = None, value_ints: list[int] | None = None,
    value_string: str | None = None, value_strings: list[str] | None = None,
) -> Value:  # fmt: skip
    arrays: list[Array] = [v for v in (value, sparse_value) if v is not None]
    typed = ((value_float, np.float32), (value_floats, np.float32), (value_int, np.int64), (value_ints, np.int64),
             (value_string, object), (value_strings, object))  # fmt: skip
    arrays += [np.asarray(v, t) for v, t in typed if v is not None]
    if len(arrays) != 1:
        raise ValueError("exactly one attribute must hold the value")
    return constant(arrays[0])


@onnx_op("ConstantOfShape", since=9)
def constant_of_shape(dims: Value, *, value: Array | None = None) -> Value:
    data = np.zeros(1, np.float32) if value is None else value
    return constant(data.reshape(())).broadcast(*shape_arg(dims))


@onnx_op("Range", since=11)
def range_(start: Value, limit: Value, delta: Value, *, stash_type: int = 1) -> Value:
    size: Size
    if start.dtype.is_integer:
        first, last, step = (shape_arg(v, "range")[0] for v in (start, limit, delta))
        start = demanded(start, dim_min(dim_max(step, -step), 1), 1, "delta in Range operator can not be zero")
        if not isinstance(last - first, int):
            start = dynamic.summable(start, first, last)
        down = dynamic.negative(step)
        up_size, down_size = ceil_div(last - first, dim_max(step, 1)), ceil_div(first - last, dim_max(-step, 1))
        size = (1 - down) * up_size + down * down_size
    else:
        steps = ((limit - start).cast(F64) / delta.cast(F64)).map("ceil").map("max", 0)
        size = bound(steps.cast(I64), name="range")
    i = start.emit("iota", [], shape=(dim_max(size, 0),), axis=0, dtype=start.dtype)[0]
    scaled = i if fold(delta) == 1 else i * delta.reshape()
    return scaled if fold(start) == 0 else scaled + start.reshape()


@onnx_op("EyeLike", since=9)
def eye_like(x: Value, *, dtype: int | None = None, k: int = 0) -> Value:
    if x.rank != 2:
        raise ValueError(f"needs a matrix, not rank {x.rank}")
    rows, columns = (x.emit("iota", [], shape=x.shape, axis=a, dtype=I64)[0] for a in (0, 1))
    hit = (rows + max(min(k, FARTHEST), -FARTHEST)).map("eq", columns)
    return hit.cast(x.dtype if dtype is None else BY_ONNX[dtype])


@onnx_op("Trilu", since=14)
def trilu(x: Value, k: Value | None = None, *, upper: int = 1) -> Value:
    rows, columns = (x.emit("iota", [], shape=x.shape[-2:], axis=a, dtype=I64)[0] for a in (0, 1))
    shifted = rows if k is None else rows + k.reshape().map("max", -FARTHEST).map("min", FARTHEST)
    return (shifted <= columns if upper else columns <= shifted).select(x, x.const(0))
