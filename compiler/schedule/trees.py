"""Schedules of kernel.ir.Trees on a CPU: one task is a block of rows and the trees of one part."""

from __future__ import annotations

from dataclasses import dataclass

from ..kernel.ir import Schedule, Trees
from ..scalar.dim import Size
from ..target import Target

_LANES = 8
_ROWS = 16, 256  # of a task: as few as read them in one go, and as many as are worth a claim
_STEPS = 1 << 14  # nodes that those rows come by, as far as there are so many
_SUMS = 1 << 14  # elements of their sums: half of a second-level cache


@dataclass(frozen=True, slots=True)
class TreesSchedule(Schedule):
    """rows: of a task, at most; lanes: rows, or trees of one row, that are walked at once, so that their waits
    overlap."""

    rows: Size
    lanes: int = _LANES


def default(body: Trees, target: Target, approximate: bool = True) -> TreesSchedule:
    """By rules that need no measurement."""
    steps, targets = body.steps, body.target.extent
    assert isinstance(steps, int) and isinstance(targets, int)
    least, most = _ROWS
    rows = max(least, min(most, _STEPS // steps))
    return TreesSchedule(max(1, min(rows, _SUMS // targets)))
