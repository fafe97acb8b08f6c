"""Operators whose outputs depend on the order of elements, and on data in their sizes."""

from __future__ import annotations

import numpy as np

from ..world import BOOL, F32, World, since
from .table import generator


@generator("TopK")
def top_k(w: World) -> None:
    x = w.tensor(w.types("TopK"), low=1, fits=lambda a: a.size > 0)
    a = w.array(x)
    axis = w.axis(a.ndim)
    k = w.rng.randint(0 if w.chance(0.1) else 1, a.shape[axis])
    if since("TopK", w.opset) < 10:
        w.emit("TopK", [x], 2, axis=axis, k=k)
        return
    more = w.some(0.5, largest=w.rng.choice((0, 1)), sorted=1) if w.opset >= 11 else {}
    w.emit("TopK", [x, w.ints([k])], 2, axis=axis, **more)


@generator("NonZero")
def non_zero(w: World) -> None:
    w.emit("NonZero", [w.tensor(w.types("NonZero"), low=1)])


@generator("Compress")
def compress(w: World) -> None:
    x = w.tensor(low=1, fits=lambda a: a.size > 0)
    a = w.array(x)
    axis = w.axis(a.ndim)
    if w.chance(0.3):
        w.emit("Compress", [x, w.fresh(BOOL, [w.rng.randint(1, a.size)])])
    else:
        w.emit("Compress", [x, w.fresh(BOOL, [w.rng.randint(1, a.shape[axis])])], axis=axis)


@generator("Unique")
def unique(w: World) -> None:
    x = w.tensor(w.types("Unique"), low=1, fits=lambda a: a.size > 0)
    outputs = w.rng.choice((1, 2, 3, 4))
    ordered = w.some(0.5, sorted=w.rng.choice((0, 1)))
    if w.array(x).dtype not in (F32, np.int64, np.float64, np.int8):  # onnxruntime's; the other judge sorts wrongly
        ordered = {}
    w.emit("Unique", [x], outputs, **w.some(0.5, axis=w.axis(w.array(x).ndim)), **ordered)


@generator("NonMaxSuppression")
def non_max_suppression(w: World) -> None:
    batch, classes, n = w.rng.choice((1, 2)), w.rng.choice((1, 2, 3)), w.rng.randint(1, 8)
    corner = w.numbers.uniform(0, 1, (batch, n, 2))
    boxes = np.concatenate([corner, corner + w.numbers.uniform(0.2, 1, (batch, n, 2))], -1).astype(np.float32)
    scores = w.fresh(F32, [batch, classes, n], 0, 1)
    most = w.ints(w.rng.randint(1, 4)) if w.chance(0.9) else ""
    iou = w.leaf(np.float32(w.rng.choice((0.0, 0.3, 0.5)))) if most and w.chance(0.7) else ""
    score = w.leaf(np.float32(w.rng.choice((0.0, 0.4)))) if iou and w.chance(0.6) else ""
    w.emit(
        "NonMaxSuppression",
        [w.leaf(boxes), scores, most, iou, score],
        **w.some(0.5, center_point_box=w.rng.choice((0, 1))),
    )


@generator("MaxUnpool")
def max_unpool(w: World) -> None:
    k = w.rng.choice((2, 3))
    x = w.shaped(F32, [w.rng.choice((1, 2)), w.rng.choice((1, 2)), k * w.rng.randint(1, 3), k * w.rng.randint(1, 3)])
    pooled, indices = w.emit("MaxPool", [x], 2, kernel_shape=[k, k], strides=[k, k])
    w.emit("MaxUnpool", [pooled, indices], kernel_shape=[k, k], strides=[k, k])


@generator("GridSample")
def grid_sample(w: World) -> None:
    dtype = w.dtype([t for t in w.types("GridSample") if t.kind == "f"])
    spatial = 2 if w.opset < 20 or w.chance(0.7) else 3
    n, c = w.rng.choice((1, 2)), w.rng.choice((1, 2))
    x = w.shaped(dtype, [n, c, *(w.rng.randint(1, 5) for _ in range(spatial))])
    grid = w.fresh(dtype, [n, *(w.rng.randint(1, 4) for _ in range(spatial)), spatial], -1.2, 1.2)
    modes = (
        ("bilinear", "nearest", "bicubic")
        if w.opset < 20
        else ("linear", "nearest", *(("cubic",) if spatial == 2 else ()))
    )
    w.emit("GridSample", [x, grid], **w.some(0.7, mode=w.rng.choice(modes), align_corners=w.rng.choice((0, 1)),
           padding_mode=w.rng.choice(("zeros", "border", "reflection"))))  # fmt: skip


@generator("RoiAlign")
def roi_align(w: World) -> None:
    n, c, h, v = w.rng.choice((1, 2)), w.rng.choice((1, 3)), w.rng.randint(3, 8), w.rng.randint(3, 8)
    dtype = w.dtype([t for t in w.types("RoiAlign") if t.kind == "f" and t.itemsize > 2])
    x = w.shaped(dtype, [n, c, h, v])
    r = w.rng.randint(1, 3)
    corner = w.numbers.uniform(0, 2, (r, 2))
    rois = np.concatenate([corner, corner + w.numbers.uniform(1, 5, (r, 2))], -1).astype(dtype)
    index = w.leaf(w.numbers.integers(0, n, [r]).astype(np.int64))
    some = w.some(
        0.6,
        output_height=w.rng.randint(1, 4),
        output_width=w.rng.randint(1, 4),
        mode=w.rng.choice(("avg", "max")),
        sampling_ratio=w.rng.choice((0, 1, 2)),
        spatial_scale=w.rng.choice((0.5, 1.0)),
        coordinate_transformation_mode=w.rng.choice(("half_pixel", "output_half_pixel")),
    )
    w.emit("RoiAlign", [x, w.leaf(rois), index], **some)


