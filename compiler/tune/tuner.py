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
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.errors import Fail, InvalidArgument
from ...runtime.store import tuning
from ...runtime.store.tuning import Record
from .. import driver
from ..kernel import cost
from ..options import Options
from ..progress import Progress as Stages
from ..scalar.dim import evaluate
from ..target import targets
from . import workload
from .choose import Place, here, wins
from .cluster import connected
from .encoding import encoded
from .kernels import Problem, problems
from .machines import Local, Lost, Machines
from .report import KernelReport, TuningReport
from .search import search
from .trial import Bench
from .workload import Feeds, Workload

WHOLE = 0.15  # of the time, for runs of the whole model
SLOWER = 0.98  # gain of a kernel in the model below which its schedule is refused
SLOWER_WHOLE = 0.99  # gain of the model below which all schedules are refused
CHECKS = 3  # times that refused schedules are replaced by the next best ones
LEAST_SHARE = 0.002  # of the model's time, from which on a kernel is tuned

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
    scheduler: Any = None,
) -> TuningReport:
    """Tunes a model for the sizes of `feeds`, a function of the manifest. trials: the most for each kernel.

    options: of the compilation. resume: what was measured before is not measured again. scheduler: a Dask cluster's
    address or `distributed.Client`, to measure there instead of here. Ctrl-C ends it, and the report tells so. Raises
    as a compilation does, OSError where the database cannot be written, and Fail for a cluster that cannot measure."""
    target, gpus = targets(options.target)
    if gpus:
        raise InvalidArgument(f"only kernels of a CPU can be tuned, and the target is {options.target}")
    with contextlib.ExitStack() as stack:
        machines: Machines
        if scheduler is not None:
            machines = stack.enter_context(connected(scheduler, options.target, threads))
        else:
            machines = Local(here(target), threads) if threads else Local(here(target))
        subject = Workload(model, replace(options, tuning=()), feeds, machines.threads)
        run = _Run(subject, machines, tuning.files(model, database), seconds, progress)
        try:
            run.search(trials, resume)
            run.check()
        except KeyboardInterrupt:
            run.report.interrupted = True
        run.tell(None)
        return run.report


