"""What a run did, step by step and thread by thread.

In: the records that a run leaves (intaglio_profile in templates/c/runtime_abi.h). Out: a `Trace`; `Timed`, a model with
inputs whose runs are traced. It must not change how a run goes: steps that run together are recorded together.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..store.artifact import aligned
from . import feeds
from .executable import Executable
from .program import Profile, address

Array = np.ndarray[Any, Any]

_WORDS = 8  # of a record's head, and of what a thread did
_LEAST = 1 << 14  # records for which there is room: the steps of loops are recorded each time; untouched pages are free


@dataclass(frozen=True)
class Trace:
    """One run. Times are nanoseconds of the monotonic clock.

    begin, end: of the run. step: int64 [records], the number of the step that each record is of, in the order in which
    they were opened. start, stop: [records], of all steps that ran at the same time. work: [records, threads, 6]: of
    each thread the begin of its first task and the end of its last one (0: it did none), the time in the kernel, the
    ranges of tasks that it claimed, and the system's numbers of the thread and of its CPU. lost: records for which
    there was no room."""

    begin: int
    end: int
    step: Array
    start: Array
    stop: Array
    work: Array
    lost: int

    @property
    def busy(self) -> Array:
        """[records, threads]: the time in the kernel."""
        return np.asarray(self.work[:, :, 2])

    @cached_property
    def _group(self) -> Array:
        """[records]: the number of the steps that ran at the same time."""
        return np.cumsum(np.diff(self.start, prepend=self.start[:1]) != 0)

    @cached_property
    def share(self) -> Array:
        """[records], float64: the nanoseconds of the run that are a record's. What ran at the same time shares it by
        the time in its kernel."""
        busy = self.busy.sum(1).astype(np.float64)
        total, count = np.bincount(self._group, busy)[self._group], np.bincount(self._group)[self._group]
        part = np.divide(busy, total, out=1.0 / count, where=total > 0)
        return np.asarray((self.stop - self.start) * part)

    @cached_property
    def lost_by(self) -> Array:
        """[2, records, threads], float64: a record's share of the nanoseconds in which a thread waits for others, after
        a part of what runs at the same time, and of those in which it is idle, without a part."""
        wall = (self.stop - self.start)[:, None]
        busy = np.stack([np.bincount(self._group, each)[self._group] for each in self.busy.T], axis=1)
        part = np.divide(self.share[:, None], wall, out=np.zeros_like(wall, np.float64), where=wall > 0)
        return np.where([busy > 0, busy == 0], np.maximum(wall - busy, 0) * part, 0.0)

    def seconds(self, steps: int) -> Array:
        """float64 [steps]: the seconds of each step, over all times that it ran."""
        return np.bincount(self.step, self.share, steps) / 1e9


class Recorder:
    """Room for the records of one run at a time. threads: of the call; alone: runs go step by step, although steps that
    do not depend on each other would run together."""

    def __init__(self, steps: int, threads: int, alone: bool = False):
        self._threads = threads
        self._capacity = max(_LEAST, 4 * steps)
        self._memory = aligned(self._capacity * (1 + threads) * _WORDS * 8)
        self._profile = Profile(address(self._memory), self._capacity, alone=alone)

    @property
    def address(self) -> int:
        """Of an intaglio_profile that the next run may fill in."""
        self._profile.count = 0
        return ctypes.addressof(self._profile)

    def trace(self) -> Trace:
        """What the last run did."""
        count = min(self._profile.count, self._capacity)
        words = self._memory.view(np.int64).reshape(self._capacity, 1 + self._threads, _WORDS)[:count].copy()
        head, lost = words[:, 0], self._profile.count - count
        work = words[:, 1:, :6]
        return Trace(self._profile.begin, self._profile.end, head[:, 0], head[:, 1], head[:, 2], work, lost)


class Timed:
    """A model with inputs, whose runs tell the seconds of each step. dims: the values of its symbols."""

    def __init__(self, model: Executable, inputs: Mapping[str, Any]):
        fitted = feeds.fit(feeds.convert(inputs, model.inputs), model.inputs)
        self._arrays = [fitted[each.name] for each in model.inputs]
        self._program = model.program
        self.plan = model.plan(self._arrays)
        self.dims = dict(zip((each["name"] for each in model.symbols), self.plan.dims))
        self._steps = model.artifact.manifest["steps"]
        self._recorder = Recorder(self._steps, self.plan.threads)

    def recorded(self) -> tuple[float, Trace]:
        """Runs once; returns the seconds, and what it did."""
        profile = self._recorder.address
        start = time.perf_counter()
        self._program.run(self.plan, self._arrays, profile=profile)
        return time.perf_counter() - start, self._recorder.trace()

    def trace(self) -> Trace:
        """Runs once; returns what it did."""
        return self.recorded()[1]

    def run(self) -> Array:
        """Runs once; returns the seconds of each step."""
        return self.trace().seconds(self._steps)

    def whole(self) -> float:
        """The seconds of one run."""
        start = time.perf_counter()
        self._program.run(self.plan, self._arrays)
        return time.perf_counter() - start
