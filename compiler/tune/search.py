"""The search for a kernel's schedule.

In: a `Bench`, its candidates, machines, a limit of seconds. Out: records, one for each candidate that was measured.

From the schedule that rules choose it climbs: candidates that differ from the best one so far in one field come first,
in the order in which the space has them. A candidate runs in turns with the default, and is given up after a few turns
that are clearly slower. What wins has to do so in most of many turns, and its results have to be the default's.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from ...runtime.errors import Fail, InvalidArgument
from ...runtime.store.tuning import Record
from ..codegen.c import kernels
from ..kernel.ir import Schedule
from ..schedule import executed, legal, space
from ..schedule.close import close
from .choose import Place, code, wins
from .encoding import decoded, encoded
from .kernels import Problem
from .machines import Lost, Machines
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


@dataclass(frozen=True)
class Measurement:
    """What became of a candidate. refused: why it must not be used, "" if it may."""

    refused: str
    timing: Timing = Timing(0.0, 0.0, (0.0, 0.0))


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
        found = [problem.default, *space(body, problem.target, problem.precision)]
        legals = (how for how in found if legal(body, how, problem.target, problem.precision) is None)
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
    machines: Machines,
    seconds: float,
    trials: int | None = None,
    known: Sequence[Record] = (),
    report: Callable[[Record | Lost], None] = lambda record: None,
    proposals: Callable[[Candidates, int], list[Schedule]] = Candidates.take,
) -> list[Record]:
    """Measures candidates until none is left, `seconds` have passed, or `trials` are done. Calls `report` at once for
    each new record. known: of earlier runs, which are not measured again. proposals: chooses the next candidates."""
    earlier = {decoded(record.schedule): record for record in known}
    end = time.monotonic() + seconds
    candidates, records = Candidates(bench.problem), list[Record]()
    shared, best = machines.share(bench), 1.0
    while time.monotonic() < end and (trials is None or len(records) < trials):
        batch = proposals(candidates, machines.jobs if trials is None else min(machines.jobs, trials - len(records)))
        if not batch:
            break
        new = [how for how in batch if how not in earlier]
        made = machines.build(build, [(shared, how) for how in new])
        outcomes = machines.measure(measure, [(shared, each) for each in made])
        for how in batch:
            record = earlier.get(how)
            if record is None:
                outcome = next(outcomes)
                if outcome is None:
                    return records
                if isinstance(outcome, Lost):
                    report(outcome)
                    continue
                record = _record(bench, machines.place, how, outcome)
                report(record)
            records.append(record)
            if wins(record) and record.gain > best:
                best, candidates.best = record.gain, how
    return records


def build(folder: Path, bench: Bench, how: Schedule) -> str | None:
    """Builds a candidate into the folder; returns the message of the C compiler where that refuses it."""
    try:
        bench.build(how, folder)
    except Fail as error:
        return f"does not compile: {error.text}"
    return None


def measure(bench: Bench, made: Path | str) -> Measurement | None:
    """Checks and times a candidate that was built, or tells why it was not. None where random data violate what the
    kernel demands of them, such as divisors that are not 0."""
    if isinstance(made, str):
        return Measurement(made)
    try:
        default, wanted = bench.reference
    except InvalidArgument:
        return None
    candidate = bench.load(made)
    refused = difference(candidate.results(), wanted)
    return Measurement(refused) if refused else Measurement("", compare(default, candidate))


def _record(bench: Bench, place: Place, how: Schedule, measurement: Measurement) -> Record:
    problem, timing = bench.problem, measurement.timing
    return Record(
        kernel=problem.digest,
        sizes=problem.sizes,
        cpu=place.cpu,
        target=place.target,
        threads=bench.threads,
        toolchain=place.toolchain,
        code=code(problem.launch, how),
        kind=problem.kind,
        schedule=encoded(how),
        seconds=timing.seconds,
        default_seconds=timing.default_seconds,
        gain=timing.gain,
        gain_low=timing.gain_low,
        turns=len(timing.ratios),
        refused=measurement.refused,
        nodes=problem.nodes[:200],
        time=time.time(),
    )
