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
from ...scalar.dtype import F32, I64
from ..registry import onnx_op
from ..values import bound, concat, demanded, scalar
from .attention import additive, head_scale, merge_heads, positions, rotated, split_heads
from .contrib import DOMAIN
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
        y, before, _ = written_out(q, k, v, bias, scale)
        return merge_heads(y), before
    inputs = [q, k, v] if bias is None else [q, k, v, bias]
    return merge_heads(q.emit("attention", inputs, scale=scale, causal=causal, zero_rows=False)[0]), None


def written_out(
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
    caches = tuple(appended(cache, t, at, cache.shape[2]) for cache, t in pairs)
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


def appended(past: Value, new: Value, at: Value, keys: Size) -> Value:
    """past [B, N, P, D] padded to `keys` positions, with new [B, N, S, D] written at positions `at` [B, S]."""
    batch, heads, length, size = new.shape
    past = past.ensure_shape(batch, heads, past.shape[2], size, text="batches, heads and sizes of past keys")
    room = past.pad([0] * 4, [0, 0, keys - past.shape[2], 0])
    shape = (batch, heads, length)
    index = [scalar(0, I64).emit("iota", [], shape=shape, axis=a, dtype=I64)[0] for a in (0, 1)]
    place = checked_index(at, keys).unsqueeze(1).broadcast(*shape)
    return room.emit("scatter", [room, new, *index, place], axes=(0, 1, 2), combine=None)[0]
