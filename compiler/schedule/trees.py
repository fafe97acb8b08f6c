"""Schedules of kernel.ir.Trees on a CPU: one task is a block of rows and the trees of one part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..kernel.ir import Schedule, Trees
from ..scalar.dim import Size, known_le
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


def legal(body: Trees, schedule: TreesSchedule, target: Target) -> str | None:
    """Why the body cannot be computed so; None where it can."""
    return None if known_le(1, schedule.rows) and schedule.lanes >= 1 else "a task has at least a row and a lane"


def space(body: Trees, target: Target) -> Iterator[TreesSchedule]:
    """What can be tried, the most promising first."""
    first = default(body, target)
    assert isinstance(first.rows, int)
    for lanes in (_LANES, 4, 16):
        for rows in sorted({first.rows, max(1, first.rows // 4), first.rows * 4}, key=lambda n: n != first.rows):
            yield TreesSchedule(rows, lanes)
