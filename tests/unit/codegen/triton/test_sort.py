"""Sort and top-k in Triton against its interpreter, on fresh random inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from unit.codegen.sorts import NUMERIC, Array, Case, check, kernel_of, kernel_of_tuples, outputs_of, random

from intaglio.compiler.kernel.ir import Param, Sort
from intaglio.compiler.scalar.dtype import DTYPES, F32, I32
from intaglio.compiler.scalar.expr import Load

Run = Callable[..., None]


def _check(case: Case, run_triton: Run, x: Array) -> None:
    kernel, sizes = kernel_of(case)
    made = outputs_of(case)
    run_triton(kernel, [x, *made], sizes)
    check(kernel, sizes, x, made, outputs_of(case))


@pytest.mark.sample(9)
@pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
@pytest.mark.parametrize("name", NUMERIC)
def test_all_dtypes(name: str, descending: bool, run_triton: Run) -> None:
    rng = np.random.default_rng(0)
    for n, k in ((1, 1), (5, 2), (13, 0), (150, 40)):
        case = Case(DTYPES[name], descending, n, k, outer=2)
        _check(case, run_triton, random(case, rng))


@pytest.mark.parametrize("name", ["f8e4m3fn", "i4", "u2"])
def test_types_of_few_bits(name: str, run_triton: Run) -> None:
    rng = np.random.default_rng(0)
    case = Case(DTYPES[name], True, 20, 20)
    wide = rng.integers(*((0, 4) if name == "u2" else (-8, 8)), (case.outer, case.n, case.inner))
    _check(case, run_triton, wide.astype(case.dtype.to_numpy()))


@pytest.mark.parametrize("name", ["f32", "i64", "bool"])
def test_where_others_begin(name: str, run_triton: Run) -> None:
    for n in (1, 40, 300):
        kernel = kernel_of_tuples(DTYPES[name], single=True)
        x = random(Case(DTYPES[name], False, n, 0, 1, 1), np.random.default_rng(0))
        made, fresh = ([np.full(n, -1), np.zeros(n, bool)] for _ in range(2))
        run_triton(kernel, [x, *made], [n, 1])
        check(kernel, [n, 1], x, made, fresh)


@pytest.mark.parametrize("n", [7, 64, 200])
def test_static_sizes_and_single_outputs(n: int, run_triton: Run) -> None:
    for outputs in ("v", "i"):
        case = Case(DTYPES["f32"], True, n, 7, outputs=outputs, symbolic=False)
        _check(case, run_triton, random(case, np.random.default_rng(0)))


@pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
def test_ends_of_the_range_of_floats(descending: bool, run_triton: Run) -> None:
    """Infinities, NaNs of both signs and all bits, zeros of both signs, numbers below the normal ones."""
    bits = [0x7F800000, 0xFF800000, 0x7FC00000, 0xFFFFFFFF, 0x7F800001, 0, 0x80000000, 1, 0x80000001, 0x7F7FFFFF]
    case = Case(F32, descending, 20, 20, outer=1, inner=1)
    x = np.array(bits * 2, np.uint32).view(np.float32).reshape(1, 20, 1)
    _check(case, run_triton, x)


def test_sorted_expression_and_narrow_indices(run_triton: Run) -> None:
    """What is sorted is computed; indices are i32."""
    case = Case(F32, False, 40, 40, outer=2, inner=1)
    kernel, sizes = kernel_of(case)
    body = kernel.body
    assert isinstance(body, Sort) and isinstance(body.x, Load)
    kernel = replace(
        kernel,
        params=(*kernel.params[:2], Param(I32, 0, True)),
        body=replace(body, x=body.x * body.x, index_dtype=I32),
    )
    x = random(case, np.random.default_rng(0))
    made, fresh = ([np.zeros_like(x), np.zeros(x.shape, np.int32)] for _ in range(2))
    run_triton(kernel, [x, *made], sizes)
    check(kernel, sizes, x, made, fresh)
