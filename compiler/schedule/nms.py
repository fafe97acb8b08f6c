"""Schedules of kernel.ir.Nms on a CPU: one task is one row of scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..kernel.ir import Nms, Schedule
from ..target import Target
from .sort import Order, cannot_order, orders


@dataclass(frozen=True, slots=True)
class NmsSchedule(Schedule):
    """block: boxes that a box is held against before it is asked whether one of them hides it."""

    order: Order
    block: int


def default(body: Nms, target: Target, approximate: bool = True) -> NmsSchedule:
    """By rules that need no measurement."""
    return NmsSchedule(Order(), block=64)


def legal(body: Nms, schedule: NmsSchedule, target: Target) -> str | None:
    """Why the body cannot be computed so; None where it can."""
    return cannot_order(schedule.order) if schedule.block >= 1 else "a block has at least a box"


def space(body: Nms, target: Target) -> Iterator[NmsSchedule]:
    """What can be tried, the most promising first."""
    first = default(body, target)
    yield from (replace(first, order=order) for order in orders())
    yield from (replace(first, block=block) for block in (16, 32, 128, 256))
