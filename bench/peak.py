"""`python -m bench peak`: the machine's FMA peak (GFLOP/s) and memory bandwidth (GB/s), by running `peak.c`.

In: a number of threads. Out: a `Peak`, against which the other commands put their times. Needs a C compiler.
"""

from __future__ import annotations

import argparse
import functools
import os
import platform
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

# The widest vectors first: CPU flag, bytes of a vector, compiler flags. Not -march=native: a compiler
# older than the CPU would tune for something else.
_WIDTHS = [
    ("avx512f", 64, ["-mavx512f", "-mfma", "-mprefer-vector-width=512"]),
    ("fma", 32, ["-mavx2", "-mfma"]),
    ("", 16, []),
]


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


def cpu_info(key: str) -> str:
    """One line of /proc/cpuinfo, such as "flags" or "model name"; empty where there is none."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


@functools.cache
def measure(threads: int) -> Peak:
    """Compile and run `peak.c` (two seconds or so). Raises RuntimeError without a C compiler."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang") or shutil.which("cc")
    if compiler is None:
        raise RuntimeError("measuring the peak needs a C compiler: install gcc or clang, or set CC")
    flags = cpu_info("flags").split()
    width, options = next((width, opts) for flag, width, opts in _WIDTHS if not flag or flag in flags)
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "peak"
        source = Path(__file__).with_suffix(".c")
        command = [compiler, "-O3", "-ffp-contract=fast", f"-DVECTOR_BYTES={width}", *options, "-pthread"]
        subprocess.run([*command, "-o", program, source], check=True)
        output = subprocess.run([program, str(threads)], check=True, capture_output=True, text=True).stdout
    gflops, gbytes = map(float, output.split())
    return Peak(threads, gflops, gbytes)


def cpu_name() -> str:
    """The CPU as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", (cpu_info("model name") or platform.machine()).lower()).strip("-")


def describe() -> str:
    """The CPU in words."""
    return f"{cpu_info('model name') or platform.processor() or platform.machine()}, {cpus()} CPUs"


def main(argv: list[str]) -> int:
    argparse.ArgumentParser(prog="python -m bench peak", description=__doc__).parse_args(argv)
    print(describe())
    for threads in sorted({1, cpus()}):
        print(measure(threads))
    return 0