@generator("Resize")
def resize(w: World) -> None:
    x = w.tensor([t for t in w.types("Resize") if t.kind == "f" or t in (np.uint8, np.int8, np.int32)], low=2, high=4,
                 fits=lambda a: 0 < a.size < 400)  # fmt: skip
    a = w.array(x)
    mode = w.rng.choice(("nearest", "linear", "cubic"))
    new = [d if i < a.ndim - 2 else w.rng.randint(1, 2 * d + 1) for i, d in enumerate(a.shape)]
    if w.opset < 10:
        return
    factors = np.asarray([b / d for b, d in zip(new, a.shape)], np.float32)
    if w.opset < 11:
        w.emit("Resize", [x, w.leaf(factors, True)], mode=w.rng.choice(("nearest", "linear")))
        return
    kinds = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"] + ["half_pixel_symmetric"] * (
        w.opset >= 19
    )
    some = w.some(0.7, coordinate_transformation_mode=w.rng.choice(kinds))
    some |= w.some(0.5, nearest_mode=w.rng.choice(("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")))
    some |= w.some(0.3, cubic_coeff_a=-0.5, exclude_outside=w.rng.choice((0, 1)))
    if w.opset >= 18:
        some |= w.some(0.2, antialias=1)
    roi = w.leaf(np.zeros(0, np.float32), True) if w.opset < 13 else ""
    if w.chance(0.5):
        w.emit("Resize", [x, roi, w.leaf(factors, True)], mode=mode, **some)
    else:
        none = w.leaf(np.zeros(0, np.float32), True) if w.opset < 13 else ""
        w.emit("Resize", [x, roi, none, w.ints(new)], mode=mode, **some)


@generator("Upsample")
def upsample(w: World) -> None:
    x = w.tensor([F32], 4, 4, fits=lambda a: 0 < a.size < 300)
    scales = [1.0, 1.0, float(w.rng.randint(1, 3)), float(w.rng.randint(1, 3))]
    if w.opset < 9:
        w.emit("Upsample", [x], scales=scales, mode=w.rng.choice(("nearest", "linear")))
    else:
        w.emit("Upsample", [x, w.leaf(np.asarray(scales, np.float32), True)], mode=w.rng.choice(("nearest", "linear")))


@generator("AffineGrid")
def affine_grid(w: World) -> None:
    n, d = w.rng.choice((1, 2)), w.rng.choice((2, 3))
    theta = w.shaped(w.dtype([t for t in w.types("AffineGrid") if t.kind == "f" and t.itemsize > 2]), [n, d, d + 1])
    # Where the one point of an axis is whose corners are aligned, the judges do not agree.
    corners = w.some(0.6, align_corners=w.rng.choice((0, 1)))
    least = 2 if corners.get("align_corners") else 1
    size = w.leaf(np.asarray([n, 2, *(w.rng.randint(least, 4) for _ in range(d))], np.int64), True)
    w.emit("AffineGrid", [theta, size], **corners)


@generator("Col2Im")
def col2im(w: World) -> None:
    block, image = [w.rng.randint(1, 3), w.rng.randint(1, 3)], [w.rng.randint(3, 6), w.rng.randint(3, 6)]
    strides, pads, dilations = [w.rng.randint(1, 2) for _ in range(2)], [w.rng.randint(0, 1) for _ in range(4)], [1, 1]
    counts = [(image[i] + pads[i] + pads[i + 2] - block[i]) // strides[i] + 1 for i in range(2)]
    dtype = w.dtype(w.types("Col2Im"))
    x = w.shaped(dtype, [w.rng.choice((1, 2)), w.rng.choice((1, 2)) * block[0] * block[1], counts[0] * counts[1]])
    w.emit("Col2Im", [x, w.leaf(np.asarray(image, np.int64), True), w.leaf(np.asarray(block, np.int64), True)],
           strides=strides, pads=pads, dilations=dilations)  # fmt: skip


@generator("MaxRoiPool")
def max_roi_pool(w: World) -> None:
    n, h, v = w.rng.choice((1, 2)), w.rng.randint(3, 8), w.rng.randint(3, 8)
    x = w.shaped(F32, [n, w.rng.choice((1, 3)), h, v])
    r = w.rng.randint(1, 3)
    corner = w.numbers.integers(0, 3, (r, 2))
    index = w.numbers.integers(0, n, (r, 1))
    rois = np.concatenate([index, corner, corner + w.numbers.integers(0, 5, (r, 2))], -1).astype(np.float32)
    shape = [w.rng.randint(1, 3), w.rng.randint(1, 3)]
    w.emit("MaxRoiPool", [x, w.leaf(rois)], pooled_shape=shape, **w.some(0.5, spatial_scale=w.rng.choice((0.5, 1.0))))
