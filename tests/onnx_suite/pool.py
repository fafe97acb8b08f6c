"""Runs a function on many items in forked processes; a crash or a hang costs its own item only.

In: a function and its items. Out: what it returned, or how its process ended. The calling process must not have
started threads of its own: it is forked.
"""

from __future__ import annotations

import multiprocessing
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MEMORY = 12 << 30  # bytes of address space: a runaway allocation is an error of its own item, too


@dataclass(frozen=True)
class Ended:
    """The process did not come to an end with this item; `how` says why. late: it was ended as its time was over."""

    how: str
    late: bool = False


@dataclass
class _Worker(Generic[Item]):
    process: ForkProcess
    pipe: Connection
    item: Item
    deadline: float


def run(
    work: Callable[[Item], Result], items: Sequence[Item], jobs: int, seconds: float, memory: int = MEMORY
) -> Iterator[tuple[Item, Result | Ended]]:
    """`work` on each item, `jobs` at a time, as they get done. Each may take `seconds`, and `memory` (-1: any)."""
    waiting = list(reversed(items))
    workers: list[_Worker[Item]] = []
    try:
        while waiting or workers:
            while waiting and len(workers) < jobs:
                workers.append(_start(work, waiting.pop(), seconds, memory))
            now = time.monotonic()
            wait([w.pipe for w in workers], max(0.0, min(w.deadline for w in workers) - now))
            for worker in list(workers):
                if worker.pipe.poll():
                    try:
                        yield worker.item, worker.pipe.recv()
                    except EOFError:
                        yield worker.item, Ended(_exit(worker.process))
                        workers.remove(worker)
                        continue
                elif time.monotonic() >= worker.deadline:
                    _kill(worker.process)
                    yield worker.item, Ended(f"no result in {seconds:.0f} s", late=True)
                    workers.remove(worker)
                    continue
                else:
                    continue
                if waiting:
                    worker.item, worker.deadline = waiting.pop(), time.monotonic() + seconds
                    worker.pipe.send(worker.item)
                else:
                    worker.pipe.send(None)  # closing it would not do: workers forked since then hold it, too
                    worker.process.join()
                    workers.remove(worker)
    finally:
        for worker in workers:
            _kill(worker.process)


def _start(work: Callable[[Item], Result], item: Item, seconds: float, memory: int) -> _Worker[Item]:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(work, theirs, ours, memory), daemon=False)
    process.start()
    theirs.close()
    ours.send(item)
    return _Worker(process, ours, item, time.monotonic() + seconds)


def _serve(work: Callable[[Item], Result], pipe: Connection, other_end: Connection, memory: int) -> None:
    other_end.close()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory >= 0:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    while True:
        item = pipe.recv()
        if item is None:
            return
        pipe.send(work(item))


def _exit(process: ForkProcess) -> str:
    process.join()
    code = process.exitcode or 0
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"the process ended with status {code}"


def _kill(process: ForkProcess) -> None:
    process.kill()
    process.join()
