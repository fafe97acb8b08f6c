"""Whole models, by the rules and with measured schedules: compiled, profiled, and compared in turns.

In: a `Workload`, records. Out: artifacts, seconds. Every function takes and returns plain data, or folders, so that
another process may run it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.run.executable import Executable
from ...runtime.run.trace import Timed
from ...runtime.store import artifact, fingerprint, tuning
from ...runtime.store.tuning import Record
from .. import driver
from ..options import Options
from ..roofline import Machine, machine
from .search import in_turns

TURNS = 15  # of whole models
BLOCK = 0.01  # seconds of a turn

Array = np.ndarray[Any, Any]
Feeds = Mapping[str, Any]


@dataclass(frozen=True)
class Workload:
    """A model and what it runs on. feeds: a function of the manifest; threads: of a run.

    To another process it goes as bytes, with the files that hold its weights."""

    model: str | bytes
    options: Options
    feeds: Callable[[dict[str, Any]], Feeds]
    threads: int

    def __reduce__(self) -> tuple[type[Workload], tuple[Any, ...]]:
        model = self.model if isinstance(self.model, bytes) else Path(self.model).read_bytes()
        files = fingerprint.external_data(self.model, self.options.external_data_folder)
        options = replace(self.options, external_data_folder="", data={**files, **self.options.data})
        return Workload, (model, options, self.feeds, self.threads)

    def timed(self, folder: Path) -> Timed:
        """The model in a folder, ready to run."""
        loaded = artifact.load_directory(folder)
        return Timed(Executable(loaded, self.threads, 0), self.feeds(loaded.manifest))


@dataclass(frozen=True)
class Profile:
    """steps: seconds of each, medians; dims: the values of the model's symbols; threads: that it makes use of; limits:
    of the machine."""

    steps: Array
    dims: dict[str, int]
    threads: int
    limits: Machine


@dataclass(frozen=True)
class Steps:
    """Two models in turns, the second with measured schedules. before, after: seconds [turns, steps]; measured: the
    schedule of each step of the second, as its record has it, None for one by the rules."""

    before: Array
    after: Array
    measured: Sequence[dict[str, Any] | None]


def compiled(folder: Path, workload: Workload, records: Sequence[Record]) -> None:
    """Compiles the model into the folder, with the schedules of records. Raises as a compilation does."""
    database = folder / tuning.NAME
    tuning.append(database, records)
    driver.compile_model(workload.model, replace(workload.options, tuning=tuning.state([database])), folder)


def profile(folder: Path, workload: Workload) -> Profile:
    """Where the time of a compiled model goes."""
    timed = workload.timed(folder)
    steps = np.median([timed.run() for _ in range(TURNS)], axis=0)
    return Profile(steps, timed.dims, timed.plan.threads, machine(timed.plan.threads))


def compare_steps(before: Path, after: Path, workload: Workload) -> Steps:
    """The steps of two compiled models."""
    first, second = workload.timed(before), workload.timed(after)
    old, new = (np.array(side) for side in zip(*(in_turns(first.run, second.run, n) for n in range(TURNS))))
    notes = json.loads((after / artifact.NOTES).read_bytes())
    return Steps(old, new, [step.get("measured") for step in notes["steps"]])


def compare(before: Path, after: Path, workload: Workload) -> list[tuple[float, float]]:
    """The seconds of both in each turn."""
    runs = _warm(workload.timed(before)), _warm(workload.timed(after))
    return [in_turns(*runs, n) for n in range(TURNS)]


def _warm(timed: Timed) -> Callable[[], float]:
    """The seconds of a run: the mean of some, after one that brings its weights into the caches."""

    def run() -> float:
        timed.whole()
        start, runs = time.perf_counter(), 0
        while runs == 0 or time.perf_counter() - start < BLOCK:
            timed.whole()
            runs += 1
        return (time.perf_counter() - start) / runs

    return run
