"""Each module has a file of tests in the same place, or is named here with the tests that are its own."""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (
    "compiler/export", "compiler/graph", "compiler/kernel", "compiler/passes", "compiler/scalar", "compiler/schedule",
    "compiler/tune", "runtime",
)  # fmt: skip
# Modules, or folders of them, whose tests lie elsewhere, and why.
ELSEWHERE = {
    # One table of cases for all operations, primitives and stages.
    "compiler/graph/ops": "unit/graph/test_ops.py",
    "compiler/graph/tensor.py": "unit/graph/test_ops.py",
    "compiler/graph/ir.py": "unit/graph/test_control.py",
    "compiler/passes/__init__.py": "unit/passes/test_models.py",
    "compiler/passes/indices.py": "unit/passes/test_fold.py",
    "compiler/schedule/__init__.py": "unit/schedule/test_stage.py",
    # What kernels mean is compared with what they do.
    "compiler/kernel/ir.py": "unit/kernel/test_verify.py",
    # Defaults without a choice: the kernels that they make are run.
    "compiler/schedule/nms.py": "unit/codegen/c/test_nms.py",
    "compiler/schedule/sort.py": "unit/codegen/c/test_sort.py",
    "compiler/schedule/device/__init__.py": "unit/codegen/triton/test_compile.py",
    "compiler/schedule/device/conv.py": "unit/codegen/triton/test_conv.py",
    "compiler/schedule/device/loopnest.py": "unit/codegen/triton/test_loopnest.py",
    "compiler/schedule/device/nonzero.py": "unit/codegen/triton/test_nonzero.py",
    "compiler/schedule/device/recurrent.py": "unit/codegen/triton/test_recurrent.py",
    "compiler/schedule/device/sort.py": "unit/codegen/triton/test_sort.py",
    # A search needs kernels and trials, a run a page and sessions.
    "compiler/tune/kernels.py": "unit/tune/test_search.py",
    "compiler/tune/machines.py": "unit/tune/test_search.py",
    "compiler/tune/trial.py": "unit/tune/test_search.py",
    "compiler/tune/page.py": "unit/tune/test_report.py",
    "compiler/tune/session.py": "unit/tune/test_tuner.py",
    "compiler/tune/workload.py": "unit/tune/test_tuner.py",
    # The interface of onnxruntime is tested beside onnxruntime.
    "runtime/api/binding.py": "parity/test_bindings.py",
    "runtime/api/configuration.py": "parity/test_environment.py",
    "runtime/host/registry.py": "unit/runtime/host/test_calls.py",
    "runtime/values/devices.py": "parity/test_session.py",
    "runtime/values/dlpack.py": "unit/runtime/values/test_value.py",
    "runtime/enums.py": "parity/test_surface.py",
    "runtime/api/process.py": "parity/test_environment.py",
    "runtime/errors.py": "errors/test_run.py",
    "runtime/api/metadata.py": "parity/test_specification.py",
    "runtime/api/providers.py": "parity/test_session.py",
    "runtime/run/seeds.py": "parity/test_random.py",
    "runtime/values/sparse.py": "parity/test_session.py",
    # A device is a driver's, or stands in for one.
    "runtime/device/device.py": "unit/runtime/device/test_cuda.py",
    "runtime/device/gpu.py": "unit/runtime/device/test_cuda.py",
    "runtime/device/interpreter.py": "unit/runtime/device/test_cuda.py",
    "runtime/device/triton_interpreter.py": "unit/codegen/triton/test_interpreter.py",
    "runtime/device/memory.py": "unit/runtime/device/test_cuda.py",
    # A program in C needs artifacts, and is run by sessions.
    "runtime/api/load.py": "unit/runtime/api/test_session.py",
    "runtime/api/tuning_results.py": "unit/tune/test_tuner.py",
    "runtime/run/program.py": "unit/runtime/api/test_session.py",
}


@lru_cache
def modules() -> list[str]:
    """Those with something public, in the folders that are mirrored."""
    files = (file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py")))
    return [file.relative_to(ROOT).as_posix() for file in files if _is_public(file)]


def _is_public(file: Path) -> bool:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return any(isinstance(n, kinds) and not n.name.startswith("_") for n in ast.parse(file.read_text()).body)


def mirrored(module: str) -> Path:
    """Where the tests of a module belong."""
    path = Path(module.removeprefix("compiler/"))
    return ROOT / "tests" / "unit" / path.parent / f"test_{path.stem}.py"


def excused(module: str) -> str | None:
    """The entry of the list that names it, or its folder."""
    return next((e for e in ELSEWHERE if module == e or module.startswith(f"{e}/")), None)


@pytest.mark.parametrize("module", modules())
def test_every_module_has_its_tests(module: str) -> None:
    assert mirrored(module).exists() or excused(module), f"{module} has no {mirrored(module).relative_to(ROOT)}"


@pytest.mark.parametrize("entry", ELSEWHERE)
def test_the_list_is_needed_and_names_tests(entry: str) -> None:
    assert (ROOT / "tests" / ELSEWHERE[entry]).exists()
    named = [module for module in modules() if excused(module) == entry]
    assert named and not any(mirrored(module).exists() for module in named)
