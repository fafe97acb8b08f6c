"""Sort and top-k kernels against numpy's stable sort, on fresh random inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from unit.codegen.sorts import NUMERIC, Array, Case, kernel_of, order, random

from intaglio.compiler.codegen.c import sort
from intaglio.compiler.scalar.dtype import DTYPES


def _check(case: Case, compile_kernel: Callable[..., Any], x: Array, **how: str) -> None:
    kernel, sizes = kernel_of(case)
    values = np.zeros((case.outer, case.k, case.inner), x.dtype)
    indices = np.full(values.shape, -1, np.int64)
    compiled = compile_kernel(sort, kernel, **how)
    compiled([x, values, indices], sizes, split=2)
    places = order(x, case.descending)[:, : case.k]
    if "i" in case.outputs:
        np.testing.assert_array_equal(indices, places)
    if "v" in case.outputs:
        assert values.tobytes() == np.take_along_axis(x, places, 1).tobytes()


@pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
@pytest.mark.parametrize("name", NUMERIC)
def test_all_dtypes(name: str, descending: bool, compile_kernel: Callable[..., Any]) -> None:
    rng = np.random.default_rng()
    for n, k in ((1, 1), (5, 2), (12, 12), (13, 0), (257, 257), (700, 30), (700, 400)):
        case = Case(DTYPES[name], descending, n, k)
        _check(case, compile_kernel, random(case, rng))


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_static_sizes_and_single_outputs(compiler: str, compile_kernel: Callable[..., Any]) -> None:
    for outputs in ("v", "i"):
        case = Case(DTYPES["f32"], True, 40, 7, outputs=outputs, symbolic=False)
        _check(case, compile_kernel, random(case, np.random.default_rng()), compiler=compiler)


@pytest.mark.parametrize("direction", [1, -1])
def test_sorted_rows_drop_and_keep_all(direction: int, compile_kernel: Callable[..., Any]) -> None:
    """The best and the worst case of collecting the first k."""
    case = Case(DTYPES["f32"], True, 5000, 10, outer=1, inner=1)
    x = np.arange(5000, dtype=np.float32)[None, ::direction, None].copy()
    _check(case, compile_kernel, x)
