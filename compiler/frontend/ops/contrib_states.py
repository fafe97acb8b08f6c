"""onnxruntime's operators of models that keep a state in place of a cache of keys (domain com.microsoft).

In: values and attributes of a node. Out: values. Defined by onnxruntime's docs/ContribOperators.md. Sums are in f32.
"""

from __future__ import annotations

from ...errors import Unsupported
from ...graph.ir import Value
from ...scalar.dim import Size, Symbol, prod
from ...scalar.dtype import F32
from ..registry import Capture, onnx_op
from ..values import concat, scalar
from .attention import head_scale
from .contrib import DOMAIN
from .control import repeated
from .conv import conv


@onnx_op("LinearAttention", domain=DOMAIN)
def linear_attention(
    query: Value, key: Value, value: Value, past: Value | None = None, decay: Value | None = None,
    beta: Value | None = None, *, kv_num_heads: int, q_num_heads: int, chunk_size: int = 64, scale: float = 0.0,
    state_window: int = 0, update_rule: str = "gated_delta",
) -> tuple[Value, Value]:  # fmt: skip
    """query [B, T, Nq * K], key [B, T, Nk * K], value [B, T, N * V]; the state is [B, N, K, V] for N = kv_num_heads.

    decay [B, T, N] or [B, T, N * K], beta [B, T, N] or [B, T, 1]. Each head of a key belongs to N / Nk states, and each
    state to Nq / N queries, or each query to N / Nq states."""
    if update_rule not in ("linear", "gated", "delta", "gated_delta"):
        raise ValueError(f"there is no update_rule '{update_rule}'")
    if state_window:
        raise Unsupported("state_window")
    gated, delta = "gated" in update_rule, "delta" in update_rule
    if (gated and decay is None) or (delta and beta is None):
        raise ValueError(f"update_rule '{update_rule}' without decay or beta")
    batch, length, _ = query.shape
    heads, size, of_value = kv_num_heads, query.shape[-1] // q_num_heads, value.shape[-1] // kv_num_heads
    if max(heads, q_num_heads) % min(heads, q_num_heads):
        raise ValueError(f"{q_num_heads} heads of queries and {heads} of keys and values")

    def in_heads(v: Value, count: Size, width: Size) -> Value:
        v = v.ensure_shape(batch, length, count * width, text="heads of queries, keys and values")
        return v.cast(F32).reshape(batch, length, count, width)

    of_keys = key.shape[-1] // size
    k = in_heads(key, of_keys, size)
    k = k.unsqueeze(3).broadcast(batch, length, of_keys, heads // of_keys, size).reshape(batch, length, heads, size)
    parts = [in_heads(query, q_num_heads, size), k, in_heads(value, heads, of_value)]
    if gated and decay is not None:
        wide = in_heads(decay, heads, decay.shape[-1] // heads).exp()
        parts.append(wide.broadcast(batch, length, heads, size))
    if delta and beta is not None:
        parts.append(in_heads(beta, beta.shape[-1], 1).broadcast(batch, length, heads, 1))
    state = (batch, heads, size, of_value)
    if past is None:
        first = scalar(0.0, F32).broadcast(*state)
    else:
        first = past.ensure_shape(*state, text="the state of all heads").cast(F32)
    groups = max(q_num_heads // heads, 1)

    def step(i: Symbol, index: Value, capture: Capture, *states: Value) -> tuple[list[Value], list[Value]]:
        q, k, v, *rest = (capture(part).narrow(1, i, 1).squeeze(1) for part in parts)
        (s,) = states
        if gated:
            s = s * rest[0].unsqueeze(-1)
        k = k.unsqueeze(-1)
        if delta:
            v = (v - (s * k).sum(-2)) * rest[-1]
        s = s + k * v.unsqueeze(-2)
        if q_num_heads >= heads:
            y = (q.reshape(batch, heads, groups, size, 1) * s.unsqueeze(2)).sum(-2)
        else:
            each = (batch, q_num_heads, heads // q_num_heads, size)
            y = (q.unsqueeze(2).broadcast(*each).reshape(batch, heads, size, 1) * s).sum(-2)
        return [s], [y]

    (last,), (rows,) = repeated(length, [first], step)
    rows = rows * head_scale(scale, size)
    y = rows.reshape(length, batch, max(q_num_heads, heads) * of_value).permute(1, 0, 2)
    return y.cast(query.dtype), last.cast(query.dtype if past is None else past.dtype)


@onnx_op("CausalConvWithState", domain=DOMAIN)
def causal_conv_with_state(
    x: Value, w: Value, bias: Value | None = None, past: Value | None = None, *, activation: str = "none",
    channels_last: int = 0, dilation: int = 1, ndim: int = 1, state_window: int = 0,
) -> tuple[Value, Value]:  # fmt: skip
    """x [B, C, T], or [B, T, *D] with channels last, w [C, 1, K]: each channel by a kernel of its own.

    The state is what the kernel reads before the first position, [B, C, (K - 1) * dilation]."""
    if ndim != 1 or state_window:
        raise Unsupported(f"ndim={ndim}, state_window={state_window}")
    if activation not in ("none", "silu", "swish") or dilation < 1:
        raise ValueError(f"activation '{activation}', dilation {dilation}")
    taps, channels = w.shape[-1], w.shape[0]
    if not isinstance(taps, int) or not isinstance(channels, int):
        raise Unsupported("weights of symbolic size")
    w = w.ensure_shape(channels, 1, taps, text="a kernel of each channel")
    inner, before = x.shape[2:], (taps - 1) * dilation

    def first(v: Value) -> Value:
        """v [B, T, *D] as [B, D, T]."""
        return v.reshape(*v.shape[:2], prod(inner)).permute(0, 2, 1) if channels_last else v

    def back(v: Value) -> Value:
        return v.permute(0, 2, 1).reshape(v.shape[0], v.shape[2], *inner) if channels_last else v

    given = first(x)
    given = given.ensure_shape(given.shape[0], channels, given.shape[2], text="channels of input and weights")
    batch, _, length = given.shape
    shape = (batch, before, *inner) if channels_last else (batch, channels, before)
    if past is None:
        state = scalar(0, x.dtype).broadcast(batch, channels, before)
    else:
        state = first(past.ensure_shape(*shape, text="the state of all channels"))
    whole = concat([state, given], 2)
    y = conv(whole.cast(F32), w.cast(F32), None if bias is None else bias.cast(F32), dilations=[dilation],
             group=channels)  # fmt: skip
    y = (y if activation == "none" else y * y.map("sigmoid")).cast(x.dtype)
    return back(y), back(whole.narrow(2, length, before))
