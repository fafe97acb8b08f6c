"""Functions of strings, where onnxruntime is not what they are compared with (tests/parity/test_strings.py)."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.runtime.host import text

WORDS = np.array([["b", "", "ä"], ["\U0001f600", "\uffff", "b"]], object)


def test_ranks_are_those_of_bytes() -> None:
    """As C++ sorts strings: by UTF-8, not by UTF-16."""
    assert text.ranks(WORDS).tolist() == [[1, 0, 2], [4, 3, 1]]
    assert text.ranks(WORDS[:0]).shape == (0, 3)


@pytest.mark.parametrize("pattern, matching", [
    ("[[:alpha:]]+", ["ab"]), (r"\d+", ["12"]), (r"\w*\z", ["ab", "12", ""]), (r"(?P<x>a)b", ["ab"]), ("a", []),
    (".*", ["ab", "12", "", "ü"]),
])  # fmt: skip
def test_patterns_of_re2(pattern: str, matching: list[str]) -> None:
    words = np.array(["ab", "12", "", "ü", "a\nb", "\u0661"], object)  # the last one is a digit, but not of ASCII
    found = words[text.match(words, pattern=pattern)].tolist()
    assert [x for x in found if x != "\u0661"] == matching


def test_a_wrong_pattern() -> None:
    with pytest.raises(ValueError, match="Invalid pattern"):
        text.match(WORDS, pattern="(")


def test_case_is_changed_one_character_at_a_time() -> None:
    """As by C's towupper: a letter that would become two stays."""
    words = np.array(["straße", "ǆ", "İ"], object)
    upper = text.string_normalizer(words, stopwords=[], change="UPPER", case_sensitive=True)
    assert upper.tolist() == ["STRAßE", "Ǆ", "İ"]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint64", "bool"])
def test_numbers_of_texts(dtype: str) -> None:
    texts = np.array(["1", "0", " 1 ", "1.0"], object)
    parsed = text.parse(texts, dtype=dtype)
    assert parsed.dtype == dtype and parsed.tolist() == [1, 0, 1, 1]


def test_numbers_that_are_none() -> None:
    for wrong in ("", "one", "1 2"):
        with pytest.raises(ValueError):
            text.parse(np.array([wrong], object), dtype="int64")
    with pytest.raises(ValueError):
        text.parse(np.array(["300"], object), dtype="int8")
