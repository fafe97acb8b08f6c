"""TfIdfVectorizer of integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from .nodes import Array, assert_same, model, ours, theirs

RNG = np.random.default_rng(0)
COUNTS, POOL, PLACES = [0, 4, 10], [2, 3, 5, 4, 5, 6, 7, 8, 6, 7, 1, 2, 3, 3, 3, 3], [0, 1, 2, 3, 4, 5, 6, 8, 7]
WEIGHTS = [float(v) for v in np.arange(1, 10) / 4]


def words(*shape: int, dtype: Any = np.int64) -> Array:
    return RNG.integers(1, 9, shape).astype(dtype)


def attributes(mode: str = "TF", low: int = 1, high: int = 3, skips: int = 0, weights: bool = False) -> dict[str, Any]:
    pool = {"ngram_counts": COUNTS, "ngram_indexes": PLACES, "pool_int64s": POOL}
    lengths = {"min_gram_length": low, "max_gram_length": high, "max_skip_count": skips}
    return {"mode": mode, **pool, **lengths, **({"weights": WEIGHTS} if weights else {})}


CASES = [
    *((words(*shape, dtype=dtype), attributes(skips=skips))
      for shape in ((12,), (3, 12), (1,), (2, 1), (2, 2), (4, 40)) for skips in (0, 1, 5)
      for dtype in (np.int32, np.int64)),
    *((words(3, 20), attributes(mode, low, high, 2, weights)) for mode in ("TF", "IDF", "TFIDF")
      for low, high in ((1, 1), (2, 2), (1, 3), (3, 3)) for weights in (False, True)),
]  # fmt: skip


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("x, attrs", CASES)
def test_same_as_onnxruntime(x: Array, attrs: dict[str, Any], symbolic: bool) -> None:
    data, feeds = model("TfIdfVectorizer", [x], attrs, symbolic=symbolic)
    wanted = theirs(data, feeds)
    assert isinstance(wanted, list), wanted
    assert_same(ours(data, feeds), wanted)


def test_compiled_for_any_number_of_words() -> None:
    data, feeds = model("TfIdfVectorizer", [words(4, 30)], attributes("TFIDF", 1, 3, 2, True), symbolic=True)
    assert_same(ours(data, feeds, compiled=True), theirs(data, feeds))


@pytest.mark.parametrize("wrong", [
    {"mode": "TFI"}, {"min_gram_length": 3, "max_gram_length": 2}, {"max_skip_count": -1}, {"ngram_counts": [0, 5, 3]},
    {"ngram_indexes": [-1, *PLACES[1:]]}, {"ngram_counts": [0, 3, 10]},
])  # fmt: skip
def test_refused_as_by_onnxruntime(wrong: dict[str, Any]) -> None:
    data, feeds = model("TfIdfVectorizer", [words(5)], {**attributes(), **wrong})
    made, wanted = ours(data, feeds), theirs(data, feeds)
    assert isinstance(made, str), made
    assert isinstance(wanted, str), wanted


def test_an_index_for_each_n_gram() -> None:
    """onnxruntime leaves out n-grams without one."""
    data, feeds = model("TfIdfVectorizer", [words(5)], {**attributes(), "ngram_indexes": PLACES[:-1]})
    assert ours(data, feeds) == "Fail"
