"""Schedules of kernel.ir.Sort on a CPU: one task is one row."""

from __future__ import annotations

from dataclasses import dataclass

from ..kernel.ir import Schedule, Sort
from ..target import Target

_SPARE = 64  # for few and short rows: sorting so many is cheap


@dataclass(frozen=True, slots=True)
class SortSchedule(Schedule):
    """spare: room for elements beyond twice those that are asked for, before the least are dropped."""

    spare: int


def default(body: Sort, target: Target) -> SortSchedule:
    """By rules that need no measurement."""
    return SortSchedule(_SPARE)
