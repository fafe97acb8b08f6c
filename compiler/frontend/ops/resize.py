"""ONNX Resize and Upsample: one axis at a time, as weighted sums of gathered slices.

In: values and attributes of a node. Out: values. Positions and weights are computed in f64 along each axis and are
constants where the dims are; formulas are those of https://onnx.ai/onnx/operators/onnx__Resize.html.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import reduce

import numpy as np

from ...graph.ir import Value, constant
from ...scalar.dim import Size, dim_min, floor_div, known_eq
from ...scalar.dtype import F32, F64, I64, DType
from ..registry import onnx_op
from ..values import Array, bound, demanded, fold, scalar, shape_arg

MAX_TAPS = 4  # of a weighted sum; with more, a matrix product


@dataclass(frozen=True, slots=True)
class _Axis:
    """One resized axis. scale: a number, a scalar value, or None for out / size (dims may be symbolic)."""

    axis: int
    size: Size
    out: Size
    scale: float | Value | None
    roi: tuple[Value, Value] | None = None  # start and end of the region of interest, as fractions

    def scale_value(self, dtype: DType) -> Value:
        if isinstance(self.scale, Value):
            return self.scale.cast(dtype)
        if self.scale is not None:
            return scalar(self.scale, dtype)
        one = scalar(1.0, dtype)
        return one.const_size(self.out) / one.const_size(self.size)


def _folded(v: Value) -> Value:
    data = fold(v)
    return v if data is None else constant(np.asarray(data, order="C"))


def _position(a: _Axis, mode: str, dtype: DType) -> Value:
    """The position of each output element on the input axis, [out].

    dtype: F32 repeats onnxruntime's operations exactly, where the position decides which element is taken."""
    one = scalar(1.0, dtype)
    i = one.emit("iota", [], shape=(a.out,), axis=0, dtype=dtype)[0]
    size, out, scale = one.const_size(a.size), one.const_size(a.out), a.scale_value(dtype)
    half = (i + 0.5) / scale - 0.5
    single = _is_single(a.out)
    if mode == "half_pixel":
        return half
    if mode == "half_pixel_symmetric":
        offset = size * 0.5 * (1.0 - out / (scale * size))
        return (offset.cast(F64) + (i.cast(F64) + 0.5) / scale.cast(F64) - 0.5).cast(dtype)
    if mode == "pytorch_half_pixel":
        return single.select(0.0, half)
    if mode == "asymmetric":
        return i / scale
    if mode == "tf_half_pixel_for_nn":
        return scale.map("eq", 1.0).select(i, (i + 0.5) / scale)
    if mode == "align_corners":  # onnx's reference takes the output's size as it is before rounding
        resized = out if a.scale is None else size * scale
        return i * (size - 1.0) / single.select(1.0, resized - 1.0)
    if mode == "tf_crop_and_resize":
        assert a.roi is not None
        start, end = (r.cast(dtype) for r in a.roi)
        spread = start * (size - 1.0) + i * (end - start) * (size - 1.0) / single.select(1.0, out - 1.0)
        return single.select((start + end) * 0.5 * (size - 1.0), spread)
    raise ValueError(f"there is no coordinate_transformation_mode '{mode}'")


def _is_single(size: Size) -> Value:
    return scalar(0, I64).const_size(size).map("eq", 1)


_TIE = 1e-6  # onnxruntime's tolerance for a position in the middle of two elements


def _above_half(x: Value) -> Value:
    return x - x.map("floor") - 0.5


