"""What a run may be fed, and what becomes of it; `tests/errors/test_run.py` has the texts as a session raises them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from intaglio.runtime.errors import Fail, InvalidArgument
from intaglio.runtime.run.feeds import Disagreement, bind, convert, fit, in_order, inputs_of, names_of, plain
from intaglio.runtime.values.value import OrtValue

INPUTS = inputs_of([
    {"name": "x", "type": "tensor(float)", "shape": ["n", 3]},
    {"name": "k", "type": "tensor(int64)", "shape": ["n", None]},
])  # fmt: skip
X, K = np.ones((2, 3), np.float32), np.zeros((2, 5), np.int64)


def test_inputs_of_a_manifest() -> None:
    x, k = INPUTS
    assert (x.name, x.dtype, x.shape) == ("x", np.float32, ("n", 3))
    assert (k.type, k.shape) == ("tensor(int64)", ("n", None))


# -- convert ---------------------------------------------------------------------------------------------------------


def test_arrays_are_passed_on_as_they_are() -> None:
    made = convert({"k": K, "x": X}, INPUTS)
    assert made["x"] is X and made["k"] is K


@pytest.mark.parametrize("value", [[[1, 2, 3]], ((1, 2, 3),)])
def test_python_numbers_take_the_declared_type(value: Any) -> None:
    made = convert({"x": value, "k": K}, INPUTS)["x"]
    assert made.dtype == np.float32 and made.shape == (1, 3)


def test_values_of_other_kinds() -> None:
    class Own:
        def __array__(self, *_: Any, **__: Any) -> Any:
            return X.astype(np.float64)

    assert convert({"x": OrtValue.ortvalue_from_numpy(X), "k": K}, INPUTS)["x"].shape == (2, 3)
    assert convert({"x": Own(), "k": K}, INPUTS)["x"].dtype == np.float64  # whether that fits, `fit` says


def test_what_is_none_is_left_out_and_missed() -> None:
    made = convert({"x": X, "k": None}, INPUTS)
    assert list(made) == ["x"]
    with pytest.raises(Fail, match="Missing Input: k"):
        in_order(made, INPUTS)


def test_missing_names() -> None:
    with pytest.raises(ValueError, match=r"Required inputs \(\['k'\]\) are missing from input feed \(\['x'\]\)"):
        convert({"x": X}, INPUTS)
    assert list(convert({"x": X}, INPUTS[:1], INPUTS[1:])) == ["x"]  # it is optional


@pytest.mark.parametrize(("value", "kind", "text"), [
    ("text", RuntimeError, "Input must be a list of dictionaries or a single numpy array for input 'x'"),
    ({1}, RuntimeError, "Input must be a list of dictionaries or a single numpy array for input 'x'"),
    (object(), RuntimeError, "Unable to handle object of type <class 'object'>"),
    ([[1, 2], [3]], RuntimeError, "Could not create tensor from given input list"),
    (np.zeros(3, np.complex64), RuntimeError, "can't be converted to MLDataType"),
    ({}, RuntimeError, "Size of dictionary is empty"),
    ({1: 2.0}, InvalidArgument, r"\(map\(int64,tensor\(float\)\)\)"),
], ids=lambda value: type(value).__name__)  # fmt: skip
def test_what_is_no_array(value: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        convert({"x": value, "k": K}, INPUTS)


def test_names_are_strings() -> None:
    with pytest.raises(TypeError, match="input names must be str, not int"):
        convert({"x": X, "k": K, 3: X}, INPUTS)  # type: ignore[dict-item]


# -- fit -------------------------------------------------------------------------------------------------------------


def test_layout_and_byte_order_are_made_right() -> None:
    columns, swapped = np.asfortranarray(X), X.astype(">f4")
    for array in (columns, swapped, X[:, ::-1]):
        made = fit({"x": array}, INPUTS)["x"]
        assert isinstance(made, np.ndarray)
        assert made.flags.c_contiguous and made.flags.aligned and made.dtype == np.dtype("=f4")
        np.testing.assert_array_equal(made, array)
    assert fit({"x": X}, INPUTS)["x"] is X


def test_unaligned_arrays_are_copied() -> None:
    memory = np.zeros(25, np.uint8)
    array = memory[1:].view(np.float32).reshape(2, 3)
    assert not array.flags.aligned
    made = fit({"x": array}, INPUTS)["x"]
    assert isinstance(made, np.ndarray) and made.flags.aligned


def test_strings_of_any_kind() -> None:
    inputs = inputs_of([{"name": "s", "type": "tensor(string)", "shape": [2]}])
    for array in (np.array(["a", "ü"]), np.array(["a", "ü"], object), np.array([b"a", "ü".encode()])):
        made = fit({"s": array}, inputs)["s"]
        assert isinstance(made, np.ndarray) and made.dtype == object and made.tolist() == ["a", "ü"]


@pytest.mark.parametrize(("name", "array", "text"), [
    ("z", X, "Invalid input name: z"),
    ("x", X.astype(np.float64), r"Actual: \(tensor\(double\)\) , expected: \(tensor\(float\)\) for input: x"),
    ("x", X[0], "Invalid rank for input: x Got: 1 Expected: 2"),
    ("x", X[:, :2], "index: 1 Got: 2 Expected: 3"),
])  # fmt: skip
def test_what_does_not_fit(name: str, array: Any, text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        fit({name: array}, INPUTS)


# -- bind ------------------------------------------------------------------------------------------------------------

N = {"name": "n", "bind": [[0, 0], [1, 0]], "lower": 1}


def test_symbols_are_dimensions_or_elements() -> None:
    element = {"name": "e", "element": [1, 4]}
    assert bind([N, element], INPUTS, [X, np.arange(10).reshape(2, 5)]) == [2, 4]


def test_random_symbols_are_others_each_time() -> None:
    symbols = [{"name": "r", "random": True}] * 2
    one, other = bind(symbols, INPUTS, [X, K])
    assert one != other and min(one, other) >= 0 and max(one, other) < 1 << 63


def test_a_dimension_that_is_too_small() -> None:
    with pytest.raises(InvalidArgument, match="index: 0 Got: 0 Expected: at least 1"):
        bind([N], INPUTS, [X[:0], K[:0]])


@pytest.mark.parametrize(("rows", "kind"), [(5, InvalidArgument), (1, Disagreement)])
def test_dimensions_of_one_name_that_differ(rows: int, kind: type[Exception]) -> None:
    """Where one of them is 1 they might broadcast, and it is another model that runs."""
    with pytest.raises(kind) as caught:
        bind([N], INPUTS, [X, np.zeros((rows, 5), np.int64)])
    assert f"index: 0 Got: {rows} Expected: 2\n (dimension 'n' is 2 in input x)" in str(caught.value)
    if isinstance(caught.value, Disagreement):
        assert caught.value.symbols == ("n",)


def test_those_that_cannot_broadcast_are_told_first() -> None:
    m = {"name": "m", "bind": [[0, 1], [1, 1]]}
    with pytest.raises(InvalidArgument, match="dimension 'm' is 3 in input x"):
        bind([N, m], INPUTS, [X, np.zeros((1, 5), np.int64)])


# -- names -----------------------------------------------------------------------------------------------------------


def test_names_of_outputs() -> None:
    assert names_of(None) == names_of([]) == []
    assert names_of(("y", b"z")) == ["y", "z"]
    for wanted, text in (("y", "must be a sequence of names, not the str 'y'"), ([1], "must be str, not int")):
        with pytest.raises(TypeError, match=text):
            names_of(wanted)  # type: ignore[arg-type]


# -- plain -----------------------------------------------------------------------------------------------------------

WIDE = np.zeros((2, 10), np.int64)
CROOKED = np.frombuffer(b"-" + X.tobytes(), np.uint8)[1:].view(np.float32).reshape(2, 3)  # not aligned
FEEDS: list[tuple[Any, bool]] = [
    ({"x": X, "k": K}, True),
    ({"k": K, "x": X}, True),
    ({"x": X[:1], "k": K}, True),  # sizes that disagree are found where the plan is made
    ({"x": X, "k": WIDE[:, ::2]}, False),
    ({"x": CROOKED, "k": K}, False),
    ({"x": X.astype(">f4"), "k": K}, False),
    ({"x": X.astype(np.float64), "k": K}, False),
    ({"x": X, "k": K, "more": K}, False),
    ({"x": X, "other": K}, False),
    ({"x": X}, False),
    ({"x": X, "k": None}, False),
    ({"x": X.tolist(), "k": K}, False),
    ({"x": np.ma.masked_array(X), "k": K}, False),
    ({"x": OrtValue.ortvalue_from_numpy(X), "k": K}, False),
    ([("x", X), ("k", K)], False),
]


@pytest.mark.parametrize(("feed", "expected"), FEEDS)
def test_what_is_plain_is_what_the_whole_check_makes_of_it(feed: Any, expected: bool) -> None:
    arrays = plain(feed, INPUTS)
    assert (arrays is not None) == expected
    if arrays is not None:
        checked = in_order(fit(convert(feed, INPUTS), INPUTS), INPUTS)
        assert [id(array) for array in arrays] == [id(array) for array in checked]
