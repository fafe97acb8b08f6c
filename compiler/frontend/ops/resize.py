"""ONNX Resize and Upsample: one axis at a time, as weighted sums of gathered slices.

In: values and attributes of a node. Out: values. Positions and weights are computed in f64 along each axis and are
constants where the dims are; formulas are those of https://onnx.ai/onnx/operators/onnx__Resize.html.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import reduce

import numpy as np

from ...errors import Unsupported
from ...graph.ir import Value, constant
from ...scalar.dim import Size, floor_div, known_eq
from ...scalar.dtype import F64, I64
from ..registry import onnx_op
from ..values import bound, fold, scalar, shape_arg

MAX_TAPS = 4  # beyond, a matrix product


@dataclass(frozen=True, slots=True)
class _Axis:
    """One resized axis. scale: a number, an f64 scalar, or None for out / size (dims may be symbolic)."""

    axis: int
    size: Size
    out: Size
    scale: float | Value | None
    roi: tuple[Value, Value] | None = None  # start and end of the part, as fractions

    def scale_value(self) -> Value:
        if isinstance(self.scale, Value):
            return self.scale
        if self.scale is not None:
            return scalar(self.scale, F64)
        one = scalar(1.0, F64)
        return one.const_size(self.out) / one.const_size(self.size)


def _folded(v: Value) -> Value:
    data = fold(v)
    return v if data is None else constant(np.ascontiguousarray(data))


def _position(a: _Axis, mode: str) -> Value:
    """Where each output element lies on the input axis, f64 [out]."""
    one = scalar(1.0, F64)
    i = one.emit("iota", [], shape=(a.out,), axis=0, dtype=F64)[0]
    size, out, scale = one.const_size(a.size), one.const_size(a.out), a.scale_value()
    half = (i + 0.5) / scale - 0.5
    single = _is_single(a.out)
    if mode == "half_pixel":
        return half
    if mode == "half_pixel_symmetric":
        return size * 0.5 * (1.0 - out / (scale * size)) + half
    if mode == "pytorch_half_pixel":
        return single.select(0.0, half)
    if mode == "asymmetric":
        return i / scale
    if mode == "tf_half_pixel_for_nn":
        return (i + 0.5) / scale
    if mode == "align_corners":  # onnx's reference takes the output's size as it is before rounding
        resized = out if a.scale is None else size * scale
        return i * ((size - 1.0) / single.select(1.0, resized - 1.0))
    if mode == "tf_crop_and_resize":
        assert a.roi is not None
        start, end = a.roi
        spread = (size - 1.0) * start + i * ((size - 1.0) * (end - start) / (out - 1.0))
        return single.select((size - 1.0) * ((start + end) * 0.5), spread)
    raise ValueError(f"there is no coordinate_transformation_mode '{mode}'")


def _is_single(size: Size) -> Value:
    return scalar(0, I64).const_size(size).map("eq", 1)


_NEAREST: dict[str, Callable[[Value], Value]] = {
    "round_prefer_floor": lambda x: (x - 0.5).map("ceil"),
    "round_prefer_ceil": lambda x: (x + 0.5).map("floor"),
    "floor": lambda x: x.map("floor"),
    "ceil": lambda x: x.map("ceil"),
}


def _linear(distance: Value) -> Value:
    return (1.0 - distance.map("abs")).map("max", 0)


def _cubic(a: float) -> Callable[[Value], Value]:
    """Keys' kernel: R. Keys, "Cubic convolution interpolation for digital image processing", 1981."""

    def weight(distance: Value) -> Value:
        d = distance.map("abs")
        near = ((d * (a + 2)) - (a + 3)) * d * d + 1.0
        far = ((d * a - 5 * a) * d + 8 * a) * d - 4 * a
        return (d <= 1.0).select(near, (d < 2.0).select(far, 0))

    return weight


def _resized_nearest(x: Value, a: _Axis, position: Value, rounding: str) -> Value:
    if rounding not in _NEAREST:
        raise ValueError(f"there is no nearest_mode '{rounding}'")
    index = _NEAREST[rounding](position).cast(I64)
    return x.take(_folded(_clamped(index, a.size)), a.axis)


