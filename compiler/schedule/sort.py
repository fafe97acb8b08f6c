"""Schedules of kernel.ir.Sort on a CPU, where one task is one row; and the sorting of items, which others use, too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..kernel.ir import Schedule, Sort
from ..precision import Precision
from ..target import Target


@dataclass(frozen=True, slots=True)
class Order:
    """How items are sorted.

    run: items sorted by insertion before runs are merged; radix: the number of items from which radix sort is used."""

    run: int = 12
    radix: int = 512


@dataclass(frozen=True, slots=True)
class SortSchedule(Schedule):
    """How a row of n elements is sorted, of which k are written.

    spare: candidates are sorted, and all but k dropped, whenever there are 2 k + spare of them; block: elements whose
    keys are computed at once; few: the k up to which each element is instead inserted into the sorted candidates."""

    order: Order
    spare: int
    block: int
    few: int


def default(body: Sort, target: Target, precision: Precision = "exact") -> SortSchedule:
    """The schedule by rules that need no measurement."""
    return SortSchedule(Order(), spare=64, block=256, few=16)


def orders() -> Iterator[Order]:
    """Candidates, the most promising first."""
    first = Order()
    yield first
    yield from (replace(first, run=run) for run in (8, 16, 24))
    yield from (replace(first, radix=radix) for radix in (128, 2048, 8192))


def cannot_order(order: Order) -> str | None:
    """Why items cannot be sorted in this way; None if they can."""
    return None if min(order.run, order.radix) >= 1 else "runs and digits are of at least one item"


def legal(body: Sort, schedule: SortSchedule, target: Target, precision: Precision = "exact") -> str | None:
    """Why the schedule cannot compute the body; None if it can."""
    if schedule.block < 1 or schedule.spare < 1 or schedule.few < 0:
        return "a block has at least an element, and there is room for one more"
    return cannot_order(schedule.order)


def space(body: Sort, target: Target, precision: Precision = "exact") -> Iterator[SortSchedule]:
    """Candidates, the most promising first."""
    first = default(body, target)
    yield from (replace(first, order=order) for order in orders())
    yield from (replace(first, spare=spare) for spare in (16, 256))
    yield from (replace(first, block=block) for block in (64, 1024))
    yield from (replace(first, few=few) for few in (0, 4, 64))
