"""What conversions mean, by cases; that C does the same for all numbers, `test_prims.py` says."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from intaglio.compiler.scalar.convert import as_dtype, cast, cast_unsaturated, integer_range
from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import BF16, BOOL, DTYPES, F16, F32, F64, I8, I32, I64, U8, U32, U64, DType

N = Symbol("n")
NAN, INF = math.nan, math.inf
E4M3FN, E5M2, E4M3FNUZ = (DTYPES[n] for n in ("f8e4m3fn", "f8e5m2", "f8e4m3fnuz"))


def numbers(dtype: DType, values: list[Any], source: Any = None) -> list[float]:
    """Numbers of numpy's default type or of another, converted."""
    return [float(v) for v in cast(np.array(values, source), dtype).astype(np.float64)]


@pytest.mark.parametrize(("values", "dtype", "wanted"), [
    ([1.9, -1.9, NAN], I32, [1, -1, 0]),
    ([300.0, -300.0, INF, -INF], I8, [127, -128, 127, -128]),
    ([-1.0, 256.0, INF], U8, [0, 255, 255]),
    ([3e9, 1e20], U32, [3e9, 2**32 - 1]),
    ([1e20, -1e20, NAN], I64, [float(2**63 - 1), float(-(2**63)), 0]),
    ([1e20, -1.0], U64, [float(2**64 - 1), 0]),
    ([9.0, -9.0], DTYPES["i4"], [7, -8]),
])  # fmt: skip
def test_floats_go_to_integers_by_truncation_that_saturates(values: list[float], dtype: DType, wanted: Any) -> None:
    assert numbers(dtype, values, np.float64) == wanted


def test_integers_wrap_around() -> None:
    assert numbers(I8, [127, 128, 256, -129]) == [127, -128, 0, 127]
    assert numbers(U8, [-1, 256]) == [255, 0]
    assert numbers(DTYPES["i4"], [7, 8, -9, 16]) == [7, -8, 7, 0]
    assert numbers(DTYPES["u2"], [3, 4, -1]) == [3, 0, 3]


def test_everything_but_zero_is_true() -> None:
    assert cast(np.array([0.0, -0.0, 0.1, NAN, -3]), BOOL).tolist() == [False, False, True, True, True]


def test_floats_are_rounded_half_to_even() -> None:
    assert numbers(F16, [2049.0, 2051.0, 65520.0]) == [2048, 2052, INF]
    assert numbers(BF16, [257.0, 259.0]) == [256, 260]


def test_floats_are_rounded_once() -> None:
    """By way of f32 these would end at halves between two, and then at the even one."""
    above_half = 1 + 2.0**-11 + 2.0**-30
    assert numbers(F16, [above_half], np.float64) == [1 + 2.0**-10]
    assert numbers(BF16, [2**24 + 2**16 + 1], np.int64) == [2**24 + 2**17]


@pytest.mark.parametrize(("dtype", "values", "saturated", "plain"), [
    (E4M3FN, [449.0, 1e6, -INF], [448, 448, -448], [448, NAN, NAN]),
    (E5M2, [1e6, -INF], [57344, -57344], [INF, -INF]),
    (E4M3FNUZ, [1e6, -INF], [240, -240], [NAN, NAN]),
])  # fmt: skip
def test_what_is_too_large_for_eight_bits(dtype: DType, values: list[float], saturated: Any, plain: Any) -> None:
    x = np.array(values, np.float32)
    np.testing.assert_array_equal(cast(x, dtype).astype(np.float64), saturated)
    np.testing.assert_array_equal(cast_unsaturated(x, dtype).astype(np.float64), plain)


@pytest.mark.parametrize("dtype", [E4M3FN, E5M2, E4M3FNUZ, F16, BF16, F32], ids=str)
def test_nan_stays(dtype: DType) -> None:
    assert math.isnan(numbers(dtype, [NAN])[0])


def test_sizes_stay_symbolic() -> None:
    sizes = np.array([N, 3, N - N], object)
    assert cast(sizes, I64).tolist() == [N, 3, 0]
    assert cast(np.array([N + 1, 0, 5], object), BOOL).tolist() == [True, False, True]
    with pytest.raises(TypeError, match="a symbolic size as f32"):
        cast(sizes, F32)
    with pytest.raises(TypeError, match="a symbolic size as i8"):
        cast(sizes, I8)


@pytest.mark.parametrize(("value", "dtype", "wanted"), [
    (130, I8, -126), (-1, U8, 255), (True, I8, True),
    (N, I64, N), (N, I32, N), (N, I8, None),  # taken to be less than 2**16, but in fewer bits
    (N * (1 << 20), I32, None), (N * (1 << 20), I64, N * (1 << 20)),
    (N, U32, N), (N - 1, U32, None),  # it may be negative
    (Symbol("i", 0, 100), I8, Symbol("i", 0, 100)), (Symbol("i", 0, 200), I8, None),
])  # fmt: skip
def test_sizes_that_a_type_holds(value: Any, dtype: DType, wanted: Any) -> None:
    assert as_dtype(value, dtype) == wanted


def test_ranges() -> None:
    assert integer_range(I8) == (-128, 127) and integer_range(U8) == (0, 255)
    assert integer_range(DTYPES["i4"]) == (-8, 7) and integer_range(DTYPES["u2"]) == (0, 3)
    assert numbers(F64, [integer_range(I64)[1]]) == [float(2**63)]
