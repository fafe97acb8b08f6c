"""What a kernel means, but for rounding: the interpreter's results in float64, for the tests of all back ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np

from intaglio.compiler.check.exact import widened
from intaglio.compiler.kernel import interp
from intaglio.compiler.kernel.ir import Kernel
from intaglio.compiler.scalar.dtype import DType

Array = np.ndarray[Any, Any]


def meant(kernel: Kernel, arrays: Sequence[Array], sizes: Sequence[int]) -> list[Array]:
    """The arrays after a run of the kernel in float64, in their shapes."""
    wide = [_wide(a, p.dtype).reshape(-1) for a, p in zip(arrays, kernel.params, strict=True)]
    interp.run(widened(kernel), wide, sizes)
    return [w.reshape(a.shape) for w, a in zip(wide, arrays)]


def _wide(array: Array, dtype: DType) -> Array:
    return array.astype(np.float64) if dtype.is_float else array.copy()


def tolerance(kernel: Kernel, arrays: Sequence[Array], sizes: Sequence[int], terms: int, acc: DType) -> list[Array]:
    """What rounding to the type `acc` may change in the results of a kernel that sums as many terms, in any order: one
    rounding for each, and as many more as an element passes through.

    Higham, Accuracy and Stability of Numerical Algorithms, section 3.1: their number times the unit roundoff times the
    sum of their magnitudes, which is what the kernel makes of magnitudes where it adds, multiplies, and takes a maximum
    alone."""
    unit = _unit(acc)
    magnitudes = [np.abs(a) if p.dtype.is_float else a for a, p in zip(arrays, kernel.params, strict=True)]
    return [terms * unit * np.abs(m, dtype=np.float64) for m in meant(kernel, magnitudes, sizes)]


def rounded(exact: Array, allowed: Array, dtype: DType) -> Array:
    """The tolerance of results that are stored in a type of floats."""
    least = float(ml_dtypes.finfo(dtype.to_numpy()).smallest_subnormal) if dtype.is_float else 0.0
    return np.asarray(allowed + _unit(dtype) * (np.abs(exact) + allowed) + least / 2)


def _unit(dtype: DType) -> float:
    """The unit roundoff, 0 of integers."""
    return float(ml_dtypes.finfo(dtype.to_numpy()).eps) / 2 if dtype.is_float else 0.0


def check(got: Array, exact: Array, allowed: Array) -> None:
    """That no element differs by more; integers are the same."""
    if exact.dtype.kind != "f":
        np.testing.assert_array_equal(got, exact)
        return
    error = np.abs(got.astype(np.float64) - exact)
    assert (error <= allowed).all(), f"error {error.max()} at {np.argwhere(~(error <= allowed))[:3]}"
