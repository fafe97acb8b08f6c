"""Schedules of kernel.ir.Recurrent on a CPU.

One task is one direction of a block of sequences over all of time, so a result does not depend on the split. Time steps
depend on each other, so there is nothing else to share among threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..kernel.ir import Recurrent, Schedule
from ..precision import Precision
from ..target import Target
from .tile import too_many


@dataclass(frozen=True, slots=True)
class Tile:
    """The register tiles for a number of rows: their widths in vectors, from wide to narrow; the last is 1."""

    rows: int
    widths: tuple[int, ...]


# Four rows make up for streaming the weights from the second-level cache; more would leave fewer tasks.
_ROWS = (1, 2, 4)
_WIDTH, _HALF = 8, 4  # vectors: enough sums to hide the latency of additions, and a tile for the rest of a row


@dataclass(frozen=True, slots=True)
class RecurrentSchedule(Schedule):
    """tiles: by ascending numbers of sequences, the last being those of a task; lanes: elements of a vector."""

    tiles: tuple[Tile, ...]
    lanes: int

    @property
    def rows(self) -> int:
        """The most sequences of a task."""
        return self.tiles[-1].rows


def default(body: Recurrent, target: Target, precision: Precision = "exact") -> RecurrentSchedule:
    """The schedule by rules that need no measurement; without tiles for more sequences than there are."""
    tiles = tuple(_tile(rows, target) for rows in _ROWS)
    if isinstance(body.batch, int):
        enough = next((i for i, tile in enumerate(tiles) if tile.rows >= body.batch), len(tiles) - 1)
        tiles = tiles[: enough + 1]
    return RecurrentSchedule(tiles, target.lanes(body.dtype.compute.itemsize))


def _tile(rows: int, target: Target, width: int = _WIDTH) -> Tile:
    """Tiles whose sums take at most half of the registers, and at most `width` vectors of each row."""
    widest = min(width, max(1, target.registers // 2 // rows))
    return Tile(rows, tuple(sorted({widest, min(_HALF, widest), 1}, reverse=True)))


def legal(body: Recurrent, schedule: RecurrentSchedule, target: Target, precision: Precision = "exact") -> str | None:
    """Why the schedule cannot compute the body; None if it can."""
    rows = [tile.rows for tile in schedule.tiles]
    if not rows or rows[0] != 1 or rows != sorted(set(rows)) or any(t.widths[-1] != 1 for t in schedule.tiles):
        return "there is a tile for one sequence, and in each a width of one vector"
    if schedule.lanes != target.lanes(body.dtype.compute.itemsize):
        return f"a vector has {target.lanes(body.dtype.compute.itemsize)} elements, not {schedule.lanes}"
    return next(filter(None, (too_many(t.rows, width, target) for t in schedule.tiles for width in t.widths)), None)


def space(body: Recurrent, target: Target, precision: Precision = "exact") -> Iterator[RecurrentSchedule]:
    """Candidates, the most promising first: tiles for fewer or more sequences, narrower and wider ones."""
    first = default(body, target)
    candidates = [first] + [
        replace(first, tiles=tuple(_tile(r, target, width) for r in rows))
        for rows in (_ROWS, (1, 2), (1,), (1, 3, 6))
        for width in (_WIDTH, _HALF, 2 * _WIDTH)
    ]
    return (each for each in dict.fromkeys(candidates) if legal(body, each, target) is None)
