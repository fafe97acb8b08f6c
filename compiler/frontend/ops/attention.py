"""ONNX Attention and RotaryEmbedding.

In: values and attributes of a node. Out: values. Attention becomes the graph's `attention`; with a soft cap, the scores
as an output, or another precision of the softmax it is written out as products and a softmax.
Formulas: https://onnx.ai/onnx/operators/onnx__Attention.html.
"""

from __future__ import annotations

import math

from ...errors import Unsupported
from ...graph.ir import Value
from ...scalar.dim import Size, dim_max, known_eq
from ...scalar.dtype import BOOL, BY_ONNX, F32, I64, DType
from ..registry import onnx_op
from ..values import concat, scalar
from .index import checked_index


def split_heads(x: Value, heads: int) -> Value:
    """[B, S, H * D] -> [B, H, S, D]."""
    batch, length, hidden = x.shape
    return x.reshape(batch, length, heads, hidden // heads).permute(0, 2, 1, 3)


def merge_heads(x: Value) -> Value:
    """[B, H, S, D] -> [B, S, H * D]."""
    batch, heads, length, size = x.shape
    return x.permute(0, 2, 1, 3).reshape(batch, length, heads * size)


def additive(allowed: Value) -> Value:
    """0 where true, -inf where false."""
    return allowed.select(scalar(0.0, F32), scalar(-math.inf, F32))


def head_scale(scale: float, size: Size) -> float:
    """The factor of products of heads of a size: the given one, or without one 1 / sqrt(size)."""
    if scale:
        return scale
    if not isinstance(size, int):
        raise Unsupported(f"heads of the symbolic size {size} without a scale")
    return 1.0 / math.sqrt(size)


def positions(size: Size) -> Value:
    return scalar(0, I64).emit("iota", [], shape=(size,), axis=0, dtype=I64)[0]


def _fit_mask(mask: Value, keys: Size) -> Value:
    """The mask in f32, additive, and padded to `keys`: a short mask excludes the keys beyond it."""
    mask = additive(mask) if mask.dtype == BOOL else mask.cast(F32)
    if known_eq(mask.shape[-1], keys):
        return mask
    high: list[Size] = [0] * (mask.rank - 1)
    return mask.pad([0] * mask.rank, [*high, dim_max(keys - mask.shape[-1], 0)], -math.inf)


def _window(queries: Size, keys: Size, offset: Value, left: int, right: int, causal: bool) -> Value | None:
    """Which keys query i sees: from `left` before its position, offset + i, to `right` after it; None for all.

    -1 is unbounded. offset: a scalar, or [B, 1, 1, 1]."""
    distance = positions(keys) - (positions(queries).reshape(-1, 1) + offset)
    right = 0 if causal else right
    allowed = distance <= right if right >= 0 else None
    if left >= 0:
        near = distance >= -left
        allowed = near if allowed is None else allowed.map("and", near)
    return allowed


def _plus(a: Value | None, b: Value | None) -> Value | None:
    return b if a is None else a if b is None else a + b


def _grouped(mask: Value | None, heads: Size, groups: Size) -> Value | None:
    """A mask with its head axis split into (groups, heads / groups), for queries that share keys."""
    if mask is None or mask.rank < 3:
        return mask
    lead, h, tail = mask.shape[:-3], mask.shape[-3], mask.shape[-2:]
    if h == 1:
        return mask.reshape(*lead, 1, 1, *tail)
    return mask.broadcast(*lead, heads, *tail).reshape(*lead, groups, heads // groups, *tail)


@onnx_op("Attention", since=23)
def attention(
    q: Value, k: Value, v: Value, mask: Value | None = None, past_key: Value | None = None,
    past_value: Value | None = None, nonpad_kv_seqlen: Value | None = None, *, is_causal: int = 0,
    kv_num_heads: int | None = None, q_num_heads: int | None = None, qk_matmul_output_mode: int = 0,
    scale: float | None = None, softcap: float = 0.0, softmax_precision: int | None = None, left_window_size: int = -1,
    right_window_size: int = -1, n_outputs: int = 1,
) -> tuple[Value, ...]:  # fmt: skip
    flat = q.rank == 3
    if flat:
        if not q_num_heads or not kv_num_heads:
            raise ValueError("inputs of rank 3 without q_num_heads and kv_num_heads")
        q, k, v = split_heads(q, q_num_heads), split_heads(k, kv_num_heads), split_heads(v, kv_num_heads)
    k = k.ensure_shape(q.shape[0], *k.shape[1:], text="batches of queries and keys")
    v = v.ensure_shape(*k.shape[:3], v.shape[3], text="batches, heads and numbers of keys and values")
    past: Size = 0
    if past_key is not None and past_value is not None:
        past = past_key.shape[2]
        k, v = concat([past_key, k], 2), concat([past_value, v], 2)
    present = (k, v)
    batch, heads, queries, size = q.shape
    groups, keys = k.shape[1], k.shape[2]
    if not known_eq(heads, groups):
        if not isinstance(heads, int) or not isinstance(groups, int):
            raise Unsupported(f"{heads} heads of queries, {groups} of keys")
        if not groups or heads % groups:
            raise ValueError(f"{heads} heads of queries, {groups} of keys")

    bias = None if mask is None else _fit_mask(mask, keys)
    causal: Size | None = past if is_causal else None
    if nonpad_kv_seqlen is not None:
        lengths = nonpad_kv_seqlen.ensure_shape(batch, text="a number of keys for each batch")
        lengths = checked_index(lengths, keys + 1, "nonpad_kv_seqlen is out of range").reshape(-1, 1, 1, 1)
        bias = _plus(bias, additive(positions(keys) < lengths))
        offset = lengths - lengths.const_size(queries)
        causal = None
    else:
        offset = scalar(0, I64).const_size(past)
    explicit = causal is None and bool(is_causal)
    allowed = _window(queries, keys, offset, left_window_size, right_window_size, explicit)
    bias = _plus(bias, None if allowed is None else additive(allowed))

    if heads != groups:
        q = q.reshape(batch, groups, heads // groups, queries, size)
        k, v, bias = k.unsqueeze(2), v.unsqueeze(2), _grouped(bias, heads, groups)
    factor = head_scale(0.0, size) if scale is None else scale
    scores: Value | None = None
    if softcap == 0.0 and n_outputs < 4 and softmax_precision in (None, 1, q.dtype.onnx) and v.dtype == q.dtype:
        inputs = [q, k, v] if bias is None else [q, k, v, bias]
        y = q.emit("attention", inputs, scale=factor, causal=causal, zero_rows=True)[0]
    else:
        if causal is not None:
            bias = _plus(bias, additive(_window(queries, keys, offset, -1, -1, True)))  # type: ignore[arg-type]
        dtype = BY_ONNX[softmax_precision] if softmax_precision else q.dtype
        y, scores = _written_out(q, k, v, bias, factor, softcap, dtype, qk_matmul_output_mode)
        scores = scores.broadcast(*y.shape[:-1], keys).reshape(batch, heads, queries, keys)
    y = y.reshape(batch, heads, queries, v.shape[-1])
    outputs = [merge_heads(y) if flat else y, *present]
    return (*outputs, scores) if scores is not None else tuple(outputs)


def _written_out(
    q: Value, k: Value, v: Value, bias: Value | None, scale: float, softcap: float, dtype: DType, mode: int
) -> tuple[Value, Value]:
    """The result, and the scores at the stage `mode`: 0 raw, 1 capped, 2 with the mask, 3 after softmax."""
    from_type = q.dtype
    root = math.sqrt(scale)
    raw = (q * root).matmul((k * root).permute(*range(k.rank - 2), k.rank - 1, k.rank - 2))
    capped = (raw / softcap).map("tanh") * softcap if softcap else raw
    biased = capped if bias is None else capped + bias.cast(from_type)
    s = biased.cast(dtype)
    e = (s - s.max(-1, keepdims=True)).exp()
    p = (e / e.sum(-1, keepdims=True)).cast(from_type)
    if bias is not None:
        empty = bias.max(-1, keepdims=True).map("eq", -math.inf)
        p = empty.select(0, p)
    return p.cast(v.dtype).matmul(v), (raw, capped, biased, p)[mode]


@onnx_op("RotaryEmbedding", since=23)
def rotary_embedding(
    x: Value, cos: Value, sin: Value, position_ids: Value | None = None, *, interleaved: int = 0,
    num_heads: int = 0, rotary_embedding_dim: int = 0,
) -> Value:  # fmt: skip
    """Rotates pairs of elements of each head by an angle that depends on the position."""
    flat = x.rank == 3
    if flat and not num_heads:
        raise ValueError("an input of rank 3 without num_heads")
    heads = split_heads(x, num_heads) if flat else x
    if position_ids is not None:
        cos, sin = (c.take(checked_index(position_ids, c.shape[0]), 0) for c in (cos, sin))
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)  # [B, 1, S, R / 2]
    out = rotated(heads, cos, sin, rotary_embedding_dim or heads.shape[-1], bool(interleaved))
    return merge_heads(out) if flat else out


def rotated(x: Value, cos: Value, sin: Value, width: Size, interleaved: bool) -> Value:
    """x with the first `width` elements of the last axis rotated; pairs are neighbours or lie half the width apart."""
    part, rest = x.narrow(-1, 0, width), x.narrow(-1, width, x.shape[-1] - width)
    half = width // 2
    cos, sin = (c.ensure_shape(*c.shape[:-1], half, text="half as many angles as elements") for c in (cos, sin))
    if interleaved:
        pairs = part.reshape(*part.shape[:-1], half, 2)
        a, b = (pairs.narrow(-1, i, 1).squeeze(-1) for i in (0, 1))
    else:
        a, b = part.narrow(-1, 0, half), part.narrow(-1, half, half)
    real, imaginary = a * cos - b * sin, a * sin + b * cos
    if interleaved:
        turned = concat([real.unsqueeze(-1), imaginary.unsqueeze(-1)], -1).reshape(*part.shape)
    else:
        turned = concat([real, imaginary], -1)
    turned = turned.ensure_shape(*part.shape, text="positions, and elements in pairs")
    return turned if known_eq(width, x.shape[-1]) else concat([turned, rest], -1)
