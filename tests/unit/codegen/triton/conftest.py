"""Kernels in Triton as functions on numpy arrays, under Triton's interpreter."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from intaglio.compiler.codegen.triton import kernels
from intaglio.compiler.codegen.triton.tiles import Source
from intaglio.compiler.kernel import interp
from intaglio.compiler.kernel.ir import Kernel
from intaglio.compiler.scalar.dim import evaluate
from intaglio.runtime.interpreter import InterpretedKernel

Run = Callable[[Kernel, Sequence[np.ndarray], Sequence[int]], None]
Assemble = Callable[[int | str, Mapping[str, Source]], dict[str, dict[str, Any]]]


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


@pytest.fixture
def assemble(tmp_path: Path) -> Assemble:
    """assemble(arch, sources): what assembler.py tells of each source; arch is sm_ARCH of CUDA, or a name of ROCm's."""

    def compiled(arch: int | str, sources: Mapping[str, Source]) -> dict[str, dict[str, Any]]:
        cuda = isinstance(arch, int)
        jobs = [
            {"text": s.text, "arguments": s.arguments, "warps": s.warps, "stages": s.stages,
             "backend": "cuda" if cuda else "hip", "arch": arch}
            for s in sources.values()
        ]  # fmt: skip
        environ = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
        environ |= {"TRITON_DEFAULT_FP_FUSION": "1", "TRITON_CACHE_DIR": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("assembler.py"))],
            input="\n".join(map(json.dumps, jobs)), capture_output=True, text=True, env=environ,
        )  # fmt: skip
        answers = done.stdout.splitlines()
        assert len(answers) == len(jobs), f"{[*sources][len(answers)]} on {arch}:\n{done.stderr[-3000:]}"
        return dict(zip(sources, map(json.loads, answers)))

    return compiled


@pytest.fixture
def check_resources() -> Callable[..., None]:
    """check_resources(arch, answers of assemble, spilling=()): blocks fit; registers stay, but of `spilling`."""
    shared = {80: 163 << 10, 90: 227 << 10, 100: 227 << 10, "gfx942": 64 << 10}  # bytes that a program may have

    def check(arch: int | str, answers: dict[str, dict[str, Any]], spilling: Collection[str] = ()) -> None:
        assert {name: made["spills"] for name, made in answers.items() if made["spills"] and name not in spilling} == {}
        assert {name: made["shared"] for name, made in answers.items() if made["shared"] > shared[arch]} == {}

    return check
