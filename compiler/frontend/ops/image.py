"""ONNX operators that sample images at computed positions.

In: values and attributes of a node, images as [N, C, *S]. Out: values. Each is a weighted sum of gathered pixels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from ...graph.ir import Value
from ...scalar.dim import Size, dim_max, prod
from ...scalar.dtype import I64
from ..registry import onnx_op
from ..values import bound, concat, scalar, shape_arg
from .conv import biased, channels_first, channels_last, lowest, taps_of, windows
from .index import checked_index, combining

Tap = tuple[Value, Value | None, Value]  # index, whether it is inside, weight


def _cubic_weights(t: Value) -> list[Value]:
    """Keys' kernel with a = -0.75, at distances 1 + t, t, 1 - t and 2 - t."""
    a = -0.75

    def far(d: Value) -> Value:
        return ((d * a - 5 * a) * d + 8 * a) * d - 4 * a

    def near(d: Value) -> Value:
        return (d * (a + 2) - (a + 3)) * d * d + 1.0

    return [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]


def _reflected(x: Value, low: Value, high: Value) -> Value:
    """x mirrored at the borders until it lies within them."""
    span = high - low
    folded = (x - low).map("mod", (span * 2.0).map("max", 1e-9))
    return low + folded.map("min", span * 2.0 - folded)


def taps_at(position: Value, size: Size, mode: str, inside: Callable[[Value], Value], zeros: bool) -> list[Tap]:
    """The pixels along one axis that a position [N, *O] reads. `inside` moves an index (as a float) into the image."""
    if mode == "nearest":
        nearest = position.map("round")
        places, weights = [nearest], [nearest.const(1.0)]
    elif mode == "linear":
        base = position.map("floor")
        t = position - base
        places, weights = [base, base + 1.0], [1.0 - t, t]
    else:
        base = position.map("floor")
        places = [base + float(i) for i in range(-1, 3)]
        weights = _cubic_weights(position - base)
    last = position.const_size(size - 1)
    read: list[Tap] = []
    for place, weight in zip(places, weights):
        valid = (place >= 0.0).map("and", place <= last) if zeros else None
        index = inside(place).map("max", 0.0).map("min", last).cast(I64)
        read.append((index, valid, weight))
    return read


def sampled(x: Value, axes: Sequence[Sequence[Tap]], batch: Value | None = None) -> Value:
    """x [N, C, *S] at the taps of each spatial axis (indices [R, *O]) -> [R, C, *O].

    batch: the image of each sample, [R, *O]; by default the samples of each image."""
    pixels = channels_last(x)
    first = axes[0][0][0]
    if batch is None:
        batch = first.emit("iota", [], shape=first.shape, axis=0, dtype=I64)[0]
    total: Value | None = None
    for corner in itertools.product(*axes):
        weight = corner[0][2]
        valid = corner[0][1]
        for _, ok, w in corner[1:]:
            weight = weight * w
            valid = ok if valid is None else valid if ok is None else valid.map("and", ok)
        pixel = pixels.gather([batch, *(index for index, _, _ in corner)], range(len(corner) + 1))
        if valid is not None:
            pixel = valid.unsqueeze(-1).select(pixel, 0)
        part = pixel * weight.cast(x.dtype).unsqueeze(-1)
        total = part if total is None else total + part
    assert total is not None
    return channels_first(total)