class _Run:
    """A tuning run. Made, it has compiled and profiled the model by the rules, and found its kernels.

    paths: the files of the database, the first of which is written."""

    def __init__(
        self, subject: Workload, machines: Machines, paths: list[Path], seconds: float, progress: Progress
    ) -> None:
        self.machines, self.paths, self.seconds, self.progress = machines, paths, seconds, progress
        self.start = time.monotonic()
        self.workload = machines.share(subject)
        with Stages() as show:  # before there is anything for `progress` to tell
            show("compile")
            self.rules = self.compiled(())
            show("profile")
            self.profile: workload.Profile = self.measured(workload.profile, self.rules)
            unit = driver.lowered_model(subject.model, subject.options, show)
        assert unit.program is not None
        self.program = unit.program
        found, left_out = problems(unit.program, self.profile.dims, unit.target, subject.options.rounding)
        spent = self.profile.steps
        shares = [(problem, float(sum(spent[n] for n in problem.steps) / spent.sum())) for problem in found]
        self.work = {
            problem: self.reported(problem, share)
            for problem, share in sorted(shares, key=lambda each: -each[1])
            if share >= LEAST_SHARE
        }
        name = subject.model if isinstance(subject.model, str) else ""
        self.report = TuningReport(name, machines.place.cpu, self.profile.threads, str(self.paths[0]))
        self.report.kernels = [*self.work.values()]
        self.report.peak_flops, self.report.peak_bytes = self.profile.limits.flops, self.profile.limits.bytes
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
        earlier = self.of_kernels() if resume else {}
        for problem, kernel in self.work.items():
            left = self.seconds * (1 - WHOLE) - (time.monotonic() - self.start)
            bench = Bench(problem, self.program, self.profile.threads)
            known = [r for r in earlier.get(problem, ()) if r.threads == bench.threads]
            report = self._keeper(problem, kernel)
            search(bench, self.machines, left * kernel.share / waiting, trials, known, report)
            waiting -= kernel.share
            self.tell(kernel)

    def _keeper(self, problem: Problem, kernel: KernelReport) -> Callable[[Record | Lost], None]:
        by_rules = encoded(problem.default)

        def keep(record: Record | Lost) -> None:
            if isinstance(record, Lost):
                self.report.lost[record.reason] = self.report.lost.get(record.reason, 0) + 1
                return
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
            tuned = self.compiled(self.records())
            steps: workload.Steps = self.measured(workload.compare_steps, self.rules, tuned)
            used = self.used(steps)
            if not used:  # the same code
                self.report.before, _, _ = self.whole(self.rules)
                self.report.after, self.report.gain = self.report.before, 1.0
                return
            slower = self.slower(steps, used)
            if not slower:
                self.report.before, self.report.after, self.report.gain = self.whole(tuned)
                if self.report.gain >= SLOWER_WHOLE:
                    return
                slower = used  # no kernel is slower, and the model is: nobody knows why
            for problem, record in slower.items():
                self.refuse(problem, [record])
            self.tell(None)
        for problem in used:  # there is nothing that is sure to be no slower
            self.refuse(problem, [record for record in self.of_kernels()[problem] if wins(record)])
        self.report.after, self.report.gain = self.report.before, 1.0

    def refuse(self, problem: Problem, records: Sequence[Record]) -> None:
        """Marks records in the database as not to be used."""
        kernel = self.work[problem]
        kernel.gain, kernel.in_model, kernel.schedule = 1.0, None, {}
        now = time.time()
        tuning.append(self.paths[0], [replace(r, refused="slower in a model", time=now) for r in records])

    def used(self, steps: workload.Steps) -> dict[Problem, Record]:
        """The records by which kernels of a compiled model have their schedules."""
        return {
            problem: record
            for problem, records in self.of_kernels().items()
            for record in records
            if record.schedule == steps.measured[problem.steps[0]]
        }

    def slower(self, steps: workload.Steps, used: dict[Problem, Record]) -> dict[Problem, Record]:
        """Those of the records in use that are slower in the model than the rules' schedules."""
        for problem in used:
            old, new = (side[:, problem.steps].sum(axis=1) for side in (steps.before, steps.after))
            self.work[problem].in_model = float(np.median(old / np.maximum(new, 1e-12)))
        return {p: record for p, record in used.items() if (self.work[p].in_model or 1.0) < SLOWER}

    def whole(self, tuned: Any) -> tuple[float, float, float]:
        """The seconds of the whole model by the rules and tuned, and the gain: medians."""
        turns: list[tuple[float, float]] = self.measured(workload.compare, self.rules, tuned)
        before, after = (statistics.median(side) for side in zip(*turns))
        return before, after, statistics.median(old / new for old, new in turns)

    def compiled(self, records: Sequence[Record]) -> Any:
        """What stands for the model, compiled with the schedules of records."""
        (made,) = self.machines.build(workload.compiled, [(self.workload, records)], at_place=True)
        return made

    def measured(self, function: Callable[..., Any], *models: Any) -> Any:
        """What a function of compiled models and the workload finds. Raises Fail where no machine lives to tell."""
        (found,) = self.machines.measure(function, [(*models, self.workload)])
        if isinstance(found, Lost):
            raise Fail(f"The model cannot be measured: {found.reason}")
        return found

    def records(self) -> list[Record]:
        """What the database has that was measured at the place."""
        found = tuning.read(self.paths)
        return [r for r in found if Place(r.cpu, r.target, r.toolchain) == self.machines.place]

    def of_kernels(self) -> dict[Problem, list[Record]]:
        """The records of each kernel, for its sizes."""
        problems_of = {(problem.digest, problem.sizes): problem for problem in self.work}
        found: dict[Problem, list[Record]] = {}
        for record in self.records():
            problem = problems_of.get((record.kernel, record.sizes))
            if problem is not None:
                found.setdefault(problem, []).append(record)
        return found
