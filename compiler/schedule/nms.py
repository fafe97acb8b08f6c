"""Schedules of kernel.ir.Nms on a CPU: one task is one row of scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..kernel.ir import Nms, Schedule
from ..precision import Precision
from ..target import Target
from .sort import Order, cannot_order, orders


@dataclass(frozen=True, slots=True)
class NmsSchedule(Schedule):
    """block: selected boxes that a box is compared with before the results are tested."""

    order: Order
    block: int


def default(body: Nms, target: Target, precision: Precision = "exact") -> NmsSchedule:
    """The schedule by rules that need no measurement."""
    return NmsSchedule(Order(), block=64)


def legal(body: Nms, schedule: NmsSchedule, target: Target, precision: Precision = "exact") -> str | None:
    """Why the schedule cannot compute the body; None if it can."""
    return cannot_order(schedule.order) if schedule.block >= 1 else "a block has at least a box"


def space(body: Nms, target: Target, precision: Precision = "exact") -> Iterator[NmsSchedule]:
    """Candidates, the most promising first."""
    first = default(body, target)
    yield from (replace(first, order=order) for order in orders())
    yield from (replace(first, block=block) for block in (16, 32, 128, 256))
