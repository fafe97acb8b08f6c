"""onnxruntime's own attention operators (domain com.microsoft), which its optimizer makes of transformers.

In: values and attributes of a node. Out: values. Defined by onnxruntime's docs/ContribOperators.md. Attention becomes the
graph's `attention`; where the softmax has a term of its own, or the scores are an output, it is written out.
"""

from __future__ import annotations

import math

from ...errors import Unsupported
from ...graph.ir import Value
from ...scalar.dim import LEAST, Size, dim_max, dim_min, known_eq
from ...scalar.dtype import F32, I64
from ..registry import onnx_op
from ..values import bound, concat, demanded, scalar
from .attention import additive, merge_heads, positions, rotated, split_heads
from .contrib import DOMAIN
from .index import checked_index
from .matmul import product


def _key_mask(mask: Value, batch: Size, keys: Size, excluded: float) -> Value:
    """A key mask of onnxruntime as a bias (f32) for scores [B, N, S, T].

    mask: 0 and 1 in [B, T] or [B, S, T]; or the ends of the keys, [B]; or their ends, then their starts, [2 * B]."""
    if mask.rank == 1:
        both = known_eq(mask.shape[0], 2 * batch) is True
        if not both and known_eq(mask.shape[0], batch) is not True:
            raise Unsupported(f"a mask of shape {list(mask.shape)}")
        ends = mask.narrow(0, 0, batch).cast(I64).reshape(batch, 1, 1, 1)
        allowed = positions(keys) < ends.require(ends >= 0, "a mask_index value is negative")
        if both:
            starts = mask.narrow(0, batch, batch).cast(I64).reshape(batch, 1, 1, 1)
            allowed = allowed.map("and", positions(keys) >= starts)
    elif mask.rank == 2:
        shape = (1 if d == 1 else wanted for d, wanted in zip(mask.shape, (batch, keys)))
        allowed = mask.ensure_shape(*shape, text="a mask of the keys").map("eq", 1).unsqueeze(1, 2)
    elif mask.rank == 3:
        allowed = mask.ensure_shape(batch, mask.shape[1], keys, text="a mask of the keys").map("eq", 1).unsqueeze(1)
    else:
        raise Unsupported(f"a mask of rank {mask.rank}")
    return allowed.select(scalar(0.0, F32), scalar(excluded, F32))


def _attended(q: Value, k: Value, v: Value, bias: Value | None, scale: float, causal: Size | None) -> Value:
    """q, k, v [B, N, S, D] -> [B, S, N * D]."""
    k = k.ensure_shape(*q.shape[:2], *k.shape[2:], text="batches and heads of queries and keys")
    v = v.ensure_shape(*k.shape[:3], v.shape[3], text="batches, heads and numbers of keys and values")
    inputs = [q, k, v] if bias is None else [q, k, v, bias]
    return merge_heads(q.emit("attention", inputs, scale=scale, causal=causal, zero_rows=False)[0])


def _scale(scale: float, size: Size) -> float:
    if scale:
        return scale
    if not isinstance(size, int):
        raise Unsupported(f"heads of the symbolic size {size} without a scale")
    return 1.0 / math.sqrt(size)


def _score_bias(bias: Value | None, q: Value, k: Value) -> Value | None:
    """The bias, with a check that it has an element for each query and key."""
    if bias is None:
        return None
    return bias.ensure_shape(*bias.shape[:-2], q.shape[2], k.shape[2], text="the bias of the scores")


def _plus(a: Value | None, b: Value | None) -> Value | None:
    return b if a is None else a if b is None else a + b


@onnx_op("Attention", domain=DOMAIN)
def attention(
    x: Value, w: Value, bias: Value | None = None, mask: Value | None = None, past: Value | None = None,
    attention_bias: Value | None = None, past_sequence_length: Value | None = None, *, num_heads: int,
    do_rotary: int = 0, mask_filter_value: float = -10000.0, past_present_share_buffer: int = 0,
    qkv_hidden_sizes: list[int] | None = None, rotary_embedding_dim: int = 0, scale: float = 0.0,
    unidirectional: int = 0,
) -> tuple[Value, ...]:  # fmt: skip
    if do_rotary or past_present_share_buffer or past_sequence_length is not None:
        raise Unsupported("do_rotary, or a shared buffer for past and present")
    third = w.shape[1] // 3
    sizes: list[Size] = list(qkv_hidden_sizes) if qkv_hidden_sizes else [third, third, third]
    columns = sum(sizes[1:], sizes[0])
    w = w.ensure_shape(w.shape[0], columns, text="weights of queries, keys and values")
    if bias is not None:
        bias = bias.ensure_shape(columns, text="the bias of queries, keys and values")
    projected = product(x, w) if bias is None else product(x, w) + bias
    parts: list[Value] = []
    start: Size = 0
    for size in sizes:
        parts.append(split_heads(projected.narrow(-1, start, size), num_heads))
        start = start + size
    q, k, v = parts
    before: Size = 0
    if past is not None:
        before = past.shape[3]
        past = past.ensure_shape(2, *k.shape[:2], before, k.shape[3], text="keys and values of the past")
        k, v = (concat([past.narrow(0, i, 1).squeeze(0), new], 2) for i, new in ((0, k), (1, v)))
    present = concat([k.unsqueeze(0), v.unsqueeze(0)], 0) if known_eq(k.shape[-1], v.shape[-1]) else k
    excluded = None if mask is None else _key_mask(mask, x.shape[0], k.shape[2], mask_filter_value)
    total = _plus(excluded, _score_bias(attention_bias, q, k))
    y = _attended(q, k, v, total, _scale(scale, q.shape[-1]), before if unidirectional else None)
    return y, present


