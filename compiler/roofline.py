"""The roofline: what a kernel can reach on this machine at most.

Source: Williams, Waterman, Patterson, "Roofline", 2009. Out: the machine's peaks, measured by numpy, which needs no C
compiler.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Machine:
    """The peak of all CPUs of this process together: FLOPs and bytes per second."""

    flops: float
    bytes: float


@lru_cache
def machine() -> Machine:
    """Measures this machine in about a tenth of a second: a large matrix product and a large copy, both by numpy."""
    a = np.ones((1024, 1024), np.float32)
    flops = 2 * 1024**3 / _fastest(lambda: a @ a)
    source, target = np.ones(1 << 24, np.float32), np.empty(1 << 24, np.float32)
    return Machine(flops, 2 * source.nbytes / _fastest(lambda: np.copyto(target, source)))


def _fastest(work: Any, repeats: int = 15) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
