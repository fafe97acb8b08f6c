"""onnxruntime's own operators on tensors of any kind, on tokens and on characters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from .nodes import Array, assert_same, model, ours, theirs

RNG = np.random.default_rng(0)
Case = tuple[str, list[Any], dict[str, Any], int]


def f(*shape: int, dtype: Any = np.float32) -> Array:
    return RNG.standard_normal(shape).astype(dtype)


def ints(*shape: int, low: int = 0, high: int, dtype: Any = np.int64) -> Array:
    return RNG.integers(low, high, shape).astype(dtype)


def vector(*values: float, dtype: Any = np.int64) -> Array:
    return np.array(values, dtype)


def one(value: float, dtype: Any = np.int64) -> Array:
    return np.array(value, dtype)


def bits(dtype: Any) -> Array:
    """Elements of any bits; floats are no NaN."""
    v = RNG.integers(0, 1 << 32, 24, dtype=np.uint32).view(dtype)
    return np.nan_to_num(v) if v.dtype.kind == "f" else v


WORDS = vector(1, 2, 3, 4, 0, 4, 3, 2, 0, 0, 3, 1, 2, 0, 0, 5, 0, 0, 0, 0, 1, 9, 3, 2, 1, dtype=np.int32).reshape(5, 5)
SOURCE = vector(1, 2, 3, 4, 2, 3, 5)
HASHES = {"max_ngram_size": 3, "n_head_per_ngram": 2, "pad_id": 2}
SIZES = vector(101, 103, 107, 109)
IDS = vector(5, 7, 4, 6, 7, 7, 8, 4, 1, 2, 4, 5).reshape(2, 6)
SEGMENTS = vector(0, 0, 1, 1, 1, 2, 3, 3, 3, 4, 5, 5, dtype=np.int32).reshape(2, 6)
LINE, ENDS = vector(5, 7, 4, 6, 7, 7, 8, 4, 1), vector(0, 1, 4, 9, dtype=np.int32)
TURNS = vector(0, 0, 0, 1, 2, 2, 3, 3, 3, dtype=np.int32)
OLD_TURNS = vector(0, 0, 5, 0, 2, 2, dtype=np.int32).reshape(3, 2)
CASES: list[Case] = [
    *(("MurmurHash3", [bits(t)], attrs, 1)
      for t in (np.uint32, np.int32, np.float32, np.uint64, np.int64, np.float64)
      for attrs in ({}, {"seed": 42, "positive": 0})),
    ("MurmurHash3", [vector()], {}, 1),
    *(("GatherND", [f(3, 4, 5), index.astype(t)], {}, 1) for t in (np.int32, np.int64) for index in (
        vector(0, 1, 2, 3).reshape(2, 2), vector(-1, 1, 2, -3, 0, -4).reshape(2, 3), vector(2).reshape(1, 1, 1),
        vector().reshape(0, 2),
    )),
    *(("Range", [one(a, t), one(b, t), one(c, t)], {}, 1)
      for t in (np.float32, np.float64, np.int16, np.int32, np.int64)
      for a, b, c in ((1, 9, 2), (9, 1, -3), (3, 3, 1), (5, 1, 1))),
    ("Range", [one(2, np.float32), one(6.5, np.float32)], {}, 1),
    ("Range", [vector(2), vector(7), vector(2)], {}, 1),
    *(("ExpandDims", [f(2, 3), one(axis, np.int32)], {}, 1) for axis in (-3, -1, 0, 1, 2)),
    *(("Pad", [f(3, 4), pads, *value], {"mode": mode}, 1)
      for pads, mode, value in (
        (vector(1, 0, 2, 3), "constant", []), (vector(1, 0, 2, 3), "constant", [vector(2.5, dtype=np.float32)]),
        (vector(1, 0, 2, 3).reshape(1, 4), "reflect", []), (vector(1, 1, 0, 3), "edge", []),
        (vector(-1, 0, 2, -2), "constant", [one(7, np.float32)]),
    )),
    *(("MatMulInteger16", [ints(*a, low=-9, high=99, dtype=t), ints(*b, low=-9, high=99, dtype=t)], {}, 1)
      for t in (np.int16,) for a, b in (((3, 4), (4, 5)), ((2, 1, 4), (4, 2)), ((2, 3, 4), (2, 4, 1)))),
    *(("CDist", [f(m, k, dtype=t), f(n, k, dtype=t)], {"metric": metric}, 1) for t in (np.float32, np.float64)
      for metric in ("euclidean", "sqeuclidean") for m, n, k in ((4, 5, 3), (1, 1, 1))),
    ("SampleOp", [f(3, 4)], {}, 1),
    *(("NGramRepeatBlock", [ints(3, length, high=3), f(3, 4)], {"ngram_size": n}, 1)
      for n in (1, 2, 3, 4) for length in (1, 2, 3, 12)),
    *(("BifurcationDetector", [SOURCE, current, one(0)], {"min_ngram_size": low, "max_ngram_size": high}, 2)
      for low, high in ((1, 3), (2, 2), (1, 1), (3, 5))
      for current in (vector(9), vector(1), vector(7, 2), vector(2, 3, 4), vector(2, 3, 5), vector(8, 3, 4, 2, 3))),
    *(("BifurcationDetector", [SOURCE, vector(8, 9), index, vector(*predicted)], {}, 2) for index, predicted in (
        (one(4), (2, 3, 5, 1)), (vector(4), (2, 4, 5, 1)), (one(5), (9, 9, 9)), (one(7), (3,)), (one(0), (1,) * 8),
    )),
    *(("NGramHashMapping", [IDS.astype(t), vector(31, 77, -5, dtype=t), SIZES.astype(t), *more], attrs, 2)
      for t in (np.int32, np.int64) for more, attrs in (
        ([], HASHES), ([vector(4, 9, 1, 7, dtype=t).reshape(2, 2)], HASHES),
        ([None, vector(0, 101, 204, 311, dtype=t)], HASHES),
        ([vector(4, 9, 1, 7, dtype=t).reshape(2, 2), None, one(7, t)], {**HASHES, "reset_on_eos": 1}),
        ([None, None, one(7, t)], HASHES),
        ([None, None, one(7, t), SEGMENTS], {**HASHES, "reset_on_eos": 1}), ([None, None, None, SEGMENTS], HASHES),
    )),
    *(("VarlenNGramHashMapping",
       [LINE.astype(t), vector(31, 77, -5, dtype=t), SIZES.astype(t), ENDS, *more], attrs, outputs)
      for t in (np.int32, np.int64) for more, attrs, outputs in (
        ([], HASHES, 2), ([vector(4, 9, 1, 7, 3, 2, dtype=t).reshape(3, 2)], HASHES, 2),
        ([None, vector(0, 101, 204, 311, dtype=t), one(7, t)], {**HASHES, "reset_on_eos": 1}, 2),
        ([vector(4, 7, 1, 7, 3, 2, dtype=t).reshape(3, 2), None, one(7, t)], {**HASHES, "reset_on_eos": 1}, 2),
        ([None, None, one(7, t), TURNS], {**HASHES, "reset_on_eos": 1}, 3),
        ([vector(4, 9, 1, 7, 3, 2, dtype=t).reshape(3, 2), None, None, TURNS, OLD_TURNS], HASHES, 3),
    )),
    *(("DynamicTimeWarping", [x], {}, 1) for x in (
        np.abs(f(6, 10)), np.abs(f(1, 7, 3)), f(1, 1), f(5, 1), f(1, 4), np.zeros((4, 5), np.float32),
        ints(5, 5, high=2).astype(np.float32), f(0, 3), f(2, 0),
    )),
    *(("WordConvEmbedding", [WORDS, f(3, 1, k, 2), f(3), f(6, 2)], {}, 1) for k in (1, 2, 4)),
]  # fmt: skip


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_same_as_onnxruntime(case: Case, symbolic: bool) -> None:
    op, inputs, attrs, outputs = case
    fixed = {"GatherND": (1,), "WordConvEmbedding": (1, 2, 3)}.get(op, ()) if symbolic else ()
    data, feeds = model(op, inputs, attrs, outputs, domain="com.microsoft", fixed=fixed, symbolic=symbolic)
    assert_same(ours(data, feeds), theirs(data, feeds), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", CASES[::9], ids=lambda case: case[0])
def test_compiled(case: Case) -> None:
    op, inputs, attrs, outputs = case
    data, feeds = model(op, inputs, attrs, outputs, domain="com.microsoft")
    assert_same(ours(data, feeds, compiled=True), theirs(data, feeds), rtol=1e-4, atol=1e-5)


REFUSED: list[Case] = [
    ("DynamicTimeWarping", [f(2, 3, 4)], {}, 1),
    ("DynamicTimeWarping", [f(3)], {}, 1),
    ("GatherND", [f(3, 4), vector(0, 4).reshape(1, 2).astype(np.int32)], {}, 1),
    ("Range", [one(1), one(5), one(0)], {}, 1),
    ("ExpandDims", [f(2, 3), one(3, np.int32)], {}, 1),
    ("ExpandDims", [f(2, 3), one(-4, np.int32)], {}, 1),
    ("CDist", [f(4, 3), f(5, 2)], {}, 1),
    ("CDist", [f(4, 3), f(5, 3)], {"metric": "cosine"}, 1),
    ("MatMulInteger16", [ints(3, 4, high=9, dtype=np.int16), ints(3, 4, high=9, dtype=np.int16)], {}, 1),
    ("NGramRepeatBlock", [vector(1, 100, 0, 1).reshape(1, 4), f(1, 4)], {"ngram_size": 2}, 1),
    ("NGramRepeatBlock", [vector(1, -1, 0, 1).reshape(1, 4), f(1, 4)], {"ngram_size": 2}, 1),
    ("BifurcationDetector", [SOURCE, vector(8), one(8), vector(1)], {}, 2),
    ("BifurcationDetector", [SOURCE, vector(8), one(-1), vector(*[1] * 9)], {}, 2),
    ("BifurcationDetector", [SOURCE, vector(8), one(3), vector(1, 2)], {}, 2),
    ("BifurcationDetector", [SOURCE, vector(8), one(0)], {"min_ngram_size": 3, "max_ngram_size": 2}, 2),
    ("NGramHashMapping", [IDS, vector(31, 77, -5), SIZES * 0], HASHES, 2),
    ("NGramHashMapping", [IDS, vector(31, 77), SIZES], HASHES, 2),
    ("NGramHashMapping", [IDS, vector(31, 77, 5), SIZES[:3]], HASHES, 2),
    ("VarlenNGramHashMapping", [LINE, vector(31, 77, -5), SIZES, ENDS[::-1].copy()], HASHES, 2),
    ("VarlenNGramHashMapping", [LINE, vector(31, 77, -5), SIZES, ENDS + 1], HASHES, 2),
    ("VarlenNGramHashMapping", [LINE, vector(31, 77, -5), SIZES, ENDS, vector(4, 9).reshape(1, 2)], HASHES, 2),
    ("WordConvEmbedding", [WORDS, f(3, 1, 6, 2), f(3), f(6, 2)], {}, 1),
    ("WordConvEmbedding", [WORDS, f(3, 1, 2, 2), f(2), f(6, 2)], {}, 1),
    ("WordConvEmbedding", [WORDS, f(3, 1, 2, 2), f(3), f(6, 3)], {}, 1),
    ("WordConvEmbedding", [WORDS, f(3, 1, 2, 2), f(3), f(6, 2)], {"embedding_size": 4}, 1),
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case[0])
def test_refused_as_by_onnxruntime(case: Case) -> None:
    op, inputs, attrs, outputs = case
    data, feeds = model(op, inputs, attrs, outputs, domain="com.microsoft")
    made, wanted = ours(data, feeds, compiled=True), theirs(data, feeds)
    assert isinstance(made, str), made
    assert isinstance(wanted, str), wanted
