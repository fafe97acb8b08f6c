"""Schedules from the database: what a compilation uses of what was measured.

In: records, and the lowered launches of a model. Out: for each the schedule that was measured to be the best for its
kernel and sizes, else the one that rules choose; and for `explain` where each is from. A record counts only if the very
code that it measured would be printed again, for the same CPU and target, by the same C compiler.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ...runtime import cpus
from ...runtime.store import cache
from ...runtime.store.tuning import Record
from ..codegen.c import kernels, toolchain
from ..kernel.ir import Launch, Schedule, Scheduled
from ..precision import Precision
from ..schedule import default, executed, legal
from ..schedule.close import close
from ..target import Target
from .encoding import decoded, digest

LEAST_GAIN = 1.02  # of a median: less is no gain
LEAST_SECONDS = 2e-7  # about what the clock and the start of a step cost
RULES = "rules"


@dataclass(frozen=True)
class Place:
    """Where records are measured and used: the processor (cpus.identity), the target in full, and the C compiler."""

    cpu: str
    target: str
    toolchain: str


@lru_cache
def place(target: Target, toolchain: str) -> Place:
    """This machine, and what is compiled for."""
    caches = " ".join(f"{level}={c.bytes}/{c.ways}" for level, c in (("l1", target.l1), ("l2", target.l2)))
    return Place(cpus.identity(), f"{target.architecture} {' '.join(target.features)} {caches}", toolchain)


def here(target: Target) -> Place:
    """This machine with its C compiler. Raises NotFound where there is none."""
    return place(target, toolchain.find(cache.root() / "objects").version)


def code(launch: Launch, how: Schedule) -> str:
    """The name of the C source of a lowered launch with a schedule, which is a hash of it."""
    closed = close(executed(launch, how))
    return kernels.source(closed.kernel, closed.schedule).name


@dataclass(frozen=True)
class Choice:
    """Where a schedule is from, as text; measured: its fields, if it is one of the database."""

    source: str
    measured: dict[str, Any] | None = None


@dataclass
class Chooser:
    """Chooses schedules as `schedule` asks for them. told: of each kernel with its schedule, where that is from."""

    records: Iterable[Record]
    here: Place
    told: dict[Scheduled, Choice] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.by_kernel: dict[str, list[Record]] = {}
        for record in self.records:
            self.by_kernel.setdefault(record.kernel, []).append(record)

    def __call__(self, launch: Launch, target: Target, precision: Precision) -> Schedule | None:
        how, choice = default(launch.kernel.body, target, precision), Choice(RULES)
        if how is not None and self.by_kernel:
            found = self._best(launch, target, precision)
            if isinstance(found, str):
                choice = Choice(f"{RULES}: {found}")
            elif found is not None:
                how, record = found
                choice = Choice(f"measured, {record.gain:.2f} times as fast as by rules", record.schedule)
        closed = close(executed(launch, how))
        self.told[closed.scheduled] = choice
        return how

    def _best(self, launch: Launch, target: Target, precision: Precision) -> tuple[Schedule, Record] | str | None:
        """The best schedule with its record, or why none of the records counts; None if there are no records."""
        closed = close(launch)
        records = [r for r in self.by_kernel.get(digest(closed.kernel), ()) if _fits(r.sizes, closed.sizes)]
        if not records:
            return None
        mine = [r for r in records if r.cpu == self.here.cpu and r.target == self.here.target]
        if not mine:
            return f"measured on {records[0].cpu}, not here"
        mine = [r for r in mine if r.toolchain == self.here.toolchain]
        if not mine:
            return "measured with another C compiler"
        grouped: dict[Schedule, list[Record]] = {}
        for record in mine:
            made = decoded(record.schedule)
            if made is not None and legal(launch.kernel.body, made, target, precision) is None:
                grouped.setdefault(made, []).append(record)
        if not grouped:
            return "measured schedules are none of this version"
        better = {how: found for how, found in grouped.items() if all(map(wins, found))}
        ranked = sorted(better, key=lambda how: -math.prod(r.gain for r in better[how]))
        for how in ranked:
            if all(r.code == code(launch, how) for r in better[how]):
                return how, better[how][-1]
        return "measured with other templates" if ranked else f"the fastest of {len(grouped) + 1} that were measured"


def wins(record: Record) -> bool:
    """Whether the schedule beats that of the rules by more than the noise, and may be used."""
    saved = record.default_seconds - record.seconds
    return not record.refused and record.gain >= LEAST_GAIN and record.gain_low > 1 and saved >= LEAST_SECONDS


def _fits(measured: tuple[int, ...], sizes: Iterable[object]) -> bool:
    """Whether sizes are those of a record; one that is not known matches any."""
    return all(not isinstance(size, int) or size == value for size, value in zip(sizes, measured, strict=True))
