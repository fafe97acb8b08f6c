"""Register tiles of products: the numbers of rows and columns of a result that stay in registers while K streams by.

In: element type, number of columns, `Target`. Out: tiles. NR / lanes vectors of B are loaded for each k, and MR
elements of A are broadcast.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..scalar.dim import Size
from ..scalar.dtype import DType
from ..target import Target

# Row counts that get a micro-kernel of their own, by number of vectors in a row of the tile. The last is MR: as many as
# the registers hold beside one row of B and a broadcast element, but for wide tiles at most 8, since A's rows are often
# a multiple of 4 KiB apart and then share the 8 ways of one set of the first-level cache; narrower tiles need more
# rows to keep loads below multiplications. Counts that are not listed run in the next larger kernel.
_ROWS_OF_32_REGISTERS = {
    1: (1, 2, 4, 6, 8, 11, 14),
    2: (1, 2, 4, 6, 8, 10, 12),
    3: (1, 2, 3, 4, 6, 8),
    4: (1, 2, 3, 4, 5, 6),
}
_ROWS_OF_16_REGISTERS = {1: (1, 2, 4, 6, 8), 2: (1, 2, 3, 4, 5, 6)}
# Relative time of a column in tiles of that many vectors, from measurement: few columns repay a broadcast less.
_COST_OF_COLUMN = {1: 1.25, 2: 1.04, 3: 1.01, 4: 1.0}


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


def _rows(target: Target) -> dict[int, tuple[int, ...]]:
    return _ROWS_OF_32_REGISTERS if target.registers >= 32 else _ROWS_OF_16_REGISTERS


def choose_nr(columns: Size, acc: DType, target: Target) -> int:
    """The panel width with the least estimated time for `columns` columns; the widest where they are symbolic."""
    lanes, widest = target.lanes(acc.itemsize), max(_rows(target))
    if not isinstance(columns, int):
        return widest * lanes

    def cost(vectors: int) -> float:
        return -(-columns // (vectors * lanes)) * vectors * _COST_OF_COLUMN[vectors]

    return min(range(widest, 0, -1), key=cost) * lanes


def tile_of(nr: int, acc: DType, target: Target) -> Tile:
    """The tile of panel width `nr`. Raises KeyError for a width that `refusal` refuses."""
    lanes = target.lanes(acc.itemsize)
    return Tile(_rows(target)[nr // lanes], nr // lanes, lanes)


def tiles(acc: DType, target: Target) -> Iterator[Tile]:
    """All that fit the registers, the widest first."""
    lanes = target.lanes(acc.itemsize)
    return (tile_of(vectors * lanes, acc, target) for vectors in sorted(_rows(target), reverse=True))


def refusal(tile: Tile, acc: DType, target: Target) -> str | None:
    """Why a tile cannot be: its sums, one row of B and an element of A have to stay in registers."""
    if tile.lanes != target.lanes(acc.itemsize):
        return f"a vector has {target.lanes(acc.itemsize)} elements of {acc}, not {tile.lanes}"
    if not tile.rows or list(tile.rows) != sorted(set(tile.rows)) or tile.rows[0] < 1 or tile.vectors < 1:
        return f"row counts {tile.rows} by {tile.vectors} vectors are no tile"
    return too_many(tile.mr, tile.vectors, target)


def too_many(rows: int, vectors: int, target: Target) -> str | None:
    """Why a tile of `rows` by `vectors` sums does not fit the registers, beside a row of operands and one element."""
    needed = rows * vectors + vectors + 1
    return f"needs {needed} registers of {target.registers}" if needed > target.registers else None
