"""onnxruntime's own quantised operators (domain com.microsoft).

In: values and attributes of a node. Out: values. Defined by onnxruntime's docs/ContribOperators.md. Element-wise ones
compute in f32 between dequantisation and quantisation.
"""

from __future__ import annotations

from collections.abc import Callable

from ...graph.ir import Value
from ...scalar.dtype import F32
from ..registry import onnx_op
from ..values import along, concat, scalar
from . import math as pointwise
from .contrib import DOMAIN
from .conv import average_pool, global_average_pool
from .quant import (
    dequantize_linear,
    dequantized,
    dynamic_quantize_linear,
    integer_product,
    quantize_linear,
    quantized,
)
from .reduce import flattened, softmax

onnx_op("QuantizeLinear", domain=DOMAIN)(quantize_linear)
onnx_op("DequantizeLinear", domain=DOMAIN)(dequantize_linear)


def _check_types(x: Value, scale: Value, zero: Value | None) -> None:
    if scale.dtype != F32 or (zero is not None and zero.dtype != x.dtype):
        raise ValueError(f"a scale of {scale.dtype} and a zero point of {zero and zero.dtype} for {x.dtype}")


def _real(x: Value, scale: Value, zero: Value | None) -> Value:
    _check_types(x, scale, zero)
    return dequantized(x, scale.reshape(), None if zero is None else zero.reshape())


def _requantized(y: Value, scale: Value, zero: Value | None, like: Value) -> Value:
    dtype = like.dtype if zero is None else zero.dtype
    return quantized(y, scale.reshape(), None if zero is None else zero.reshape(), dtype)


def _register_binary(op: str, prim: str) -> None:
    @onnx_op(op, domain=DOMAIN)
    def build(
        a: Value, a_scale: Value, a_zero: Value | None, b: Value, b_scale: Value, b_zero: Value | None, scale: Value,
        zero: Value | None = None,
    ) -> Value:  # fmt: skip
        return _requantized(_real(a, a_scale, a_zero).map(prim, _real(b, b_scale, b_zero)), scale, zero, a)


def _register_unary(op: str, compute: Callable[..., Value]) -> None:
    @onnx_op(op, domain=DOMAIN)
    def build(
        x: Value, x_scale: Value, x_zero: Value | None, scale: Value, zero: Value | None = None, *, alpha: float = 0.01
    ) -> Value:
        return _requantized(compute(_real(x, x_scale, x_zero), alpha), scale, zero, x)


_register_binary("QLinearAdd", "add")
_register_binary("QLinearMul", "mul")
_register_unary("QLinearSigmoid", lambda x, alpha: x.map("sigmoid"))
_register_unary("QLinearLeakyRelu", lambda x, alpha: pointwise.leaky_relu(x, alpha=alpha))


@onnx_op("QLinearSoftmax", domain=DOMAIN)
def qlinear_softmax(
    x: Value, x_scale: Value, x_zero: Value | None, scale: Value, zero: Value | None = None, *, opset: int,
    axis: int = -1,
) -> Value:  # fmt: skip
    shares = (softmax if opset >= 13 else flattened(softmax))(_real(x, x_scale, x_zero), axis=axis)
    steps = (1 / scale.reshape()).map("floor")  # as in onnxruntime: the whole steps of `scale` in 1
    return quantized(shares * steps, scalar(1, F32), None if zero is None else zero.reshape(), x.dtype)


@onnx_op("QLinearGlobalAveragePool", domain=DOMAIN)
def qlinear_global_average_pool(
    x: Value, x_scale: Value, x_zero: Value, scale: Value, zero: Value, *, channels_last: int = 0
) -> Value:
    real = _real(x, x_scale, x_zero)
    y = real.mean(range(1, x.rank - 1), keepdims=True) if channels_last else global_average_pool(real)
    return _requantized(y, scale, zero, x)


