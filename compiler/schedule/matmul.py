"""Schedules of kernel.ir.Matmul on a CPU.

One task computes a block of rows by some panels of NR columns over all of K, so a result does not depend on the split.
The numbers aim at tasks of some 10 to 200 microseconds whose part of A fits the second-level cache. K is not blocked:
with 6 to 14 rows in registers a panel may come from the third-level cache without loss (measured up to K = 11008).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..kernel.ir import Matmul, Schedule
from ..kernel.operands import matmul_rows, panels_in_place
from ..kernel.packing import Packing
from ..precision import Precision
from ..scalar.dim import Size, dim_min, extent, known_le
from ..target import Target
from . import tile as tiles
from .tile import Tile

_BLOCK_ROWS = 96  # before balancing; each block reads its panels from the second-level cache again
_BLOCK_ROWS_OF_PACKING = 384  # if B is packed at run time, which each block repeats
_TILES_OF_COPY = 2  # in the rows of a block, if A is evaluated into scratch: there are then many tasks
_BLOCK_ROWS_OF_BOTH = 192  # if both
_BLOCK_ROWS_OF_PARTS = 256  # of products of parts: each block cuts its panels again
_PANELS_PER_COPY = 4  # of a task, which repay the evaluation of A
FEW_ROWS = 2  # up to which weights of few bits are multiplied as they are; for more rows a panel is widened once
_FEW_BLOCKS = 4  # of rows, up to which panels are tasks as well


@dataclass(frozen=True, slots=True)
class MatmulSchedule(Schedule):
    """tile: the micro-kernels; block_rows: the most rows of a task, before blocks are balanced; panels_per_task: panels
    of columns that a task computes."""

    tile: Tile
    block_rows: Size
    panels_per_task: Size


def packing(body: Matmul, schedule: MatmulSchedule) -> Packing:
    """How a constant B is packed; elements of few bits fill words of 32."""
    if body.blocks is None:
        return schedule.tile.panels(body.a.dtype)
    bits = body.packing.bits if body.packing else 8
    return Packing("panels", schedule.tile.nr, kr=32 // bits, bits=bits)


def rows_in_place(body: Matmul, schedule: MatmulSchedule) -> Size | None:
    """Where rows of A are read in place: the index of the first element of row m. None if A is copied into scratch."""
    is_as_read = schedule.tile.element(body.a.dtype) == body.a.dtype
    return matmul_rows(body) if is_as_read else None


def default(body: Matmul, target: Target, precision: Precision = "exact") -> MatmulSchedule:
    """The schedule by rules that need no measurement."""
    rows, columns = body.m.extent, body.n.extent
    assert rows is not None and columns is not None
    decided = _packed(body)
    nr = decided.nr if decided else tiles.choose_nr(columns, body.a.dtype, target)
    tile = tiles.tile_of(nr, body.a.dtype, target)
    if tiles.repays_tiles(rows, extent(body.k)):
        tile = tiles.on_tiles(tile, body.a, body.b, target, precision)
    if isinstance(rows, int):
        tile = tile.at_most(rows)
    most_rows = _BLOCK_ROWS_OF_PARTS if tile.cut else _BLOCK_ROWS
    in_place = MatmulSchedule(tile, most_rows if panels_in_place(body) else _BLOCK_ROWS_OF_PACKING, 1)
    if rows_in_place(body, in_place) is not None:  # several panels repay the sums of A's blocks
        return in_place if body.blocks is None else replace(in_place, panels_per_task=_PANELS_PER_COPY)
    if not panels_in_place(body):
        return MatmulSchedule(tile, _BLOCK_ROWS_OF_BOTH, _PANELS_PER_COPY)
    cached = tiles.rows_in_cache(body.k.extent, tile.element(body.a.dtype), target)
    block_rows = max(tile.mr, min(_TILES_OF_COPY * tile.mr, cached))
    few = isinstance(rows, int) and rows <= _FEW_BLOCKS * block_rows
    return MatmulSchedule(tile, block_rows, 1 if few else _PANELS_PER_COPY)


def _packed(body: Matmul) -> Packing | None:
    """The packing of B, if it is decided already."""
    return body.packing if body.packing is not None and body.packing.form != "plain" else None


def legal(body: Matmul, schedule: MatmulSchedule, target: Target, precision: Precision = "exact") -> str | None:
    """Why the schedule cannot compute the body; None if it can."""
    decided = _packed(body)
    if decided and decided != packing(body, schedule):
        return f"B is packed as {decided}, not as {packing(body, schedule)}"
    if not known_le(1, dim_min(schedule.block_rows, schedule.panels_per_task)):
        return "a task has at least a row and a panel"
    allowed = tiles.on_tiles(schedule.tile, body.a, body.b, target, precision)
    return tiles.refusal(schedule.tile, body.a.dtype, target, allowed)


def space(body: Matmul, target: Target, precision: Precision = "exact") -> Iterator[MatmulSchedule]:
    """Candidates, the most promising first."""
    first = default(body, target, precision)
    yield first
    rows, plain = body.m.extent, [*tiles.tiles(body.a.dtype, target)]
    on_tiles = (tiles.on_tiles(tile, body.a, body.b, target, precision) for tile in plain)
    for tile in dict.fromkeys((*on_tiles, *plain)):
        for block_rows in (first.block_rows, first.block_rows // 2, first.block_rows * 2):
            for panels in (1, 2, 4):
                other = MatmulSchedule(tile.at_most(rows) if isinstance(rows, int) else tile, block_rows, panels)
                if other != first and legal(body, other, target) is None:
                    yield other
