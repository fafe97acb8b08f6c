"""Schedules of kernel.ir.Trees on a CPU: one task is a block of rows and the trees of one part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..kernel.ir import Schedule, Trees
from ..precision import Precision
from ..scalar.dim import Size, known_le
from ..target import Target

_LANES = 8
_ROWS = 16, 256  # the fewest and the most of a task
_STEPS = 1 << 14  # nodes that the rows of a task visit, about
_SUMS = 1 << 14  # elements of the sums of a task: 128 KiB of the second-level cache


@dataclass(frozen=True, slots=True)
class TreesSchedule(Schedule):
    """rows: the most of a task; lanes: rows, or trees of one row, walked in turn, so that their latencies overlap."""

    rows: Size
    lanes: int = _LANES


def default(body: Trees, target: Target, precision: Precision = "exact") -> TreesSchedule:
    """The schedule by rules that need no measurement."""
    steps, targets = body.steps, body.target.extent
    assert isinstance(steps, int) and isinstance(targets, int)
    least, most = _ROWS
    rows = max(least, min(most, _STEPS // steps))
    return TreesSchedule(max(1, min(rows, _SUMS // targets)))


def legal(body: Trees, schedule: TreesSchedule, target: Target, precision: Precision = "exact") -> str | None:
    """Why the schedule cannot compute the body; None if it can."""
    return None if known_le(1, schedule.rows) and schedule.lanes >= 1 else "a task has at least a row and a lane"


def space(body: Trees, target: Target, precision: Precision = "exact") -> Iterator[TreesSchedule]:
    """Candidates, the most promising first."""
    first = default(body, target)
    assert isinstance(first.rows, int)
    for lanes in (_LANES, 4, 16):
        for rows in sorted({first.rows, max(1, first.rows // 4), first.rows * 4}, key=lambda n: n != first.rows):
            yield TreesSchedule(rows, lanes)
