"""Kernels in Triton as functions on numpy arrays, under Triton's interpreter."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from intaglio.compiler.codegen.triton import kernels
from intaglio.compiler.kernel import interp
from intaglio.compiler.kernel.ir import Kernel
from intaglio.compiler.scalar.dim import evaluate
from intaglio.runtime.interpreter import InterpretedKernel

Run = Callable[[Kernel, Sequence[np.ndarray], Sequence[int]], None]


@pytest.fixture(scope="session")
def run_triton(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """run_triton(kernel, arrays, sizes) writes to the arrays what the kernel's source does."""
    folder = tmp_path_factory.mktemp("kernels")

    def run(kernel: Kernel, arrays: Sequence[np.ndarray], sizes: Sequence[int]) -> None:
        source = kernels.source(kernel, "kernel")
        file: Path = folder / (hashlib.sha256(source.text.encode()).hexdigest()[:16] + ".py")
        file.write_text(source.text)
        programs = evaluate(kernels.tasks(kernel), dict(zip(kernel.sizes, sizes)))
        compiled = InterpretedKernel(file, "kernel", source.arguments)
        compiled.launch(programs, [a.ctypes.data for a in arrays], sizes)

    return run


@pytest.fixture(scope="session")
def check_triton(run_triton: Run) -> Callable[..., list[np.ndarray]]:
    """check_triton(kernel, arrays, sizes, rtol, atol): as the interpreter of the kernel IR has it."""

    def check(
        kernel: Kernel, arrays: Sequence[np.ndarray], sizes: Sequence[int], rtol: float = 1e-5, atol: float = 1e-6
    ) -> list[np.ndarray]:
        expected = [a.copy() for a in arrays]
        interp.run(kernel, expected, tuple(sizes))
        results = [a.copy() for a in arrays]
        run_triton(kernel, results, sizes)
        for param, got, want in zip(kernel.params, results, expected):
            if param.dtype.is_float:
                np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), rtol, atol, equal_nan=True)
            else:
                np.testing.assert_array_equal(got, want)
        return results

    return check
