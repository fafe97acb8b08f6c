"""ONNX convolution and pooling.

In: values and attributes of a node, channels first as ONNX has it. Out: values. Convolutions become the graph's
channels-last `conv` between permutes (most of which the layout pass cancels); pooling becomes windows and reductions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import ml_dtypes

from ...errors import Unsupported
from ...graph.conditions import brief
from ...graph.ir import Value
from ...scalar.dim import Size, ceil_div, dim_max, dim_min, floor_div, prod
from ...scalar.dtype import I64, DType
from ...scalar.prims import TABLE
from ..registry import in_compute_type, onnx_op
from ..values import demanded, fold, scalar, shape_arg
from .index import checked_index


@dataclass(frozen=True, slots=True)
class Windows:
    """Sliding windows over the spatial axes: kernel, strides, dilations and pads per axis, and the output's dims."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    low: tuple[Size, ...]
    high: tuple[Size, ...]
    out: tuple[Size, ...]

    @property
    def extents(self) -> tuple[int, ...]:
        """Dilated sizes of the kernel."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations))


def windows(
    spatial: Sequence[Size], kernel: Sequence[int], strides: Sequence[int] | None, dilations: Sequence[int] | None,
    pads: Sequence[int] | None, auto_pad: str, ceil_mode: int = 0,
) -> Windows:  # fmt: skip
    """The windows that Conv and the pools share (https://onnx.ai/onnx/operators/onnx__MaxPool.html)."""
    rank = len(spatial)
    strides = list(strides or [1] * rank)
    dilations = list(dilations or [1] * rank)
    pads = list(pads or [0] * 2 * rank)
    if not len(kernel) == len(strides) == len(dilations) == len(pads) / 2 == rank:
        raise ValueError(f"kernel {list(kernel)}, strides, dilations or pads do not fit {rank} spatial axes")
    if any(v < 1 for v in (*kernel, *strides, *dilations)):
        raise ValueError("kernel, strides and dilations must be positive")
    low: list[Size] = list(pads[:rank])
    high: list[Size] = list(pads[rank:])
    out: list[Size] = []
    for i, (d, k, s) in enumerate(zip(spatial, kernel, strides)):
        extent = (k - 1) * dilations[i] + 1
        if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            size = ceil_div(d, s)
            total = dim_max((size - 1) * s + extent - d, 0)
            low[i] = floor_div(total, 2) if auto_pad == "SAME_UPPER" else ceil_div(total, 2)
            high[i] = total - low[i]
        elif auto_pad == "VALID":
            low[i] = high[i] = 0
        elif auto_pad not in ("NOTSET", ""):
            raise ValueError(f"there is no auto_pad '{auto_pad}'")
        free = d + low[i] + high[i] - extent
        if ceil_mode:  # the last window must start inside of the input or of its left border
            out.append(dim_min(ceil_div(free, s) + 1, ceil_div(d + low[i], s)))
        else:
            out.append(floor_div(free, s) + 1)
    if any(isinstance(d, int) and d < 0 for d in out):
        raise ValueError(f"a kernel of {list(kernel)} is larger than the input {list(spatial)}")
    return Windows(tuple(kernel), tuple(strides), tuple(dilations), tuple(low), tuple(high), tuple(out))


# -- convolution -----------------------------------------------------------------------------------------------------


def channels_last(x: Value) -> Value:
    return x.permute(0, *range(2, x.rank), 1)


def channels_first(x: Value) -> Value:
    return x.permute(0, x.rank - 1, *range(1, x.rank - 1))


def convolved(x: Value, w: Value, at: Windows, groups: int) -> Value:
    """x [N, C, *S], w [OC, C / groups, *K] -> [N, OC, *O], in the dtype that x is computed in."""
    weights = w.permute(*range(2, w.rank), 1, 0)
    attrs = {"strides": at.strides, "dilations": at.dilations, "pads_low": at.low, "pads_high": at.high}
    outputs = x.emit("conv", [channels_last(x), weights], groups=groups, acc=x.dtype.compute, **attrs)
    return channels_first(outputs[0])


def biased(y: Value, bias: Value | None) -> Value:
    """y [N, C, *S] plus an optional bias [C], in the dtype of y."""
    if bias is None:
        return y
    bias = bias.ensure_shape(y.shape[1], text="a bias has an element for each output channel")
    return y + bias.reshape(*bias.shape, *[1] * (y.rank - 2)).cast(y.dtype)


def _check_channels(x: Value, w: Value, group: int) -> None:
    channels, per_group = x.shape[1], w.shape[1]
    if isinstance(channels, int) and isinstance(per_group, int) and channels != per_group * group:
        raise ValueError(f"Input channels C is not equal to kernel channels * group. C: {channels}"
                         f" kernel channels: {per_group} group: {group}")  # fmt: skip


def taps_of(w: Value, kernel_shape: Sequence[int] | None) -> list[int]:
    """The spatial sizes of a kernel. Raises Unsupported where they are symbolic."""
    taps = [d for d in w.shape[2:] if isinstance(d, int)]
    if len(taps) != w.rank - 2:
        raise Unsupported("a kernel of symbolic size")
    if kernel_shape and list(kernel_shape) != taps:
        raise ValueError(f"kernel_shape {list(kernel_shape)} is not that of the weights {list(w.shape)}")
    return taps


@onnx_op("Conv")
def conv(
    x: Value, w: Value, bias: Value | None = None, *, auto_pad: str = "NOTSET", dilations: list[int] | None = None,
    group: int = 1, kernel_shape: list[int] | None = None, pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Value:  # fmt: skip
    if x.rank != w.rank or x.rank < 3:
        raise ValueError(f"an input of rank {x.rank} and weights of rank {w.rank}")
    _check_channels(x, w, group)
    at = windows(x.shape[2:], taps_of(w, kernel_shape), strides, dilations, pads, auto_pad)
    for size in at.out:
        x = demanded(x, dim_max(size, 1), size, "the kernel is larger than the image with its padding")
    return biased(convolved(x, w, at, group), bias).cast(x.dtype)


@onnx_op("ConvTranspose")
def conv_transpose(
    x: Value, w: Value, bias: Value | None = None, *, auto_pad: str = "NOTSET", dilations: list[int] | None = None,
    group: int = 1, kernel_shape: list[int] | None = None, output_padding: list[int] | None = None,
    output_shape: list[int] | None = None, pads: Sequence[Size] | None = None, strides: list[int] | None = None,
) -> Value:  # fmt: skip
    """A convolution with the mirrored kernel of the input spread out by `strides`."""
    rank = x.rank - 2
    taps = taps_of(w, kernel_shape)
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    extra: list[Size] = list(output_padding or [0] * rank)
    if not len(strides) == len(dilations) == len(extra) == rank or len(pads or [0] * 2 * rank) != 2 * rank:
        raise ValueError(f"strides, dilations, pads or output_padding do not fit {rank} spatial axes")
    if output_shape and len(output_shape) not in (rank, rank + 2):
        raise ValueError(f"an output_shape {output_shape} for {rank} spatial axes")
    low: list[Size] = list((pads or [0] * 2 * rank)[:rank])
    high: list[Size] = list((pads or [0] * 2 * rank)[rank:])
    channels, per_group = w.shape[0], w.shape[1]
    for i, d in enumerate(x.shape[2:]):
        x = demanded(x, dim_min(d, 1), 1, "ConvTranspose of an image without elements")
        extent = (taps[i] - 1) * dilations[i] + 1
        if output_shape or auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            target: Size = output_shape[-rank:][i] if output_shape else d * strides[i]
            total = dim_max(strides[i] * (d - 1) + extra[i] + extent - target, 0)
            low[i] = floor_div(total, 2) if auto_pad == "SAME_UPPER" else total - floor_div(total, 2)
            high[i] = total - low[i]
            if output_shape:  # a target larger than the full convolution is padded at the end
                missing = target - (strides[i] * (d - 1) + extra[i] + extent)
                text = f"an output_shape of {target} along axis {i} is of a larger input than {brief(d)}"
                x = demanded(x, dim_min(missing, strides[i] - 1), missing, text)
                extra = [e + dim_max(missing, 0) if j == i else e for j, e in enumerate(extra)]
        elif auto_pad == "VALID":
            low[i] = high[i] = 0
        if isinstance(beyond := extra[i], int) and beyond >= max(strides[i], dilations[i]):
            raise ValueError(f"{beyond} elements behind the last of axis {i}, whose stride is {strides[i]}")
        x = _spread(x, i + 2, strides[i])
        # The padding of the convolution with the mirrored kernel; negative amounts crop the result.
        low[i], high[i] = extent - 1 - low[i], extent - 1 - high[i] + extra[i]
    kernel = w.reshape(group, channels // group, per_group, *taps).flip(*range(3, 3 + rank))
    kernel = kernel.permute(0, 2, 1, *range(3, 3 + rank)).reshape(group * per_group, channels // group, *taps)
    full = [dim_max(p, 0) for p in (*low, *high)]
    sizes = [d + a + b - (k - 1) * s for d, a, b, k, s in zip(x.shape[2:], full[:rank], full[rank:], taps, dilations)]
    at = Windows(tuple(taps), (1,) * rank, tuple(dilations), tuple(full[:rank]), tuple(full[rank:]), tuple(sizes))
    y = convolved(x, kernel, at, group)
    for i in range(rank):
        crop, end = dim_max(-low[i], 0), dim_max(-high[i], 0)
        y = y.narrow(i + 2, crop, y.shape[i + 2] - crop - end)
    return biased(y, bias).cast(x.dtype)


def _spread(x: Value, axis: int, stride: int) -> Value:
    """Inserts stride - 1 zeros between the elements of an axis, whose dim becomes (dim - 1) * stride + 1."""
    if stride == 1:
        return x
    dim = x.shape[axis]
    wide = x.unsqueeze(axis + 1)
    high = [stride - 1 if a == axis + 1 else 0 for a in range(wide.rank)]
    flat = wide.pad([0] * wide.rank, high).reshape(*x.shape[:axis], dim * stride, *x.shape[axis + 1 :])
    return flat.narrow(axis, 0, dim_max((dim - 1) * stride + 1, 0))


# -- pooling ---------------------------------------------------------------------------------------------------------


def lowest(dtype: DType) -> float:
    """The identity of a maximum."""
    neutral = TABLE["max"].identity
    assert neutral is not None
    return neutral(dtype)


def least_finite(dtype: DType) -> float:
    """What onnxruntime makes of windows without elements, for floats."""
    return -float(ml_dtypes.finfo(dtype.to_numpy()).max)  # type: ignore[no-untyped-call]


def _padded_sizes(at: Windows) -> list[Size]:
    """The padded sizes that the windows read; 0 where there are no windows."""
    return [dim_max((o - 1) * s + e, 0) for o, s, e in zip(at.out, at.strides, at.extents)]


def gathered_windows(x: Value, at: Windows, value: float) -> Value:
    """x [..., *S] as its windows [..., *O, *K], padded with `value`."""
    rank = len(at.out)
    first = x.rank - rank
    for i, need in enumerate(_padded_sizes(at)):
        axis = first + i
        low: list[Size] = [0] * x.rank
        high: list[Size] = [0] * x.rank
        low[axis], high[axis] = at.low[i], dim_max(need - x.shape[axis] - at.low[i], 0)
        x = x.pad(low, high, value)
        x = x.narrow(axis, 0, need)
    return x.window(range(first, x.rank), at.kernel, at.strides, at.dilations)


def _trailing(at: Windows, x: Value) -> list[int]:
    return list(range(x.rank, x.rank + len(at.kernel)))


@onnx_op("MaxPool")
def max_pool(
    x: Value, *, kernel_shape: list[int], auto_pad: str = "NOTSET", ceil_mode: int = 0,
    dilations: list[int] | None = None, pads: list[int] | None = None, storage_order: int = 0,
    strides: list[int] | None = None, n_outputs: int = 1,
) -> tuple[Value, ...]:  # fmt: skip
    at = windows(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    view = gathered_windows(x, at, lowest(x.dtype))
    y = view.max(_trailing(at, x))
    index = _winners(x, view, at, storage_order) if n_outputs > 1 else None
    empty = _empty_windows(x, at)
    if empty is not None:  # as in onnxruntime
        y = empty.select(least_finite(x.dtype), y)
        index = None if index is None else empty.select(-1, index)
    return (y,) if index is None else (y, index)


def _empty_windows(x: Value, at: Windows) -> Value | None:
    """Which windows read padding only; None where none does."""
    if not x.dtype.is_float or all(d == 1 for d in at.dilations):
        return None
    count = _counts(x, at, include_pad=False)
    known = fold(count)
    return None if known is not None and known.all() else count.map("eq", 0.0)


def _winners(x: Value, view: Value, at: Windows, storage_order: int) -> Value:
    """The index of each maximum in the flattened input."""
    tap = view.reshape(*view.shape[: x.rank], prod(at.kernel))
    tap = tap.emit("argreduce", [tap], kind="max", axis=x.rank, last=False)[0]

    def place(axis: int) -> Value:
        return x.emit("iota", [], shape=tap.shape, axis=axis, dtype=I64)[0]

    positions: list[Value] = []
    for i in reversed(range(len(at.kernel))):
        k = at.kernel[i]
        offset = tap.map("mod", k) * at.dilations[i]
        tap = tap.map("div", k)
        position = place(2 + i) * at.strides[i] + offset - tap.const_size(at.low[i])
        # A winner lies in the padding only if no element of its window is above `lowest`: take the first one inside.
        positions.insert(0, (position < 0).select(position.map("mod", at.dilations[i]), position))
    dims = list(x.shape[2:])
    if storage_order:
        positions.reverse()
        dims.reverse()
    index = place(0) * tap.const_size(x.shape[1]) + place(1)
    for position, dim in zip(positions, dims):
        index = index * tap.const_size(dim) + position
    return index


@onnx_op("AveragePool")
@in_compute_type
def average_pool(
    x: Value, *, kernel_shape: list[int], auto_pad: str = "NOTSET", ceil_mode: int = 0, count_include_pad: int = 0,
    dilations: list[int] | None = None, pads: list[int] | None = None, strides: list[int] | None = None,
) -> Value:  # fmt: skip
    at = windows(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    total = gathered_windows(x, at, 0).sum(_trailing(at, x))
    return total / _counts(x, at, bool(count_include_pad))


def _counts(x: Value, at: Windows, include_pad: bool) -> Value:
    """The number of elements that each window averages, broadcastable to the output.

    Positions that ceil_mode adds at the end do not count."""
    count = x.const(1)
    bordered = any(not isinstance(p, int) or p != 0 for p in (*at.low, *at.high)) or any(
        not isinstance(g := n - d, int) or g > 0 for n, d in zip(_padded_sizes(at), x.shape[2:])
    )
    if not bordered:
        return count * math.prod(at.kernel)
    for i, d in enumerate(x.shape[2:]):
        ones = count.const(1).broadcast(d + at.low[i] + at.high[i] if include_pad else d)
        low: Size = 0 if include_pad else at.low[i]
        one = Windows((at.kernel[i],), (at.strides[i],), (at.dilations[i],), (low,), (at.high[i],), (at.out[i],))
        per_axis = gathered_windows(ones, one, 0).sum(-1)
        count = count * per_axis.reshape(-1, *[1] * (len(at.out) - 1 - i))
    return count


@onnx_op("LpPool", since=2)
@in_compute_type
def lp_pool(
    x: Value, *, kernel_shape: list[int], auto_pad: str = "NOTSET", ceil_mode: int = 0,
    dilations: list[int] | None = None, p: int = 2, pads: list[int] | None = None, strides: list[int] | None = None,
) -> Value:  # fmt: skip
    at = windows(x.shape[2:], kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    powers = x.map("abs").map("pow", float(p)) if p != 2 else x.square()
    return _root(gathered_windows(powers, at, 0).sum(_trailing(at, x)), p)


def _root(x: Value, p: int) -> Value:
    return x.sqrt() if p == 2 else x if p == 1 else x.map("pow", 1.0 / p)


def _nonempty(y: Value, x: Value) -> Value:
    """y, with a check that the image x that it was pooled from has elements."""
    return demanded(y, dim_min(prod(x.shape[2:]), 1), 1, "a pool of an image without elements")


@onnx_op("GlobalAveragePool")
@in_compute_type
def global_average_pool(x: Value) -> Value:
    return _nonempty(x.mean(range(2, x.rank), keepdims=True), x)


@onnx_op("GlobalMaxPool")
def global_max_pool(x: Value) -> Value:
    return _nonempty(x.max(range(2, x.rank), keepdims=True), x)


@onnx_op("GlobalLpPool", since=2)
@in_compute_type
def global_lp_pool(x: Value, *, p: int = 2) -> Value:
    powers = x.map("abs").map("pow", float(p)) if p != 2 else x.square()
    return _root(powers.sum(range(2, x.rank), keepdims=True), p)


@onnx_op("MaxUnpool", since=9)
def max_unpool(
    x: Value, indices: Value, output_shape: Value | None = None, *, kernel_shape: list[int],
    pads: list[int] | None = None, strides: list[int] | None = None,
) -> Value:  # fmt: skip
    rank = x.rank - 2
    strides, pads = strides or [1] * rank, pads or [0] * 2 * rank
    natural: list[Size] = [
        (d - 1) * s + k - pads[i] - pads[i + rank]
        for i, (d, s, k) in enumerate(zip(x.shape[2:], strides, kernel_shape))
    ]
    shape = (*x.shape[:2], *natural)
    flat = scalar(0, x.dtype).broadcast(prod(shape))
    at = checked_index(indices.reshape(-1), prod(shape), "Index value out of bounds")
    out = flat.emit("scatter", [flat, x.reshape(-1), at], axes=(0,), combine=None)[0].reshape(*shape)
    if output_shape is None:
        return out
    # The indices refer to the natural shape; the output is that, padded at the ends or cropped.
    batch, channels, *spatial = shape_arg(output_shape, "output_shape")
    smaller = (dim_min(w, n) for w, n in zip(spatial, natural))
    out = out.ensure_shape(batch, channels, *smaller, text=f"an output_shape for {out.shape} or more elements")
    out = out.pad([0] * x.rank, [0, 0, *(dim_max(w - n, 0) for w, n in zip(spatial, natural))])
    for axis, size in enumerate(spatial, 2):
        out = out.narrow(axis, 0, size)
    return out
