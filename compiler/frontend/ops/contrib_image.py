"""onnxruntime's own operators on images (domain com.microsoft): pooling, crops, samples, a transposed convolution.

In: values and attributes of a node. Out: values. Defined by onnxruntime's docs/ContribOperators.md.
"""

from __future__ import annotations

from ...graph.ir import Value
from ...scalar.dim import Size, dim_max, known_eq
from ...scalar.dtype import BOOL
from ..registry import onnx_op
from ..values import concat, demanded, shape_arg
from .contrib import DOMAIN
from .conv import conv_transpose, gathered_windows, least_finite, max_pool, windows
from .image import grid_sample, rounded, sampled, taps_at
from .index import checked_index, iota

onnx_op("GridSample", domain=DOMAIN)(grid_sample)


@onnx_op("NhwcMaxPool", domain=DOMAIN)
def nhwc_max_pool(
    x: Value, *, kernel_shape: list[int], auto_pad: str = "NOTSET", ceil_mode: int = 0,
    dilations: list[int] | None = None, pads: list[int] | None = None, strides: list[int] | None = None,
) -> Value:  # fmt: skip
    """x [N, *S, C], where MaxPool has [N, C, *S]."""
    y, *_ = max_pool(
        x.moveaxis(-1, 1), kernel_shape=kernel_shape, auto_pad=auto_pad, ceil_mode=ceil_mode, dilations=dilations,
        pads=pads, strides=strides,
    )  # fmt: skip
    return y.moveaxis(1, -1)


@onnx_op("MaxpoolWithMask", domain=DOMAIN)
def max_pool_with_mask(
    x: Value, mask: Value, *, kernel_shape: list[int] | None = None, auto_pad: str = "NOTSET",
    pads: list[int] | None = None, storage_order: int = 0, strides: list[int] | None = None,
) -> Value:  # fmt: skip
    """The maximum of each window [..., *K] without what follows a 0 of the mask, [N or 1, C or 1, *S], in its row."""
    if not kernel_shape:
        raise ValueError("no kernel_shape")
    shape = (1 if d == 1 else own for d, own in zip(mask.shape[:2], x.shape))
    mask = mask.ensure_shape(*shape, *x.shape[2:], text="Mask and input spatial dimensions mismatch")
    at = windows(x.shape[2:], kernel_shape, strides, None, pads, auto_pad)
    seen = gathered_windows(mask.map("ne", 0).cast(BOOL), at, True)
    columns = [seen.narrow(-1, 0, 1)]
    for k in range(1, kernel_shape[-1]):
        columns.append(columns[-1].map("and", seen.narrow(-1, k, 1)))
    least = least_finite(x.dtype)
    return concat(columns, -1).select(gathered_windows(x, at, least), least).max(range(x.rank, seen.rank))


@onnx_op("UnfoldTensor", domain=DOMAIN)
def unfold_tensor(x: Value, *, size: int, dim: int = -1, step: int = 1) -> Value:
    if size < 1 or step < 1:
        raise ValueError(f"slices of {size} at steps of {step}; both must be positive")
    x = demanded(x, dim_max(x.shape[x.axis(dim)], size), x.shape[x.axis(dim)], "a slice is longer than its axis")
    return x.window([dim], [size], [step], [1])


@onnx_op("ConvTransposeWithDynamicPads", domain=DOMAIN)
def conv_transpose_with_dynamic_pads(
    x: Value, w: Value, pads: Value, bias: Value | None = None, *, auto_pad: str = "NOTSET",
    dilations: list[int] | None = None, group: int = 1, kernel_shape: list[int] | None = None,
    output_padding: list[int] | None = None, strides: list[int] | None = None,
) -> Value:  # fmt: skip
    if x.rank < 3 or w.rank != x.rank:
        raise ValueError(f"an input of rank {x.rank} and weights of rank {w.rank}; they have 3 axes or more")
    pads = pads.ensure_shape(2 * (x.rank - 2), text="pads are two for each spatial axis")
    return conv_transpose(
        x, w, bias, auto_pad=auto_pad, dilations=dilations, group=group, kernel_shape=kernel_shape,
        output_padding=output_padding, pads=shape_arg(pads, "pads"), strides=strides,
    )  # fmt: skip


@onnx_op("CropAndResize", domain=DOMAIN)
def crop_and_resize(
    x: Value, rois: Value, batch: Value, crop_size: Value, *, extrapolation_value: float = 0.0, mode: str = "bilinear"
) -> Value:
    """x [N, C, H, W]; rois [R, 4]: y1, x1, y2, x2 in units of the image; batch [R] -> [R, C, *crop_size]."""
    if mode not in ("bilinear", "nearest") or x.rank != 4:
        raise ValueError(f"mode '{mode}' for an image of rank {x.rank}")
    crop_size = crop_size.ensure_shape(2, text="a crop has a height and a width")
    rois = rois.ensure_shape(batch.shape[0], 4, text="CropAndResize has four numbers and an image for each region")
    shape = (rois.shape[0], *shape_arg(crop_size, "crop_size"))
    for count in shape[1:]:
        x = demanded(x, dim_max(count, 1), count, "crop_size values must be positive")
    inside, axes = None, []
    for i, count in enumerate(shape[1:]):
        start, end = (rois.narrow(1, k, 1) for k in (i, i + 2))
        at = _corner_aligned(start, end, count, x.shape[2 + i])
        at = at.reshape(*(d if a in (0, 1 + i) else 1 for a, d in enumerate(shape))).broadcast(*shape)
        valid = (at >= 0.0).map("and", at <= at.const_size(x.shape[2 + i] - 1))
        inside = valid if inside is None else inside.map("and", valid)
        at = valid.select(rounded(at) if mode == "nearest" else at, 0.0)
        axes.append(taps_at(at, x.shape[2 + i], "nearest" if mode == "nearest" else "linear", lambda p: p, zeros=False))
    assert inside is not None
    image = checked_index(batch, x.shape[0], "batch_indices value is out of range")
    y = sampled(x, axes, image.reshape(-1, 1, 1).broadcast(*shape))
    return inside.unsqueeze(1).select(y, extrapolation_value)


def _corner_aligned(start: Value, end: Value, count: Size, size: Size) -> Value:
    """`count` positions in pixels from `start` to `end` [R, 1], which are in units of an axis of `size`: [R, count].

    A single one lies in the middle."""
    extent = start.const_size(size - 1)
    i, last = iota((count,), 0, start), start.const_size(count - 1)
    at = start * extent + i * ((end - start) * extent / last.map("max", 1.0))
    at = i.map("eq", last).select(end * extent, at)
    if known_eq(count, 1) is False:
        return at
    return last.map("eq", 0.0).select((start + end) * 0.5 * extent, at)
