"""What the matmul and convolution templates share: register tiles, and the printing of their holes.

In: element type, number of columns, `Target`. Out: a `Tile`, lines of C. Never knows a graph or a model.

A tile of MR rows by NR columns of the result stays in registers while all of K streams by: NR / lanes vectors of B are
loaded for each k, and MR elements of A broadcast. NR and MR are the only tuned numbers, and only `choose_nr` weighs
them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...scalar.dim import Size, Symbol
from ...scalar.dtype import DType
from ...target import Target

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
    """The tile of panel width `nr`, as `choose_nr` gave it. Raises KeyError for a width the target has no tile for."""
    lanes = target.lanes(acc.itemsize)
    return Tile(_rows(target)[nr // lanes], nr // lanes, lanes)


def extent(symbol: Symbol) -> Size:
    """The number of values of a loop variable."""
    assert symbol.extent is not None
    return symbol.extent


def element_type(acc: DType) -> str:
    """C type of panels and accumulators: integers are unsigned, so that overflow wraps."""
    if acc.is_float:
        return {32: "float", 64: "double"}[acc.bits]
    return f"uint{acc.bits}_t"


def transpose_steps(lanes: int) -> list[dict[str, int | str]]:
    """For each size of blocks, which lanes of (a, b) the new vectors a and b consist of (transpose.h.j2)."""
    steps: list[dict[str, int | str]] = []
    size = 1
    while size < lanes:
        low = [lanes + lane - size if lane & size else lane for lane in range(lanes)]
        high = [lanes + lane if lane & size else lane + size for lane in range(lanes)]
        steps.append({"size": size, "low": ", ".join(map(str, low)), "high": ", ".join(map(str, high))})
        size *= 2
    return steps
