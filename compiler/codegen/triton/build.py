"""Building binaries from Triton sources, for GPUs by name, with or without one in the machine.

In: `DeviceKernel`s and `Gpu`s. Out: cubins (or hsacos), with the facts that the driver needs. They are in the object
cache, by source, options, GPU and version of Triton. triton.compile runs in several worker processes (`worker.py`), as
it holds the interpreter's lock; a crash in it ends only one of them.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ....runtime.errors import Fail
from ...options import environment
from ...processes import Processes
from ...target import Gpu
from ..objects import intact, keep
from .program import DeviceKernel

Progress = Callable[[int, int], None]
_WORKER = Path(__file__).with_name("worker.py")


@dataclass(frozen=True)
class Binary:
    """A kernel for one GPU.

    threads: of a program; shared: bytes of shared memory; registers: of a thread; spills: bytes of a thread's registers
    that are spilled to memory; scratch: bytes of global memory that a program needs; wgmma: the number of instructions
    of that name, which use Hopper's tensor cores."""

    code: bytes
    threads: int
    shared: int
    registers: int
    spills: int
    scratch: int = 0
    wgmma: int = 0


def build(
    kernels: Sequence[DeviceKernel], gpus: Sequence[Gpu], objects: Path, progress: Progress | None = None
) -> dict[tuple[str, str], Binary]:
    """The binary of each kernel for each GPU, by the names of both. Raises Fail with Triton's message."""
    jobs = {}
    for gpu in gpus:
        if gpu.backend == "interpreter":
            continue
        for kernel in kernels:
            key = _key(kernel, gpu)
            jobs[kernel.name, gpu.name] = (objects / key[:2] / key[2:], kernel, gpu)
    todo = [job for job in jobs.values() if not all(map(intact, _files(job[0])))]
    done = len(jobs) - len(todo)
    if progress:
        progress(done, len(jobs))
    workers = min(environment().jobs, len(todo))
    if todo:
        with Processes(objects) as running, running.needed:

            def work(share: Sequence[tuple[Path, DeviceKernel, Gpu]]) -> None:
                _work(share, advance, running)

            def advance(amount: int) -> None:
                nonlocal done
                done += amount
                if progress:
                    progress(done, len(jobs))

            for _ in running.each(work, [todo[i::workers] for i in range(workers)], workers):
                pass
    return {name: _read(path) for name, (path, _, _) in jobs.items()}


def version() -> str:
    """The version of the package triton. Raises Fail if it is not installed."""
    try:
        return importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        raise Fail("GPU kernels are built by the package triton, which is not installed: pip install triton") from None


def _work(share: Sequence[tuple[Path, DeviceKernel, Gpu]], advance: Callable[[int], None], running: Processes) -> None:
    """Compiles a share of the kernels in one worker process; calls `advance` after each."""
    hidden = {"TRITON_INTERPRET", "TRITON_CACHE_DIR"}
    environ = {name: value for name, value in os.environ.items() if name not in hidden}
    environ |= {"TRITON_CACHE_DIR": str(running.folder / "triton"), "TRITON_DEFAULT_FP_FUSION": "1"}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    worker = running.start([sys.executable, str(_WORKER)], environ, **pipes)
    with worker:
        assert worker.stdin and worker.stdout and worker.stderr
        for path, kernel, gpu in share:
            source = running.folder / f"{kernel.name}.py"
            source.write_text(kernel.source.text)
            job = {
                "source": str(source), "name": kernel.name, "arguments": kernel.source.arguments,
                "warps": kernel.source.warps, "stages": kernel.source.stages,
                "backend": gpu.backend, "arch": gpu.arch, "warp": gpu.warp,
                "most_shared": gpu.shared, "output": str(running.folder / path.name),
            }  # fmt: skip
            print(json.dumps(job), file=worker.stdin, flush=True)
            answer = worker.stdout.readline()
            if not answer:
                raise Fail(f"Triton's compiler ended on kernel {kernel.name} for {gpu.name}:\n{worker.stderr.read()}")
            facts: dict[str, Any] = json.loads(answer)
            if "error" in facts:
                worker.stdin.close()
                raise Fail(f"Triton cannot compile kernel {kernel.name} for {gpu.name}: {facts['error']}")
            if facts["scratch"]:
                worker.stdin.close()
                raise Fail(f"kernel {kernel.name} needs global scratch memory on {gpu.name}, which no launch gives it")
            if facts["shared"] > gpu.shared:
                worker.stdin.close()
                raise Fail(
                    f"kernel {kernel.name} needs {facts['shared']} bytes of shared memory, and a program on {gpu.name}"
                    f" has {gpu.shared}"
                )
            for file in _files(path):
                keep(running.folder / file.name, file)
            advance(1)
        worker.stdin.close()


def _files(path: Path) -> tuple[Path, Path]:
    """The files of a binary and of its facts."""
    return path.with_name(f"{path.name}.bin"), path.with_name(f"{path.name}.json")


def _read(path: Path) -> Binary:
    binary, facts = _files(path)
    return Binary(binary.read_bytes(), **json.loads(facts.read_text()))


@lru_cache
def _worker() -> str:
    """A digest of the program that compiles kernels."""
    return hashlib.sha256(_WORKER.read_bytes()).hexdigest()


def _key(kernel: DeviceKernel, gpu: Gpu) -> str:
    source = kernel.source
    parts = (version(), _worker(), gpu.name, source.text, *source.arguments, str(source.warps), str(source.stages))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:40]
