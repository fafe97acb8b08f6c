"""Schedules of kernel.ir.Nms on a CPU: one task is one row of scores."""

from __future__ import annotations

from dataclasses import dataclass

from ..kernel.ir import Nms, Schedule
from ..target import Target
from .sort import Order


@dataclass(frozen=True, slots=True)
class NmsSchedule(Schedule):
    """block: boxes that a box is held against before it is asked whether one of them hides it."""

    order: Order
    block: int


def default(body: Nms, target: Target, approximate: bool = True) -> NmsSchedule:
    """By rules that need no measurement."""
    return NmsSchedule(Order(), block=64)
