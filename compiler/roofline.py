"""The roofline: what a step can reach on this machine at most.

Source: Williams, Waterman, Patterson, "Roofline", 2009, with a roof for each level of the caches. In: a number of
threads. Out: a `Machine`, whose peaks loops in C have measured (templates/c/peak.c). It must never be below what
kernels reach: the best of all measurements so far counts, which the cache's folder keeps.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from typing import Any

from ..runtime import cpus
from ..runtime.errors import NotFound
from ..runtime.store import cache
from ..runtime.store.artifact import aligned
from .codegen.c import toolchain
from .codegen.c.build import build, part
from .target import Target, target

_ROUNDS = 5  # of each loop
_ROUND = 2e-3  # seconds of a round
_BEYOND = 64 << 20  # bytes of each thread that no cache holds, at the least
_LINES = 4096  # bytes of which the memory of a loop is a multiple


@dataclass(frozen=True)
class Level:
    """A cache, or memory behind all of them. capacity: bytes of all threads together; rate: bytes per second."""

    capacity: float
    rate: float


@dataclass(frozen=True)
class Machine:
    """The peaks of `threads` threads together. flops: of f32 per second; levels: of memory, the nearest first."""

    threads: int
    flops: float
    levels: tuple[Level, ...]

    @property
    def bytes(self) -> float:
        """Bytes per second from memory."""
        return self.levels[-1].rate

    def seconds_to_move(self, *flows: tuple[float, float]) -> float:
        """The minimum seconds to read and write (bytes, of so many that are touched from one time to the next).

        A perfect cache keeps what fits; the rest has to pass the level behind it. All levels work at the same time."""
        seconds, held = 0.0, 0.0
        for level in self.levels:
            beyond = sum(moved * (1 - min(held / max(among, moved, 1.0), 1.0)) for moved, among in flows)
            seconds = max(seconds, beyond / level.rate)
            held = level.capacity
        return seconds


def machine(threads: int) -> Machine:
    """Measures this machine in a fifth of a second, and again in each call. Raises NotFound without a C compiler."""
    cpu = target()
    found = _measured(cpu, threads)
    path = cache.root() / "peaks.json"
    key = f"{cpus.model_name()} {cpu.name} {threads}"
    best: dict[str, list[float]] = {}
    with contextlib.suppress(OSError, ValueError):
        best = json.loads(path.read_text())
    known = best.get(key, [])
    if len(known) == len(found):
        found = [max(each) for each in zip(found, known)]
    with contextlib.suppress(OSError):
        path.write_text(json.dumps({**best, key: found}))
    capacities = [cpu.l1.bytes * threads, cpu.l2.bytes * threads, cpu.l3.bytes, float("inf")]
    rates = [max(found[1 + i :]) for i in range(4)]  # no level is slower than those behind it
    return Machine(threads, found[0], tuple(Level(*each) for each in zip(capacities, rates)))


def limits_of(threads: int) -> Machine | None:
    """This machine; None where there is no C compiler to measure it with."""
    try:
        return machine(threads)
    except NotFound:
        return None


def _measured(cpu: Target, threads: int) -> list[float]:
    """FLOPs per second, then bytes per second of each level, the nearest first."""
    with tempfile.TemporaryDirectory(prefix="intaglio-peak-") as folder, ThreadPoolExecutor(threads) as pool:
        path = Path(folder, "peak.so")
        build([part("peak")], path, toolchain.find(cache.root()), cpu, cache.root() / "objects")
        library = ctypes.CDLL(str(path))
        for name in ("multiply_add", "read", "triad"):
            getattr(library, f"intaglio_peak_{name}").restype = ctypes.c_int64
        lanes = library.intaglio_peak_lanes()

        def multiply_add(_: int, steps: int) -> Any:
            return library.intaglio_peak_multiply_add(ctypes.c_int64(steps))

        rates = [_best(pool, threads, multiply_add, 2 * lanes)]
        beyond = max(_BEYOND, 2 * cpu.l3.bytes // threads)
        for size in (cpu.l1.bytes // 2, cpu.l2.bytes // 2, cpu.l3.bytes // 2 // threads, beyond):
            size = max(size // (3 * _LINES), 1) * 3 * _LINES
            memory = [aligned(size) for _ in range(threads)]
            for each in memory:
                each.fill(0)
            at = [each.ctypes.data for each in memory]
            third = size // 3

            def read(thread: int, times: int, at: list[int] = at, size: int = size) -> Any:
                arguments = ctypes.c_void_p(at[thread]), ctypes.c_int64(size), ctypes.c_int64(times)
                return library.intaglio_peak_read(*arguments)

            def triad(thread: int, times: int, at: list[int] = at, third: int = third) -> Any:
                places = [ctypes.c_void_p(at[thread] + i * third) for i in range(3)]
                return library.intaglio_peak_triad(*places, ctypes.c_int64(third), ctypes.c_int64(times))

            rates.append(max(_best(pool, threads, work, size) for work in (read, triad)))
    return rates


def _best(pool: ThreadPoolExecutor, threads: int, work: Callable[[int, int], int], amount: int) -> float:
    """The highest rate of all threads together, per second. work: of a thread, so many times; returns nanoseconds;
    amount: of what is counted, each time."""
    times = 1
    while (took := work(0, times)) < _ROUND * 1e9 / 4:
        times *= 4
    times = max(int(times * _ROUND * 1e9 / max(took, 1)), 1)
    barrier = Barrier(threads)

    def one(thread: int) -> list[float]:
        rates = []
        for _ in range(_ROUNDS):
            barrier.wait()
            rates.append(times * amount * 1e9 / max(work(thread, times), 1))
        return rates

    return max(map(sum, zip(*pool.map(one, range(threads)))))
