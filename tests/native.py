"""Kernels as functions on numpy arrays, built by the C compilers that this machine has."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from intaglio.compiler.codegen.c import loopnest
from intaglio.compiler.codegen.c.build import TEMPLATES
from intaglio.compiler.kernel.ir import Kernel, LoopNest
from intaglio.compiler.scalar.dim import evaluate
from intaglio.compiler.schedule.loopnest import LoopNestSchedule, scans

HOW = LoopNestSchedule()
FLAGS = [
    "-std=c11", "-fPIC", "-shared", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math",
    "-ffp-contract=fast", "-w", f"-I{TEMPLATES}",
]  # fmt: skip


def _compilers() -> dict[str, list[str]]:
    found = {}
    if shutil.which("gcc"):
        found["gcc"] = ["gcc", "-march=native", "-mprefer-vector-width=512"]
    if importlib.util.find_spec("ziglang"):
        zig = [sys.executable, "-m", "ziglang", "cc", "-mcpu=native", "-Wno-pass-failed"]
        found["zig"] = [*zig, "-mprefer-vector-width=512"]
    return found


COMPILERS = _compilers()
_FOLDER = Path(tempfile.mkdtemp(prefix="intaglio-test-"))


@cache
def library(text: str, compiler: str = "gcc", level: str = "-O3") -> ctypes.CDLL:
    """Compiles a C text to a shared library and loads it."""
    stem = _FOLDER / hashlib.sha256((compiler + level + text).encode()).hexdigest()[:16]
    source, output = stem.with_suffix(".c"), stem.with_suffix(".so")
    source.write_text(text)
    command = [*COMPILERS[compiler], level, *FLAGS, str(source), "-o", str(output), "-lm"]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(stem.with_suffix(".so")))


def launcher(
    kernel: Kernel,
    arrays: Sequence[np.ndarray[Any, Any]],
    sizes: Sequence[int],
    compiler: str = "gcc",
    level: str = "-O3",
) -> Callable[..., None]:
    """A function (begin, end) that runs tasks of a LoopNest kernel on the arrays; all of them by default. Scans across
    rows go in blocks, as the host's do."""
    assert isinstance(kernel.body, LoopNest)
    body = scans(kernel.body, HOW)
    function = library(loopnest.source(replace(kernel, body=body), "kernel", HOW), compiler, level).kernel
    function.restype = None
    values = dict(zip(kernel.sizes, sizes))
    count = evaluate(loopnest.tasks(body, HOW), values)
    scratch = np.empty(evaluate(loopnest.scratch_bytes(body, HOW), values) + 64, np.uint8)
    start = -scratch.ctypes.data % 64
    buf = (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))
    p = (ctypes.c_int64 * max(len(sizes), 1))(*sizes)
    address = ctypes.c_void_p(scratch.ctypes.data + start)

    def launch(begin: int = 0, end: int = count) -> None:
        function(buf, p, ctypes.c_int64(begin), ctypes.c_int64(end), address)

    launch.tasks = count  # type: ignore[attr-defined]
    launch.keep = (scratch, arrays)  # type: ignore[attr-defined]
    return launch
