"""What is chosen by data: Unique, NonZero, Compress, TopK, NonMaxSuppression. Of any type and along any axis, and of so
much that there is no room for all pairs.
"""

from __future__ import annotations

from math import prod
from typing import Any

import ml_dtypes
import numpy as np
import onnxruntime
import pytest

import intaglio
from parity.cases import CONSTANT, FIXED, SYMBOLIC, Case, difference

Array = np.ndarray[Any, Any]
TYPES = ["float16", "float32", "float64", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32",
         "uint64", "bool"]  # fmt: skip


def random(dtype: str, *shape: int) -> Array:
    """Numbers of which many are equal; floats have zeros of both signs, infinities and NaN."""
    rng = np.random.default_rng(shape)
    x = rng.integers(0, 2 if dtype == "bool" else 5, shape).astype(np.float64)
    if dtype not in ("bool", *(t for t in TYPES if "int" in t)):
        x = np.where(rng.random(shape) < 0.3, rng.choice([0.0, -0.0, np.inf, -np.inf, np.nan], shape), x - 2)
    elif not dtype.startswith(("u", "b")):
        x = x - 2
    return x.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


def compiled(case: Case) -> list[Array] | str:
    try:
        made: list[Array] = intaglio.InferenceSession(case.model().SerializeToString()).run(None, case.feeds())
    except Exception as error:
        return str(error)
    return made


def onnxruntimes(case: Case) -> list[Array] | str:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(case.model().SerializeToString(), options, ["CPUExecutionProvider"])
        made: list[Array] = session.run(None, case.feeds())
    except Exception as error:
        return str(error)
    return made


# -- Unique ----------------------------------------------------------------------------------------------------------


def distinct(x: Array, axis: int | None, ordered: int) -> list[Array]:
    """All four outputs, in numpy; NaN equals NaN and comes last."""
    wide = x if x.dtype.kind in "iub" else x.astype(np.float64)
    ranks = np.unique(wide, return_inverse=True)[1].reshape(x.shape)
    if axis is None:
        x, ranks, axis = x.reshape(-1), ranks.reshape(-1), 0
    _, first, which, counts = np.unique(ranks, axis=axis, return_index=True, return_inverse=True, return_counts=True)
    which = which.reshape(-1)
    if not ordered:
        places = np.argsort(first)
        first, counts, which = first[places], counts[places], np.argsort(places)[which]
    return [np.take(x, first, axis), first, which, counts]


def assert_distinct(x: Array, axis: int | None, ordered: int, kind: str = SYMBOLIC) -> None:
    """As in numpy, and where onnxruntime takes the type and knows an order, as there."""
    attrs: dict[str, Any] = {"sorted": ordered} | ({} if axis is None else {"axis": axis})
    case = Case("Unique", [x], attrs, 28 if x.dtype == "bfloat16" else 21, [kind], 4)
    made = compiled(case)
    different = difference(made, distinct(x, axis, ordered))
    assert not different, f"{case}: {different}"
    if x.size and x.dtype in ("float32", "float64", "int64", "int8") and not (x != x).any():
        assert not difference(made, onnxruntimes(case)), case


@pytest.mark.parametrize("dtype", TYPES)
def test_distinct_elements_of_every_type(dtype: str) -> None:
    for size in (1, 7, 3000, 0):
        assert_distinct(random(dtype, size), None, 1)


@pytest.mark.parametrize(("dtype", "ordered"), [("float32", 0), ("float32", 1), ("int64", 0)])
def test_distinct_slices_along_any_axis(dtype: str, ordered: int) -> None:
    for axis, shapes in {
        None: ((13, 5), (1, 1), (0, 4)),
        0: ((40, 3), (300, 40), (5, 1), (0, 3), (3, 0), (0, 0)),
        1: ((3, 40), (2, 300), (1, 5), (0, 3), (3, 0)),
        -2: ((2, 200, 2), (3, 7, 1), (2, 3, 0)),
    }.items():
        for shape in shapes:
            assert_distinct(random(dtype, *shape), axis, ordered)
    assert_distinct(random(dtype, 9, 2, 2), 0, ordered, FIXED)
    assert_distinct(random(dtype, 1, 9), 1, ordered, FIXED)


def test_slices_that_are_equal_for_long() -> None:
    """Of few kinds, the same but for one of the last elements."""
    x = np.random.default_rng(0).standard_normal(2000).astype(np.float32) * np.ones((500, 1), np.float32)
    x[np.arange(500), -1 - np.arange(500) % 7] += np.arange(500) % 3
    assert_distinct(x, 0, 1)


@pytest.mark.parametrize("ordered", [0, 1])
@pytest.mark.parametrize("of", [2, 100_000])
def test_distinct_elements_of_many(of: int, ordered: int) -> None:
    """All pairs of them would need gigabytes."""
    assert_distinct(np.random.default_rng(0).integers(0, of, 200_000), None, ordered)


