"""Where a tuning run builds and measures: on this machine, or on those of a cluster (cluster.py).

In: functions of plain data, and the arguments of each call. Out: what they return, in that order. One that builds takes
an empty folder of the cache first; what stands for the folder may be an argument of one that measures, which gets its
path. The folder is removed with the last reference to what stands for it.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from ...runtime import cpus
from ...runtime.store import cache
from ..options import environment
from .choose import Place

Call = tuple[Any, ...]  # the arguments of a call


@dataclass(frozen=True)
class Lost:
    """What a measurement is whose machine has ended again and again; reason: in words."""

    reason: str


class Machines(Protocol):
    """place: of the machines that measure; threads: of a run there; jobs: how many builds make use of all."""

    @property
    def place(self) -> Place: ...
    @property
    def threads(self) -> int: ...
    @property
    def jobs(self) -> int: ...

    def share(self, data: Any) -> Any:
        """What stands for an argument of many calls."""

    def build(self, function: Callable[..., str | None], calls: Sequence[Call], at_place: bool = False) -> list[Any]:
        """What stands for the folders; for the text that a call returns, that text. The calls run at the same time, on
        any machine that has the C compiler; `at_place`: as those of `measure`."""

    def measure(self, function: Callable[..., Any], calls: Sequence[Call]) -> Iterator[Any]:
        """The results, or `Lost`. The calls run at the place, one at a time on each machine."""


class Folder:
    """An empty folder of the cache, for one artifact."""

    def __init__(self) -> None:
        stack = contextlib.ExitStack()
        self.path = stack.enter_context(cache.workspace())
        weakref.finalize(self, stack.close)


@dataclass
class Local:
    """This machine."""

    place: Place
    threads: int = field(default_factory=cpus.usable)
    jobs: int = field(default_factory=lambda: max(1, environment().jobs))

    def share(self, data: Any) -> Any:
        return data

    def build(self, function: Callable[..., str | None], calls: Sequence[Call], at_place: bool = False) -> list[Any]:
        """Ends before anything is measured: with all CPUs in use a build would disturb a measurement."""
        with ThreadPoolExecutor(max(1, len(calls))) as pool:
            return list(pool.map(lambda call: built(function, call), calls))

    def measure(self, function: Callable[..., Any], calls: Sequence[Call]) -> Iterator[Any]:
        return (function(*map(opened, call)) for call in calls)


def built(function: Callable[..., str | None], call: Call) -> Folder | str:
    """What a call builds in this process, or the text that it returns."""
    folder = Folder()
    return function(folder.path, *call) or folder


def opened(argument: Any) -> Any:
    """An argument as a function takes it."""
    return argument.path if isinstance(argument, Folder) else argument