@onnx_op("MultiHeadAttention", domain=DOMAIN)
def multi_head_attention(
    query: Value, key: Value | None = None, value: Value | None = None, bias: Value | None = None,
    key_padding_mask: Value | None = None, attention_bias: Value | None = None, past_key: Value | None = None,
    past_value: Value | None = None, *, num_heads: int, mask_filter_value: float = -10000.0, scale: float = 0.0,
    unidirectional: int = 0,
) -> tuple[Value, ...]:  # fmt: skip
    if query.rank == 5:  # [B, S, N, 3, D]
        q, k, v = (query.narrow(3, i, 1).squeeze(3).permute(0, 2, 1, 3) for i in range(3))
    elif key is None:
        raise Unsupported("a query alone that is not packed")
    else:
        q = split_heads(query, num_heads)
        if key.rank == 5:  # [B, L, N, 2, D]
            k, v = (key.narrow(3, i, 1).squeeze(3).permute(0, 2, 1, 3) for i in range(2))
        elif value is None:
            raise ValueError("a key without a value")
        else:
            k, v = (t if t.rank == 4 else split_heads(t, num_heads) for t in (key, value))
    if bias is not None:
        widths = [num_heads * t.shape[-1] for t in (q, k, v)]
        bias = bias.ensure_shape(sum(widths[1:], widths[0]), text="the bias of queries, keys and values")
        start: Size = 0
        biased = []
        for t, source in ((q, query), (k, key), (v, value)):
            width = num_heads * t.shape[-1]
            part = bias.narrow(0, start, width).reshape(num_heads, 1, t.shape[-1])
            biased.append(t if source is not None and source.rank == 4 else t + part)
            start = start + width
        q, k, v = biased
    before: Size = 0
    if past_key is not None and past_value is not None:
        before = past_key.shape[2]
        k, v = concat([past_key, k], 2), concat([past_value, v], 2)
    excluded = None
    if key_padding_mask is not None:
        excluded = _key_mask(key_padding_mask, query.shape[0], k.shape[2], mask_filter_value)
    total = _plus(excluded, _score_bias(attention_bias, q, k))
    causal = before if unidirectional else None
    return _attended(q, k, v, total, _scale(scale, q.shape[-1]), causal), k, v


@onnx_op("RotaryEmbedding", domain=DOMAIN)
def rotary_embedding(
    x: Value, position_ids: Value, cos: Value, sin: Value, *, interleaved: int = 0, is_packed_batching: int = 0,
    num_heads: int = 0, rotary_embedding_dim: int = 0, scale: float = 1.0,
) -> Value:  # fmt: skip
    if is_packed_batching or scale != 1.0:
        raise Unsupported("is_packed_batching or scale")
    flat = x.rank == 3
    width = cos.shape[-1] * 2
    if flat:
        count = num_heads if num_heads else x.shape[-1] // width
        if not isinstance(count, int):
            raise Unsupported("a number of heads that is not known")
        x = split_heads(x, count)
    sin = sin.ensure_shape(*cos.shape, text="as many sines as cosines")
    at = position_ids
    if at.rank == 1:  # the position of the first element
        at = (at.ensure_shape(1, text="the first position") + positions(x.shape[2])).unsqueeze(0)
    else:
        at = at.ensure_shape(x.shape[0], x.shape[2], text="positions of each element")
    cos, sin = (c.take(checked_index(at, c.shape[0]), 0).unsqueeze(1) for c in (cos, sin))
    y = rotated(x, cos, sin, rotary_embedding_dim or x.shape[-1], bool(interleaved))
    return merge_heads(y) if flat else y