@onnx_op("GridSample", since=16)
def grid_sample(
    x: Value, grid: Value, *, align_corners: int = 0, mode: str | None = None, padding_mode: str = "zeros"
) -> Value:
    mode = {None: "linear", "bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)  # renamed in opset 20
    if mode not in ("nearest", "linear", "cubic") or padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(f"mode '{mode}' or padding_mode '{padding_mode}'")
    rank = x.rank - 2
    if rank < 1 or grid.rank != x.rank:
        raise ValueError(f"an image of rank {x.rank} and a grid of rank {grid.rank}")
    grid = grid.ensure_shape(x.shape[0], *grid.shape[1:-1], rank, text=f"a grid for images of {rank} axes")
    axes = []
    for i, size in enumerate(x.shape[2:]):
        g = grid.narrow(-1, rank - 1 - i, 1).squeeze(-1)
        g = g.cast(g.dtype.compute)
        length = g.const_size(size)
        low, high = (g.const(0.0), length - 1.0) if align_corners else (g.const(-0.5), length - 0.5)
        position = (g + 1.0) * 0.5 * (length - 1.0) if align_corners else ((g + 1.0) * length - 1.0) * 0.5
        # As in onnxruntime: NaN, and positions too large for an index, become the first border.
        position = (position.map("abs") < 2.0**63).select(position, low)
        if mode == "nearest":
            position = position.map("round")

        def inside(place: Value, low: Value = low, high: Value = high, last: Value = length - 1.0) -> Value:
            if padding_mode == "border":
                return place.map("max", 0.0).map("min", last)
            return _reflected(place, low, high) if padding_mode == "reflection" else place

        if mode != "cubic":  # a cubic kernel reads beyond the border in any case: `taps_at` moves its pixels inside
            position = inside(position)
        axes.append(taps_at(position, size, mode, inside, padding_mode == "zeros"))
    return sampled(x, axes)


@onnx_op("AffineGrid", since=20)
def affine_grid(theta: Value, size: Value, *, align_corners: int = 0) -> Value:
    """theta [N, R, R + 1], size [N, C, *S] -> grid [N, *S, R]: the transformed coordinates of each pixel."""
    batch, _, *spatial = shape_arg(size, "size")
    rank = len(spatial)
    theta = theta.ensure_shape(batch, rank, rank + 1, text=f"theta for images of {rank} axes")
    one = theta.const(1.0)
    places = []
    for axis, dim in reversed(list(enumerate(spatial))):  # x, y, z: the last axis first
        i = one.emit("iota", [], shape=tuple(spatial), axis=axis, dtype=theta.dtype)[0]
        length = one.const_size(dim)
        at = i * (2.0 / (length - 1.0).map("max", 1.0)) - 1.0 if align_corners else (i * 2.0 + 1.0) / length - 1.0
        places.append(at.unsqueeze(-1))
    points = concat([*places, one.broadcast(*spatial, 1)], -1).reshape(-1, rank + 1)
    grid = points.matmul(theta.permute(0, 2, 1)).reshape(batch, *spatial, rank)
    positive_sizes = (dim_max(d, 1) for d in spatial)
    return grid.ensure_shape(batch, *positive_sizes, rank, text="the sizes of an image must be positive")


@onnx_op("RoiAlign", since=16)
def roi_align(
    x: Value, rois: Value, batch: Value, *, coordinate_transformation_mode: str = "half_pixel", mode: str = "avg",
    output_height: int = 1, output_width: int = 1, sampling_ratio: int = 0, spatial_scale: float = 1.0,
) -> Value:  # fmt: skip
    if sampling_ratio < 0:
        raise ValueError(f"Sampling ratio should be >=0, not {sampling_ratio}")
    if mode not in ("avg", "max") or coordinate_transformation_mode not in ("half_pixel", "output_half_pixel"):
        raise ValueError(f"mode '{mode}' or coordinate_transformation_mode '{coordinate_transformation_mode}'")
    rois = rois.ensure_shape(batch.shape[0], 4, text="RoiAlign has four numbers and an image for each region")
    rois = rois.require((rois * 0.0).map("eq", 0.0), "All 'rois' values must be finite.")
    half = coordinate_transformation_mode == "half_pixel"
    ends = [rois.narrow(1, i, 1) * spatial_scale - (0.5 if half else 0.0) for i in range(4)]  # x1, y1, x2, y2: [R, 1]
    parts = [(ends[i], ends[i + 2] - ends[i], bins) for i, bins in ((1, output_height), (0, output_width))]
    parts = [(start, extent if half else extent.map("max", 1.0), bins) for start, extent, bins in parts]
    counts = [_samples(extent, bins, sampling_ratio) for _, extent, bins in parts]
    steps: list[Size] = [sampling_ratio] * 2
    if sampling_ratio <= 0:
        steps = [bound(n.max().map("max", 0.0).cast(I64), 0, "samples") for n in counts]
    shape = (rois.shape[0], output_height, output_width, *steps)
    axes: list[list[Tap]] = []
    counts_in: list[Value] = []  # whether a sample belongs to its region
    for i, (start, extent, bins) in enumerate(parts):
        bin_size = (extent / float(bins)).reshape(-1, 1, 1, 1, 1)
        bin_at, step = _along(x, 1 + i, bins), _along(x, 3 + i, steps[i])
        count = counts[i].reshape(-1, 1, 1, 1, 1)
        counts_in.append((step < count).broadcast(*shape))
        at = start.reshape(-1, 1, 1, 1, 1) + bin_at * bin_size + (step + 0.5) * bin_size / count.map("max", 1.0)
        size = x.shape[2 + i]
        limit = at.const_size(size)
        valid = (at >= -1.0).map("and", at <= limit).broadcast(*shape)
        at = at.map("max", 0.0).map("min", limit - 1.0)
        low = at.map("floor")
        t = at - low
        index = low.cast(I64).broadcast(*shape)
        above = index.map("min", index.const_size(size - 1)) + 1
        axes.append([
            (index, valid, (1.0 - t).broadcast(*shape)),
            (above.map("min", index.const_size(size - 1)), valid, t.broadcast(*shape)),
        ])  # fmt: skip
    pixels = channels_last(x)
    batch = checked_index(batch, x.shape[0], "batch_indices value is out of range")
    image = batch.reshape(-1, 1, 1, 1, 1).broadcast(*shape)
    corners = []
    for a, b in itertools.product(*axes):
        pixel = pixels.gather([image, a[0], b[0]], [0, 1, 2])
        assert a[1] is not None and b[1] is not None
        weight = a[1].map("and", b[1]).select(a[2] * b[2], 0)
        corners.append(pixel * weight.unsqueeze(-1))
    out = corners[0]
    for corner in corners[1:]:
        out = out + corner if mode == "avg" else out.map("max", corner)
    if sampling_ratio > 0:
        return channels_first(out.mean([3, 4]) if mode == "avg" else out.max([3, 4]))
    ours = counts_in[0].map("and", counts_in[1]).unsqueeze(-1)
    number = (counts[0] * counts[1]).reshape(-1, 1, 1, 1)
    if mode == "avg":
        return channels_first(ours.select(out, 0).sum([3, 4]) / number.map("max", 1.0))
    return channels_first((number > 0.0).select(ours.select(out, lowest(out.dtype)).max([3, 4]), 0.0))


def _along(x: Value, axis: int, size: Size) -> Value:
    """0, 1, ..., size - 1 along one of five axes."""
    shape = tuple(size if a == axis else 1 for a in range(5))
    return x.emit("iota", [], shape=shape, axis=axis, dtype=x.dtype)[0]


def _samples(extent: Value, bins: int, ratio: int) -> Value:
    """The number of samples of a bin along an axis, [R, 1]: `ratio`, or without one about one for each pixel."""
    return extent * 0.0 + float(ratio) if ratio > 0 else (extent / float(bins)).map("ceil").map("max", 0.0)


@onnx_op("RoiAlign", since=10)
def roi_align_10(
    x: Value, rois: Value, batch: Value, *, mode: str = "avg", output_height: int = 1, output_width: int = 1,
    sampling_ratio: int = 0, spatial_scale: float = 1.0,
) -> Value:  # fmt: skip
    return roi_align(
        x, rois, batch, coordinate_transformation_mode="output_half_pixel", mode=mode, output_height=output_height,
        output_width=output_width, sampling_ratio=sampling_ratio, spatial_scale=spatial_scale,
    )  # fmt: skip


def rounded(x: Value) -> Value:
    """x rounded, halves away from 0."""
    return (x < 0.0).select((x - 0.5).map("ceil"), (x + 0.5).map("floor"))


@onnx_op("MaxRoiPool")
def max_roi_pool(x: Value, rois: Value, *, pooled_shape: list[int], spatial_scale: float = 1.0) -> Value:
    """rois [R, 5]: an image, and the corners x1, y1, x2, y2 of whole pixels -> [R, C, *pooled_shape]."""
    rois = rois.ensure_shape(rois.shape[0], 5, text="MaxRoiPool has an image and four numbers for each region")
    image = checked_index(rois.narrow(1, 0, 1).squeeze(1), x.shape[0], "a region is of an image that is not there")
    y = x.take(image, 0)
    for axis, bins in zip((3, 2), pooled_shape[::-1]):
        start, end = (rounded(rois.narrow(1, i, 1) * spatial_scale) for i in (4 - axis, 6 - axis))
        size = (end - start + 1.0).map("max", 1.0) / float(bins)
        bin_at = x.emit("iota", [], shape=(bins,), axis=0, dtype=x.dtype)[0]
        first, last = ((bin_at * size).map("floor") + start, ((bin_at + 1.0) * size).map("ceil") + start)  # [R, bins]
        place = x.emit("iota", [], shape=(y.shape[axis],), axis=0, dtype=x.dtype)[0]
        inside = (place >= first.unsqueeze(-1)).map("and", place < last.unsqueeze(-1))  # [R, bins, size]
        inside = inside.reshape(-1, 1, *((1, *inside.shape[1:]) if axis == 3 else (*inside.shape[1:], 1)))
        wide = y.unsqueeze(axis)
        y = inside.select(wide, lowest(x.dtype)).max(axis + 1)
    return y.map("eq", lowest(x.dtype)).select(0, y)


@onnx_op("DeformConv", since=19)
def deform_conv(
    x: Value, w: Value, offset: Value, bias: Value | None = None, mask: Value | None = None, *,
    dilations: list[int] | None = None, group: int = 1, kernel_shape: list[int] | None = None, offset_group: int = 1,
    pads: list[int] | None = None, strides: list[int] | None = None,
) -> Value:  # fmt: skip
    rank = x.rank - 2
    kernel = taps_of(w, kernel_shape)
    dilations, strides, pads = dilations or [1] * rank, strides or [1] * rank, pads or [0] * 2 * rank
    n, channels = x.shape[:2]
    x = x.ensure_shape(n, w.shape[1] * group, *x.shape[2:], text="channels differ from those of the weights' groups")
    out = windows(x.shape[2:], kernel, strides, dilations, pads, "NOTSET").out
    taps = math.prod(kernel)
    offset = offset.ensure_shape(n, offset_group * taps * rank, *out, text="offsets are one for each tap and axis")
    if mask is not None:
        mask = mask.ensure_shape(n, offset_group * taps, *out, text="masks are one for each tap")
    shape = (n * offset_group, taps, *out)
    moved = offset.reshape(n * offset_group, taps, rank, *out)
    images = x.reshape(n * offset_group, channels // offset_group, *x.shape[2:])
    axes = []
    for i, size in enumerate(x.shape[2:]):
        tap = x.emit("iota", [], shape=(taps,), axis=0, dtype=I64)[0]
        tap = tap.map("div", math.prod(kernel[i + 1 :])).map("mod", kernel[i]) * dilations[i]
        start = x.emit("iota", [], shape=tuple(out), axis=i, dtype=I64)[0] * strides[i] - pads[i]
        place = (tap.reshape(taps, *[1] * rank) + start).cast(x.dtype)
        position = moved.narrow(2, i, 1).squeeze(2) + place
        axes.append(taps_at(position, size, "linear", lambda p: p, zeros=True))
    pixels = sampled(images, axes)  # [N * OG, C / OG, K, *O]
    if mask is not None:
        pixels = pixels * mask.reshape(*shape).unsqueeze(1)
    columns = pixels.reshape(n, group, channels // group * taps, prod(out))
    weights = w.reshape(group, w.shape[0] // group, -1)
    y = weights.matmul(columns).reshape(n, w.shape[0], *out)
    return biased(y, bias)


@onnx_op("Col2Im", since=18)
def col2im(
    x: Value, image_shape: Value, block_shape: Value, *, dilations: list[int] | None = None,
    pads: list[int] | None = None, strides: list[int] | None = None,
) -> Value:  # fmt: skip
    """The sum of overlapping blocks: x [N, C * prod(block), L] -> [N, C, *image]."""
    image, block = shape_arg(image_shape, "image_shape"), shape_arg(block_shape, "block_shape")
    rank = len(image)
    dilations, strides, pads = dilations or [1] * rank, strides or [1] * rank, pads or [0] * 2 * rank
    if any(v < 1 for v in (*dilations, *strides)):
        raise ValueError("dilations and strides must be positive")
    wide = [d + pads[i] + pads[i + rank] for i, d in enumerate(image)]
    counts = [
        (d - dilation * (k - 1) - 1) // stride + 1 for d, k, dilation, stride in zip(wide, block, dilations, strides)
    ]
    n, channels = x.shape[0], x.shape[1] // prod(block)
    places = (*block, *counts)
    index = []
    for i in range(rank):
        k = x.emit("iota", [], shape=places, axis=i, dtype=I64)[0]
        o = x.emit("iota", [], shape=places, axis=rank + i, dtype=I64)[0]
        index.append(o * strides[i] + k * dilations[i])
    empty = scalar(0, x.dtype).broadcast(n, channels, *wide)
    updates = x.reshape(n, channels, *places)
    axes = tuple(range(2, 2 + rank))
    y = empty.emit("scatter", [empty, updates, *index], axes=axes, combine=combining("add", x.dtype))[0]
    return y.slice([0, 0, *pads[:rank]], [n, channels, *image])
