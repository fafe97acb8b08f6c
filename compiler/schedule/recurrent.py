"""Schedules of kernel.ir.Recurrent on a CPU.

One task is one direction of a block of sequences over all of time, so a result does not depend on the split. Steps
depend on each other: there is nothing else to share among threads.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..kernel.ir import Recurrent, Schedule
from ..target import Target


@dataclass(frozen=True, slots=True)
class Tile:
    """Register tiles for a number of rows: widths, in vectors, are tried from wide to narrow; the last is 1."""

    rows: int
    widths: tuple[int, ...]


# As many sums as hide the latency of additions. Four rows make up for streaming the weights from the second-level
# cache; more would leave fewer tasks.
_TILES_OF_32_REGISTERS = (Tile(1, (8, 4, 1)), Tile(2, (8, 4, 1)), Tile(4, (4, 1)))
_TILES_OF_16_REGISTERS = (Tile(1, (8, 4, 1)), Tile(2, (4, 1)), Tile(4, (2, 1)))


@dataclass(frozen=True, slots=True)
class RecurrentSchedule(Schedule):
    """tiles: by numbers of sequences, ascending; a task has as many as the last. A vector has `lanes` elements."""

    tiles: tuple[Tile, ...]
    lanes: int

    @property
    def rows(self) -> int:
        """Sequences of a task, at most."""
        return self.tiles[-1].rows


def default(body: Recurrent, target: Target, approximate: bool = True) -> RecurrentSchedule:
    """By rules that need no measurement; without tiles for more sequences than there are."""
    tiles: tuple[Tile, ...] = _TILES_OF_32_REGISTERS if target.registers >= 32 else _TILES_OF_16_REGISTERS
    if isinstance(body.batch, int):
        enough = next((i for i, tile in enumerate(tiles) if tile.rows >= body.batch), len(tiles) - 1)
        tiles = tiles[: enough + 1]
    return RecurrentSchedule(tiles, target.lanes(body.dtype.compute.itemsize))


def legal(body: Recurrent, schedule: RecurrentSchedule, target: Target) -> str | None:
    """Why the body cannot be computed so; None where it can."""
    rows = [tile.rows for tile in schedule.tiles]
    if not rows or rows[0] != 1 or rows != sorted(set(rows)) or any(t.widths[-1] != 1 for t in schedule.tiles):
        return "there is a tile for one sequence, and in each a width of one vector"
    if schedule.lanes != target.lanes(body.dtype.compute.itemsize):
        return f"a vector has {target.lanes(body.dtype.compute.itemsize)} elements, not {schedule.lanes}"
    return None
