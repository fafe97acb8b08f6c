"""onnxruntime's own operators that gate, mix and normalise (domain com.microsoft).

In: values and attributes of a node. Out: values. Defined by onnxruntime's docs/ContribOperators.md. Sums and
activations are in f32, unless a docstring says otherwise.
"""

from __future__ import annotations

from ...graph.ir import Value
from ...scalar.dim import Size
from ...scalar.dtype import F32
from ..registry import onnx_op
from ..values import along
from . import math as pointwise
from .contrib import DOMAIN


def _normalized(x: Value, epsilon: float) -> Value:
    """x divided by the root of its mean square over the last axis, in f32."""
    wide = x.cast(F32)
    return wide / (wide.square().mean(-1, keepdims=True) + epsilon).sqrt()


@onnx_op("GatedAdd", domain=DOMAIN)
def gated_add(x: Value, y: Value, gate: Value) -> Value:
    """x + y * gate, in the type of x; x and y [..., C], gate [..., 1]."""
    y = y.ensure_shape(*x.shape, text="what GatedAdd adds is as large as its input")
    return x + y * gate.ensure_shape(*x.shape[:-1], 1, text="a gate of each row")


@onnx_op("ScaledSiLU", domain=DOMAIN)
def scaled_silu(x: Value, scale: Value | None = None, *, alpha: float = 1.0) -> Value:
    """z * sigmoid(z) of z = x * scale, each rounded to the type of x."""
    factor = None if scale is None else scale.ensure_shape(*[1] * scale.rank, text="one scale").reshape().cast(F32)
    z = (x.cast(F32) * (alpha if factor is None else factor)).cast(x.dtype)
    return z * z.map("sigmoid")


@onnx_op("GatedRMSNorm", domain=DOMAIN)
def gated_rms_norm(x: Value, scale: Value, gate: Value, *, activation: str = "silu", epsilon: float = 1e-5) -> Value:
    """x, normalised in groups as long as scale [C], times scale and the activation of the gate, which is like x."""
    if activation not in ("silu", "swish", "sigmoid"):
        raise ValueError(f"there is no activation '{activation}'")
    gate = gate.ensure_shape(*x.shape, text="a gate as large as the input").cast(F32)
    groups = x.reshape(*x.shape[:-1], x.shape[-1] // scale.shape[0], scale.shape[0])
    y = (_normalized(groups, epsilon) * scale.cast(F32)).reshape(*x.shape)
    sigmoid = gate.map("sigmoid")
    return (y * (sigmoid if activation == "sigmoid" else gate * sigmoid)).cast(x.dtype)


@onnx_op("LinearAttentionGate", domain=DOMAIN)
def linear_attention_gate(a: Value, bias: Value, scale: Value, b: Value | None = None) -> tuple[Value | None, ...]:
    """scale * softplus(a + bias) and sigmoid(b); a and b [..., H], bias and scale f32 [H]."""
    wide = a.cast(F32) + along(bias, a, "dt_bias")
    decay = (pointwise.softplus(wide) * along(scale, a, "decay_scale")).cast(a.dtype)
    if b is None:
        return decay, None
    b = b.ensure_shape(*a.shape, text="b is as large as a")
    return decay, b.cast(F32).map("sigmoid").cast(b.dtype)


def _branches(x: Value, count: int) -> Value:
    """x [..., C, H]; flattened, as [..., C * H], where a number of branches is given."""
    return x.reshape(*x.shape[:-1], count, x.shape[-1] // count) if count else x


def _of_branches(v: Value, shape: tuple[Size, ...]) -> Value:
    """Numbers [..., C], [..., C, 1], [..., C, H] or [..., C * H] for branches of `shape` [..., C, H], in f32."""
    *lead, count, _ = shape
    if v.rank < len(shape):
        v = v.reshape(*v.shape[:-1], count, v.shape[-1] // count)
    v = v.ensure_shape(*lead, count, v.shape[-1], text="numbers of each branch")
    return v.cast(F32).broadcast(*shape)


@onnx_op("BranchwiseRMSNorm", domain=DOMAIN)
def branchwise_rms_norm(x: Value, scale: Value | None = None, *, epsilon: float = 1e-5, num_branches: int = 0) -> Value:
    """x [..., C, H], or [..., C * H] of `num_branches`; scale [C * H], [C, H] or [H]."""
    grouped = _branches(x, num_branches)
    y = _normalized(grouped, epsilon)
    if scale is not None:
        count, width = grouped.shape[-2:]
        if scale.rank == 1:
            scale = scale.reshape(scale.shape[0] // width, width)
        scale = scale.ensure_shape(scale.shape[0], width, text="a scale of each branch")
        y = y * scale.cast(F32).broadcast(count, width)
    return y.cast(x.dtype).reshape(*x.shape)


@onnx_op("HyperConnectionPreMix", domain=DOMAIN)
def hyper_connection_pre_mix(
    streams: Value, mix: Value, *, num_branches: int = 0, reduction_scale: float = 1.0
) -> Value:
    """The sum over C of streams [..., C, H] * mix."""
    grouped = _branches(streams, num_branches)
    return ((grouped.cast(F32) * _of_branches(mix, grouped.shape)).sum(-2) * reduction_scale).cast(streams.dtype)


@onnx_op("HyperConnectionPostMix", domain=DOMAIN)
def hyper_connection_post_mix(
    streams: Value, block: Value, post: Value, mix: Value | None = None, *, num_branches: int = 0
) -> Value:
    """streams [..., C, H], mixed by a matrix [..., C, C] if there is one, plus post * block [..., H]."""
    grouped = _branches(streams, num_branches)
    *lead, count, width = grouped.shape
    block = block.ensure_shape(*lead, width, text="block_output of each stream").cast(F32).unsqueeze(-2)
    y = grouped.cast(F32)
    if mix is not None:
        mix = mix.ensure_shape(*lead, count, count, text="stream_mix of all streams").cast(F32)
        y = mix.permute(*range(mix.rank - 2), mix.rank - 1, mix.rank - 2).matmul(y)
    return (y + _of_branches(post, grouped.shape) * block).cast(streams.dtype).reshape(*streams.shape)


@onnx_op("EngramGate", domain=DOMAIN)
def engram_gate(
    key: Value, query: Value, value: Value, key_scale: Value, query_scale: Value, out_scale: Value | None = None, *,
    epsilon: float = 1e-5,
) -> tuple[Value | None, ...]:  # fmt: skip
    """value [B, S, H], gated by how key and query [B, S, M, H] agree, and that normalised; scales [M, H]."""
    batch, length, count, width = key.shape
    query = query.ensure_shape(*key.shape, text="a query of each key")
    value = value.ensure_shape(batch, length, width, text="a value of each key")

    def scaled(x: Value, scale: Value) -> Value:
        return _normalized(x, epsilon) * scale.ensure_shape(count, width, text="a scale of each branch").cast(F32)

    dot = (scaled(key, key_scale) * scaled(query, query_scale)).sum(-1, keepdims=True)
    dot = dot / dot.const_size(width).sqrt()
    gate = (dot.map("sign") * dot.map("abs").map("max", 1e-6).sqrt()).map("sigmoid")
    y = gate * value.cast(F32).unsqueeze(2)
    return y.cast(key.dtype), None if out_scale is None else scaled(y, out_scale).cast(key.dtype)
