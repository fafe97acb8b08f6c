"""Template kernels as functions on numpy arrays.

$CFLAGS is added to the compiler's flags. Accesses out of bounds are found by CFLAGS="-g -fsanitize=address"
ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD=$(gcc -print-file-name=libasan.so) python -m pytest ... -k "not zig".
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from intaglio.compiler.codegen.c.build import TEMPLATES
from intaglio.compiler.kernel.ir import Kernel
from intaglio.compiler.scalar.dim import evaluate
from intaglio.compiler.schedule import Schedule, default
from intaglio.compiler.target import Target, target
from intaglio.runtime import cpus

_FLAGS = [
    "-std=c11", "-fPIC", "-shared", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast",
    "-Wall", "-Werror", "-Wno-unknown-pragmas", "-Wno-unused-function", "-Wno-unused-variable", f"-I{TEMPLATES}",
]  # fmt: skip
_GUARD = 64  # bytes beyond the scratch a kernel asked for, which it must leave alone


def _compilers() -> dict[str, list[str]]:
    found = {name: [name] for name in ("gcc", "clang") if shutil.which(name)}
    if importlib.util.find_spec("ziglang"):
        found["zig"] = [sys.executable, "-m", "ziglang", "cc", "-mcpu=x86_64", "-Wno-pass-failed"]
    return found


COMPILERS = _compilers()


def _flags(cpu: Target, emulated: bool) -> tuple[str, ...]:
    """Of the compiler; units that this machine lacks, or all, are emulated, and longer vectors are several."""
    if emulated or not cpus.features() >= set(cpu.required):
        return (*target("native").flags, "-DINTAGLIO_EMULATE", "-Wno-psabi")
    return cpu.flags


@dataclass(frozen=True)
class Compiled:
    """One kernel in machine code, for the sizes and arrays of each call."""

    function: Any
    module: ModuleType
    kernel: Kernel
    schedule: Schedule | None

    def __call__(self, arrays: Sequence[np.ndarray[Any, Any]], sizes: Sequence[int] = (), split: int = 1) -> None:
        """Runs all tasks, in `split` runs of about as many, last ones first."""
        values = dict(zip(self.kernel.sizes, sizes, strict=True))
        tasks = evaluate(self.module.tasks(self.kernel.body, self.schedule), values)
        needed = evaluate(self.module.scratch_bytes(self.kernel.body, self.schedule), values)
        memory = np.full(needed + 64 + _GUARD, 0xFF, np.uint8)  # NaNs, so that nothing relies on zeros
        scratch = memory[-memory.ctypes.data % 64 :]
        buf = (ctypes.c_void_p * max(len(arrays), 1))(*(a.ctypes.data for a in arrays))
        p = (ctypes.c_int64 * max(len(sizes), 1))(*sizes)
        bounds = [tasks * i // split for i in range(split + 1)]
        for begin, end in reversed([*pairwise(bounds)]):
            self.function(buf, p, ctypes.c_int64(begin), ctypes.c_int64(end), ctypes.c_void_p(scratch.ctypes.data))
        assert (scratch[needed : needed + _GUARD] == 0xFF).all(), "the kernel wrote beyond its scratch"


@pytest.fixture(scope="session")
def compile_kernel(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Compiled]:
    """compile_kernel(module, kernel, target="native", compiler="gcc", optimise="-O3", schedule=default, emulated=False)
    -> Compiled."""
    folder: Path = tmp_path_factory.mktemp("kernels")
    libraries: dict[tuple[str, ...], ctypes.CDLL] = {}

    def compile_kernel(
        module: ModuleType, kernel: Kernel, target_name: str = "native", compiler: str = "gcc", optimise: str = "-O3",
        schedule: Schedule | None = None, emulated: bool = False,
    ) -> Compiled:  # fmt: skip
        cpu = target(target_name)
        schedule = schedule or default(kernel.body, cpu)
        key = (module.source(kernel, "kernel", schedule), target_name, compiler, optimise, str(emulated))
        if key not in libraries:
            if compiler not in COMPILERS:
                pytest.skip(f"there is no {compiler} here")
            stem = folder / f"kernel{len(libraries)}"
            stem.with_suffix(".c").write_text(key[0])
            command = [
                *COMPILERS[compiler],
                *_FLAGS,
                *_flags(cpu, emulated),
                optimise,
                f"{stem}.c",
                "-o",
                f"{stem}.so",
                "-lm",
            ]
            subprocess.run([*command, *os.environ.get("CFLAGS", "").split()], check=True)
            libraries[key] = ctypes.CDLL(f"{stem}.so")
        function = libraries[key].kernel
        function.restype = None
        return Compiled(function, module, kernel, schedule)

    return compile_kernel
