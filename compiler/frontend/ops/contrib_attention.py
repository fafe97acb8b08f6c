"""onnxruntime's own attention operators (domain com.microsoft), which its optimizer makes of transformers.

In: values and attributes of a node. Out: values. Defined by onnxruntime's docs/ContribOperators.md. Attention becomes
the graph's `attention`; where the softmax has a term of its own, or the scores are an output, it is written out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import Unsupported
from ...graph.ir import Value, constant
from ...scalar.dim import LEAST, Size, dim_max, dim_min, known_eq
from ...scalar.dtype import BOOL, F32, I8, I64, U8
from ..registry import onnx_op
from ..values import bound, concat, demanded, scalar
from .attention import additive, head_scale, merge_heads, positions, rotated, split_heads
from .contrib import DOMAIN
from .contrib_weights import unpacked
from .index import checked_index
from .matmul import product


def _key_mask(mask: Value, batch: Size, keys: Size, excluded: float) -> Value:
    """A key mask of onnxruntime as a bias (f32) for scores [B, N, S, T].

    mask: 0 and 1 in [B, T] or [B, S, T]; or the ends of the keys, [B]; or their ends, then their starts, [2 * B]."""
    if mask.rank == 1:
        both = known_eq(mask.shape[0], 2 * batch) is True
        mask = mask.ensure_shape(2 * batch if both else batch, text="the ends of the keys of each batch")
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


def _attended(
    q: Value, k: Value, v: Value, bias: Value | None, scale: float, causal: Size | None, scores: bool = False
) -> tuple[Value, Value | None]:
    """q, k, v [B, N, S, D] -> [B, S, N * D], and the scores before the softmax if they are wanted."""
    k = k.ensure_shape(*q.shape[:2], *k.shape[2:], text="batches and heads of queries and keys")
    v = v.ensure_shape(*k.shape[:3], v.shape[3], text="batches, heads and numbers of keys and values")
    if scores:
        if causal is not None:
            behind = positions(k.shape[2]) > positions(q.shape[2]).reshape(-1, 1) + q.const(0, I64).const_size(causal)
            bias = _plus(bias, additive(behind.map("not")))
        y, before, _ = _written_out(q, k, v, bias, scale)
        return merge_heads(y), before
    inputs = [q, k, v] if bias is None else [q, k, v, bias]
    return merge_heads(q.emit("attention", inputs, scale=scale, causal=causal, zero_rows=False)[0]), None


def _written_out(
    q: Value, k: Value, v: Value, bias: Value | None, scale: float, softcap: float = 0.0, sink: Value | None = None
) -> tuple[Value, Value, Value]:
    """The result in the type of q, the scores and their softmax in f32.

    softcap: a bound of the scores, which approach it by a tanh; sink: the score of a key without a value."""
    wide = q.cast(F32) * scale
    s = wide.matmul(k.cast(F32).permute(*range(k.rank - 2), k.rank - 1, k.rank - 2))
    s = (s / softcap).map("tanh") * softcap if softcap else s
    s = s if bias is None else s + bias.cast(F32)
    top = s.max(-1, keepdims=True)
    top = top if sink is None else top.map("max", sink)
    e = (s - top).exp()
    total = e.sum(-1, keepdims=True)
    p = e / (total if sink is None else total + (sink - top).exp())
    return p.matmul(v.cast(F32)).cast(q.dtype), s, p


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
    return self_attention(
        projected, sizes, mask, past, attention_bias, num_heads, mask_filter_value, scale, bool(unidirectional)
    )


def self_attention(
    projected: Value, sizes: list[Size], mask: Value | None, past: Value | None, attention_bias: Value | None,
    num_heads: int, mask_filter_value: float, scale: float, unidirectional: bool,
) -> tuple[Value, Value]:  # fmt: skip
    """projected [B, S, sum of `sizes`]: queries, keys and values. Returns the result and the keys and values so far."""
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
    excluded = None if mask is None else _key_mask(mask, q.shape[0], k.shape[2], mask_filter_value)
    total = _plus(excluded, _score_bias(attention_bias, q, k))
    y, _ = _attended(q, k, v, total, head_scale(scale, q.shape[-1]), before if unidirectional else None)
    return y, present


@onnx_op("MultiHeadAttention", domain=DOMAIN)
def multi_head_attention(
    query: Value, key: Value | None = None, value: Value | None = None, bias: Value | None = None,
    key_padding_mask: Value | None = None, attention_bias: Value | None = None, past_key: Value | None = None,
    past_value: Value | None = None, past_length: Value | None = None, cache_indirection: Value | None = None, *,
    num_heads: int, mask_filter_value: float = -10000.0, scale: float = 0.0,
    unidirectional: int = 0, n_outputs: int = 1,
) -> tuple[Value | None, ...]:  # fmt: skip
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
    q, k, v = _biased((q, k, v), (query, key, value), bias, num_heads)
    before: Size = 0
    presents: Sequence[Value] = ()
    if past_key is not None and past_value is not None:
        if past_length is not None:  # caches of full length
            q, before, presents, (k, v) = _in_place(q, ((past_key, k), (past_value, v)), past_length, cache_indirection)
        else:
            before = past_key.shape[2]
            k, v = concat([past_key, k], 2), concat([past_value, v], 2)
    excluded = None
    if key_padding_mask is not None:
        excluded = _key_mask(key_padding_mask, query.shape[0], k.shape[2], mask_filter_value)
    total = _plus(excluded, _score_bias(attention_bias, q, k))
    causal = before if unidirectional else None
    y, scores = _attended(q, k, v, total, head_scale(scale, q.shape[-1]), causal, scores=n_outputs > 3)
    return y, *(presents or (k, v)), None if scores is None else scores.cast(q.dtype)


def _biased(
    parts: tuple[Value, ...], sources: tuple[Value | None, ...], bias: Value | None, heads: int
) -> tuple[Value, ...]:
    """Queries, keys and values [B, N, S, D] plus the bias [sum of N * D]; a source of rank 4 has its bias already."""
    if bias is None:
        return parts
    widths = [heads * t.shape[-1] for t in parts]
    bias = bias.ensure_shape(sum(widths[1:], widths[0]), text="the bias of queries, keys and values")
    biased: list[Value] = []
    start: Size = 0
    for t, source, width in zip(parts, sources, widths):
        part = bias.narrow(0, start, width).reshape(heads, 1, t.shape[-1])
        biased.append(t if source is not None and source.rank == 4 else t + part)
        start = start + width
    return tuple(biased)


@onnx_op("DecoderMaskedMultiHeadAttention", domain=DOMAIN)
def decoder_masked_multi_head_attention(
    query: Value, key: Value | None = None, value: Value | None = None, mask: Value | None = None,
    attention_bias: Value | None = None, past_key: Value | None = None, past_value: Value | None = None,
    past_length: Value | None = None, beam_width: Value | None = None, cache_indirection: Value | None = None,
    bias: Value | None = None, *, num_heads: int, mask_filter_value: float = -10000.0, output_qk: int = 0,
    past_present_share_buffer: int = 0, scale: float = 0.0,
) -> tuple[Value | None, ...]:  # fmt: skip
    """A query of one token [B, 1, N * D], over keys that the encoder made, or over a cache that it is added to.

    cache_indirection [B / beams, beams, length of the cache]: the beam that each position of the cache came from."""
    if mask is not None and mask.rank != 2:
        raise Unsupported(f"a mask of rank {mask.rank}")
    query = query.ensure_shape(query.shape[0], 1, query.shape[2], text="Input sequence length should be 1")
    if key is None:  # queries, keys and values beside one another
        query, key, value = (query.narrow(2, query.shape[2] // 3 * i, query.shape[2] // 3) for i in range(3))
    if value is None:
        raise ValueError("a key without a value")
    q, k, v = (t if t.rank == 4 else split_heads(t, num_heads) for t in (query, key, value))
    q, k, v = _biased((q, k, v), (query, key, value), bias, num_heads)
    presents: tuple[Value | None, ...] = (None, None)
    if past_key is not None and past_value is not None:
        if not past_present_share_buffer or past_length is None:
            raise Unsupported("a cache that is not as long as the longest sequence")
        if cache_indirection is None and beam_width is not None:
            beams = bound(beam_width, 0, "beam_width")
            q = demanded(q, dim_max(beams, 1), 1, "several beams without cache_indirection")
        pairs = (past_key, k), (past_value, v)
        q, _, presents, (k, v) = _in_place(q, pairs, past_length, cache_indirection)
    excluded = None if mask is None else _key_mask(mask, q.shape[0], k.shape[2], mask_filter_value)
    total = _plus(excluded, _score_bias(attention_bias, q, k))
    y, scores = _attended(q, k, v, total, head_scale(scale, q.shape[-1]), None, scores=bool(output_qk))
    return y, *presents, scores


def _in_place(
    q: Value, pairs: Sequence[tuple[Value, Value]], past_length: Value, beams: Value | None
) -> tuple[Value, Size, tuple[Value, ...], list[Value]]:
    """Writes new keys and values [B, N, S, D] behind the `past_length` ones of caches of full length.

    Returns q, which checks the lengths, the number of past ones, the caches, and their valid parts, of `beams`."""
    (past, key), *_ = pairs
    batch, _, new, _ = key.shape
    before = bound(past_length, LEAST, "past_sequence_length")
    q = demanded(q, dim_min(dim_max(before, 0), past.shape[2] - new), before, "past_sequence_length is too long")
    at = (positions(new) + q.const(0, I64).const_size(before)).reshape(1, new).broadcast(batch, new)
    caches = tuple(_appended(cache, t, at, cache.shape[2]) for cache, t in pairs)
    valid = [cache.narrow(2, 0, before + new) for cache in caches]
    return q, before, caches, valid if beams is None else [_of_beams(cache, beams, before) for cache in valid]


def _of_beams(cache: Value, beams: Value, before: Size) -> Value:
    """The cache [B, N, T, D] of each beam, whose first `before` positions lie where `beams` says."""
    batch, heads, length, _ = cache.shape
    count, width = beams.shape[0], beams.shape[1]
    beams = beams.ensure_shape(count, width, beams.shape[2], text="beams of each position")
    beams = demanded(beams, count * width, batch, "cache_indirection is of another number of beams")
    beams = demanded(beams, dim_max(beams.shape[2], before), beams.shape[2], "cache_indirection is too short")
    row = positions(count).reshape(-1, 1, 1) * beams.const(0, I64).const_size(width)
    source = checked_index(beams.narrow(2, 0, before), width, "cache_indirection beam index out of range") + row
    own = positions(batch).reshape(batch, 1).broadcast(batch, length - before)
    rows = concat([source.reshape(batch, before), own], 1).unsqueeze(1).broadcast(batch, heads, length)
    index = [rows, *(rows.emit("iota", [], shape=rows.shape, axis=a, dtype=I64)[0] for a in (1, 2))]
    return cache.gather(index, range(3))


def _in_heads(x: Value, heads: int, width: Size) -> Value:
    """x [B, S, N * D] as [B, N, S, D]; a number of 0 heads means that they are as wide as what is rotated."""
    if x.rank != 3:
        return x
    count = heads if heads else x.shape[-1] // width
    if not isinstance(count, int):
        raise Unsupported("a number of heads that is not known")
    return split_heads(x, count)


@onnx_op("RotaryEmbedding", domain=DOMAIN)
def rotary_embedding(
    x: Value, position_ids: Value, cos: Value, sin: Value, *, interleaved: int = 0, is_packed_batching: int = 0,
    num_heads: int = 0, rotary_embedding_dim: int = 0, scale: float = 1.0,
) -> Value:  # fmt: skip
    """Sequences may lie packed behind one another, each with positions of its own; onnxruntime uses no `scale`."""
    heads = _in_heads(x, num_heads, cos.shape[-1] * 2)
    sin = sin.ensure_shape(*cos.shape, text="as many sines as cosines")
    at = position_ids
    if at.rank < 2:  # the position of the first element
        at = (at.ensure_shape(*[1] * at.rank, text="the first position") + positions(heads.shape[2])).unsqueeze(0)
    else:
        at = at.ensure_shape(heads.shape[0], heads.shape[2], text="positions of each element")
    cos, sin = (c.take(checked_index(at, c.shape[0]), 0).unsqueeze(1) for c in (cos, sin))
    y = rotated(heads, cos, sin, rotary_embedding_dim or heads.shape[-1], bool(interleaved))
    return merge_heads(y) if x.rank == 3 else y


@onnx_op("MRotaryEmbedding", domain=DOMAIN)
def m_rotary_embedding(
    x: Value, position_ids: Value, cos: Value, sin: Value, *, mrope_section: list[int], interleaved: int = 0,
    is_packed_batching: int = 0, mrope_layout: int = 0, num_heads: int = 0, rotary_embedding_dim: int = 0,
    scale: float = 1.0,
) -> Value:  # fmt: skip
    """position_ids [3, B, S]: in time, height and width, each of which turns a section of the pairs.

    The sections follow one another, or lie one in another: of three pairs one is turned by each."""
    if len(mrope_section) != 3 or min(mrope_section) < 0 or mrope_layout not in (0, 1):
        raise ValueError(f"mrope_section {mrope_section}, mrope_layout {mrope_layout}")
    if x.rank == 3 and not num_heads:
        raise ValueError("num_heads must be greater than 0 for rank-3 input")
    heads, half = _in_heads(x, num_heads, cos.shape[-1] * 2), sum(mrope_section)
    cos, sin = (c.ensure_shape(cos.shape[0], half, text="mrope_section of all pairs") for c in (cos, sin))
    stream = np.repeat(np.arange(3), mrope_section)
    if mrope_layout:
        pair = np.arange(half)
        stream = np.where(pair < np.take(mrope_section, pair % 3) * 3, pair % 3, 0)
    at = position_ids.ensure_shape(3, heads.shape[0], heads.shape[2], text="three positions of each element")
    at = checked_index(at, cos.shape[0]).take(constant(stream.astype(np.int64)), 0).permute(1, 2, 0)  # [B, S, pairs]
    cos, sin = (c.gather([at, positions(half)], [0, 1]).unsqueeze(1) * scale for c in (cos, sin))
    y = rotated(heads, cos, sin, rotary_embedding_dim or heads.shape[-1], bool(interleaved))
    return merge_heads(y) if x.rank == 3 else y


@onnx_op("GroupQueryAttention", domain=DOMAIN)
def group_query_attention(
    query: Value, key: Value | None = None, value: Value | None = None, past_key: Value | None = None,
    past_value: Value | None = None, seqlens_k: Value | None = None, total_length: Value | None = None,
    cos: Value | None = None, sin: Value | None = None, position_ids: Value | None = None,
    attention_bias: Value | None = None, head_sink: Value | None = None, k_scale: Value | None = None,
    v_scale: Value | None = None, *, num_heads: int, kv_num_heads: int, causal: int = 1, do_rotary: int = 0,
    k_quant_type: str = "NONE", kv_cache_bit_width: int = 0, local_window_size: int = -1, qk_output: int = 0,
    rotary_interleaved: int = 0, scale: float = 0.0, sliding_window_cache: int = 0, smooth_softmax: int = 0,
    softcap: float = 0.0, v_quant_type: str = "NONE",
) -> tuple[Value, ...]:  # fmt: skip
    """Appends the new keys and values to `past`, of which the first seqlens_k + 1 - S of each batch are valid.

    `present` is as long as total_length, and at least as long as `past`, so that caches allocated at full length keep
    it. The first prompt of a batch may be shorter than the others, and begins at 0."""
    if sliding_window_cache:
        raise Unsupported("sliding_window_cache")
    if seqlens_k is None:
        raise Unsupported("no seqlens_k")
    if causal not in (0, 1) or qk_output not in (0, 1, 2) or (local_window_size != -1 and not causal):
        raise ValueError(f"causal={causal}, local_window_size={local_window_size}, qk_output={qk_output}")
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
        turns = at if position_ids is None else _given_positions(position_ids, batch, new, total)
        angles = [c.take(checked_index(turns, c.shape[0]), 0).unsqueeze(1) for c in (cos, sin)]
        q, k = (rotated(t, angles[0], angles[1], cos.shape[-1] * 2, bool(rotary_interleaved)) for t in (q, k))
    caches = [
        _Cache(kind, factor, kv_cache_bit_width, kv_num_heads)
        for kind, factor in ((k_quant_type, k_scale), (v_quant_type, v_scale))
    ]
    k, v = (cache.stored(t) for cache, t in zip(caches, (k, v)))
    if past_key is not None and past_value is not None:
        past_value = past_value.ensure_shape(*past_key.shape[:3], past_value.shape[3], text="past keys and values")
        pairs = (past_key, k), (past_value, v)
        k, v = (past if shared else _appended(past, t, at, keys) for past, t in pairs)
        keys = k.shape[2]
    presents = k, v
    k, v = (cache.real(t, q) for cache, t in zip(caches, presents))
    place = positions(keys)
    allowed = place <= lengths.reshape(batch, 1, 1, 1)
    if causal:
        distance = place - at.reshape(batch, 1, new, 1)
        allowed = allowed.map("and", distance <= 0)
        if local_window_size >= 0:
            allowed = allowed.map("and", distance > -local_window_size)
    heads = num_heads // kv_num_heads
    grouped = q.reshape(batch, kv_num_heads, heads, new, size)
    k, v, bias = k.unsqueeze(2), v.unsqueeze(2), additive(allowed).unsqueeze(2)
    if attention_bias is not None:
        shape = (1 if d == 1 else own for d, own in zip(attention_bias.shape, (batch, num_heads)))
        given = attention_bias.ensure_shape(*shape, new, total, text="attention_bias of each query and key")
        given = given.pad([0] * 4, [0, 0, 0, dim_max(keys - total, 0)]).cast(F32)
        of_heads = (kv_num_heads, heads) if given.shape[1] != 1 else (1, 1)
        bias = bias + given.reshape(given.shape[0], *of_heads, new, keys)
    factor = head_scale(scale, size)
    if softcap or smooth_softmax == 1 or head_sink is not None or qk_output:
        sink = head_sink
        if sink is not None:
            sink = sink.ensure_shape(num_heads, text="a sink of each head").cast(F32).reshape(kv_num_heads, heads, 1, 1)
        elif smooth_softmax == 1:
            sink = scalar(0.0, F32)
        y, scores, shares = _written_out(grouped, k, v, bias, factor, softcap, sink)
        table = allowed.unsqueeze(2).select(scores, 0) if qk_output == 1 else shares
        table = table.cast(q.dtype).reshape(batch, num_heads, new, keys).narrow(3, 0, total)
    else:
        inputs = [grouped, k, v, bias]
        y = q.emit("attention", inputs, scale=factor, causal=None, zero_rows=False)[0]
    y = merge_heads(y.reshape(batch, num_heads, new, v.shape[-1]))
    return (y, *presents, table) if qk_output else (y, *presents)


def _given_positions(position_ids: Value, batch: Size, new: Size, total: Size) -> Value:
    """Positions [B, S] that a model gives; of the first prompt, onnxruntime reads the first only."""
    ids = position_ids.ensure_shape(batch, new, text="a position of each element")
    prompt = ids.const_size(total).map("eq", ids.const_size(new))
    return prompt.select(ids.narrow(0, 0, 1).narrow(1, 0, 1) + positions(new), ids)


class _Cache:
    """How keys, or values, are kept: as they are, or as integers of 8 or 4 bits, the latter two in a byte, plus 8."""

    def __init__(self, kind: str, scale: Value | None, bits: int, heads: int) -> None:
        if kind not in ("NONE", "PER_TENSOR", "PER_CHANNEL"):
            raise ValueError(f"there is no quantisation '{kind}'")
        self.bits = bits if kind != "NONE" else 0
        if kind != "NONE" and (scale is None or bits not in (4, 8)):
            raise ValueError(f"a cache of {bits} bits, quantised {kind}, without a scale or of another number of bits")
        self.scale = None if scale is None else scale.reshape(*([heads, 1, -1] if kind == "PER_CHANNEL" else []))

    def stored(self, x: Value) -> Value:
        """x [B, N, S, D] as it is kept."""
        if self.scale is None or not self.bits:
            return x
        y = (x.cast(F32) / self.scale).map("round")
        if self.bits == 8:
            return y.map("max", -128.0).map("min", 127.0).cast(I8)
        codes = (y.map("max", -8.0).map("min", 7.0) + 8.0).cast(U8)
        pairs = codes.reshape(*x.shape[:-1], x.shape[-1] // 2, 2)
        low, high = (pairs.narrow(-1, i, 1).squeeze(-1) for i in (0, 1))
        return low.map("bit_or", high.map("shl", 4))

    def real(self, x: Value, like: Value) -> Value:
        """What is kept as numbers, in the type of the queries."""
        if self.scale is None or not self.bits:
            return x
        whole = x.cast(F32) if self.bits == 8 else unpacked(x, 4).cast(F32) - 8.0
        return (whole * self.scale).cast(like.dtype)


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


@onnx_op("SparseAttention", domain=DOMAIN)
def sparse_attention(
    query: Value, key: Value | None, value: Value | None, past_key: Value, past_value: Value, block_rows: Value,
    block_columns: Value, total_length: Value, key_lengths: Value, cos: Value | None = None, sin: Value | None = None,
    *, kv_num_heads: int, num_heads: int, sparse_block_size: int, do_rotary: int = 0, rotary_interleaved: int = 0,
    scale: float = 0.0,
) -> tuple[Value, ...]:  # fmt: skip
    """GroupQueryAttention in which a block of queries sees blocks of keys; key_lengths [B]: all keys of each batch.

    The blocks of each layout of heads are the rows of a sparse matrix: its ends of rows [L, blocks + 1], and columns
    [L, n]. Heads have the layouts in turn."""
    if num_heads % kv_num_heads or sparse_block_size < 1:
        raise ValueError(f"{num_heads} heads for {kv_num_heads}, blocks of {sparse_block_size}")
    layouts, count = block_rows.shape[0], block_rows.shape[1] - 1
    seen = _blocks(block_rows, block_columns)
    total = bound(total_length, LEAST, "total")
    batch, new = query.shape[:2]
    room = dim_min(past_key.shape[2], count * sparse_block_size)
    query = demanded(
        query, dim_min(dim_max(total, 1), room), total, "total_sequence_length exceeds the cache, or blocks"
    )
    lengths = key_lengths.ensure_shape(batch, text="key_total_sequence_lengths of each batch").cast(I64)
    low = lengths.const_size(dim_min(new, total))
    inside = (lengths >= low).map("and", lengths <= lengths.const_size(total))
    lengths = lengths.require(inside, "key_total_sequence_lengths are out of range").reshape(batch, 1, 1, 1)
    at = (lengths - lengths.const_size(new)).map("max", 0) + positions(new).reshape(new, 1)  # [B, 1, S, 1]
    row = at.map("div", sparse_block_size).map("min", at.const_size(count - 1))
    layout = positions(num_heads).map("mod", at.const_size(layouts)).reshape(num_heads, 1, 1)
    bias = additive(seen.gather([layout, row, positions(total).map("div", sparse_block_size)], range(3)))
    return group_query_attention(
        query, key, value, past_key, past_value, lengths.reshape(batch) - 1, total_length, cos, sin, None, bias,
        num_heads=num_heads, kv_num_heads=kv_num_heads, do_rotary=do_rotary, rotary_interleaved=rotary_interleaved,
        scale=scale,
    )  # fmt: skip


def _blocks(rows: Value, columns: Value) -> Value:
    """The dense bool matrices [L, R, R] of sparse ones: ends of rows [L, R + 1], columns [L, n]."""
    layouts, count = rows.shape[0], rows.shape[1] - 1
    most = columns.shape[1]
    columns = columns.ensure_shape(layouts, most, text="columns of each layout")
    begins, ends = rows.narrow(1, 0, count).cast(I64), rows.narrow(1, 1, count).cast(I64)
    first = rows.narrow(1, 0, 1).map("eq", 0)
    valid = (begins <= ends).map("and", ends <= ends.const_size(most)).map("and", first)
    ends = ends.require(valid, "block_row_indices do not ascend from 0 to at most the number of columns")
    place = positions(most)
    row = (ends.unsqueeze(2) <= place).cast(I64).sum(1)  # of each column, [L, n]; R behind the last row
    used = row < row.const_size(count)
    column = checked_index(used.select(columns.cast(I64), 0), count, "block_col_indices are out of range")
    empty = scalar(False, BOOL).broadcast(layouts, count + 1, count)
    layout = row.emit("iota", [], shape=row.shape, axis=0, dtype=I64)[0]
    yes = scalar(True, BOOL).broadcast(*row.shape)
    return empty.emit("scatter", [empty, yes, layout, row, column], axes=(0, 1, 2), combine=None)[0].narrow(1, 0, count)
