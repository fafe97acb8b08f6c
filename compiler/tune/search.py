"""The search for a kernel's schedule.

In: a `Bench`, its candidates, a limit of seconds. Out: records, one for each candidate that was measured.

From the schedule that rules choose it climbs: candidates that differ from the best one so far in one field come first,
in the order in which the space has them. A candidate runs in turns with the default, and is given up after a few turns
that are clearly slower. What wins has to do so in most of many turns, and its results have to be the default's.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from ...runtime.errors import Fail, InvalidArgument
from ...runtime.store import cache
from ...runtime.store.tuning import Record
from ..codegen.c import kernels
from ..kernel.ir import Schedule
from ..options import environment
from ..schedule import executed, legal, space
from ..schedule.close import close
from .choose import Place, code, wins
from .encoding import decoded, encoded
from .kernels import Problem
from .trial import Bench, Trial, difference

FEW, MANY = 5, 25  # turns: to give up a candidate, to believe one
HOPELESS = 0.93  # the gain of the first turns below which a candidate is given up
LONGEST = 0.5  # seconds of turns for one candidate, once it had FEW

T = TypeVar("T")


@dataclass(frozen=True)
class Timing:
    """Times of a candidate in turns with the default: medians in seconds, and the ratios default/candidate of
    neighbouring turns."""

    seconds: float
    default_seconds: float
    ratios: Sequence[float]

    @property
    def gain(self) -> float:
        return statistics.median(self.ratios)

    @property
    def gain_low(self) -> float:
        """The lower quartile."""
        return statistics.quantiles(self.ratios, n=4)[0]


def in_turns(first: Callable[[], T], second: Callable[[], T], turn: int) -> tuple[T, T]:
    """The results of both, which run one after the other, every other turn in the other order."""
    if turn % 2:
        other = second()
        return first(), other
    return first(), second()


def compare(default: Trial, candidate: Trial) -> Timing:
    """Runs both in turns."""
    theirs: list[float] = []
    ours: list[float] = []
    end = 0.0
    while len(ours) < MANY:
        for times, seconds in zip((theirs, ours), in_turns(default.run, candidate.run, len(ours))):
            times.append(seconds)
        if len(ours) == FEW:
            if statistics.median(d / c for d, c in zip(theirs, ours)) < HOPELESS:
                break
            end = time.monotonic() + LONGEST
        elif len(ours) > 2 * FEW and time.monotonic() > end:
            break
    ratios = [d / max(c, 1e-9) for d, c in zip(theirs, ours)]
    return Timing(statistics.median(ours), statistics.median(theirs), ratios)


class Candidates:
    """What to try next: a climb from the schedule that rules choose."""

    def __init__(self, problem: Problem) -> None:
        body = problem.launch.kernel.body
        self._problem = problem
        found = [problem.default, *space(body, problem.target)]
        legals = (how for how in found if legal(body, how, problem.target, problem.approximate) is None)
        distinct: dict[Any, Schedule] = {}
        for how in legals:
            distinct.setdefault(self._identity(how), how)
        self.left = list(distinct.values())[1:]  # the first is the default
        self.count = len(self.left)
        self.best = problem.default

    def _identity(self, how: Schedule) -> Any:
        """Equal for schedules with the same code and numbers: not every field matters to every kernel."""
        launch = close(executed(self._problem.launch, how))
        grain = kernels.grain(launch.kernel, launch.schedule)
        tasks = kernels.tasks(launch.kernel, launch.schedule)
        return code(self._problem.launch, how), launch.sizes, tasks, grain

    def take(self, count: int) -> list[Schedule]:
        """The next candidates, neighbours of the best first, which are then no longer left; none if there are none."""
        taken = sorted(self.left, key=lambda how: not self._is_neighbour(how))[:count]
        self.left = [how for how in self.left if how not in taken]
        return taken

    def _is_neighbour(self, how: Schedule) -> bool:
        if type(how) is not type(self.best):
            return True
        return sum(getattr(how, f.name) != getattr(self.best, f.name) for f in fields(how)) <= 1  # type: ignore[arg-type]


def search(
    bench: Bench,
    here: Place,
    seconds: float,
    trials: int | None = None,
    known: Sequence[Record] = (),
    report: Callable[[Record], None] = lambda record: None,
    proposals: Callable[[Candidates, int], list[Schedule]] = Candidates.take,
) -> list[Record]:
    """Measures candidates until none is left, `seconds` have passed, or `trials` are done. Calls `report` at once for
    each new record. known: of earlier runs, which are not measured again. proposals: chooses the next candidates."""
    earlier = {decoded(record.schedule): record for record in known}
    problem, end = bench.problem, time.monotonic() + seconds
    candidates, records = Candidates(problem), list[Record]()
    if not candidates.left:
        return records
    with cache.workspace() as folder:
        default = bench.load(bench.build(problem.default, folder))
        try:
            wanted = default.results()
        except InvalidArgument:  # random data violate what the kernel demands of them, such as divisors that are not 0
            return records
        best = 1.0
        while time.monotonic() < end and (trials is None or len(records) < trials):
            jobs = max(1, environment().jobs)
            batch = proposals(candidates, jobs if trials is None else min(jobs, trials - len(records)))
            if not batch:
                break
            seen = {how: earlier.get(how) for how in batch}
            made = _built(bench, [how for how, record in seen.items() if record is None], folder)
            for how, record in seen.items():
                if record is None:
                    record = _measured(bench, here, default, how, made[how], wanted)
                    report(record)
                records.append(record)
                if wins(record) and record.gain > best:
                    best, candidates.best = record.gain, how
    return records


def _built(bench: Bench, batch: Sequence[Schedule], folder: Path) -> dict[Schedule, Path | str]:
    """The candidates with their artifacts, built at the same time, before any of them is measured: with all CPUs in use
    a build would disturb the measurement of another candidate. Or with the message of the C compiler."""

    def one(how: Schedule) -> Path | str:
        try:
            return bench.build(how, folder)
        except Fail as error:
            return error.text

    with ThreadPoolExecutor(max(1, len(batch))) as pool:
        return dict(zip(batch, pool.map(one, batch)))


def _measured(
    bench: Bench, here: Place, default: Trial, how: Schedule, made: Path | str, wanted: Sequence[Any]
) -> Record:
    """The record of a candidate."""
    problem = bench.problem
    if isinstance(made, str):
        refused, timing = f"does not compile: {made}", Timing(0.0, 0.0, (0.0, 0.0))
    else:
        candidate = bench.load(made)
        refused = difference(candidate.results(), wanted) or ""
        timing = Timing(0.0, 0.0, (0.0, 0.0)) if refused else compare(default, candidate)
    return Record(
        kernel=problem.digest,
        sizes=problem.sizes,
        cpu=here.cpu,
        target=here.target,
        threads=bench.threads,
        toolchain=here.toolchain,
        code=code(problem.launch, how),
        kind=problem.kind,
        schedule=encoded(how),
        seconds=timing.seconds,
        default_seconds=timing.default_seconds,
        gain=timing.gain,
        gain_low=timing.gain_low,
        turns=len(timing.ratios),
        refused=refused,
        nodes=problem.nodes[:200],
        time=time.time(),
    )
