"""onnxruntime's own attention operators: caches, masks, terms of the softmax, scores as outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

pytest.importorskip("onnxruntime")

from .nodes import Array, assert_same, model, ours, theirs

RNG = np.random.default_rng(0)
Case = tuple[str, list[Any], dict[str, Any], int]
HEADS = {"num_heads": 4, "kv_num_heads": 2}
ANGLES = np.outer(np.arange(16), 1.0 / 10 ** np.arange(8))
CACHES = [np.cos(ANGLES).astype(np.float32), np.sin(ANGLES).astype(np.float32)]


def f(*shape: int, dtype: Any = np.float32) -> Array:
    return RNG.standard_normal(shape).astype(dtype)


def ints(*values: int, dtype: Any = np.int32) -> Array:
    return np.array(values, dtype)


def one(value: int) -> Array:
    return np.array(value, np.int32)


def grouped(
    batch: int, new: int, lengths: tuple[int, ...], total: int, past: int | None = None, more: Any = (),
    dtype: Any = np.float32, outputs: int = 3, **attrs: Any,
) -> Case:  # fmt: skip
    """GroupQueryAttention of `new` tokens with a cache of `past` positions; more: what follows `total`."""
    size = 16
    cache = [None, None] if past is None else [f(batch, 2, past, size, dtype=dtype) for _ in range(2)]
    query, key, value = (f(batch, new, n * size, dtype=dtype) for n in (4, 2, 2))
    inputs = [query, key, value, *cache, ints(*(n - 1 for n in lengths)), one(total), *more]
    return "GroupQueryAttention", inputs, {**HEADS, **attrs}, outputs


def quantized(bits: int, kind: str, past: int, new: int, total: int, dtype: Any = np.float32) -> Case:
    """GroupQueryAttention with a cache of integers."""
    shape = (1, 2, past, 16 * bits // 8)
    low, high, of_cache = (-128, 128, np.int8) if bits == 8 else (0, 256, np.uint8)
    cache = [RNG.integers(low, high, shape).astype(of_cache) for _ in range(2)]
    scales = [np.float32(RNG.uniform(0.02, 0.08, 1 if kind == "PER_TENSOR" else 32)) for _ in range(2)]
    op, inputs, attrs, _ = grouped(1, new, (total,), total, None, [None] * 5 + scales, dtype)
    inputs[3:5] = cache
    return op, inputs, {**attrs, "k_quant_type": kind, "v_quant_type": kind, "kv_cache_bit_width": bits}, 3


BIAS = [None] * 3
SINK = [None] * 4
POSITIONS = ints(4, 5, 6, 7, 3, 2, dtype=np.int64).reshape(2, 3)
PLACES = RNG.integers(0, 16, (3, 2, 3))
BEAMS = ints(0, 1, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0).reshape(1, 2, 6)


def decoder(*more: Any, cache: int | None = 6, packed: bool = False, **attrs: Any) -> Case:
    """DecoderMaskedMultiHeadAttention of one token in two batches."""
    heads, size = 2, 8
    if cache is None:
        inputs = [f(2, 1, 16), f(2, heads, 5, size), f(2, heads, 5, size), *more]
    else:
        parts = [f(2, 1, 48), None, None] if packed else [f(2, 1, 16) for _ in range(3)]
        mask, bias, *rest = more
        inputs = [*parts, mask, bias, *(f(2, heads, cache, size) for _ in range(2)), *rest]
        attrs = {"past_present_share_buffer": 1, **attrs}
    outputs = 4 if attrs.get("output_qk") else 3 if cache else 1
    return "DecoderMaskedMultiHeadAttention", inputs, {"num_heads": heads, **attrs}, outputs


ROWS, COLUMNS = (
    ints(0, 1, 3, 4, 6, 0, 1, 2, 4, 7).reshape(2, 5),
    ints(0, 0, 1, 2, 1, 3, -1, 0, 1, 0, 2, 0, 2, 3).reshape(2, 7),
)


def sparse(batch: int, new: int, lengths: tuple[int, ...], total: int, rows: Array = ROWS, columns: Array = COLUMNS,
           more: Any = (), **attrs: Any) -> Case:  # fmt: skip
    """SparseAttention with a cache of 64 positions in blocks of 16."""
    parts = [f(batch, new, n * 16) for n in (4, 2, 2)]
    cache = [f(batch, 2, 64, 16) for _ in range(2)]
    inputs = [*parts, *cache, rows, columns, ints(total), ints(*lengths), *more]
    return "SparseAttention", inputs, {**HEADS, "sparse_block_size": 16, **attrs}, 3


CASES: list[Case] = [
    *(grouped(2, 3, (3, 2 if dtype == np.float32 else 3), 3, None, more, dtype, outputs, **attrs)
      for dtype in (np.float32, np.float16)
      for more, outputs, attrs in (
        ((), 3, {}), ((), 3, {"causal": 0}), ((), 3, {"softcap": 1.5}), ((), 3, {"smooth_softmax": 1}),
        ((), 4, {"qk_output": 1}), ((), 4, {"qk_output": 2, "softcap": 0.7}),
        ([*BIAS, f(2, 4, 3, 3, dtype=dtype)], 3, {}), ([*BIAS, f(1, 1, 3, 3, dtype=dtype)], 4, {"qk_output": 1}),
        ([*SINK, f(4, dtype=dtype)], 3, {}), ([*SINK, f(4, dtype=dtype)], 4, {"qk_output": 2}),
    )),
    *(grouped(len(lengths), new, lengths, total, 5, more, outputs=outputs, **attrs)
      for new, lengths, total in ((1, (4, 3), 4), (1, (6, 6), 6), (2, (5,), 5), (2, (7,), 7))
      for more, outputs, attrs in (
        ((), 3, {}), ((), 3, {"local_window_size": 2}), ((), 4, {"qk_output": 1}), ((), 3, {"softcap": 2.0}),
        ([*BIAS, f(len(lengths), 1, new, total)], 3, {}), ([*SINK, f(4)], 4, {"qk_output": 2, "local_window_size": 2}),
    )),
    grouped(2, 3, (3, 3), 3, None, [*CACHES, POSITIONS], do_rotary=1),
    grouped(2, 1, (5, 5), 5, 4, [*CACHES, POSITIONS[:, :1]], do_rotary=1),
    grouped(1, 3, (3,), 3, None, [*CACHES], do_rotary=1, rotary_interleaved=1, softcap=1.0),
    *(quantized(bits, kind, past, new, total, dtype)
      for bits in (4, 8) for kind in ("PER_TENSOR", "PER_CHANNEL") for past, new, total, dtype in (
        (4, 4, 4, np.float32), (3, 1, 4, np.float32), (8, 1, 4, np.float32), (4, 1, 4, np.float16),
    )),
    *(("MultiHeadAttention",
       [*(f(2, new, 16) for _ in range(3)), *more, *(f(2, 2, 6, 8) for _ in range(2)), ints(past)],
       {"num_heads": 2, "unidirectional": causal}, 3)
      for new, past in ((1, 3), (2, 3), (3, 0), (1, 5)) for causal in (0, 1)
      for more in ([None] * 3, [f(48), None, f(1, 2, new, past + new)])),
    ("MultiHeadAttention", [f(2, 4, 8), f(2, 4, 8), f(2, 4, 8)], {"num_heads": 2, "unidirectional": 1}, 1),
    decoder(cache=None), decoder(ints(1, 1, 1, 1, 0, 1, 1, 1, 1, 1).reshape(2, 5), cache=None),
    *(decoder(None, None, ints(length), *more) for length in (0, 3, 5) for more in ([], [None, None, f(48)])),
    decoder(None, f(1, 2, 1, 4), ints(3)),
    decoder(ints(1, 0, 1, 1, 1, 1, 1, 1).reshape(2, 4), None, ints(3)),
    *(("MRotaryEmbedding", [x, PLACES, *(c[:, :half] for c in CACHES)],
       {"mrope_section": section, "mrope_layout": layout, "interleaved": pairs, **more}, 1)
      for layout in (0, 1) for pairs in (0, 1) for x, half, section, more in (
        (f(2, 3, 32), 8, [4, 2, 2], {"num_heads": 2}), (f(2, 2, 3, 16), 8, [2, 3, 3], {}),
        (f(2, 3, 16), 8, [8, 0, 0], {"num_heads": 1}),
        (f(2, 3, 32), 4, [2, 1, 1], {"num_heads": 2, "rotary_embedding_dim": 8, "scale": 0.5}),
    )),
    ("RotaryEmbedding", [f(2, 3, 16), POSITIONS, *CACHES], {"is_packed_batching": 1, "num_heads": 1}, 1),
    ("RotaryEmbedding", [f(2, 3, 16), POSITIONS, *CACHES], {"scale": 2.0}, 1),
    ("RotaryEmbedding", [f(2, 2, 3, 16), np.array(3), *CACHES], {}, 1),
]  # fmt: skip


def valid(results: Any, inputs: list[Any]) -> Any:
    """The results of GroupQueryAttention without what caches and scores have behind the valid positions."""
    if isinstance(results, str):
        return results
    y, *caches = results
    lengths = inputs[5].reshape(-1, 1, 1, 1) + 1
    inside = [np.where(np.arange(v.shape[2]).reshape(-1, 1) < lengths, v, 0) for v in caches[:2]]
    scores = [np.where(np.arange(v.shape[3]) < lengths, v, 0) for v in caches[2:]]
    return [y, *inside, *scores]


def check(case: Case, compiled: bool) -> None:
    op, inputs, attrs, outputs = case
    data, feeds = model(op, inputs, attrs, outputs, domain="com.microsoft")
    narrow = inputs[0].dtype == np.float16
    made, wanted = ours(data, feeds, compiled), theirs(data, feeds)
    if op == "GroupQueryAttention":
        made, wanted = valid(made, inputs), valid(wanted, inputs)
    assert isinstance(wanted, list), wanted
    assert_same(made, wanted, *((2e-2, 1e-2) if narrow else (1e-4, 1e-5)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_same_as_onnxruntime(case: Case) -> None:
    check(case, compiled=False)


@pytest.mark.sample(6)
@pytest.mark.parametrize("case", CASES[::7], ids=lambda case: case[0])
def test_compiled(case: Case) -> None:
    check(case, compiled=True)


@pytest.mark.parametrize("masked", [False, True])
def test_scores_of_multi_head_attention(masked: bool) -> None:
    """onnxruntime wants the type of this output to be declared."""
    more = [f(24), ints(1, 1, 1, 0, 1, 1, 1, 1).reshape(2, 4), f(1, 2, 3, 4)] if masked else []
    attrs = {"num_heads": 2, "mask_filter_value": -100.0}
    data, feeds = model("MultiHeadAttention", [f(2, 3, 8), f(2, 4, 8), f(2, 4, 8), *more], attrs, 4,
                        domain="com.microsoft")  # fmt: skip
    proto = onnx.ModelProto.FromString(data)
    for output in proto.graph.output:
        output.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    data = proto.SerializeToString()
    wanted = theirs(data, feeds)
    assert isinstance(wanted, list), wanted
    assert_same(ours(data, feeds), wanted, 1e-4, 1e-5)


@pytest.mark.parametrize("scores", [0, 1])
def test_decoder_with_queries_keys_and_values_beside_one_another(scores: int) -> None:
    op, inputs, attrs, _ = decoder(None, f(1, 2, 1, 4), ints(3), output_qk=scores)
    packed = [np.concatenate(inputs[:3], 2), None, None, *inputs[3:]]
    results = []
    for each in (inputs, packed):
        data, feeds = model(op, each, attrs, 3 + scores, domain="com.microsoft")
        results.append(ours(data, feeds))
    assert isinstance(results[1], list), results[1]
    assert_same(results[0], results[1])


def test_beams() -> None:
    """Each beam attends to the positions of the beams that it came from; by formulas, as onnxruntime wants a bias."""
    op, inputs, attrs, _ = decoder(None, None, ints(3), ints(2), BEAMS, output_qk=1)
    data, feeds = model(op, inputs, attrs, 4, domain="com.microsoft")
    made = ours(data, feeds, compiled=True)
    assert isinstance(made, list), made
    q, k, v = (x.reshape(2, 2, 8) for x in inputs[:3])
    keys, values = (cache.copy() for cache in inputs[5:7])
    keys[:, :, 3], values[:, :, 3] = k, v
    rows = np.concatenate([BEAMS[0, :, :3], [[0], [1]]], 1)
    of_beams = [np.stack([cache[rows[b], :, range(4)] for b in range(2)]) for cache in (keys, values)]
    scores = np.einsum("bnd,btnd->bnt", q, of_beams[0]) / np.float32(np.sqrt(8))
    shares = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    y = np.einsum("bnt,btnd->bnd", shares, of_beams[1]).reshape(2, 1, 16)
    assert_same(made, [y, keys, values, scores.reshape(2, 2, 1, 4)], 1e-4, 1e-5)


SPARSE = [
    sparse(1, 40, (40,), 40), sparse(2, 20, (20, 20), 20), sparse(1, 1, (51,), 51),
    sparse(1, 3, (3,), 3, more=CACHES, do_rotary=1), sparse(1, 40, (40,), 40, ROWS[:1], COLUMNS[:1], scale=0.3),
]  # fmt: skip


def sharing(data: bytes, feeds: dict[str, Array]) -> list[Array]:
    """What onnxruntime computes where the outputs of caches are their inputs, as SparseAttention wants it."""
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(data)
    binding = session.io_binding()
    arrays = {name: x.copy() for name, x in feeds.items()}  # whose memory the values refer to
    values = {name: ort.OrtValue.ortvalue_from_numpy(x) for name, x in arrays.items()}
    for name, value in values.items():
        binding.bind_ortvalue_input(name, value)
    binding.bind_output("y0")
    for name, cache in (("y1", "x3"), ("y2", "x4")):
        binding.bind_ortvalue_output(name, values[cache])
    session.run_with_iobinding(binding)
    return [binding.copy_outputs_to_cpu()[0], arrays["x3"], arrays["x4"]]


@pytest.mark.parametrize("case", SPARSE)
def test_sparse_attention(case: Case) -> None:
    op, inputs, attrs, outputs = case
    data, feeds = model(op, inputs, attrs, outputs, domain="com.microsoft")
    made = ours(data, feeds)
    assert_same(made, sharing(data, feeds), 1e-4, 1e-5)


def test_sparse_attention_of_unequal_lengths() -> None:
    """Each batch is as if it were alone; for the shorter one onnxruntime's result is 0."""
    op, inputs, attrs, outputs = sparse(2, 1, (33, 18), 33)
    data, feeds = model(op, inputs, attrs, outputs, domain="com.microsoft")
    made = ours(data, feeds)
    for batch, length in enumerate((33, 18)):
        alone = [v if 5 <= i < 7 else v[batch : batch + 1] for i, v in enumerate(inputs[:7])]
        data, feeds = model(op, [*alone, ints(length), ints(length)], attrs, outputs, domain="com.microsoft")
        assert isinstance(made, list), made
        assert_same([v[batch : batch + 1] for v in made], sharing(data, feeds), 1e-4, 1e-5)