def _clamped(index: Value, size: Size) -> Value:
    return index.map("max", 0).map("min", index.const_size(size - 1))


def _resized_weighted(
    x: Value, a: _Axis, position: Value, kernel: Callable[[Value], Value], reach: int, antialias: bool, exclude: bool
) -> Value:
    """reach: half the kernel's width. With antialias, shrinking stretches the kernel by 1 / scale."""
    stretch = 1.0
    if antialias:
        scale = _folded(a.scale_value()).data
        if scale is None:
            raise Unsupported("antialias with a scale that is not constant")
        stretch = min(float(scale), 1.0)
    first = math.floor(-reach / stretch) + 1
    taps = 2 * (1 - first)
    base = position.map("ceil") - 1.0  # the fraction is in (0, 1]
    places, weights = [], []
    for tap in range(first, first + taps):
        place = base + float(tap)
        weight = kernel((place - position) * stretch)
        if exclude:
            outside = (place < 0.0).map("or", place > position.const_size(a.size - 1))
            weight = outside.select(0, weight)
        places.append(place)
        weights.append(weight)
    if antialias or exclude:
        total = weights[0]
        for w in weights[1:]:
            total = total + w
        weights = [w / total for w in weights]
    indices = [_folded(_clamped(p.cast(I64), a.size)) for p in places]
    weights = [_folded(w.cast(x.dtype)) for w in weights]
    if taps > MAX_TAPS:
        return _by_matrix(x, a, indices, weights)
    trailing = [1] * (x.rank - 1 - a.axis)
    parts = [x.take(i, a.axis) * w.reshape(-1, *trailing) for i, w in zip(indices, weights)]
    y = parts[0]
    for part in parts[1:]:
        y = y + part
    return y


def _by_matrix(x: Value, a: _Axis, indices: Sequence[Value], weights: Sequence[Value]) -> Value:
    if not isinstance(a.size, int) or not isinstance(a.out, int):
        raise Unsupported("antialias on a symbolic dim")
    matrix = np.zeros((a.size, a.out), np.float64)
    for index, weight in zip(indices, weights):
        assert index.data is not None and weight.data is not None
        np.add.at(matrix, (index.data, np.arange(a.out)), weight.data.astype(np.float64))
    y = x.moveaxis(a.axis, -1).matmul(constant(matrix.astype(x.dtype.to_numpy())))
    return y.moveaxis(-1, a.axis)


def _is_whole(roi: tuple[Value, Value] | None) -> bool:
    if roi is None:
        return True
    start, end = (fold(v) for v in roi)
    return start is not None and end is not None and start == 0.0 and end == 1.0


def _scaled(size: Size, scale: float) -> Size:
    """floor(size * scale), the product rounded to f32 as onnxruntime does."""
    if isinstance(size, int):
        return int(np.floor(np.float32(size) * np.float32(scale)))
    ratio = Fraction(scale).limit_denominator(1 << 12)
    return floor_div(size * ratio.numerator, ratio.denominator)


def _axes(
    x: Value, scales: Value | None, sizes: Value | None, axes: Sequence[int] | None, policy: str
) -> list[_Axis]:
    where = [x.axis(a) for a in axes] if axes is not None else list(range(x.rank))
    if sizes is not None:
        out = shape_arg(sizes, "sizes")
        if len(out) != len(where):
            raise ValueError(f"{len(out)} sizes for {len(where)} axes")
        if policy == "stretch":
            return [_Axis(a, x.shape[a], o, None) for a, o in zip(where, out)]
        dims = [x.shape[a] for a in where]
        choose = {"not_larger": "min", "not_smaller": "max"}.get(policy)
        if choose is None:
            raise ValueError(f"there is no keep_aspect_ratio_policy '{policy}'")
        one = scalar(1.0, F64)
        ratios = [one.const_size(o) / one.const_size(d) for o, d in zip(out, dims)]
        scale = reduce(lambda a, b: a.map(choose, b), ratios)
        rounded = [(scale * scale.const_size(d) + 0.5).map("floor").cast(I64) for d in dims]
        return [_Axis(a, d, bound(r), scale) for a, d, r in zip(where, dims, rounded)]
    if scales is None:
        raise ValueError("neither scales nor sizes are given")
    data = fold(scales)
    if data is None:
        return _axes_of_run_time(x, scales, where)
    factors = [float(s) for s in data.reshape(-1)]
    if len(factors) != len(where) or min(factors, default=1.0) <= 0:
        raise ValueError(f"the scales {factors} do not fit {len(where)} axes")
    return [_Axis(a, x.shape[a], _scaled(x.shape[a], s), s) for a, s in zip(where, factors)]


