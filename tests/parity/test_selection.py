"""What is chosen by its order: Unique, of any type, along any axis, of more elements than all pairs would have room."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnxruntime
import pytest

import intaglio
from parity.cases import FIXED, SYMBOLIC, Case, difference

Array = np.ndarray[Any, Any]
TYPES = ["float16", "float32", "float64", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32",
         "uint64", "bool"]  # fmt: skip


def random(dtype: str, *shape: int) -> Array:
    """Numbers of which many are equal; floats have zeros of both signs, infinities and NaN."""
    rng = np.random.default_rng()
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


@pytest.mark.parametrize(("dtype", "ordered"), [("float32", 0), ("float32", 1), ("int64", 0), ("bool", 1)])
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
    x = np.random.default_rng().standard_normal(2000).astype(np.float32) * np.ones((500, 1), np.float32)
    x[np.arange(500), -1 - np.arange(500) % 7] += np.arange(500) % 3
    assert_distinct(x, 0, 1)


@pytest.mark.parametrize("ordered", [0, 1])
@pytest.mark.parametrize("of", [2, 100_000])
def test_distinct_elements_of_many(of: int, ordered: int) -> None:
    """All pairs of them would need gigabytes."""
    assert_distinct(np.random.default_rng().integers(0, of, 200_000), None, ordered)
