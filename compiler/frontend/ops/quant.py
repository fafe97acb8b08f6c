"""ONNX quantisation operators.

In: values and attributes of a node. Out: values. Integer products are those of `graph/quantized.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import Unsupported
from ...graph.conditions import brief
from ...graph.ir import Value
from ...graph.quantized import convolution
from ...graph.quantized import product as quantized_product
from ...graph.tensor import broadcast_shapes
from ...scalar.dim import ceil_div
from ...scalar.dtype import BY_ONNX, F32, I32, U8, DType
from ..registry import onnx_op
from ..values import demanded
from .conv import biased, channels_first, channels_last, taps_of, windows
from .math import cast_to


def blockwise(parameter: Value, x: Value, axis: int, block_size: int) -> Value:
    """A scale or zero point, one for each block along an axis, repeated to the shape of x."""
    axis = x.axis(axis)
    if parameter.rank != x.rank:
        raise ValueError(f"a blocked scale of rank {parameter.rank} for rank {x.rank}")
    blocks = [ceil_div(d, block_size) if a == axis else d for a, d in enumerate(x.shape)]
    parameter = parameter.ensure_shape(*blocks, text="scales and zero points are one for each block")
    wide = parameter.unsqueeze(axis + 1)
    shape = [block_size if a == axis + 1 else d for a, d in enumerate(wide.shape)]
    flat = [d * block_size if a == axis else d for a, d in enumerate(parameter.shape)]
    return wide.broadcast(*shape).reshape(*flat).narrow(axis, 0, x.shape[axis])


def _along(parameter: Value, x: Value, axis: int, block_size: int) -> Value:
    """A scale or zero point, broadcastable to x: one for all, one per index of `axis`, or one per block of it."""
    if block_size:
        return blockwise(parameter, x, axis, block_size)
    if parameter.rank == 0 or parameter.shape == (1,):
        return parameter.reshape()
    if parameter.rank == 1:
        size, dim = parameter.shape[0], x.shape[x.axis(axis)]
        text = f"{brief(size)} scales or zero points for {brief(dim)}"
        parameter = demanded(parameter, (size - 1) * (size - dim), 0, text)
        return parameter.reshape(-1, *[1] * (x.rank - 1 - x.axis(axis)))
    return parameter


def _parameters(x: Value, scale: Value, zero: Value | None, axis: int, block_size: int) -> tuple[Value, Value | None]:
    """A scale and its zero point, broadcastable to x."""
    if zero is None:
        return _along(scale, x, axis, block_size), None
    if zero.rank == scale.rank:
        zero = zero.ensure_shape(*scale.shape, text="scales and zero points are of one shape")
    return _along(scale, x, axis, block_size), _along(zero, x, axis, block_size)


def quantized(x: Value, scale: Value, zero: Value | None, dtype: DType, saturate: int = 1) -> Value:
    """x / scale + zero, rounded half to even and saturated; scale and zero broadcast to x."""
    y = x.cast(scale.dtype) / scale if x.dtype != scale.dtype else x / scale
    if dtype.is_float:
        if zero is not None:
            y = y + zero.cast(y.dtype)
        return cast_to(y, dtype, saturate)
    y = y.map("round")
    if zero is not None:
        y = y.cast(F32) + zero.cast(F32) if y.dtype.bits <= 32 else y + zero.cast(y.dtype)
    return y.cast(dtype)


@onnx_op("QuantizeLinear", since=10)
def quantize_linear(
    x: Value, scale: Value, zero: Value | None = None, *, axis: int = 1, block_size: int = 0, output_dtype: int = 0,
    precision: int = 0, saturate: int = 1,
) -> Value:  # fmt: skip
    dtype = zero.dtype if zero is not None else BY_ONNX[output_dtype] if output_dtype else U8
    if output_dtype and BY_ONNX[output_dtype] != dtype:
        raise ValueError(f"output_dtype {output_dtype} is not the type of the zero point")
    if precision:
        x, scale = x.cast(BY_ONNX[precision]), scale.cast(BY_ONNX[precision])
    elif x.dtype != scale.dtype:
        wide = x.dtype if x.dtype.is_float and x.dtype.bits >= scale.dtype.bits else scale.dtype
        x, scale = x.cast(wide), scale.cast(wide)
    return quantized(x, *_parameters(x, scale, zero, axis, block_size), dtype, saturate)


def dequantized(x: Value, scale: Value, zero: Value | None) -> Value:
    """(x - zero) * scale, in the type of scale."""
    if zero is None:
        return x.cast(scale.dtype) * scale
    if x.dtype.is_float:
        return (x.cast(scale.dtype) - zero.cast(scale.dtype)) * scale
    return (x.cast(I32) - zero.cast(I32)).cast(scale.dtype) * scale


@onnx_op("DequantizeLinear", since=10)
def dequantize_linear(
    x: Value, scale: Value, zero: Value | None = None, *, axis: int = 1, block_size: int = 0, output_dtype: int = 0
) -> Value:
    y = dequantized(x, *_parameters(x, scale, zero, axis, block_size))
    return y.cast(BY_ONNX[output_dtype]) if output_dtype else y


@onnx_op("DynamicQuantizeLinear", since=11)
def dynamic_quantize_linear(x: Value) -> tuple[Value, ...]:
    return dynamically_quantized(x)


def dynamically_quantized(x: Value, axes: Sequence[int] | None = None) -> tuple[Value, Value, Value]:
    """x quantised to u8 by its range, the scale, and the zero point.

    axes: those that share a range, kept as 1 in scale and zero point; None: all axes, for scalars."""
    kept = axes is not None
    low, high = x.min(axes, kept).map("min", 0), x.max(axes, kept).map("max", 0)
    scale = (high - low) / 255.0
    scale = scale.map("eq", 0).select(1.0, scale)
    zero = (-low / scale).map("max", 0).map("min", 255).map("round").cast(U8)
    return quantized(x, scale, zero, U8), scale, zero


def integer_product(a: Value, b: Value, a_zero: Value | None, b_zero: Value | None) -> Value:
    """(a - a_zero) @ (b - b_zero) in i32; zero points are scalars, or one per row of a and per column of b."""
    x = a.unsqueeze(0) if a.rank == 1 else a
    y = b.unsqueeze(1) if b.rank == 1 else b
    rows = a_zero.unsqueeze(-1) if a_zero is not None and a_zero.rank == 1 and a_zero.shape != (1,) else a_zero
    out = quantized_product(x, y, rows, b_zero)
    shape = (*broadcast_shapes(x.shape[:-2], y.shape[:-2]), x.shape[-2], y.shape[-1])
    out = out.ensure_shape(*shape, text="zero points are as many as rows, or columns")
    if a.rank == 1:
        out = out.squeeze(-2)
    return out.squeeze(-1) if b.rank == 1 else out


@onnx_op("MatMulInteger", since=10)
def matmul_integer(a: Value, b: Value, a_zero: Value | None = None, b_zero: Value | None = None) -> Value:
    return integer_product(a, b, a_zero, b_zero)


@onnx_op("QLinearMatMul", since=10)
def qlinear_matmul(
    a: Value, a_scale: Value, a_zero: Value, b: Value, b_scale: Value, b_zero: Value, y_scale: Value, y_zero: Value
) -> Value:
    if not a.dtype.is_integer or not b.dtype.is_integer or not y_zero.dtype.is_integer:
        raise Unsupported(f"elements of type {a.dtype}, {b.dtype}")
    a_zero, b_zero = (
        z.ensure_shape(*s.shape, text="a scale and its zero point") if z.rank == s.rank else z
        for z, s in ((a_zero, a_scale), (b_zero, b_scale))
    )
    rows = a_scale.unsqueeze(-1) if a_scale.rank == 1 and a_scale.shape != (1,) else a_scale
    scale = rows.cast(F32) * b_scale.cast(F32) / y_scale.cast(F32)
    total = integer_product(a, b, a_zero, b_zero).cast(F32)
    y = (total * scale).map("round") + y_zero.cast(F32)
    return y.ensure_shape(*total.shape, text="scales are as many as rows, or columns").cast(y_zero.dtype)


def integer_conv(
    x: Value, w: Value, x_zero: Value | None, w_zero: Value | None, auto_pad: str, dilations: list[int] | None,
    group: int, kernel_shape: list[int] | None, pads: list[int] | None, strides: list[int] | None,
) -> Value:  # fmt: skip
    """The convolution of x - x_zero with w - w_zero in i32, padded with x_zero; w_zero may be one per channel."""
    at = windows(x.shape[2:], taps_of(w, kernel_shape), strides, dilations, pads, auto_pad)
    x_zero = None if x_zero is None else x_zero.reshape()
    if w_zero is not None:
        one = w_zero.rank == 0 or w_zero.shape == (1,)
        w_zero = w_zero.reshape() if one else w_zero.ensure_shape(w.shape[0], text="a zero point for each filter")
    y = convolution(
        channels_last(x), w.permute(*range(2, w.rank), 1, 0), x_zero, w_zero, group, strides=at.strides,
        dilations=at.dilations, pads_low=at.low, pads_high=at.high,
    )  # fmt: skip
    return channels_first(y).cast(I32)


@onnx_op("ConvInteger", since=10)
def conv_integer(
    x: Value, w: Value, x_zero: Value | None = None, w_zero: Value | None = None, *, auto_pad: str = "NOTSET",
    dilations: list[int] | None = None, group: int = 1, kernel_shape: list[int] | None = None,
    pads: list[int] | None = None, strides: list[int] | None = None,
) -> Value:  # fmt: skip
    return integer_conv(x, w, x_zero, w_zero, auto_pad, dilations, group, kernel_shape, pads, strides)


@onnx_op("QLinearConv", since=10)
def qlinear_conv(
    x: Value, x_scale: Value, x_zero: Value, w: Value, w_scale: Value, w_zero: Value, y_scale: Value, y_zero: Value,
    bias: Value | None = None, *, auto_pad: str = "NOTSET", dilations: list[int] | None = None, group: int = 1,
    kernel_shape: list[int] | None = None, pads: list[int] | None = None, strides: list[int] | None = None,
) -> Value:  # fmt: skip
    y = biased(integer_conv(x, w, x_zero, w_zero, auto_pad, dilations, group, kernel_shape, pads, strides), bias)
    spatial = [1] * (x.rank - 2)
    per_channel = w_scale.rank == 1 and w_scale.shape != (1,)
    of_w = w_scale.reshape(-1, *spatial) if per_channel else w_scale.reshape()
    scale = x_scale.reshape() * of_w / y_scale.reshape()
    return ((y.cast(F32) * scale).map("round") + y_zero.reshape().cast(F32)).cast(y_zero.dtype)
