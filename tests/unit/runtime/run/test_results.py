"""Outputs that are put together from tensors: sequences, maps, words, shapes that a run tells."""

from __future__ import annotations

from typing import Any

import numpy as np

from intaglio.runtime.run.results import Result, results_of

ARRAYS: dict[str, Any] = {
    "a": np.array([[1.5, 2.5], [3.5, 4.5]], np.float32),
    "b": np.array([1, 0, 1]),
    "sizes": np.array([2, -1, 2, -1]),
}


def test_a_tensor_is_itself() -> None:
    assert Result(["a"], None, None, False).of(ARRAYS) is ARRAYS["a"]


def test_a_sequence_is_a_list_also_of_one() -> None:
    assert Result(["a", "b"], None, None, True).of(ARRAYS) == [ARRAYS["a"], ARRAYS["b"]]
    assert Result(["a"], None, None, True).of(ARRAYS) == [ARRAYS["a"]]


def test_each_row_is_a_map() -> None:
    assert Result(["a"], ["cat", "dog"], None, False).of(ARRAYS) == [
        {"cat": 1.5, "dog": 2.5}, {"cat": 3.5, "dog": 4.5}
    ]  # fmt: skip


def test_numbers_stand_for_words() -> None:
    made = Result(["b"], None, ["no", "yes"], False).of(ARRAYS)
    assert made.dtype == object and made.tolist() == ["yes", "no", "yes"]


def test_sizes_that_are_lacking_are_left_out() -> None:
    flat = {**ARRAYS, "a": ARRAYS["a"].reshape(-1)}
    np.testing.assert_array_equal(Result(["a", "sizes"], None, None, False).of(flat), ARRAYS["a"])


def test_of_a_manifest() -> None:
    entries = [
        {"name": "s", "type": "seq(tensor(float))", "parts": ["a"]},
        {"name": "m", "type": "seq(map(int64,tensor(float)))", "parts": ["a"], "keys": [0, 1]},
        {"name": "w", "type": "tensor(string)", "parts": ["b"], "words": ["no", "yes"]},
    ]
    made = results_of(entries)
    assert made["s"] == Result(["a"], None, None, True)
    assert made["m"].keys == [0, 1] and made["w"].words == ["no", "yes"]
