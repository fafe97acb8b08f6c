"""Tuning a model: finds its kernels, measures schedules of those that take the most time, and checks the gain.

In: a model, sizes of its dimensions, a limit of time. Out: records in the database, and a `TuningReport`. A kernel may
gain alone and lose in the model, where caches hold other things: the model is compiled with what was found and runs in
turns with that of the rules; what is slower there gets a record that refuses it. Whenever it is interrupted, what was
measured is in the database already.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime import cpus
from ...runtime.errors import InvalidArgument
from ...runtime.run.executable import Executable
from ...runtime.run.profiler import Timed
from ...runtime.store import artifact, cache, tuning
from ...runtime.store.tuning import Record
from .. import driver
from ..kernel import cost
from ..options import Options
from ..roofline import machine
from ..scalar.dim import evaluate
from ..target import targets
from .choose import Place, here, wins
from .encoding import encoded
from .kernels import Problem, problems
from .report import KernelReport, TuningReport
from .search import in_turns, search
from .trial import Bench

WHOLE = 0.15  # of the time, for runs of the whole model
TURNS = 15  # of whole models
BLOCK = 0.01  # seconds of a turn
SLOWER = 0.98  # gain of a kernel in the model below which its schedule is refused
SLOWER_WHOLE = 0.99  # gain of the model below which all schedules are refused
CHECKS = 3  # times that refused schedules are replaced by the next best ones
LEAST_SHARE = 0.002  # of the model's time, from which on a kernel is tuned

Feeds = Mapping[str, Any]

# Called with the report after each record, the kernel at work, and the part of the time that is over.
Progress = Callable[[TuningReport, "KernelReport | None", float], None]


def tune(
    model: str | bytes,
    options: Options,
    feeds: Callable[[dict[str, Any]], Feeds],
    seconds: float = 300.0,
    trials: int | None = None,
    threads: int | None = None,
    database: Path | None = None,
    resume: bool = False,
    progress: Progress = lambda report, kernel, part: None,
) -> TuningReport:
    """Tunes a model for the sizes of `feeds`, a function of the manifest. trials: the most for each kernel.

    options: of the compilation. resume: what was measured before is not measured again. Ctrl-C ends it, and the report
    tells so. Raises as a compilation does, and OSError where the database cannot be written."""
    if targets(options.target)[1]:
        raise InvalidArgument(f"only kernels of a CPU can be tuned, and the target is {options.target}")
    paths = tuning.files(model, database)
    with contextlib.ExitStack() as folders:
        run = _Run(model, replace(options, tuning=()), paths, seconds, folders, progress)
        run.prepare(feeds, threads)
        try:
            run.search(trials, resume)
            run.check()
        except KeyboardInterrupt:
            run.report.interrupted = True
        run.tell(None)
        return run.report


class _Run:
    """A tuning run. paths: the files of the database, the first of which is written; folders: of artifacts, until it
    ends."""

    def __init__(
        self,
        model: str | bytes,
        options: Options,
        paths: list[Path],
        seconds: float,
        folders: contextlib.ExitStack,
        progress: Progress,
    ) -> None:
        self.model, self.options, self.paths, self.folders, self.progress = model, options, paths, folders, progress
        self.seconds, self.start = seconds, time.monotonic()

    def prepare(self, feeds: Callable[[dict[str, Any]], Feeds], threads: int | None) -> None:
        """Compiles the model by the rules, and finds its kernels with their shares of its time."""
        rules = self.compiled(())
        self.feeds = feeds(rules.manifest)
        self.before = Timed(Executable(rules, threads or cpus.usable(), 0), self.feeds)
        unit = driver.lowered_model(self.model, self.options)
        assert unit.program is not None
        self.program = unit.program
        self.here = here(unit.target)
        found, left_out = problems(unit.program, self.before.dims, unit.target, self.options.approximate)
        spent = np.median([self.before.run() for _ in range(TURNS)], axis=0)
        shares = [(problem, float(sum(spent[n] for n in problem.steps) / spent.sum())) for problem in found]
        self.work = {
            problem: self.reported(problem, share)
            for problem, share in sorted(shares, key=lambda each: -each[1])
            if share >= LEAST_SHARE
        }
        name = self.model if isinstance(self.model, str) else ""
        self.report = TuningReport(name, self.here.cpu, self.before.plan.threads, str(self.paths[0]))
        self.report.kernels = [*self.work.values()]
        limits = machine()
        self.report.peak_flops, self.report.peak_bytes = limits.flops, limits.bytes
        self.report.left_out = dict(Counter(left_out.values()))

    def reported(self, problem: Problem, share: float) -> KernelReport:
        """The report of a kernel before it is tuned."""
        costs = cost.of_launch(problem.launch)
        flops, moved = (evaluate(each, problem.values) for each in (costs.flops, costs.bytes))
        return KernelReport(problem.kind, problem.nodes, len(problem.steps), share, flops=flops, bytes=moved)

    def tell(self, kernel: KernelReport | None) -> None:
        self.report.seconds = time.monotonic() - self.start
        self.progress(self.report, kernel, min(1.0, self.report.seconds / self.seconds))

    def search(self, trials: int | None, resume: bool) -> None:
        """Measures candidates of each kernel, for a part of the time that is its share of the model's."""
        waiting = sum(kernel.share for kernel in self.work.values())
        earlier = self.records() if resume else {}
        for problem, kernel in self.work.items():
            left = self.seconds * (1 - WHOLE) - (time.monotonic() - self.start)
            bench = Bench(problem, self.program, self.before.plan.threads)
            known = [r for r in earlier.get(problem, ()) if r.threads == bench.threads]
            report = self._keeper(problem, kernel)
            search(bench, self.here, left * kernel.share / waiting, trials, known, report)
            waiting -= kernel.share
            self.tell(kernel)

    def _keeper(self, problem: Problem, kernel: KernelReport) -> Callable[[Record], None]:
        by_rules = encoded(problem.default)

        def keep(record: Record) -> None:
            tuning.append(self.paths[0], [record])
            self.report.records += 1
            kernel.trials += 1
            kernel.refused += bool(record.refused)
            kernel.seconds = record.default_seconds or kernel.seconds
            if wins(record) and record.gain > kernel.gain:
                kernel.gain = record.gain
                kernel.schedule = {n: value for n, value in record.schedule.items() if by_rules.get(n) != value}
            kernel.best.append(kernel.gain)
            self.tell(kernel)

        return keep

    def check(self) -> None:
        """Measures the whole model, with the schedules of the database and with those of the rules in turns, and
        refuses those that are slower in it."""
        for _ in range(CHECKS):
            tuned = self.compiled(tuning.state(self.paths))
            used = self.used(tuned)
            after = Timed(Executable(tuned, self.before.plan.threads, 0), self.feeds)
            if not used:  # the same code
                self.report.before = statistics.median(_warm(self.before)() for _ in range(TURNS))
                self.report.after, self.report.gain = self.report.before, 1.0
                return
            slower = self.slower(after, used)
            if not slower:
                if self.whole(after) >= SLOWER_WHOLE:
                    return
                slower = used  # no kernel is slower, and the model is: nobody knows why
            for problem, record in slower.items():
                self.refuse(problem, [record])
            self.tell(None)
        found = self.records()
        for problem in used:  # there is nothing that is sure to be no slower
            self.refuse(problem, [record for record in found[problem] if wins(record)])
        self.report.after, self.report.gain = self.report.before, 1.0

    def refuse(self, problem: Problem, records: list[Record]) -> None:
        """Marks records in the database as not to be used."""
        kernel = self.work[problem]
        kernel.gain, kernel.in_model, kernel.schedule = 1.0, None, {}
        now = time.time()
        tuning.append(self.paths[0], [replace(r, refused="slower in a model", time=now) for r in records])

    def slower(self, after: Timed, used: dict[Problem, Record]) -> dict[Problem, Record]:
        """Those of the records in use that are slower in the model than the rules' schedules."""
        old, new = (np.array(side) for side in zip(*(in_turns(self.before.run, after.run, n) for n in range(TURNS))))
        for problem in used:
            ratios = old[:, problem.steps].sum(axis=1) / np.maximum(new[:, problem.steps].sum(axis=1), 1e-12)
            self.work[problem].in_model = float(np.median(ratios))
        return {p: record for p, record in used.items() if (self.work[p].in_model or 1.0) < SLOWER}

    def whole(self, after: Timed) -> float:
        """Measures the whole model; returns the gain."""
        times = [in_turns(_warm(self.before), _warm(after), n) for n in range(TURNS)]
        self.report.before, self.report.after = (statistics.median(side) for side in zip(*times))
        self.report.gain = statistics.median(old / new for old, new in times)
        return self.report.gain

    def compiled(self, state: tuple[tuple[str, str], ...]) -> artifact.Artifact:
        """The model, compiled with measured schedules."""
        folder = self.folders.enter_context(cache.workspace())
        driver.compile_model(self.model, replace(self.options, tuning=state), folder)
        return artifact.load_directory(folder)

    def records(self) -> dict[Problem, list[Record]]:
        """What the database has of the kernels, measured here."""
        problems_of = {(problem.digest, problem.sizes): problem for problem in self.work}
        found: dict[Problem, list[Record]] = {}
        for record in tuning.read(self.paths):
            problem = problems_of.get((record.kernel, record.sizes))
            if problem is not None and Place(record.cpu, record.target, record.toolchain) == self.here:
                found.setdefault(problem, []).append(record)
        return found

    def used(self, tuned: artifact.Artifact) -> dict[Problem, Record]:
        """The records by which kernels of a compiled model have their schedules."""
        steps = tuned.notes()["steps"]
        return {
            problem: record
            for problem, records in self.records().items()
            for record in records
            if record.schedule == steps[problem.steps[0]].get("measured")
        }


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
