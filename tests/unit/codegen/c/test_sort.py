"""Sort and top-k kernels against their interpreter, on fresh random inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from unit.codegen.sorts import NUMERIC, Array, Case, check, kernel_of, kernel_of_tuples, outputs_of, random

from intaglio.compiler.codegen.c import sort
from intaglio.compiler.scalar.dtype import DTYPES


def _check(case: Case, compile_kernel: Callable[..., Any], x: Array, **how: Any) -> None:
    kernel, sizes = kernel_of(case)
    made = outputs_of(case)
    compile_kernel(sort, kernel, **how)([x, *made], sizes, split=2)
    check(kernel, sizes, x, made, outputs_of(case))


@pytest.mark.sample(13)
@pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
@pytest.mark.parametrize("name", NUMERIC)
def test_all_dtypes(name: str, descending: bool, compile_kernel: Callable[..., Any]) -> None:
    rng = np.random.default_rng(0)
    for n, k in ((1, 1), (5, 2), (12, 12), (13, 0), (257, 257), (700, 30), (700, 400), (3000, 3000)):
        case = Case(DTYPES[name], descending, n, k)
        _check(case, compile_kernel, random(case, rng))


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_static_sizes_and_single_outputs(compiler: str, compile_kernel: Callable[..., Any]) -> None:
    for outputs in ("v", "i"):
        case = Case(DTYPES["f32"], True, 40, 7, outputs=outputs, symbolic=False)
        _check(case, compile_kernel, random(case, np.random.default_rng(0)), compiler=compiler)


@pytest.mark.parametrize("direction", [1, -1])
def test_sorted_rows_drop_and_keep_all(direction: int, compile_kernel: Callable[..., Any]) -> None:
    """The best and the worst case of collecting the first k, of few and of many."""
    for k in (10, 50):
        case = Case(DTYPES["f32"], True, 5000, k, outer=1, inner=1)
        x = np.arange(5000, dtype=np.float32)[None, ::direction, None].copy()
        _check(case, compile_kernel, x)


@pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
@pytest.mark.parametrize("name", ["f16", "f32", "i64", "bool"])
def test_tuples(name: str, descending: bool, compile_kernel: Callable[..., Any]) -> None:
    """Of any number, also of none, and of elements of which most are equal."""
    for n, columns in ((1, 3), (50, 1), (400, 2), (3000, 2), (300, 40), (30, 0), (0, 4)):
        kernel = kernel_of_tuples(DTYPES[name], descending, columns == 1)
        x = random(Case(DTYPES[name], descending, columns, 0, n, 1), np.random.default_rng(0))[..., 0]
        made, fresh = ([np.full(n, -1), np.zeros(n, bool)] for _ in range(2))
        compile_kernel(sort, kernel)([x, *made], [n, columns])
        check(kernel, [n, columns], x, made, fresh)