@onnx_op("QLinearAveragePool", domain=DOMAIN)
def qlinear_average_pool(
    x: Value, x_scale: Value, x_zero: Value | None, scale: Value, zero: Value | None = None, *, kernel_shape: list[int],
    auto_pad: str = "NOTSET", ceil_mode: int = 0, channels_last: int = 0, count_include_pad: int = 0,
    pads: list[int] | None = None, strides: list[int] | None = None,
) -> Value:  # fmt: skip
    real = _real(x, x_scale, x_zero)
    y = average_pool(
        real.moveaxis(-1, 1) if channels_last else real, kernel_shape=kernel_shape, auto_pad=auto_pad,
        ceil_mode=ceil_mode, count_include_pad=count_include_pad, pads=pads, strides=strides,
    )  # fmt: skip
    return _requantized(y.moveaxis(1, -1) if channels_last else y, scale, zero, x)


@onnx_op("QLinearConcat", domain=DOMAIN)
def qlinear_concat(scale: Value, zero: Value, *parts: Value, axis: int) -> Value:
    """parts: each tensor with its scale and zero point."""
    if len(parts) % 3 or not parts:
        raise ValueError(f"{len(parts)} inputs that are not tensors, each with scale and zero point")
    _check_types(parts[0], scale, zero)
    real = [_real(*parts[i : i + 3]) for i in range(0, len(parts), 3)]
    return _requantized(concat(real, axis), scale, zero, parts[0])


@onnx_op("QLinearWhere", domain=DOMAIN)
def qlinear_where(
    condition: Value, x: Value, x_scale: Value, x_zero: Value, y: Value, y_scale: Value, y_zero: Value, scale: Value,
    zero: Value,
) -> Value:  # fmt: skip
    selected = condition.select(_real(x, x_scale, x_zero), _real(y, y_scale, y_zero))
    return _requantized(selected, scale, zero, x)


def _per_column(v: Value) -> Value:
    return v.reshape() if v.shape == (1,) else v


def _shaped_like(y: Value, product: Value) -> Value:
    """y, with a check that it has the shape of the product: other operands must not broadcast it."""
    return y.ensure_shape(*product.shape, text="scales, zero points and biases are as many as columns")


@onnx_op("MatMulIntegerToFloat", domain=DOMAIN)
def matmul_integer_to_float(
    a: Value, b: Value, a_scale: Value, b_scale: Value, a_zero: Value | None = None, b_zero: Value | None = None,
    bias: Value | None = None,
) -> Value:  # fmt: skip
    y = integer_product(a, b, a_zero, b_zero).cast(F32)
    y = _shaped_like(y * (_per_column(a_scale) * _per_column(b_scale)), y)
    return y if bias is None else y + along(bias, y, "the bias")


@onnx_op("DynamicQuantizeMatMul", domain=DOMAIN)
def dynamic_quantize_matmul(
    a: Value, b: Value, b_scale: Value, b_zero: Value | None = None, bias: Value | None = None
) -> Value:
    narrow, scale, zero = dynamic_quantize_linear(a)
    return matmul_integer_to_float(narrow, b, scale, b_scale, zero, b_zero, bias)


@onnx_op("QGemm", domain=DOMAIN)
def qgemm(
    a: Value, a_scale: Value, a_zero: Value, b: Value, b_scale: Value, b_zero: Value, c: Value | None = None,
    scale: Value | None = None, zero: Value | None = None, *, alpha: float = 1.0, transA: int = 0, transB: int = 0,
) -> Value:  # fmt: skip
    """c: i32, in units of a_scale * b_scale * alpha. Without an output scale the result is f32."""
    x, w = a.permute(1, 0) if transA else a, b.permute(1, 0) if transB else b
    b_zero = b_zero.ensure_shape(*b_scale.shape, text="a scale and its zero point")
    total = integer_product(x, w, a_zero.reshape(), _per_column(b_zero))
    total = total.ensure_shape(x.shape[0], w.shape[1], text="zero points are as many as columns")
    if c is not None:
        total = _shaped_like(total + c, total)
    y = _shaped_like(total.cast(F32) * (a_scale.reshape() * _per_column(b_scale) * alpha), total)
    return y if scale is None else _requantized(y, scale, zero, a)
