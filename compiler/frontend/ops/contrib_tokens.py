"""onnxruntime's own operators on sequences of tokens and characters (domain com.microsoft).

In: values and attributes of a node. Out: values. Defined by onnxruntime's docs/ContribOperators.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce

import numpy as np

from ...errors import Unsupported
from ...graph.ir import Value, constant
from ...scalar.dim import Size, Symbol, dim_max, dim_min
from ...scalar.dtype import I32, I64, STRING, U32, U64
from ..objects import host, host_object, tensor, tensor_type
from ..registry import Capture, onnx_op
from ..values import bound, concat, demanded, scalar, shape_arg
from .contrib import DOMAIN
from .control import repeated
from .index import checked_index, iota

MOST_GRAMS = 64  # lengths of n-grams that are compared each by operations of their own


def _rotated(x: Value, bits: int) -> Value:
    return x.map("shl", bits).map("bit_or", x.map("shr", 32 - bits))


@onnx_op("MurmurHash3", domain=DOMAIN)
def murmur_hash_3(x: Value, *, positive: int = 1, seed: int = 0) -> Value:
    """MurmurHash3_x86_32 of each string, or element of 4 or 8 bytes (https://github.com/aappleby/smhasher)."""
    if x.dtype == STRING:
        made = host("MurmurHash3", [x], (U32 if positive else I32, x.shape), seed=seed, positive=bool(positive))
        return made[0]
    if x.dtype.bits not in (32, 64):
        raise Unsupported(f"elements of type {x.dtype}")
    if x.dtype.bits == 32:
        blocks = [x.map("bitcast", dtype=U32)]
    else:
        wide = x.map("bitcast", dtype=U64)
        blocks = [part.map("bit_and", 0xFFFFFFFF).cast(U32) for part in (wide, wide.map("shr", 32))]
    h = scalar(seed % (1 << 32), U32).broadcast(*x.shape)
    for block in blocks:
        k = _rotated(block * 0xCC9E2D51, 15) * 0x1B873593
        h = _rotated(h.map("bit_xor", k), 13) * 5 + 0xE6546B64
    h = h.map("bit_xor", 4 * len(blocks))
    h = h.map("bit_xor", h.map("shr", 16)) * 0x85EBCA6B
    h = h.map("bit_xor", h.map("shr", 13)) * 0xC2B2AE35
    h = h.map("bit_xor", h.map("shr", 16))
    return h if positive else h.map("bitcast", dtype=I32)


@onnx_op("Tokenizer", domain=DOMAIN)
def tokenizer(
    x: Value, *, mark: int, mincharnum: int, pad_value: str, separators: list[str] | None = None,
    tokenexp: str | None = None,
) -> Value:  # fmt: skip
    """The tokens of each string of x, [C] or [N, C], filled up to the largest number of them."""
    if x.rank not in (1, 2):
        raise ValueError(f"Input dimensions are either [C] or [N][C], not {list(x.shape)}")
    if mincharnum <= 0:
        raise ValueError("attribute mincharnum must have a positive value")
    if (not separators) == (not tokenexp):
        raise ValueError("one of the attributes separators and tokenexp is needed")
    if separators == [""] and mincharnum > 1:
        raise ValueError("mincharnum is too big for char level tokenezation")
    if 0 in x.shape and all(isinstance(d, int) for d in x.shape):  # as by onnxruntime, without an axis of tokens
        return constant(np.empty((*x.shape[:-1], 0), object))  # type: ignore[arg-type]
    made = host_object(
        tensor_type(STRING, x.rank + 1), "Tokenizer", [x], mark=bool(mark), padding=pad_value, least=mincharnum,
        separators=separators, expression=tokenexp or None,
    )  # fmt: skip
    return tensor(made, x.shape)


def _all_equal(a: Value, a_start: Size, b: Value, b_start: Size, count: Size, length: int) -> Value:
    """Which of `count` runs of `length` elements of a [B, N], from a_start on, are the run of b at b_start: bool."""
    same = [a.narrow(-1, a_start + k, count).map("eq", b.narrow(-1, b_start + k, 1)) for k in range(length)]
    return reduce(lambda x, y: x.map("and", y), same)


@onnx_op("NGramRepeatBlock", domain=DOMAIN)
def ngram_repeat_block(ids: Value, scores: Value, *, ngram_size: int) -> Value:
    """scores [B, V], with -inf for tokens that would repeat a run of `ngram_size` tokens of ids [B, S]."""
    if not 0 < ngram_size <= MOST_GRAMS:
        raise Unsupported(f"n-grams of {ngram_size} tokens")
    ids = ids.ensure_shape(scores.shape[0], ids.shape[1], text="tokens and scores of one number of batches")
    before = ngram_size - 1
    length = ids.shape[1]
    count = dim_max(length - before, 0)
    padded = ids.pad([0, before], [0, before])  # so that short sequences have a last n-gram, too
    token = padded.narrow(1, 2 * before, count) if before else ids
    at = token.cast(I64)
    if before:
        repeated = _all_equal(padded, before, padded, length, count, before)
        at = repeated.select(at, 0)
        blocked = repeated.select(scores.const(-math.inf), scores.const(math.inf))
    else:
        blocked = scores.const(-math.inf).broadcast(*token.shape)
    at = checked_index(at, scores.shape[1], "token_id of a repeated n-gram is out of range")
    rows = iota(at.shape, 0, at)
    return scores.emit("scatter", [scores, blocked, rows, at], axes=(0, 1), combine="min")[0]


@onnx_op("BifurcationDetector", domain=DOMAIN)
def bifurcation_detector(
    source: Value, current: Value, previous: Value, predicted: Value | None = None, *, max_ngram_size: int = 3,
    min_ngram_size: int = 1,
) -> tuple[Value, Value]:  # fmt: skip
    """All are vectors of tokens, but for `previous`, the place in `source` where the predicted tokens begin.

    The tokens are the current ones and those predicted up to the first that is not the source's. The place is behind
    the only run of the source that is a suffix of the tokens, of the longest length that has one; else -1."""
    if not 0 < min_ngram_size <= max_ngram_size:
        raise ValueError(f"n-grams of {min_ngram_size} to {max_ngram_size} tokens")
    if max_ngram_size > MOST_GRAMS:
        raise Unsupported(f"n-grams of {max_ngram_size} tokens")
    if source.rank != 1 or current.rank != 1:
        raise ValueError(f"tokens of rank {source.rank} and {current.rank}")
    previous = previous.ensure_shape(*[1] * previous.rank, text="one place in the source")
    size, tokens = source.shape[0], current
    if predicted is not None:
        start = shape_arg(previous, "prev_suffix_match_idx")[0]
        source = demanded(source, dim_min(dim_max(start, 0), size), start, "prev_suffix_match_idx is out of range")
        predicted = predicted.ensure_shape(size + 1 - start, text="pred_tokens length mismatch")
        same = predicted.narrow(0, 0, size - start).map("eq", source.narrow(0, start, size - start))
        first = same.select(same.const(0, I64).const_size(size - start), iota(same.shape, 0, same.const(0, I64)))
        agreed = bound(first.min().map("min", first.const_size(size - start)), name="agreed", upper=size)
        tokens = concat([current, predicted.narrow(0, 0, agreed + 1)], 0)
    length = tokens.shape[0]
    padded = tokens.pad([max_ngram_size], [0])
    number = scalar(0, I64)
    place, ended = scalar(-1, I64), number.const_size(length) < min_ngram_size
    for n in range(min_ngram_size, max_ngram_size + 1):
        ended = ended.map("or", number.const_size(length) < n)
        count = dim_max(size - n + 1, 0)
        runs = _all_equal(source, 0, padded, length + max_ngram_size - n, count, n) if n else None
        assert runs is not None
        found = runs.cast(I64).sum()
        first = runs.select(iota(runs.shape, 0, number), number.const_size(size)).min()
        ended = ended.map("or", found.map("eq", 0))
        behind = first + n
        at_end = behind >= number.const_size(size)
        place = ended.select(place, at_end.map("or", found.map("eq", 1)).select(behind, -1))
        ended = ended.map("or", at_end)
    return tokens, place.broadcast(*previous.shape)


@onnx_op("NGramHashMapping", domain=DOMAIN)
def ngram_hash_mapping(
    ids: Value, multipliers: Value, sizes: Value, past: Value | None = None, offsets: Value | None = None,
    eos: Value | None = None, segments: Value | None = None, *, max_ngram_size: int, n_head_per_ngram: int,
    pad_id: int, reset_on_eos: int = 0,
) -> tuple[Value, Value]:  # fmt: skip
    """Hashes of the last 2, 3, ..., max_ngram_size tokens at each position of ids [B, S], of several heads each.

    Returns [B, S, heads], and the tokens that the next call needs as its past [B, max_ngram_size - 1]."""
    batch, length = ids.shape
    before = max_ngram_size - 1
    filler = ids.const(pad_id) if eos is None else eos.reshape()
    if past is None:
        past = filler.broadcast(batch, before)
    all_ids = concat([past.ensure_shape(batch, before, text="the tokens of the past"), ids], 1)

    def back(v: Value, k: int) -> Value:
        """v [B, before + S] at the positions k before those of ids."""
        return v.narrow(1, before - k, length)

    turns: Value | None = None
    if segments is not None:
        segments = segments.ensure_shape(batch, length, text="a segment of each token")
        earlier = segments.pad([0, 1], [0, 0]).narrow(1, 0, length)
        inner = iota((1, length), 1, ids) > 0
        turns = segments.map("ne", earlier).map("and", inner).pad([0, before], [0, 0], False)

    def step(k: int) -> tuple[Value, list[Value]]:
        borders = [] if turns is None else [back(turns, k - 1)]
        return back(all_ids, k), borders

    ends = filler if reset_on_eos and eos is not None else None
    y = _hashes(ids, step, multipliers, sizes, offsets, filler, ends, max_ngram_size, n_head_per_ngram)
    return y, all_ids.narrow(1, length, before)


def _hashes(
    ids: Value, step: Callable[[int], tuple[Value, list[Value]]], multipliers: Value, sizes: Value,
    offsets: Value | None, filler: Value, ends: Value | None, longest: int, heads: int,
) -> Value:  # fmt: skip
    """The hashes [..., (longest - 1) * heads] of ids [...] and the tokens before them.

    step: the tokens k before, and whether a sequence begins between them and those after. `filler` stands for what is
    before the sequence of a token, which the token `ends` ends."""
    if not 2 <= longest <= MOST_GRAMS or heads < 1:
        raise Unsupported(f"n-grams of up to {longest} tokens, {heads} heads")
    count = (longest - 1) * heads
    sizes = sizes.ensure_shape(count, text="vocab_sizes of each head")
    sizes = sizes.require(sizes > 0, "vocab_sizes must be positive")
    cut: Value | None = None
    mixed, hashes = ids * multipliers.narrow(0, 0, 1), []
    for k in range(1, longest):
        token, borders = step(k)
        for border in borders if ends is None else [*borders, token.map("eq", ends)]:
            cut = border if cut is None else cut.map("or", border)
        token = token if cut is None else cut.select(filler, token)
        mixed = mixed.map("bit_xor", token * multipliers.narrow(0, k, 1))
        hashes.append(mixed.unsqueeze(-1).map("mod", sizes.narrow(0, (k - 1) * heads, heads)))
    y = concat(hashes, -1)
    return y if offsets is None else y + offsets.ensure_shape(count, text="head_offsets of each head")


@onnx_op("VarlenNGramHashMapping", domain=DOMAIN)
def varlen_ngram_hash_mapping(
    ids: Value, multipliers: Value, sizes: Value, ends: Value, past: Value | None = None,
    offsets: Value | None = None, eos: Value | None = None, segments: Value | None = None,
    past_segments: Value | None = None, capture_count: Value | None = None, *, max_ngram_size: int,
    n_head_per_ngram: int, pad_id: int, reset_on_eos: int = 0, state_update_capacity: int = 0,
) -> tuple[Value | None, ...]:  # fmt: skip
    """NGramHashMapping of sequences that follow one another in ids [T]; ends [B + 1]: where they begin, and the end."""
    if state_update_capacity or capture_count is not None:
        raise Unsupported("state_update_capacity")
    total, batch, before = ids.shape[0], ends.shape[0] - 1, max_ngram_size - 1
    first, last = (ends.narrow(0, i, batch).cast(I64) for i in (0, 1))
    outer = first.map("max", last.const_size(0)).map("eq", first).map("and", last <= last.const_size(total))
    last = last.require(
        (first < last).map("and", outer), "cumulative_sequence_length does not ascend within the tokens"
    )
    place = iota((total,), 0, last)
    row = (last.unsqueeze(1) <= place).cast(I64).sum(0).map("min", last.const_size(batch - 1))  # the sequence of each
    inner = place - first.take(row, 0)  # its place there
    filler = ids.const(pad_id) if eos is None else eos.reshape()
    text = "the past of each sequence"
    past = filler.broadcast(batch, before) if past is None else past.ensure_shape(batch, before, text=text)

    def back(v: Value, old: Value, k: int) -> Value:
        """v [T], and `old` [B, before] before it, at the positions k before those of ids."""
        here = v.take((place - k).map("max", 0), 0)
        there = old.gather([row, (inner - k + before).map("max", 0).map("min", before - 1)], [0, 1])
        return (inner >= k).select(here, there)

    def at_end(v: Value, old: Value) -> Value:
        """The last elements [B, before] of each sequence and its past."""
        at = iota((1, before), 1, last) - before + (last - first).unsqueeze(1)
        here = v.take((at + first.unsqueeze(1)).map("max", 0), 0)
        own = iota((batch, 1), 0, last).broadcast(batch, before)
        there = old.gather([own, (at + before).map("min", before - 1)], [0, 1])
        return (at >= 0).select(here, there)

    known = segments
    old_segments: Value | None = None
    if known is not None:
        known = known.ensure_shape(total, text="a segment of each token")
        old_segments = scalar(0, known.dtype).broadcast(batch, before)
        if past_segments is not None:
            old_segments = past_segments.ensure_shape(batch, before, text=text)

    def step(k: int) -> tuple[Value, list[Value]]:
        borders: list[Value] = []
        if known is not None and old_segments is not None:
            turn = back(known, old_segments, k).map("ne", back(known, old_segments, k - 1))
            borders.append(turn if past_segments is not None else turn.map("and", inner >= k))
        return back(ids, past, k), borders

    end = filler if reset_on_eos and eos is not None else None
    y = _hashes(ids, step, multipliers, sizes, offsets, filler, end, max_ngram_size, n_head_per_ngram)
    present = None if known is None or old_segments is None else at_end(known, old_segments)
    return y, at_end(ids, past), present


@onnx_op("DynamicTimeWarping", domain=DOMAIN)
def dynamic_time_warping(x: Value) -> Value:
    """The places [2, n] of the cheapest path through x [M, N], or [1, M, N], from its first element to its last.

    Costs are found along one antidiagonal after the other, and then the path from its end on."""
    if x.rank == 3:
        x = x.ensure_shape(1, *x.shape[1:], text="one matrix of costs").squeeze(0)
    if x.rank != 2:
        raise ValueError(f"costs of rank {x.rank}")
    rows, columns = x.shape
    whole = scalar(0, I64)
    x = x.pad([0, 0], [1, 1])  # so that there is an element, also of no costs
    steps = dim_max(rows + columns - 1, 0)
    row = iota((rows,), 0, whole)
    never = x.const(math.inf).broadcast(rows + 1)
    start = iota((rows + 1,), 0, whole).map("eq", 0).select(x.const(0.0), math.inf)

    def forward(i: Symbol, index: Value, capture: Capture, *states: Value) -> tuple[list[Value], list[Value]]:
        """Element r of an antidiagonal is the cost of the path to row r - 1; it has a border, row 0."""
        last, before = states  # the antidiagonal before this one, and the one before that
        column = index - row
        inside = (column >= 0).map("and", column < whole.const_size(columns))
        own = capture(x).gather([row, inside.select(column, 0)], [0, 1])
        both, down, right = before.narrow(0, 0, rows), last.narrow(0, 0, rows), last.narrow(0, 1, rows)
        is_both = (both < down).map("and", both < right)
        is_down = (down < both).map("and", down < right)
        least = is_both.select(both, is_down.select(down, right))
        cost = inside.select(own + least, math.inf).pad([1], [0], math.inf)
        move = is_both.select(0, is_down.select(whole.const(1), 2))
        return [cost, last], [move.pad([0], [1])]

    _, (moves,) = repeated(steps, [never, start], forward)

    def backward(i: Symbol, index: Value, capture: Capture, *states: Value) -> tuple[list[Value], list[Value]]:
        r, c = states
        inside = (r >= 0).map("and", c >= 0)
        diagonal, at = inside.select(r + c, 0), inside.select(r, 0)
        move = capture(moves).gather([diagonal, at], [0, 1])
        place = concat([r.reshape(1), c.reshape(1)], 0)
        return [move.map("eq", 2).select(r, r - 1), move.map("eq", 1).select(c, c - 1)], [place]

    _, (places,) = repeated(steps, [whole.const_size(rows - 1), whole.const_size(columns - 1)], backward)
    count = bound((places >= 0).reduce("and", 1).cast(I64).sum(), name="path", upper=steps)
    return places.narrow(0, 0, count).flip(0).permute(1, 0).cast(I32)


@onnx_op("WordConvEmbedding", domain=DOMAIN)
def word_conv_embedding(
    words: Value, w: Value, bias: Value, table: Value, *, char_embedding_size: int | None = None,
    conv_window_size: int | None = None, embedding_size: int | None = None,
) -> Value:  # fmt: skip
    """words [..., L], of characters, 0 behind their end; w [F, 1, K, E]; table [characters, E] -> [..., F].

    The maximum over the windows of a word of tanh(window * w + bias); 0 for words without characters."""
    filters, _, window, width = w.shape
    for own, given in ((filters, embedding_size), (window, conv_window_size), (table.shape[1], char_embedding_size)):
        w = demanded(w, own, own if given is None else given, "a size that the attributes do not have")
    if words.rank < 2 or not isinstance(window, int):
        raise ValueError(f"words of rank {words.rank}, windows of {window}")
    length = words.shape[-1]
    words = demanded(words, dim_max(length, window), length, "Conv kernel width must not exceed word length")
    w = w.ensure_shape(filters, 1, window, table.shape[1], text="Char embedding size does not match the kernel")
    bias = bias.ensure_shape(filters, text="conv bias B must be a 1-D tensor of the number of filters")
    known = (words >= 0).map("and", words < words.const_size(table.shape[0]))
    size = (words > 0).cast(I64).sum(-1, keepdims=True)
    size = (words.narrow(-1, 0, 1) > 0).select(size, 0)
    read = (iota((length,), 0, size) < size.map("max", window)).map("and", known)
    letters = read.unsqueeze(-1).select(table.take(known.select(words, 0).cast(I64), 0), 0)  # [..., L, E]
    windows = letters.window([-2], [window], [1], [1])  # [..., L - K + 1, E, K]
    kernel = w.reshape(filters, window, width).permute(0, 2, 1).reshape(filters, width * window)
    rows = windows.reshape(*windows.shape[:-2], width * window)
    y = (rows.matmul(kernel.permute(1, 0)) + bias).map("tanh")
    places = (size - window + 1).map("max", 1).unsqueeze(-1)
    inside = iota((y.shape[-2], 1), 0, size) < places
    return (size > 0).select(inside.select(y, -math.inf).max(-2), 0)
