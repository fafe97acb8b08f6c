"""How far arrays are apart, in each of the measures, and what is told of them."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.compiler.check.compare import between, from_exact
from intaglio.compiler.check.exact import Known
from intaglio.compiler.scalar.dtype import F32, I64

ONE_ULP = np.nextafter(np.float32(1), np.float32(2))


def value(*numbers: float) -> Known:
    exact = np.array(numbers, np.float64)
    return Known(F32, exact, (exact,))


def test_measures() -> None:
    found = from_exact(np.array([ONE_ULP, -2], np.float32), value(1, -2))
    assert found.ulps == 1 and found.agrees and found.wrong == 0
    assert found.relative == pytest.approx(2.0**-23 / np.sqrt(2.5))
    assert found.of_bound == pytest.approx(2.0**-23 / (16 * 2.0**-23), rel=1e-3)  # 8 roundings of the largest


def test_the_first_wrong_element_is_told() -> None:
    found = from_exact(np.array([1, 2, 3.1, 4.2], np.float32), value(1, 2, 3, 4))
    assert found.wrong == 2 and "2 of 4 elements, the first at [2]: 3.09999" in found.text and found.of_bound > 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_as_wrong_as_can_be_unless_it_is_right(bad: float) -> None:
    got = np.array([1, bad], np.float32)
    assert not from_exact(got, value(1, 2)).agrees and from_exact(got, value(1, 2)).of_bound == np.inf
    assert from_exact(got, value(1, bad)).agrees
    assert not from_exact(got, value(bad, 1)).agrees


def test_shapes_and_types() -> None:
    assert "shape [1]" in from_exact(np.zeros(1, np.float32), value(1, 2)).text
    assert "float64 instead of float32" in from_exact(np.ones(2), value(1, 1)).text
    assert from_exact(np.zeros((0, 2), np.float32), Known(F32, np.zeros((0, 2)), ())).agrees


def test_integers_are_equal() -> None:
    exact = np.array([1, 2])
    assert from_exact(exact, Known(I64, exact, (exact,))).agrees
    found = from_exact(np.array([1, 3]), Known(I64, exact, (exact,)))
    assert not found.agrees and found.of_bound == np.inf


def test_between_engines() -> None:
    assert between(np.float16([1, 2]), np.float16([1, 2.004]), roundings=1).agrees
    assert not between(np.float16([1, 2]), np.float16([1, 2.5]), roundings=1).agrees
    assert between([{"a": 1.0}, {"a": 2.0}], [{"a": 1.0}, {"a": 2.0}], 1).agrees
    assert "other elements" in between([{"a": 1.0}], [{"b": 1.0}], 1).text
    assert "[1]" in between([np.int64(1), np.int64(2)], [np.int64(1), np.int64(3)], 1).text
    words = np.array(["a", "b"], object)
    assert between(words, words.copy(), 1).agrees and not between(words, words[::-1], 1).agrees


def test_decisions_are_few() -> None:
    """A step is allowed where samples have one, at about as many elements as there."""
    exact = np.zeros(1000, np.int64)
    flipped = exact.copy()
    flipped[7] = 1
    known = Known(I64, exact, (exact,), (flipped,))
    one, many = exact.copy(), np.ones(1000, np.int64)
    one[500] = 1
    assert from_exact(one, known).agrees
    found = from_exact(many, known)
    assert found.wrong == 1000 and "a rounding may decide about 16 of them" in found.text
    one[500] = 9
    assert not from_exact(one, known).agrees
