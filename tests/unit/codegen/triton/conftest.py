"""Kernels in Triton as functions on numpy arrays, under Triton's interpreter."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from unit.codegen.triton import translated

from intaglio.compiler.codegen.triton.build import Binary, build
from intaglio.compiler.codegen.triton.program import DeviceKernel
from intaglio.compiler.codegen.triton.tiles import Source
from intaglio.compiler.kernel import interp
from intaglio.compiler.kernel.ir import Kernel
from intaglio.compiler.scalar.dim import evaluate
from intaglio.compiler.target import targets
from intaglio.runtime.device.triton_interpreter import InterpretedKernel

Run = Callable[[Kernel, Sequence[np.ndarray], Sequence[int]], None]
Assemble = Callable[[int | str, Mapping[str, Source]], dict[str, Binary]]


@pytest.fixture(scope="session")
def run_triton(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """run_triton(kernel, arrays, sizes) writes to the arrays what the kernel's source does."""
    folder = tmp_path_factory.mktemp("kernels")

    def run(kernel: Kernel, arrays: Sequence[np.ndarray], sizes: Sequence[int]) -> None:
        source = translated.source(kernel)
        file: Path = folder / (hashlib.sha256(source.text.encode()).hexdigest()[:16] + ".py")
        file.write_text(source.text)
        programs = evaluate(translated.tasks(kernel), dict(zip(kernel.sizes, sizes)))
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
    """assemble(arch, sources): the binaries of sources of kernels called `kernel`, by the names of these; arch is
    sm_ARCH of CUDA, or a name of ROCm's."""

    def assemble(arch: int | str, sources: Mapping[str, Source]) -> dict[str, Binary]:
        gpu = f"cuda:sm_{arch}" if isinstance(arch, int) else f"hip:{arch}"
        named = {label: f"kernel{i}" for i, label in enumerate(sources)}
        made = [
            DeviceKernel(named[label], i, replace(s, text=s.text.replace("def kernel(", f"def {named[label]}(")), 1)
            for i, (label, s) in enumerate(sources.items())
        ]
        built = build(made, targets(gpu)[1], tmp_path)
        return {label: built[name, gpu] for label, name in named.items()}

    return assemble


@pytest.fixture
def check_resources() -> Callable[..., None]:
    """check_resources(answers of assemble, spilling=()): registers stay, but of `spilling`. That the shared memory is
    there is checked by the build."""

    def check(answers: dict[str, Binary], spilling: Collection[str] = ()) -> None:
        assert {name: made.spills for name, made in answers.items() if made.spills and name not in spilling} == {}

    return check
