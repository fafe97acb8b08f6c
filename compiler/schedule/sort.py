"""Schedules of kernel.ir.Sort on a CPU: one task is one row. And how items are ordered, for others."""

from __future__ import annotations

from dataclasses import dataclass

from ..kernel.ir import Schedule, Sort
from ..target import Target


@dataclass(frozen=True, slots=True)
class Order:
    """run: items that are sorted by insertion before runs are merged; radix: from how many on they are sorted by the
    digits of their keys."""

    run: int = 12
    radix: int = 512


@dataclass(frozen=True, slots=True)
class SortSchedule(Schedule):
    """spare: room for elements beyond twice those that are asked for, before the least are dropped, since sorting so
    many is cheap; block: elements whose keys are computed at once; few: where no more are asked for, each new element
    is put in its place among them."""

    order: Order
    spare: int
    block: int
    few: int


def default(body: Sort, target: Target, approximate: bool = True) -> SortSchedule:
    """By rules that need no measurement."""
    return SortSchedule(Order(), spare=64, block=256, few=16)
