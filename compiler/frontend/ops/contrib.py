"""onnxruntime's own operators (domain com.microsoft), which its optimizer and exporters put into files.

In: values and attributes of a node. Out: values. Defined by onnxruntime's docs/ContribOperators.md; each is written in
terms of the standard's operators. Those here are products, activations and normalisations with something fused; other
families are in files of their own, `contrib_*.py`.
"""

from __future__ import annotations

from ...errors import Unsupported
from ...graph.ir import Value
from ...scalar.dtype import F32, I32
from ..registry import in_compute_type, onnx_op
from ..values import along, scalar
from . import math as pointwise
from .conv import conv
from .index import checked_index
from .matmul import gemm, product
from .norm import standardized

DOMAIN = "com.microsoft"

# -- products with something fused -----------------------------------------------------------------------------------


def _activated(y: Value, activation: str, alpha: float | None, beta: float | None) -> Value:
    if activation in ("", "Relu", "Sigmoid", "Tanh"):
        plain = {"": lambda v: v, "Relu": pointwise.relu}
        return plain[activation](y) if activation in plain else y.map(activation.lower())
    if activation == "LeakyRelu":
        return pointwise.leaky_relu(y, alpha=0.01 if alpha is None else alpha)
    if activation == "HardSigmoid":
        return pointwise.hard_sigmoid(y, alpha=0.2 if alpha is None else alpha, beta=0.5 if beta is None else beta)
    if activation == "Clip" and alpha is not None and beta is not None:
        return y.map("max", alpha).map("min", beta)
    raise Unsupported(f"activation '{activation}'")


def _matrices(x: Value, batch_first: int, transposed: int) -> Value:
    """x as a batch of matrices, [batch..., M, K]; with `batch_first` it is stored as [M, batch..., K]."""
    if batch_first:
        x = x.moveaxis(0, -2)
    return x.permute(*range(x.rank - 2), x.rank - 1, x.rank - 2) if transposed and x.rank > 1 else x


@onnx_op("FusedMatMul", "TransposeMatMul", domain=DOMAIN)
def fused_matmul(
    a: Value, b: Value, *, alpha: float = 1.0, transA: int = 0, transB: int = 0, transBatchA: int = 0,
    transBatchB: int = 0,
) -> Value:  # fmt: skip
    if (transBatchA or transBatchB) and not 3 <= a.rank == b.rank:
        raise ValueError("Two inputs should have same rank and rank >= 3 if transBatchA or transBatchB is true")
    y = product(_matrices(a, transBatchA, transA), _matrices(b, transBatchB, transB))
    return y if alpha == 1.0 else y * alpha


@onnx_op("FusedGemm", domain=DOMAIN)
def fused_gemm(
    a: Value, b: Value, c: Value | None = None, *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0,
    transB: int = 0, activation: str = "", activation_alpha: float | None = None,
    activation_beta: float | None = None, activation_gamma: float | None = None,
) -> Value:  # fmt: skip
    y = gemm(a, b, c, alpha=alpha, beta=beta, transA=transA, transB=transB)
    return _activated(y, activation, activation_alpha, activation_beta)


@onnx_op("FusedConv", domain=DOMAIN)
def fused_conv(
    x: Value, w: Value, bias: Value | None = None, added: Value | None = None, *, auto_pad: str = "NOTSET",
    dilations: list[int] | None = None, group: int = 1, kernel_shape: list[int] | None = None,
    pads: list[int] | None = None, strides: list[int] | None = None, activation: str = "",
    activation_params: list[float] | None = None,
) -> Value:  # fmt: skip
    y = conv(
        x, w, bias, auto_pad=auto_pad, dilations=dilations, group=group, kernel_shape=kernel_shape, pads=pads,
        strides=strides,
    )  # fmt: skip
    alpha, beta, *_ = [*(activation_params or []), None, None]
    if added is not None:
        y = y + added.ensure_shape(*y.shape, text="what FusedConv adds is as large as its result")
    return _activated(y, activation, alpha, beta)


# -- activations -----------------------------------------------------------------------------------------------------


@onnx_op("Gelu", domain=DOMAIN)
def gelu(x: Value) -> Value:
    return pointwise.gelu(x)


@onnx_op("BiasGelu", domain=DOMAIN)
@in_compute_type
def bias_gelu(x: Value, bias: Value) -> Value:
    return pointwise.gelu(x + along(bias, x, "the bias"))


@onnx_op("FastGelu", domain=DOMAIN)
@in_compute_type
def fast_gelu(x: Value, bias: Value | None = None) -> Value:
    return pointwise.gelu(x if bias is None else x + along(bias, x, "the bias"), approximate="tanh")


@onnx_op("QuickGelu", domain=DOMAIN)
def quick_gelu(x: Value, *, alpha: float = 1.702) -> Value:
    return pointwise.swish(x, alpha=alpha)


@onnx_op("BiasAdd", domain=DOMAIN)
@in_compute_type
def bias_add(x: Value, bias: Value, skip: Value) -> Value:
    return x + along(bias, x, "the bias") + skip.ensure_shape(*x.shape, text="skip is as large as the input")


