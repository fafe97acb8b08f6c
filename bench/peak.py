"""`python -m bench peak`: the machine's FMA peak (GFLOP/s) and memory bandwidth (GB/s), by running `peak.c`.

In: a number of threads. Out: a `Peak`, against which the other commands put their times. Needs a C compiler.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from intaglio.compiler.target import target
from intaglio.runtime.cpus import model_name


@dataclass(frozen=True)
class Peak:
    """The most that `threads` cores can do: single-precision GFLOP/s in registers, GB/s from memory."""

    threads: int
    gflops: float
    gbytes: float

    def __str__(self) -> str:
        plural = "s" * (self.threads > 1)
        return f"{self.threads} thread{plural}: {self.gflops:.0f} GFLOP/s, {self.gbytes:.1f} GB/s"


def cpus() -> int:
    """How many CPUs this process may use."""
    return len(os.sched_getaffinity(0))


@functools.cache
def measure(threads: int) -> Peak:
    """Compile and run `peak.c` (two seconds or so). Raises RuntimeError without a C compiler."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang") or shutil.which("cc")
    if compiler is None:
        raise RuntimeError("measuring the peak needs a C compiler: install gcc or clang, or set CC")
    cpu = target()
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "peak"
        source = Path(__file__).with_suffix(".c")
        command = [compiler, "-O3", "-ffp-contract=fast", f"-DVECTOR_BYTES={cpu.vector_bytes}", *cpu.flags, "-pthread"]
        subprocess.run([*command, "-o", program, source], check=True)
        output = subprocess.run([program, str(threads)], check=True, capture_output=True, text=True).stdout
    gflops, gbytes = map(float, output.split())
    return Peak(threads, gflops, gbytes)


def cpu_name() -> str:
    """The CPU as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", model_name().lower()).strip("-")


def describe() -> str:
    """The CPU in words."""
    return f"{model_name()}, {cpus()} CPUs"


def main(argv: list[str]) -> int:
    argparse.ArgumentParser(prog="python -m bench peak", description=__doc__).parse_args(argv)
    print(describe())
    for threads in sorted({1, cpus()}):
        print(measure(threads))
    return 0