@onnx_op("GroupQueryAttention", domain=DOMAIN)
def group_query_attention(
    query: Value, key: Value | None = None, value: Value | None = None, past_key: Value | None = None,
    past_value: Value | None = None, seqlens_k: Value | None = None, total_length: Value | None = None,
    cos: Value | None = None, sin: Value | None = None, *, num_heads: int, kv_num_heads: int, do_rotary: int = 0,
    local_window_size: int = -1, rotary_interleaved: int = 0, scale: float = 0.0, softcap: float = 0.0,
    smooth_softmax: int = 0, k_quant_type: str = "NONE", v_quant_type: str = "NONE", qk_output: int = 0,
) -> tuple[Value, ...]:  # fmt: skip
    """Appends the new keys and values to `past`, of which the first seqlens_k + 1 - S of each batch are valid.

    `present` is as long as total_length, and at least as long as `past`, so that caches allocated at full length keep
    it. The first prompt of a batch may be shorter than the others, and begins at 0."""
    if softcap or smooth_softmax or qk_output or k_quant_type != "NONE" or v_quant_type != "NONE":
        raise Unsupported("softcap, smooth_softmax or a quantised cache")
    if seqlens_k is None:
        raise Unsupported("no seqlens_k")
    if key is None or value is None:  # packed: all heads of the query, then of keys, then of values
        size = query.shape[-1] // (num_heads + 2 * kv_num_heads)
        cuts = [(0, num_heads), (num_heads, kv_num_heads), (num_heads + kv_num_heads, kv_num_heads)]
        query, key, value = (query.narrow(-1, size * a, size * n) for a, n in cuts)
    q, k, v = split_heads(query, num_heads), split_heads(key, kv_num_heads), split_heads(value, kv_num_heads)
    batch, _, new, size = q.shape
    shared = past_key is not None and k.shape[2] == 0  # the past has the keys already
    k = k.ensure_shape(batch, kv_num_heads, 0 if shared else new, size, text="keys of the queries' number and size")
    v = v.ensure_shape(*k.shape[:3], v.shape[3], text="as many values as keys")
    old: Size = 0 if past_key is None else past_key.shape[2]
    total = old + new if total_length is None else bound(total_length, LEAST, "total")
    q = demanded(q, dim_min(total, 1), 1, "total_sequence_length must be positive")
    keys = new if past_key is None else dim_max(total, old)
    lengths = _lengths_of(seqlens_k, batch, new, keys if shared else old, keys, total)
    # Where the new elements stand: after the valid ones of the past.
    first = (lengths + 1 - lengths.const_size(new)).map("max", 0)  # [B, 1]
    at = first + positions(new)  # [B, S]
    if do_rotary:
        if cos is None or sin is None:
            raise ValueError("do_rotary without cos_cache and sin_cache")
        sin = sin.ensure_shape(*cos.shape, text="as many sines as cosines")
        angles = [c.take(checked_index(at, c.shape[0]), 0).unsqueeze(1) for c in (cos, sin)]
        q, k = (rotated(t, angles[0], angles[1], cos.shape[-1] * 2, bool(rotary_interleaved)) for t in (q, k))
    if past_key is not None and past_value is not None:
        past_value = past_value.ensure_shape(*past_key.shape[:3], past_value.shape[3], text="past keys and values")
        pairs = (past_key, k), (past_value, v)
        k, v = (past if shared else _appended(past, t, at, keys) for past, t in pairs)
        keys = k.shape[2]
    distance = positions(keys) - at.reshape(batch, 1, new, 1)
    allowed = distance <= 0
    if local_window_size >= 0:
        allowed = allowed.map("and", distance > -local_window_size)
    heads = num_heads // kv_num_heads
    grouped = q.reshape(batch, kv_num_heads, heads, new, size)
    inputs = [grouped, k.unsqueeze(2), v.unsqueeze(2), additive(allowed).unsqueeze(2)]
    y = q.emit("attention", inputs, scale=_scale(scale, size), causal=None, zero_rows=False)[0]
    return merge_heads(y.reshape(batch, num_heads, new, v.shape[-1])), k, v


def _lengths_of(seqlens_k: Value, batch: Size, new: Size, old: Size, keys: Size, total: Size) -> Value:
    """seqlens_k, the number of valid keys of each batch less one, as [B, 1].

    Checks that it is within the cache of `keys`, that the new keys leave no gap after the `old` ones that the past has
    room for, and that all `new` keys are valid, unless this is a first prompt. seqlens_k is [B], or has an axis of 1,
    too."""
    if seqlens_k.rank not in (1, 2) or (seqlens_k.rank == 2 and 1 not in seqlens_k.shape):
        raise ValueError(f"seqlens_k of shape {list(seqlens_k.shape)}")
    lengths = seqlens_k.cast(I64).reshape(batch)
    first = lengths + 1 - lengths.const_size(new)
    prompt = lengths.const_size(total).map("eq", lengths.const_size(new))
    lengths = checked_index(lengths, keys, "seqlens_k is out of range")
    lengths = lengths.require(first <= lengths.const_size(old), "seqlens_k exceeds the past buffer sequence length")
    return lengths.require((first >= 0).map("or", prompt), "seqlens_k is too small for sequence_length").unsqueeze(1)


def _appended(past: Value, new: Value, at: Value, keys: Size) -> Value:
    """past [B, N, P, D] padded to `keys` positions, with new [B, N, S, D] written at positions `at` [B, S]."""
    batch, heads, length, size = new.shape
    past = past.ensure_shape(batch, heads, past.shape[2], size, text="batches, heads and sizes of past keys")
    room = past.pad([0] * 4, [0, 0, keys - past.shape[2], 0])
    shape = (batch, heads, length)
    index = [scalar(0, I64).emit("iota", [], shape=shape, axis=a, dtype=I64)[0] for a in (0, 1)]
    place = checked_index(at, keys).unsqueeze(1).broadcast(*shape)
    return room.emit("scatter", [room, new, *index, place], axes=(0, 1, 2), combine=None)[0]