@onnx_op("BiasSplitGelu", domain=DOMAIN)
@in_compute_type
def bias_split_gelu(x: Value, bias: Value) -> Value:
    y = x + along(bias, x, "the bias")
    half = y.shape[-1] // 2
    return y.narrow(-1, 0, half) * pointwise.gelu(y.narrow(-1, half, half))


# -- normalisation ---------------------------------------------------------------------------------------------------


def _root_mean_square(x: Value, gamma: Value, axis: int, epsilon: float) -> tuple[Value, Value]:
    """x / sqrt(mean(x^2) + epsilon) * gamma, and the reciprocal of the root."""
    wide = x.cast(x.dtype.compute)
    root = (wide.square().mean(range(x.axis(axis), x.rank), keepdims=True) + epsilon).sqrt()
    y = (wide / root).cast(x.dtype) * gamma
    return y.ensure_shape(*x.shape, text="gamma broadcasts to the input, and not it to gamma"), 1.0 / root


@onnx_op("SimplifiedLayerNormalization")
@onnx_op("SimplifiedLayerNormalization", domain=DOMAIN)
def simplified_layer_normalization(
    x: Value, scale: Value, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> tuple[Value, ...]:
    return _root_mean_square(x, scale, axis, epsilon)


def _skipped(x: Value, skip: Value, bias: Value | None) -> Value:
    """x + skip (+ bias), in the shape of x; skip may lack the batch axis, or have one of 1."""
    skip = skip.ensure_shape(*skip.shape[:-2], *x.shape[-2:], text="skip is as large as the input")
    total = (x + skip).ensure_shape(*x.shape, text="skip has no more batches than the input")
    return total if bias is None else total + along(bias, x, "the bias")


@onnx_op("SkipLayerNormalization", domain=DOMAIN)
def skip_layer_normalization(
    x: Value, skip: Value, gamma: Value, beta: Value | None = None, bias: Value | None = None, *,
    epsilon: float = 1e-12,
) -> tuple[Value, ...]:  # fmt: skip
    total = _skipped(x, skip, bias)
    y, mean, inverse = standardized(total.cast(total.dtype.compute), [total.rank - 1], epsilon)
    y = y.cast(total.dtype) * along(gamma, total, "gamma")
    return y if beta is None else y + along(beta, total, "beta"), mean, inverse, total


@onnx_op("SkipSimplifiedLayerNormalization", domain=DOMAIN)
def skip_simplified_layer_normalization(
    x: Value, skip: Value, gamma: Value, bias: Value | None = None, *, epsilon: float = 1e-12
) -> tuple[Value, ...]:
    total = _skipped(x, skip, bias)
    y, inverse = _root_mean_square(total, along(gamma, total, "gamma"), -1, epsilon)
    return y, inverse, inverse, total


@onnx_op("EmbedLayerNormalization", domain=DOMAIN)
def embed_layer_normalization(
    ids: Value, segments: Value | None, words: Value, places: Value, kinds: Value | None, gamma: Value, beta: Value,
    mask: Value | None = None, position_ids: Value | None = None, *, epsilon: float = 1e-12, mask_index_type: int = 0,
) -> tuple[Value, ...]:  # fmt: skip
    def like_ids(v: Value, what: str) -> Value:
        return v.ensure_shape(*ids.shape, text=f"{what} are as many as the input ids")

    def as_wide(table: Value) -> Value:
        return table.ensure_shape(table.shape[0], words.shape[1], text="embeddings are of one width")

    def embedded(table: Value, at: Value) -> Value:
        return as_wide(table).take(checked_index(at, table.shape[0]), 0)

    total = embedded(words, ids)
    if position_ids is not None:
        rows = position_ids.ensure_shape(position_ids.shape[0], ids.shape[1], text="positions are as many as the ids")
        total = (total + embedded(places, rows)).ensure_shape(*total.shape, text="positions are of the ids' batches")
    else:
        total = total + as_wide(places).narrow(0, 0, ids.shape[1])
    if segments is not None and kinds is not None:
        total = total + embedded(kinds, like_ids(segments, "segments"))
    y = standardized(total, [2], epsilon)[0] * along(gamma, total, "gamma") + along(beta, total, "beta")
    index = scalar(0, I32).broadcast(ids.shape[0])
    if mask is not None:
        index = like_ids(mask, "elements of the mask").map("eq", 1).cast(I32).sum(1)
    return y, index, total


@onnx_op("GroupNorm", domain=DOMAIN)
def group_norm(
    x: Value, gamma: Value, beta: Value, *, groups: int, activation: int = 0, channels_last: int = 1,
    epsilon: float = 1e-5,
) -> Value:  # fmt: skip
    first = x.moveaxis(-1, 1) if channels_last else x
    split = first.cast(F32).reshape(first.shape[0], groups, -1)
    y = standardized(split, [2], epsilon)[0].reshape(*first.shape)
    shape = (-1, *[1] * (first.rank - 2))
    y = y * gamma.cast(F32).reshape(*shape) + beta.cast(F32).reshape(*shape)
    y = (y * y.map("sigmoid") if activation else y).cast(x.dtype)
    return y.moveaxis(1, -1) if channels_last else y
