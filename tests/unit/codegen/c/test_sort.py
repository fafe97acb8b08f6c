"""Sort and top-k kernels against numpy's stable sort, on fresh random inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from unit.codegen.sorts import NUMERIC, Array, Case, kernel_of, kernel_of_tuples, order, random

from intaglio.compiler.codegen.c import sort
from intaglio.compiler.kernel import interp
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
    if case.n < 100:
        meant = [x.reshape(-1), np.zeros(values.size, x.dtype), np.full(values.size, -1, np.int64)]
        interp.run(kernel, meant, sizes)
        np.testing.assert_array_equal(meant[2].reshape(values.shape), indices)
        assert meant[1].tobytes() == values.tobytes()


@pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
@pytest.mark.parametrize("name", NUMERIC)
def test_all_dtypes(name: str, descending: bool, compile_kernel: Callable[..., Any]) -> None:
    rng = np.random.default_rng()
    for n, k in ((1, 1), (5, 2), (12, 12), (13, 0), (257, 257), (700, 30), (700, 400), (3000, 3000)):
        case = Case(DTYPES[name], descending, n, k)
        _check(case, compile_kernel, random(case, rng))


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_static_sizes_and_single_outputs(compiler: str, compile_kernel: Callable[..., Any]) -> None:
    for outputs in ("v", "i"):
        case = Case(DTYPES["f32"], True, 40, 7, outputs=outputs, symbolic=False)
        _check(case, compile_kernel, random(case, np.random.default_rng()), compiler=compiler)


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
        x = random(Case(DTYPES[name], descending, columns, 0, n, 1), np.random.default_rng())[..., 0]
        made, meant = ([np.full(n, -1), np.zeros(n, bool)] for _ in range(2))
        compile_kernel(sort, kernel)([x, *made], [n, columns])
        interp.run(kernel, [x.reshape(-1), *meant], [n, columns])
        ranks = np.unique(x.astype(np.float64) if name[0] == "f" else x, return_inverse=True)[1].reshape(x.shape)
        order = sorted(range(n), key=lambda i: tuple(-ranks[i] if descending else ranks[i]))
        begins = [at == 0 or (ranks[order[at]] != ranks[order[at - 1]]).any() for at in range(n)]
        for indices, others in (made, meant):
            assert (indices.tolist(), others.tolist()) == (order, begins)
