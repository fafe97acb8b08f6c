"""onnxruntime's attention in which heads of queries share keys (domain com.microsoft): of all keys, or of blocks.

In: values and attributes of a node. Out: values. Defined by onnxruntime's docs/ContribOperators.md.
"""

from __future__ import annotations

from ...errors import Unsupported
from ...graph.ir import Value
from ...scalar.dim import LEAST, Size, dim_max, dim_min
from ...scalar.dtype import BOOL, F32, I8, I64, U8
from ..registry import onnx_op
from ..values import bound, demanded, scalar
from .attention import additive, head_scale, merge_heads, positions, rotated, split_heads
from .contrib import DOMAIN
from .contrib_attention import appended, written_out
from .contrib_weights import unpacked
from .index import checked_index


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
        k, v = (past if shared else appended(past, t, at, keys) for past, t in pairs)
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
        y, scores, shares = written_out(grouped, k, v, bias, factor, softcap, sink)
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
