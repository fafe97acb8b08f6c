"""onnxruntime's own quantised operators (domain com.microsoft).

In: values and attributes of a node. Out: values. Defined by onnxruntime's docs/ContribOperators.md. Element-wise ones
compute in f32 between dequantisation and quantisation.
"""

from __future__ import annotations

from collections.abc import Callable

from ...errors import Unsupported
from ...graph.ir import Value
from ...scalar.dtype import F32
from ..registry import onnx_op
from ..values import along, concat, scalar
from . import math as pointwise
from .contrib import DOMAIN, embed_layer_normalization
from .contrib_attention import self_attention
from .conv import average_pool, global_average_pool
from .quant import (
    dequantize_linear,
    dequantized,
    dynamic_quantize_linear,
    integer_product,
    qlinear_conv,
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


@onnx_op("QAttention", domain=DOMAIN)
def qattention(
    x: Value, w: Value, bias: Value, x_scale: Value, w_scale: Value, mask: Value | None = None,
    x_zero: Value | None = None, w_zero: Value | None = None, past: Value | None = None, *, num_heads: int,
    do_rotary: int = 0, mask_filter_value: float = -10000.0, past_present_share_buffer: int = 0, scale: float = 0.0,
    unidirectional: int = 0,
) -> tuple[Value, Value]:  # fmt: skip
    """Attention whose projection x [B, S, I] @ w [I, 3 * N * D] is one of integers."""
    if do_rotary or past_present_share_buffer:
        raise Unsupported("do_rotary, or a shared buffer for past and present")
    third = w.shape[1] // 3
    bias = bias.ensure_shape(3 * third, text="the bias of queries, keys and values")
    scales = [_one(x_scale, "input_scale"), _per_column(w_scale)]
    zeros = [None if x_zero is None else _one(x_zero, "input_zero_point"), w_zero]
    projected = matmul_integer_to_float(x, w, scales[0], scales[1], zeros[0], zeros[1], bias)
    return self_attention(
        projected, [third] * 3, mask, past, None, num_heads, mask_filter_value, scale, bool(unidirectional)
    )


def _one(v: Value, what: str) -> Value:
    """The single element of v, as a scalar."""
    return v.ensure_shape(*[1] * v.rank, text=f"{what} must be a scalar or 1D tensor of size 1").reshape()


@onnx_op("QEmbedLayerNormalization", domain=DOMAIN)
def qembed_layer_normalization(
    ids: Value, segments: Value | None, words: Value, places: Value, kinds: Value | None, gamma: Value, beta: Value,
    mask: Value | None, words_scale: Value, places_scale: Value, kinds_scale: Value | None, gamma_scale: Value,
    beta_scale: Value, words_zero: Value, places_zero: Value, kinds_zero: Value | None, gamma_zero: Value,
    beta_zero: Value, *, epsilon: float = 1e-12,
) -> tuple[Value, Value]:  # fmt: skip
    """EmbedLayerNormalization with tables of integers."""
    of_kinds = (kinds, kinds_scale, kinds_zero)
    if len({v is None for v in (segments, *of_kinds)}) > 1:
        raise ValueError("segment ids and their embedding, scale and zero point belong together")
    table = None if kinds is None or kinds_scale is None else _real(kinds, kinds_scale, kinds_zero)
    y, index, _ = embed_layer_normalization(
        ids, segments, _real(words, words_scale, words_zero), _real(places, places_scale, places_zero), table,
        _real(gamma, gamma_scale, gamma_zero), _real(beta, beta_scale, beta_zero), mask, epsilon=epsilon,
    )  # fmt: skip
    return y, index


@onnx_op("QLinearConv", domain=DOMAIN)
def qlinear_conv_(
    x: Value, x_scale: Value, x_zero: Value, w: Value, w_scale: Value, w_zero: Value, y_scale: Value, y_zero: Value,
    bias: Value | None = None, *, auto_pad: str = "NOTSET", channels_last: int = 0,
    dilations: list[int] | None = None, group: int = 1, kernel_shape: list[int] | None = None,
    pads: list[int] | None = None, strides: list[int] | None = None,
) -> Value:  # fmt: skip
    """x and the result [N, C, *S], or [N, *S, C] where `channels_last`; w [M, C / group, *K]."""
    y = qlinear_conv(
        x.moveaxis(-1, 1) if channels_last else x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias,
        auto_pad=auto_pad, dilations=dilations, group=group, kernel_shape=kernel_shape, pads=pads, strides=strides,
    )  # fmt: skip
    return y.moveaxis(1, -1) if channels_last else y