_BEFORE_11 = "before opset 11"  # the nearest_mode of opsets that do not have the attribute
_NEAREST: dict[str, Callable[[Value, Value], Value]] = {  # of a position and the scale
    "round_prefer_floor": lambda x, _: x.map("floor") + (_above_half(x) > _TIE).cast(F32),
    "round_prefer_ceil": lambda x, _: x.map("floor") + (_above_half(x) >= -_TIE).cast(F32),
    "floor": lambda x, _: x.map("floor"),
    "ceil": lambda x, _: x.map("ceil"),
    _BEFORE_11: lambda x, scale: (scale < 1.0).select(x.map("ceil"), x.map("floor")),
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


def _resized_nearest(x: Value, a: _Axis, mode: str, rounding: str) -> Value:
    if rounding not in _NEAREST:
        raise ValueError(f"there is no nearest_mode '{rounding}'")
    index = _NEAREST[rounding](_position(a, mode, F32), a.scale_value(F32)).cast(I64)
    return x.take(_folded(_clamped(index, a.size)), a.axis)


def _clamped(index: Value, size: Size) -> Value:
    return index.map("max", 0).map("min", index.const_size(size - 1))


def _resized_weighted(
    x: Value, a: _Axis, mode: str, kernel: Callable[[Value], Value], reach: int, antialias: bool, exclude: bool
) -> Value:
    """reach: half the kernel's width. With antialias, shrinking stretches the kernel by 1 / scale."""
    position = _position(a, mode, F64).unsqueeze(1)
    stretch, half = scalar(1.0, F64), scalar(reach, I64)
    if antialias:
        stretch = a.scale_value(F64).map("min", 1.0)
        half = (reach / stretch).map("ceil").cast(I64)
    taps = bound(half, 1, "taps") * 2
    first = 1 - half
    # The taps of each output element, [out, taps]; the fraction of the position is in (0, 1].
    tap = first.emit("iota", [], shape=(taps,), axis=0, dtype=I64)[0] + first
    place = position.map("ceil") - 1.0 + tap.cast(F64)
    weight = kernel((place - position) * stretch)
    if exclude:
        outside = (place < 0.0).map("or", place > position.const_size(a.size - 1))
        weight = outside.select(0, weight)
    if antialias or exclude:
        total = weight.sum(1, keepdims=True)
        weight = weight / total.map("eq", 0.0).select(1.0, total)
    index, weight = _folded(_clamped(place.cast(I64), a.size)), _folded(weight.cast(x.dtype))
    if isinstance(taps, int) and taps > MAX_TAPS and isinstance(a.size, int) and index.data is not None:
        return _by_matrix(x, a, a.size, index.data, weight)
    trailing = [1] * (x.rank - 1 - a.axis)
    if not isinstance(taps, int) or taps > MAX_TAPS:
        return (x.take(index, a.axis) * weight.reshape(*weight.shape, *trailing)).sum(a.axis + 1)
    parts = []
    for t in range(taps):
        i, w = (_folded(v.narrow(1, t, 1).squeeze(1)) for v in (index, weight))
        parts.append(x.take(i, a.axis) * w.reshape(-1, *trailing))
    return reduce(lambda y, part: y + part, parts)


def _resized_integers(x: Value, axes: Sequence[_Axis], mode: str) -> Value:
    """Resizes integers linearly in f32, with onnxruntime's operations in its order, as the result is truncated."""
    corners = []
    for a in axes:
        position = _position(a, mode, F32)
        last = position.const_size(a.size - 1)
        position = position.map("max", 0.0).map("min", last)
        low = position.map("floor")
        high = (low + 1.0).map("min", last)
        same = low.map("eq", high)
        shape = (-1, *[1] * (x.rank - 1 - a.axis))
        corners.append([
            (_folded(place.cast(I64)), _folded(same.select(0.5, (position - other).map("abs"))).reshape(*shape))
            for place, other in ((low, high), (high, low))
        ])  # fmt: skip
    total: Value | None = None
    for corner in itertools.product(*corners):
        part = x.cast(F32)
        for a, (place, _) in zip(axes, corner):
            part = part.take(place, a.axis)
        part = part * reduce(lambda w, v: w * v, (weight for _, weight in reversed(corner)))
        total = part if total is None else total + part
    assert total is not None
    return total.cast(x.dtype)


def _by_matrix(x: Value, a: _Axis, size: int, index: Array, weight: Value) -> Value:
    assert weight.data is not None
    matrix = np.zeros((size, len(index)), np.float64)
    np.add.at(matrix, (index, np.arange(len(index))[:, None]), weight.data.astype(np.float64))
    y = x.moveaxis(a.axis, -1).matmul(constant(matrix.astype(x.dtype.to_numpy())))
    return y.moveaxis(-1, a.axis)


def _is_whole(roi: tuple[Value, Value] | None) -> bool:
    if roi is None:
        return True
    start, end = (fold(v) for v in roi)
    return start is not None and end is not None and start == 0.0 and end == 1.0


def _scaled(size: Size, scale: float) -> Size:
    """floor(size * scale); the product is rounded to f32 as in onnxruntime."""
    if isinstance(size, int):
        return int(np.floor(np.float32(size) * np.float32(scale)))
    limits = (1 << bits for bits in range(4, 25))
    ratios = (Fraction(scale).limit_denominator(limit) for limit in limits)
    ratio = next((r for r in ratios if np.float32(float(r)) == np.float32(scale)), Fraction(scale))
    return floor_div(size * ratio.numerator, ratio.denominator)


def _axes(x: Value, scales: Value | None, out: Sequence[Size] | None, where: Sequence[int], policy: str) -> list[_Axis]:
    if out is not None:
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
    scales = scales.ensure_shape(len(where), text="Resize has a scale for each axis")
    data = fold(scales)
    if data is None:
        return _axes_of_run_time(x, scales, where)
    factors = [float(s) for s in data.reshape(-1)]
    if len(factors) != len(where) or not all(s > 0 for s in factors):
        raise ValueError(f"the scales {factors} do not fit {len(where)} axes")
    return [_Axis(a, x.shape[a], _scaled(x.shape[a], s), s) for a, s in zip(where, factors)]


def _axes_of_run_time(x: Value, scales: Value, axes: Sequence[int]) -> list[_Axis]:
    """The axes for scales that are known only when the model runs."""
    resized = []
    for i, axis in enumerate(axes):
        scale = scales.narrow(0, i, 1).reshape()
        size = (scale * scale.const_size(x.shape[axis])).map("floor").cast(I64)
        out = bound((scale > 0.0).select(size, -1))  # a negative dim fails
        resized.append(_Axis(axis, x.shape[axis], out, scale))
    return resized


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
    where = [x.axis(a) for a in axes] if axes is not None else list(range(x.rank))
    out = shape_arg(sizes, "sizes") if sizes is not None else None
    if out is not None:
        if len(out) != len(where):
            raise ValueError(f"{len(out)} sizes for {len(where)} axes")
        for axis, size in zip(where, out):
            some, target = dim_min(x.shape[axis], 1), dim_min(size, 1)
            x = demanded(x, dim_min(some, target), target, f"axis {axis} has no elements to be resized")
    resized = _axes(x, scales, out, where, keep_aspect_ratio_policy)
    crop = coordinate_transformation_mode == "tf_crop_and_resize"
    if crop:
        ends = _ends(roi, len(resized))
        resized = [replace(a, roi=(ends[i], ends[i + len(resized)])) for i, a in enumerate(resized)]
    resized = [
        a for a in resized if not (known_eq(a.size, a.out) and (a.scale is None or a.scale == 1.0) and _is_whole(a.roi))
    ]
    y = _values(x, resized, coordinate_transformation_mode, mode, nearest_mode, cubic_coeff_a, bool(antialias),
                bool(exclude_outside))  # fmt: skip
    return _extrapolated(y, resized, extrapolation_value) if crop else y


def _values(
    x: Value, axes: Sequence[_Axis], position: str, mode: str, rounding: str, cubic: float, antialias: bool,
    exclude: bool,
) -> Value:  # fmt: skip
    if mode == "nearest":
        return reduce(lambda y, a: _resized_nearest(y, a, position, rounding), axes, x)
    if mode == "linear" and not antialias and not x.dtype.is_float:
        return _resized_integers(x, axes, position) if axes else x
    kernel, reach = (_linear, 1) if mode == "linear" else (_cubic(cubic), 2)
    wide = x.dtype if x.dtype.is_float else F64
    y = x.cast(wide)
    for a in reversed(axes):
        y = _resized_weighted(y, a, position, kernel, reach, antialias, exclude)
        # As in onnxruntime, each axis is rounded: halves up, for wide integers away from 0.
        if antialias and wide != x.dtype:
            up = (y + 0.5).map("floor")
            y = (up if x.dtype.bits == 8 else (y < 0.0).select((y - 0.5).map("ceil"), up)).cast(x.dtype).cast(wide)
    return y.cast(x.dtype)


def _extrapolated(y: Value, axes: Sequence[_Axis], value: float) -> Value:
    """y, with `value` where the region of interest reaches beyond the tensor."""
    for a in axes:
        position = _position(a, "tf_crop_and_resize", F32)
        beyond = _folded((position < 0.0).map("or", position > position.const_size(a.size - 1)))
        y = beyond.reshape(-1, *[1] * (y.rank - 1 - a.axis)).select(value, y)
    return y


def _ends(roi: Value | None, axes: int) -> list[Value]:
    """The starts of the region of interest, then its ends; by default the whole tensor."""
    if roi is None or roi.shape == (0,):
        return [scalar(0.0, F32)] * axes + [scalar(1.0, F32)] * axes
    roi = roi.ensure_shape(2 * axes, text="Resize has a start and an end of the part for each axis")
    return [roi.narrow(0, i, 1).reshape() for i in range(2 * axes)]


@onnx_op("Resize", since=10)
def resize_10(x: Value, scales: Value, *, mode: str = "nearest") -> Value:
    kind = "linear" if mode in ("linear", "bilinear") else mode
    return resize(x, None, scales, mode=kind, coordinate_transformation_mode="asymmetric", nearest_mode=_BEFORE_11)


@onnx_op("Upsample", since=9)
def upsample(x: Value, scales: Value, *, mode: str = "nearest") -> Value:
    return resize_10(x, scales, mode=mode)


@onnx_op("Upsample", since=7)
def upsample_7(x: Value, *, scales: list[float], mode: str = "nearest") -> Value:
    return resize_10(x, constant(np.asarray(scales, np.float32)), mode=mode)
