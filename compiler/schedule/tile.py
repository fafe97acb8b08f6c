"""Register tiles of products: MR rows by NR columns of the result, which stay in registers while K streams by.

In: element type, number of columns, `Target`. Out: tiles. For each k, NR / lanes vectors of B are loaded, and MR
elements of A are broadcast.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..scalar.dim import Size
from ..scalar.dtype import DType
from ..target import Target

_WIDEST = 4  # vectors in a row of a tile
_MOST_ROWS = 12  # of a tile: loads of B are then few beside multiplications
_ROW_COUNTS = 6  # the approximate number of row counts with a micro-kernel; others use that of the next larger one
_COST_OF_LOAD = 0.25  # of a load that overlaps multiplications, in multiplications; measured


@dataclass(frozen=True, slots=True)
class Tile:
    """A register tile: `rows` lists the row counts with a micro-kernel, ascending; a vector has `lanes` elements."""

    rows: tuple[int, ...]
    vectors: int
    lanes: int

    @property
    def mr(self) -> int:
        return self.rows[-1]

    @property
    def nr(self) -> int:
        return self.vectors * self.lanes

    def at_most(self, rows: int) -> Tile:
        """The same tile without the row counts that a matrix of `rows` rows never needs."""
        enough = next((i for i, r in enumerate(self.rows) if r >= rows), len(self.rows) - 1)
        return replace(self, rows=self.rows[: enough + 1])


def most_rows(vectors: int, target: Target) -> int:
    """The most rows of a tile whose sums fit the registers beside one row of B and an element of A.

    Wide tiles have at most as many rows as a set of the first-level cache has ways: rows of A are often a multiple of
    4 KiB apart, and then share a set."""
    fitting = (target.registers - 1 - vectors) // vectors
    return min(fitting, target.l1.ways if vectors > 2 else _MOST_ROWS)


def _widths(target: Target) -> list[int]:
    """The widths, in vectors, of tiles with enough sums to hide the latency of multiply-adds; ascending."""
    widths = range(1, _WIDEST + 1)
    return [v for v in widths if v * most_rows(v, target) >= target.sums]


def _cost_of_column(vectors: int, target: Target) -> float:
    """The relative time per column: that of multiplications or loads, whichever are more, and a part of all loads."""
    rows = most_rows(vectors, target)
    loads = (rows + vectors) / (rows * vectors)  # for each multiplication
    return max(1.0, loads) + _COST_OF_LOAD * loads


def choose_nr(columns: Size, acc: DType, target: Target) -> int:
    """The panel width with the least estimated time for `columns` columns; per column, if their number is symbolic."""
    lanes, widths = target.lanes(acc.itemsize), _widths(target)

    def cost(vectors: int) -> float:
        computed = -(-columns // (vectors * lanes)) * vectors if isinstance(columns, int) else 1
        return computed * _cost_of_column(vectors, target)

    return min(reversed(widths), key=cost) * lanes


def tile_of(nr: int, acc: DType, target: Target) -> Tile:
    """The tile of panel width `nr`, which is a multiple of the target's vector length."""
    lanes = target.lanes(acc.itemsize)
    most = most_rows(nr // lanes, target)
    rows = sorted({1, *range(most, 0, -math.ceil(most / _ROW_COUNTS))})
    return Tile(tuple(rows), nr // lanes, lanes)


def tiles(acc: DType, target: Target) -> Iterator[Tile]:
    """All tiles that fit the registers, the widest first."""
    lanes = target.lanes(acc.itemsize)
    return (tile_of(vectors * lanes, acc, target) for vectors in reversed(_widths(target)))


def rows_in_cache(depth: Size | None, acc: DType, target: Target) -> int:
    """The number of rows of `depth` elements that fill half of the second-level cache; of one, if it is symbolic."""
    return target.l2.bytes // 2 // (acc.itemsize * (depth if isinstance(depth, int) else 1))


def refusal(tile: Tile, acc: DType, target: Target) -> str | None:
    """Why a tile is illegal, or None: its sums, one row of B and an element of A have to stay in registers."""
    if tile.lanes != target.lanes(acc.itemsize):
        return f"a vector has {target.lanes(acc.itemsize)} elements of {acc}, not {tile.lanes}"
    if not tile.rows or list(tile.rows) != sorted(set(tile.rows)) or tile.rows[0] < 1 or tile.vectors < 1:
        return f"row counts {tile.rows} by {tile.vectors} vectors are no tile"
    return too_many(tile.mr, tile.vectors, target)


def too_many(rows: int, vectors: int, target: Target) -> str | None:
    """Why a tile of `rows` by `vectors` sums does not fit the registers beside a row of operands and one element.

    A single row needs only one register for its operands, since each is used at once."""
    needed = rows * vectors + (vectors if rows > 1 else 1) + 1
    return f"needs {needed} registers of {target.registers}" if needed > target.registers else None
