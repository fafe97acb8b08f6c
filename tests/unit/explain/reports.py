"""Reports of made-up models on a made-up machine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from intaglio.compiler.explain.steps import Measured, Report, Step, Times
from intaglio.compiler.roofline import Level, Machine
from intaglio.runtime.run.trace import Trace

MACHINE = Machine(2, 100e9, (Level(1e4, 100e9), Level(float("inf"), 10e9)))  # 100 GFLOP/s, 10 GB/s
NO_TRACE = Trace(0, 0, *np.zeros((3, 0), np.int64), np.zeros((0, 2, 6), np.int64), 0)


def step(
    number: int, kind: str = "Matmul", flops: int = 10**9, moved: int = 10**6, kept: int = 0, kernel: str = "",
    operators: str = "MatMul", rate: float = 1.0,
) -> Step:  # fmt: skip
    name = kernel or f"k{number}"
    return Step(number, name, kind, (f"node{number}",), operators, flops, flops, rate, moved, kept, ())


def times(seconds: float, at_work: float = 1.0, count: float = 1.0) -> Times:
    """Of two threads, the second of which waits."""
    busy = seconds * (2 * at_work - 1)
    return Times(seconds, (seconds, busy), (0.0, seconds - busy), (0.0, 0.0), count)


def report(
    steps: Sequence[Step], taken: Sequence[Times], between: float = 0.0, around: float = 0.0, footprint: int = 10**9
) -> Report:
    total = sum(each.seconds for each in taken) + between + around
    measured = Measured(2, total, between, around, tuple(taken), NO_TRACE)
    return Report(tuple(steps), MACHINE, measured, footprint)