def _axes_of_run_time(x: Value, scales: Value, axes: Sequence[int]) -> list[_Axis]:
    """Scales that are given when the model runs."""
    made = []
    if scales.shape != (len(axes),):
        raise ValueError(f"scales of shape {list(scales.shape)} for {len(axes)} axes")
    for i, axis in enumerate(axes):
        scale = scales.narrow(0, i, 1).reshape()
        out = bound((scale * scale.const_size(x.shape[axis])).map("floor").cast(I64))
        made.append(_Axis(axis, x.shape[axis], out, scale.cast(F64)))
    return made


@onnx_op("Resize", since=11)
def resize(
    x: Value, roi: Value | None = None, scales: Value | None = None, sizes: Value | None = None, *,
    antialias: int = 0, axes: list[int] | None = None, coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75, exclude_outside: int = 0, extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch", mode: str = "nearest", nearest_mode: str = "round_prefer_floor",
) -> Value:  # fmt: skip
    if mode not in ("nearest", "linear", "cubic"):
        raise ValueError(f"there is no mode '{mode}'")
    if scales is not None and scales.shape == (0,):
        scales = None
    resized = _axes(x, scales, sizes, axes, keep_aspect_ratio_policy)
    crop = coordinate_transformation_mode == "tf_crop_and_resize"
    if crop:
        if roi is None:
            raise ValueError("tf_crop_and_resize without roi")
        ends = [roi.narrow(0, i, 1).reshape().cast(F64) for i in range(2 * len(resized))]
        resized = [replace(a, roi=(ends[i], ends[i + len(resized)])) for i, a in enumerate(resized)]
    dtype = x.dtype
    y = x if dtype.is_float or mode == "nearest" else x.cast(F64)
    outside: Value | None = None
    for a in resized:
        if known_eq(a.size, a.out) and (a.scale is None or a.scale == 1.0) and _is_whole(a.roi):
            continue
        position = _position(a, coordinate_transformation_mode)
        if mode == "nearest":
            y = _resized_nearest(y, a, position, nearest_mode)
        else:
            kernel, reach = (_linear, 1) if mode == "linear" else (_cubic(cubic_coeff_a), 2)
            y = _resized_weighted(y, a, position, kernel, reach, bool(antialias), bool(exclude_outside))
        if crop:
            beyond = (position < 0.0).map("or", position > position.const_size(a.size - 1))
            beyond = _folded(beyond).reshape(-1, *[1] * (x.rank - 1 - a.axis))
            outside = beyond if outside is None else outside.map("or", beyond)
    if not dtype.is_float and mode != "nearest":
        y = y.map("round").cast(dtype)
    return y if outside is None else outside.select(extrapolation_value, y)


@onnx_op("Resize", since=10)
def resize_10(x: Value, scales: Value, *, mode: str = "nearest") -> Value:
    kind = "linear" if mode in ("linear", "bilinear") else mode
    return resize(x, None, scales, mode=kind, coordinate_transformation_mode="asymmetric", nearest_mode="floor")


@onnx_op("Upsample", since=9)
def upsample(x: Value, scales: Value, *, mode: str = "nearest") -> Value:
    return resize_10(x, scales, mode=mode)


@onnx_op("Upsample", since=7)
def upsample_7(x: Value, *, scales: list[float], mode: str = "nearest") -> Value:
    return resize_10(x, constant(np.asarray(scales, np.float32)), mode=mode)
