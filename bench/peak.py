"""`python -m bench peak`: the machine's FMA peak (GFLOP/s) and memory bandwidth (GB/s), as `intaglio explain` has them.

In: a number of threads. Out: a `Peak`, against which the other commands put their times. Needs a C compiler.
"""

from __future__ import annotations

import argparse
import functools
import re
from dataclasses import dataclass

from intaglio.compiler.roofline import machine
from intaglio.runtime.cpus import affinity, model_name


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
    return len(affinity())


@functools.cache
def measure(threads: int) -> Peak:
    """Raises NotFound without a C compiler."""
    found = machine(threads)
    return Peak(threads, found.flops / 1e9, found.bytes / 1e9)


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
