"""Attention in Triton against its meaning in float64, on fresh random inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from chance import fresh_seed
from unit.codegen.attentions import CASES, Array, Case, arrays_of, kernel_of
from unit.codegen.exact import meant
from unit.codegen.triton import translated

from intaglio.compiler.kernel.ir import Attention, Kernel, Stage, Store
from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import BF16, F16, F32, F64
from intaglio.compiler.scalar.expr import Acc, Call, Load, Local

Run = Callable[..., None]

MORE = [
    Case(m=40, n=75, d=40, dv=24, dtype=BF16, causal=30, mask="mn"),
    Case(m=40, n=75, d=40, dv=24, dtype=F16, computed_kv=True),
    Case(m=20, n=40, d=300, dv=20, symbolic=False),
    Case(m=20, n=40, d=20, dv=300, symbolic=False, mask="mn"),
    Case(m=20, n=40, d=300, dv=270, symbolic=False, dtype=F16),
    Case(m=150, n=150, d=32, dv=32, causal=0, symbolic=False, dtype=F16, heads=1, kv_heads=1),
    Case(m=150, n=128, d=64, dv=64, symbolic=False, dtype=F16, heads=1, kv_heads=1),
]


def _check(case: Case, run_triton: Run, arrays: list[Array] | None = None) -> Array:
    arrays = arrays or arrays_of(case, np.random.default_rng(0))
    kernel, sizes = kernel_of(case)
    return _compare(kernel, arrays, sizes, run_triton, {BF16: 3e-2, F16: 4e-3, F32: 2e-5, F64: 1e-12}[case.dtype])


def _compare(
    kernel: Kernel,
    arrays: list[Array],
    sizes: list[int],
    run_triton: Run,
    rtol: float = 2e-5,
    atol: float | None = None,
) -> Array:
    run_triton(kernel, arrays, sizes)
    result = arrays[3].astype(np.float64)
    np.testing.assert_allclose(result, meant(kernel, arrays, sizes)[3], rtol, rtol if atol is None else atol)
    return result


@pytest.mark.sample(6)
@pytest.mark.parametrize("case", CASES + MORE, ids=str)
def test_every_case(case: Case, run_triton: Run) -> None:
    _check(case, run_triton)


def test_random_sizes(run_triton: Run) -> None:
    seed = fresh_seed()
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    for number in range(12):
        m, n, d, dv = (int(x) for x in rng.integers(1, 90, 4))
        case = Case(m, n, d, dv, mask="mn", causal=int(rng.integers(-10, 60)), zero_rows=True, symbolic=number % 2 == 0)
        _check(case, run_triton, arrays_of(case, rng))


@pytest.mark.parametrize("zero_rows", [False, True])
@pytest.mark.parametrize("m", [1, 40])
def test_rows_without_any_key(zero_rows: bool, m: int, run_triton: Run) -> None:
    masked = Case(m=m, n=70, d=16, dv=16, mask="mn", zero_rows=zero_rows)
    arrays = arrays_of(masked, np.random.default_rng(0))
    arrays[4][m // 2] = -np.inf
    result = _check(masked, run_triton, arrays)
    assert np.array_equal(
        result[:, m // 2], np.full_like(result[:, m // 2], 0 if zero_rows else np.nan), equal_nan=True
    )
    _check(Case(m=m, n=30, d=16, dv=16, causal=-m // 2, zero_rows=zero_rows), run_triton)


@pytest.mark.parametrize("zero_rows", [False, True])
@pytest.mark.parametrize("symbolic", [False, True])
def test_no_keys_at_all(zero_rows: bool, symbolic: bool, run_triton: Run) -> None:
    case = Case(m=5, n=0, d=16, dv=16, zero_rows=zero_rows, symbolic=symbolic)
    arrays = arrays_of(case, np.random.default_rng(0))
    run_triton(*_of(kernel_of(case), arrays))
    assert np.array_equal(arrays[3], np.zeros_like(arrays[3]))  # sums of nothing


def _of(made: tuple[Kernel, list[int]], arrays: list[Array]) -> tuple[Kernel, list[Array], list[int]]:
    return made[0], arrays, made[1]


def test_no_queries_at_all() -> None:
    kernel, _ = kernel_of(Case(m=0, n=5, d=16, dv=16, symbolic=False))
    assert translated.tasks(kernel) == 0


def test_keys_excluded_for_whole_blocks(run_triton: Run) -> None:
    case = Case(m=20, n=150, d=16, dv=16, mask="mn")
    arrays = arrays_of(case, np.random.default_rng(0))
    arrays[4][:, :100] = -np.inf
    arrays[4][:, 120] = 0
    _check(case, run_triton, arrays)


def test_masks_of_the_least_float_are_not_exclusions(run_triton: Run) -> None:
    """Rows masked by finfo.min throughout attend to all keys alike, as they do in float32."""
    case = Case(m=20, n=70, d=16, dv=16, mask="mn")
    arrays = arrays_of(case, np.random.default_rng(0))
    arrays[4][:] = np.finfo(np.float32).min
    run_triton(*_of(kernel_of(case), arrays))
    mean = 2 * arrays[2].astype(np.float64).mean(1, keepdims=True)
    np.testing.assert_allclose(arrays[3], np.broadcast_to(mean, arrays[3].shape), 1e-5, 1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_reaches_its_rows_only(value: float, run_triton: Run) -> None:
    """A score of infinity less the maximum, which it is, is not a number."""
    case = Case(m=20, n=70, d=16, dv=16, batch=1, heads=1, kv_heads=1, mask="mn")
    arrays = arrays_of(case, np.random.default_rng(0))
    arrays[4][:] = 0
    arrays[4][(0, 10), (3, 66)] = value
    run_triton(*_of(kernel_of(case), arrays))
    rows = np.isnan(arrays[3]).all((0, 2, 3))
    assert rows.tolist() == [i in (0, 10) for i in range(20)]
    assert not np.isnan(arrays[3][:, ~rows]).any()


def test_values_of_excluded_columns_are_no_matter(run_triton: Run) -> None:
    """What lies beyond the end of a row of q and k is not multiplied, whatever the expression makes of no access."""
    case = Case(m=5, n=7, d=9, dv=11, computed_kv=True, causal=3, symbolic=False)
    kernel, _ = kernel_of(case)
    body = kernel.body
    assert isinstance(body, Attention)
    inverse = 1.0 / Load(1, body.k.args[0].index, F32)  # type: ignore[attr-defined]
    kernel = replace(kernel, body=replace(body, k=inverse))
    _compare(kernel, arrays_of(case, np.random.default_rng(0)), [], run_triton, 1e-3, 1e-4)


def test_epilogue_of_several_stages(run_triton: Run) -> None:
    """A value is kept for two stores, one of them transposed."""
    case = Case(m=9, n=20, d=16, dv=5, batch=1, heads=1, kv_heads=1, symbolic=False)
    kernel, _ = kernel_of(case)
    body = kernel.body
    assert isinstance(body, Attention)
    stages = (
        Stage(Acc(F32) * 2.0, None),
        Stage(Local(0, 0, F32), Store(3, body.m * 5 + body.dv)),
        Stage(Call("neg", (Local(0, 0, F32),), F32), Store(4, body.dv * 9 + body.m)),
    )
    kernel = Kernel((*kernel.params, kernel.params[3]), (), replace(body, epilogue=stages))
    arrays = [*arrays_of(case, np.random.default_rng(0)), np.zeros(45, np.float32)]
    result = _compare(kernel, arrays, [], run_triton)
    np.testing.assert_array_equal(arrays[4].reshape(5, 9), -result[0, :, 0].T)


def test_negative_scale(run_triton: Run) -> None:
    case = Case(m=9, n=40, d=16, dv=16)
    kernel, sizes = kernel_of(case)
    assert isinstance(kernel.body, Attention)
    kernel = replace(kernel, body=replace(kernel.body, scale=-kernel.body.scale))
    _compare(kernel, arrays_of(case, np.random.default_rng(0)), sizes, run_triton)


def test_offset_that_depends_on_a_size(run_triton: Run) -> None:
    """The last query attends to all keys."""
    case = Case(m=30, n=75, d=16, dv=16, causal=45)
    kernel, sizes = kernel_of(case)
    body: Any = kernel.body
    offset = _named(kernel, "n") - _named(kernel, "m")
    kernel = replace(kernel, body=replace(body, causal=offset))
    _compare(kernel, arrays_of(case, np.random.default_rng(0)), sizes, run_triton)


def _named(kernel: Kernel, name: str) -> Symbol:
    return next(s for s in kernel.sizes if s.name == name)
