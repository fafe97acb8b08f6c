"""Schedules of kernel.ir.Attention on a CPU.

One task is a panel of queries of one batch point, so a result does not depend on the split.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..kernel.ir import Attention, Schedule
from ..precision import Precision
from ..target import Target
from .tile import most_rows, too_many

# The most keys in a block. Their exponentials, and q and the result of a panel at d = 64, fit a cache of 32 KiB.
_KEYS = 64
_TYPICAL_KEYS = 256  # of causal attention, where their number is not known
_LOADS = 2  # of vectors in a cycle: of all CPUs with AVX2


@dataclass(frozen=True, slots=True)
class AttentionSchedule(Schedule):
    """The register tile: `rows` keys (or columns of v) by `vectors` vectors of `lanes` queries.

    keys: of a block, a multiple of `rows`; few: the number of queries up to which they are computed row by row rather
    than in panels."""

    rows: int
    vectors: int
    lanes: int
    keys: int
    few: int

    @property
    def panel(self) -> int:
        """Queries of a task."""
        return self.vectors * self.lanes


def default(body: Attention, target: Target, precision: Precision = "exact") -> AttentionSchedule:
    """The schedule by rules that need no measurement."""
    vectors = 3 if target.registers >= 32 else 2  # wider panels would leave fewer tasks
    rows = most_rows(vectors, target)
    if body.causal is not None:
        vectors = min(range(1, vectors + 1), key=lambda v: _causal_cost(v, rows, body, target))
    lanes = target.lanes(body.acc.itemsize)
    return AttentionSchedule(rows, vectors, lanes, _KEYS // rows * rows, max(lanes // 8, 1))


def _causal_cost(vectors: int, rows: int, body: Attention, target: Target) -> float:
    """The relative time for a query where later keys are skipped.

    A panel computes the keys of its last query for all: on average those of half of its queries are in vain. Each
    multiplication takes a unit's time, or that of loading its operands."""
    keys, panel = body.n.extent, vectors * target.lanes(body.acc.itemsize)
    computed = (keys if isinstance(keys, int) else _TYPICAL_KEYS) + panel  # twice their number
    loads = (rows + vectors) / (rows * vectors)
    units = max(1, target.fma_bytes // target.vector_bytes)
    return computed * max(1 / units, loads / _LOADS)


def legal(body: Attention, schedule: AttentionSchedule, target: Target, precision: Precision = "exact") -> str | None:
    """Why the schedule cannot compute the body; None if it can."""
    if schedule.lanes != target.lanes(body.acc.itemsize):
        return f"a vector has {target.lanes(body.acc.itemsize)} elements, not {schedule.lanes}"
    if min(schedule.rows, schedule.vectors, schedule.keys) < 1 or schedule.keys % schedule.rows or schedule.few < 0:
        return "blocks of keys are whole tiles"
    return too_many(schedule.rows, schedule.vectors, target)


def space(body: Attention, target: Target, precision: Precision = "exact") -> Iterator[AttentionSchedule]:
    """Candidates, the most promising first."""
    first = default(body, target)
    candidates = [first] + [
        replace(first, rows=rows, vectors=vectors, keys=keys // rows * rows)
        for rows, vectors in ((first.rows, first.vectors), (4, 4), (6, 4), (12, 2), (6, 2), (4, 2), (8, 1))
        for keys in (_KEYS, 32, 128)
    ]
    return (each for each in dict.fromkeys(candidates) if legal(body, each, target) is None)