@pytest.mark.parametrize("rows, columns, total, lengths", [
    (ROWS + 1, COLUMNS, 40, 40), (ROWS[:, ::-1], COLUMNS, 40, 40), (ROWS, COLUMNS + 1, 40, 40),
    (ROWS, COLUMNS - 1, 40, 40),
    (ROWS, COLUMNS[:, :5], 40, 40), (ROWS, COLUMNS[:1], 40, 40), (ROWS, COLUMNS, 65, 40), (ROWS, COLUMNS, 0, 40),
    (ROWS, COLUMNS, 40, 41),
])  # fmt: skip
def test_sparse_attention_of_wrong_blocks_or_lengths(rows: Array, columns: Array, total: int, lengths: int) -> None:
    op, inputs, attrs, outputs = sparse(1, 40, (lengths,), total, rows, columns)
    data, feeds = model(op, inputs, attrs, outputs, domain="com.microsoft")
    made = ours(data, feeds, compiled=True)
    assert isinstance(made, str), made
    with pytest.raises(Exception, match="Error in execution"):
        sharing(data, feeds)


REFUSED: list[Case] = [
    sparse(1, 40, (3,), 40),
    grouped(1, 2, (2,), 2, causal=0, local_window_size=2),
    grouped(1, 2, (2,), 2, causal=2),
    grouped(1, 2, (2,), 2, k_quant_type="PER_TENSOR", v_quant_type="PER_TENSOR", kv_cache_bit_width=8),
    grouped(1, 2, (2,), 2, None, [*SINK, f(3)]),
    grouped(1, 2, (2,), 2, None, [*BIAS, f(1, 3, 2, 2)]),
    grouped(1, 2, (2,), 2, None, [*BIAS, f(1, 4, 2, 3)]),
    ("MRotaryEmbedding", [f(2, 3, 16), PLACES, *CACHES], {"mrope_section": [4, 2, 1]}, 1),
    ("MRotaryEmbedding", [f(2, 3, 16), PLACES + 16, *CACHES], {"mrope_section": [4, 2, 2]}, 1),
    ("MRotaryEmbedding", [f(2, 3, 16), PLACES, *CACHES], {"mrope_section": [4, 2, 2]}, 1),
    ("MRotaryEmbedding", [f(2, 3, 16), PLACES[:2], *CACHES], {"mrope_section": [4, 2, 2]}, 1),
    ("MRotaryEmbedding", [f(2, 3, 16), PLACES, *CACHES], {"mrope_section": [4, 2, 2], "mrope_layout": 2}, 1),
    ("MultiHeadAttention", [*[f(2, 2, 16)] * 3, None, None, None, *[f(2, 2, 6, 8)] * 2, ints(5)], {"num_heads": 2}, 3),
    ("MultiHeadAttention", [*[f(2, 2, 16)] * 3, None, None, None, *[f(2, 2, 6, 8)] * 2, ints(-1)], {"num_heads": 2}, 3),
    decoder(None, None, ints(6)),
    decoder(None, None, ints(-1)),
    decoder(None, None, ints(3), ints(2)),
    decoder(None, None, ints(3), ints(2), BEAMS + 1),
    decoder(None, None, ints(3), ints(2), BEAMS[:, :1]),
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case[0])
def test_refused_as_by_onnxruntime(case: Case) -> None:
    op, inputs, attrs, outputs = case
    data, feeds = model(op, inputs, attrs, outputs, domain="com.microsoft")
    made = ours(data, feeds, compiled=True)
    assert isinstance(made, str), made
