"""LSTM, GRU and RNN kernels against their meaning in float64, on fresh random inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from chance import fresh_seed
from unit.codegen.exact import meant
from unit.codegen.recurrences import CASES, Case, arrays_of, kernel_of

from intaglio.compiler.codegen.c import recurrent
from intaglio.compiler.scalar.dtype import BF16, F16, F32, F64


def _check(case: Case, compile_kernel: Callable[..., Any], rng: np.random.Generator | None = None, **how: Any) -> None:
    arrays = arrays_of(case, rng or np.random.default_rng(0))
    kernel, sizes = kernel_of(case)
    compiled = compile_kernel(recurrent, kernel, **how)
    compiled([*arrays.values()], sizes)
    tolerance = {BF16: 2e-2, F16: 3e-3, F32: 1e-5, F64: 1e-12}[case.dtype]
    results = {name: a for name, a in arrays.items() if name.startswith("y")}
    for name, wanted in zip(arrays, meant(kernel, [*arrays.values()], sizes)):
        np.testing.assert_allclose(arrays[name].astype(np.float64), wanted, tolerance, tolerance, err_msg=name)
    before = {name: a.copy() for name, a in results.items()}
    for a in results.values():
        a.fill(0)
    compiled([*arrays.values()], sizes, split=3)
    assert all(before[n].tobytes() == a.tobytes() for n, a in results.items()), "the result depends on the split"


@pytest.mark.sample(8)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_case(case: Case, compile_kernel: Callable[..., Any]) -> None:
    _check(case, compile_kernel)


@pytest.mark.parametrize("target_name", ["x86-64-v3", "generic"])
@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_other_targets_and_compilers(target_name: str, compiler: str, compile_kernel: Callable[..., Any]) -> None:
    case = Case("lstm", "bidirectional", batch=7, hidden=37, has=("peephole", "h0", "c0", "lengths"))
    _check(case, compile_kernel, target_name=target_name, compiler=compiler)


def test_random_sizes(compile_kernel: Callable[..., Any]) -> None:
    seed = fresh_seed()
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    for _ in range(40):
        time, batch, hidden = (int(x) for x in rng.integers((0, 1, 1), (6, 20, 140)))
        case = Case("gru", "bidirectional", time, batch, hidden, ("h0", "lengths"))
        _check(case, compile_kernel, rng)
