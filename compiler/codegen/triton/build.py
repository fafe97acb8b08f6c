"""Triton sources to binaries, on any machine: for each GPU by name, with or without one there.

In: `DeviceKernel`s and `Gpu`s. Out: cubins (or hsacos) with what the driver has to know of them. They are kept in the
object cache, by source, options, GPU and version of Triton. triton.compile runs in processes of its own
(`worker.py`), several at once: it takes the interpreter's lock, and a crash in it ends only one of them.
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
    """A kernel for one GPU. threads: of a program; shared: bytes of shared memory; registers: of a thread; spills: of
    these, the bytes that went to memory; scratch: bytes of global memory that a program needs; wgmma: how many
    instructions of that name it has, of Hopper's tensor cores."""

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
    """The binary of each kernel for each GPU, by the names of both. Raises Fail, with what Triton says."""
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
                _work(share, told, running)

            def told(amount: int) -> None:
                nonlocal done
                done += amount
                if progress:
                    progress(done, len(jobs))

            for _ in running.each(work, [todo[i::workers] for i in range(workers)], workers):
                pass
    return {name: _read(path) for name, (path, _, _) in jobs.items()}


def version() -> str:
    """Of the package triton. Raises Fail where there is none."""
    try:
        return importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        raise Fail("GPU kernels are built by the package triton, which is not installed: pip install triton") from None


def _work(share: Sequence[tuple[Path, DeviceKernel, Gpu]], told: Callable[[int], None], running: Processes) -> None:
    """Lets one process compile a share of the kernels, one after the other."""
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
            made: dict[str, Any] = json.loads(answer)
            if "error" in made:
                worker.stdin.close()
                raise Fail(f"Triton cannot compile kernel {kernel.name} for {gpu.name}: {made['error']}")
            if made["scratch"]:
                worker.stdin.close()
                raise Fail(f"kernel {kernel.name} needs global scratch memory on {gpu.name}, which no launch gives it")
            if made["shared"] > gpu.shared:
                worker.stdin.close()
                raise Fail(
                    f"kernel {kernel.name} needs {made['shared']} bytes of shared memory, and a program on {gpu.name}"
                    f" has {gpu.shared}"
                )
            for file in _files(path):
                keep(running.folder / file.name, file)
            told(1)
        worker.stdin.close()


def _files(path: Path) -> tuple[Path, Path]:
    """The binary, and what is known of it."""
    return path.with_name(f"{path.name}.bin"), path.with_name(f"{path.name}.json")


def _read(path: Path) -> Binary:
    binary, known = _files(path)
    return Binary(binary.read_bytes(), **json.loads(known.read_text()))


@lru_cache
def _worker() -> str:
    """How kernels are compiled, as a digest."""
    return hashlib.sha256(_WORKER.read_bytes()).hexdigest()


def _key(kernel: DeviceKernel, gpu: Gpu) -> str:
    source = kernel.source
    parts = (version(), _worker(), gpu.name, source.text, *source.arguments, str(source.warps), str(source.stages))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:40]
