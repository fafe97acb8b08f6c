"""Attention kernels against their meaning in float64, on fresh random inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from chance import fresh_seed
from unit.codegen.attentions import CASES, Array, Case, arrays_of, kernel_of
from unit.codegen.exact import meant

from intaglio.compiler.codegen.c import attention
from intaglio.compiler.scalar.dtype import F16, F32, F64


def _check(case: Case, compile_kernel: Callable[..., Any], arrays: list[Array] | None = None, **how: str) -> None:
    arrays = arrays or arrays_of(case, np.random.default_rng(0))
    kernel, sizes = kernel_of(case)
    compiled = compile_kernel(attention, kernel, **how)
    compiled(arrays, sizes)
    whole = arrays[3].copy()
    tolerance = {F16: 4e-3, F32: 2e-5, F64: 1e-12}[case.dtype]
    np.testing.assert_allclose(whole.astype(np.float64), meant(kernel, arrays, sizes)[3], tolerance, tolerance)
    arrays[3].fill(0)
    compiled(arrays, sizes, split=5)
    assert whole.tobytes() == arrays[3].tobytes(), "the result depends on how tasks are split"


@pytest.mark.sample(9)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_case(case: Case, compile_kernel: Callable[..., Any]) -> None:
    _check(case, compile_kernel)


@pytest.mark.sample(3)
@pytest.mark.parametrize("target_name", ["x86-64-v3", "x86-64-v2", "generic"])
@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_other_targets_and_compilers(target_name: str, compiler: str, compile_kernel: Callable[..., Any]) -> None:
    case = Case(m=37, n=75, d=40, dv=33, causal=30, mask="mn")
    _check(case, compile_kernel, target_name=target_name, compiler=compiler)


def test_random_sizes(compile_kernel: Callable[..., Any]) -> None:
    seed = fresh_seed()
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    for _ in range(40):
        m, n, d, dv = (int(x) for x in rng.integers(1, 150, 4))
        case = Case(m, n, d, dv, mask="mn", causal=70)
        _check(case, compile_kernel, arrays_of(case, rng))


@pytest.mark.parametrize("zero_rows", [False, True])
@pytest.mark.parametrize("m", [1, 40])
def test_rows_without_any_key(zero_rows: bool, m: int, compile_kernel: Callable[..., Any]) -> None:
    masked = Case(m=m, n=100, d=16, dv=16, mask="mn", zero_rows=zero_rows)
    arrays = arrays_of(masked, np.random.default_rng(0))
    arrays[4][m // 2] = -np.inf
    _check(masked, compile_kernel, arrays)
    before_all_keys = Case(m=m, n=30, d=16, dv=16, causal=-m // 2, zero_rows=zero_rows)
    _check(before_all_keys, compile_kernel)


def test_keys_excluded_for_whole_blocks(compile_kernel: Callable[..., Any]) -> None:
    case = Case(m=20, n=300, d=16, dv=16, mask="mn")
    arrays = arrays_of(case, np.random.default_rng(0))
    arrays[4][:, :200] = -np.inf
    arrays[4][:, 250] = 0
    _check(case, compile_kernel, arrays)


@pytest.mark.parametrize("m", [1, 20])
def test_masks_of_the_least_float_are_not_exclusions(m: int, compile_kernel: Callable[..., Any]) -> None:
    """Rows masked by finfo.min throughout attend to all keys alike, as they do in float32."""
    case = Case(m=m, n=100, d=16, dv=16, mask="mn")
    arrays = arrays_of(case, np.random.default_rng(0))
    arrays[4][:] = np.finfo(np.float32).min
    kernel, sizes = kernel_of(case)
    compile_kernel(attention, kernel)(arrays, sizes)
    mean = 2 * arrays[2].astype(np.float64).mean(1, keepdims=True)
    np.testing.assert_allclose(arrays[3], np.broadcast_to(mean, arrays[3].shape), 1e-5, 1e-5)


@pytest.mark.parametrize("m", [1, 20])
def test_not_a_number_reaches_its_rows_only(m: int, compile_kernel: Callable[..., Any]) -> None:
    case = Case(m=m, n=100, d=16, dv=16, batch=1, heads=1, kv_heads=1, mask="mn")
    arrays = arrays_of(case, np.random.default_rng(0))
    arrays[4][:] = 0
    for row, value in ((0, np.nan), (m // 2, np.array(0x7F800001, np.uint32).view(np.float32)[()])):
        arrays[4][row, 33] = value
    kernel, sizes = kernel_of(case)
    compile_kernel(attention, kernel)(arrays, sizes)
    rows = np.isnan(arrays[3]).all((0, 2, 3))
    assert rows.tolist() == [i in (0, m // 2) for i in range(m)]
    assert not np.isnan(arrays[3][:, ~rows]).any()