# -- NonZero, Compress, TopK -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "float32"])
def test_elements_that_are_set(dtype: str) -> None:
    for shape in ((300,), (3, 0), (7, 5, 2), (2000,), (40, 30)):
        x = random(dtype, *shape)
        case = Case("NonZero", [x])
        assert not difference(compiled(case), [np.array(np.nonzero(x), np.int64)]), case


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_slices_that_are_chosen(axis: int | None) -> None:
    rng = np.random.default_rng(0)
    for shape in ((40, 50), (1, 9), (3, 2000)):
        for length in (1, 40, 3000):
            given = [rng.standard_normal(shape, np.float32), rng.random(length) < 0.4]
            case = Case("Compress", given, {} if axis is None else {"axis": axis})
            size = prod(shape) if axis is None else shape[axis]
            wanted = np.compress(given[1][:size], given[0], axis)
            assert not difference(compiled(case), [wanted]), case


@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_first_of_long_rows(dtype: str, largest: int) -> None:
    """Few and many, with many that are equal: of these the first ones."""
    rng = np.random.default_rng(0)
    for shape, axis in (((2, 5000), 1), ((700, 3), 0), ((3, 300), -1)):
        for kinds in (10, 100_000):
            x = rng.integers(-kinds, kinds, shape).astype(dtype)
            for k in (1, 16, 17, 200, x.shape[axis]):
                case = Case(
                    "TopK", [x, np.array([k])], {"axis": axis, "largest": largest}, kinds=[SYMBOLIC, FIXED], outputs=2
                )
                different = difference(compiled(case), onnxruntimes(case))
                assert not different, f"{case}: {different}"


# -- NonMaxSuppression -----------------------------------------------------------------------------------------------


def boxes(batch: int, classes: int, n: int, grid: int) -> tuple[Array, Array]:
    """On a grid, so that many shares are just the threshold, and with scores of which many are equal."""
    rng = np.random.default_rng(0)
    ends = rng.integers(0, grid, (batch, n, 2, 2)).astype(np.float32) * np.float32(0.1)  # in any order
    return ends.reshape(batch, n, 4), rng.integers(-5, 20, (batch, classes, n)).astype(np.float32) / 8


def assert_taken(sizes: tuple[int, int, int, int], limits: tuple[float, ...], center: int, kind: str) -> None:
    most = [np.array(v, np.int64) for v in limits[:1]]
    shares = [np.array([v], np.float32) for v in limits[1:]]
    inputs, attrs = [*boxes(*sizes), *most, *shares], {"center_point_box": center}
    case = Case("NonMaxSuppression", inputs, attrs, 11, [kind, kind, *[FIXED] * 3])
    different = difference(compiled(case), onnxruntimes(case))
    assert not different, f"{case}: {different}"


@pytest.mark.parametrize("center", [0, 1])
def test_boxes_that_are_taken(center: int) -> None:
    for sizes in ((1, 1, 1, 5), (2, 3, 40, 6), (1, 2, 700, 40), (2, 1, 30, 2), (1, 5, 9, 300)):
        for limits in ((3,), (2**62, 0.0, 0.4), (10, 1.0, -9.0), (-4, 0.3, 0.0), (sizes[2], 0.25, 99.0)):
            assert_taken(sizes, limits, center, SYMBOLIC)
    assert_taken((2, 3, 40, 6), (2**31 - 1, 0.5), center, FIXED)
    assert_taken((2, 3, 40, 6), (), center, FIXED)


@pytest.mark.parametrize("sizes", [(0, 2, 5), (2, 0, 5), (2, 3, 0), (1, 1, 1)])
def test_no_boxes(sizes: tuple[int, int, int]) -> None:
    given = [*boxes(*sizes, 9), np.array(4)]
    case = Case("NonMaxSuppression", given, opset=11)
    made = compiled(case)
    assert not isinstance(made, str) and made[0].shape == (prod(sizes), 3), made


def test_infinite_scores() -> None:
    """Without a threshold all boxes count."""
    scores = np.array([[[-np.inf, 1, np.inf, -np.inf, 0]]], np.float32)
    places = np.arange(5, dtype=np.float32)[None, :, None]
    given = [
        np.concatenate([places, places, places + 0.5, places + 0.5], 2),
        scores,
        np.array(9),
        np.array([0.1], np.float32),
    ]
    assert not difference(*(f(Case("NonMaxSuppression", given, opset=11)) for f in (compiled, onnxruntimes)))


def test_many_boxes_without_a_limit() -> None:
    """Memory is in proportion to the scores: neither to the limit nor to pairs of boxes."""
    case = Case(
        "NonMaxSuppression", [*boxes(1, 8, 20_000, 1000), *LIMITS], opset=11, kinds=[SYMBOLIC] * 2 + [CONSTANT] * 3
    )
    assert not difference(compiled(case), onnxruntimes(case))


LIMITS = [np.array([2**31 - 1]), np.array([0.45], np.float32), np.array([2.2], np.float32)]
