"""Register tiles of products: MR rows by NR columns of the result, which stay in registers while K streams by.

In: the type of the elements that are multiplied, number of columns, `Target`. Out: tiles. For each k, or for KR of them
that a unit takes together, NR / lanes vectors of B are loaded, and MR elements of A are broadcast.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..kernel.packing import Packing
from ..precision import PARTS, Precision
from ..scalar.dim import Size
from ..scalar.dtype import BF16, F16, F32, I8, I16, DType
from ..scalar.expr import Call, Expr
from ..target import Target

_WIDEST = 4  # vectors in a row of a tile
_MOST_ROWS = 12  # of a tile: loads of B are then few beside multiplications
_ROW_COUNTS = 6  # the approximate number of row counts with a micro-kernel; others use that of the next larger one
_SUM = 4  # bytes of the smallest sums
STORED = 16  # bytes of the smallest vectors by which results are stored
_RUN, _SUMS_OF_RUN = 2, 4  # vectors of a panel of weights of few bits that a row takes at once, sums of each
_ODD_RUN, _SUMS_OF_ODD_RUN = 3, 2  # the same where the panel has three vectors
_HALF_WORD = 16  # bits of a word that are multiplied where they lie, as signed numbers
TILE_ROWS, _TILE_BYTES = 16, 64  # of a CPU's tile unit; bytes of a row
_QUAD = 4  # bytes of K that it multiplies and adds to one sum
_ROWS_BESIDE_TILES = (1, 2, 4, 8)  # row counts of micro-kernels beside tiles, whose rows are a multiple of each
_COST_OF_LOAD = 0.25  # of a load that overlaps multiplications, in multiplications; measured


@dataclass(frozen=True, slots=True)
class Unit:
    """How a CPU multiplies and adds.

    kr: elements of K that it takes together, products of which go to one sum; vectors: registers for a vector of B;
    elements: registers for an element of A, and for constants; biased: whether signed elements of A are made unsigned
    by adding 128, so that the panels of B have to begin with sums; widened: whether bytes of A are widened to 16 bits
    before, in memory."""

    kr: int = 1
    vectors: int = 1
    elements: int = 1
    biased: bool = False
    widened: bool = False


# By the names of the micro-kernels in templates/c/micro/. Those for bytes are exact: no product saturates.
UNITS = {
    "fma": Unit(),
    "avx512vnni": Unit(4, elements=2, biased=True),
    "avxvnni": Unit(4, elements=2, biased=True),
    "madd": Unit(2, widened=True),
    "bytes": Unit(4, vectors=4, elements=4),
}


def unit_of(element: DType, target: Target) -> str:
    """The name of the best unit for products of such elements."""
    if element.bits != 8:
        return "fma"
    features = target.features
    if target.vector_bytes >= 32 and "avx512vnni" in features:
        return "avx512vnni"
    if target.vector_bytes == 32 and "avxvnni" in features:
        return "avxvnni"
    return "madd" if {32: "avx2", 64: "avx512bw"}.get(target.vector_bytes) in features else "bytes"


@dataclass(frozen=True, slots=True)
class Tile:
    """A register tile.

    rows: the row counts with a micro-kernel, ascending; vectors: of a row; lanes: sums of a vector; unit: the name of
    what multiplies; products: of which parts of an element of A and of B a product is the sum, on a CPU's tiles of
    TILE_ROWS rows: of bf16 parts of f32, the largest being 0, and of bytes as they are; empty: without those. The
    micro-kernels remain, for few rows and where the system permits no tiles."""

    rows: tuple[int, ...]
    vectors: int
    lanes: int
    unit: str = "fma"
    products: tuple[tuple[int, int], ...] = ()

    @property
    def mr(self) -> int:
        return TILE_ROWS if self.products else self.rows[-1]

    @property
    def cut(self) -> bool:
        """Whether panels of B are cut into parts."""
        return bool(self.products) and self.kr == 1

    @property
    def parts(self) -> tuple[int, int]:
        """The parts of an element of A and of B."""
        return 1 + max(i for i, _ in self.products), 1 + max(j for _, j in self.products)

    @property
    def nr(self) -> int:
        return self.vectors * self.lanes

    @property
    def kr(self) -> int:
        return UNITS[self.unit].kr

    @property
    def biased(self) -> bool:
        return UNITS[self.unit].biased

    def element(self, element: DType) -> DType:
        """The type that elements of A have when they are multiplied."""
        return I16 if UNITS[self.unit].widened else element

    def panels(self, element: DType, groups: int = 1, runs: int = 1) -> Packing:
        """The packing of the weights that elements of that type are multiplied by."""
        sums = self.biased and element == I8
        return Packing("panels", self.nr, groups, self.kr, runs if self.kr > 1 else 1, sums)

    def at_most(self, rows: int) -> Tile:
        """The same tile without the row counts that a matrix of `rows` rows never needs."""
        enough = next((i for i, r in enumerate(self.rows) if r >= rows), len(self.rows) - 1)
        return replace(self, rows=self.rows[: enough + 1])


def most_rows(vectors: int, target: Target, unit: str = "fma") -> int:
    """The most rows of a tile whose sums fit the registers beside one row of B and an element of A.

    Wide tiles have at most as many rows as a set of the first-level cache has ways: rows of A are often a multiple of
    4 KiB apart, and then share a set."""
    fitting = (target.registers - UNITS[unit].elements) // vectors - UNITS[unit].vectors
    return min(fitting, target.l1.ways if vectors > 2 else _MOST_ROWS)


def _widths(target: Target, unit: str) -> list[int]:
    """The widths, in vectors, of tiles with enough sums to hide the latency of multiply-adds; ascending. At least one:
    where none has, the narrowest. Sums of bytes become bytes, which are stored by vectors of their own."""
    widths = [v for v in range(1, _WIDEST + 1) if v * most_rows(v, target, unit) >= target.sums] or [1]
    lanes = target.lanes(_SUM)
    return widths if UNITS[unit].kr == 1 else [v for v in widths if v * lanes % STORED == 0] or widths


def _cost_of_column(vectors: int, target: Target, unit: str) -> float:
    """The relative time per column: that of multiplications or loads, whichever are more, and a part of all loads."""
    rows = most_rows(vectors, target, unit)
    loads = (rows + vectors) / (rows * vectors)  # for each multiplication
    return max(1.0, loads) + _COST_OF_LOAD * loads


def _lanes(element: DType, target: Target) -> int:
    """Sums of a vector: those of bytes have 32 bits."""
    return target.lanes(max(_SUM, element.itemsize))


def choose_nr(columns: Size, element: DType, target: Target) -> int:
    """The panel width with the least estimated time for `columns` columns; per column, if their number is symbolic."""
    lanes, unit = _lanes(element, target), unit_of(element, target)
    widths = _widths(target, unit)

    def cost(vectors: int) -> float:
        computed = -(-columns // (vectors * lanes)) * vectors if isinstance(columns, int) else 1
        return computed * _cost_of_column(vectors, target, unit)

    return min(reversed(widths), key=cost) * lanes


def tile_of(nr: int, element: DType, target: Target) -> Tile:
    """The tile of panel width `nr`, which is a multiple of the target's vector length."""
    lanes, unit = _lanes(element, target), unit_of(element, target)
    most = max(1, most_rows(nr // lanes, target, unit))
    rows = sorted({1, *range(most, 0, -math.ceil(most / _ROW_COUNTS))})
    return Tile(tuple(rows), nr // lanes, lanes, unit)


def tiles(element: DType, target: Target) -> Iterator[Tile]:
    """All tiles that fit the registers, the widest first."""
    lanes, widths = _lanes(element, target), _widths(target, unit_of(element, target))
    return (tile_of(vectors * lanes, element, target) for vectors in reversed(widths))


def _parts(element: Expr) -> int:
    """The bf16 parts that are all of an element of f32, which may be a cast of a shorter one."""
    origin = element.args[0].dtype if isinstance(element, Call) and element.prim == "cast" else element.dtype
    return {BF16: 1, F16: 2}.get(origin, 3)


def on_tiles(tile: Tile, a: Expr, b: Expr | None, target: Target, precision: Precision) -> Tile:
    """The tile for products of elements a and b (None: as long as those of A) on a CPU's tiles, if the target has them
    and the precision allows it; else the same tile."""
    products: tuple[tuple[int, int], ...] = ()
    if a.dtype == F32 and "amx-bf16" in target.features:
        most, parts = PARTS[precision], 3 if b is None else _parts(b)
        products = tuple((i, j) for j in range(parts) for i in range(_parts(a)) if i + j < most)
    elif tile.kr == _QUAD and "amx-int8" in target.features:
        products = ((0, 0),)
    if not products or target.vector_bytes != _TILE_BYTES or tile.vectors > _WIDEST:
        return replace(tile, products=())
    return replace(tile, rows=tuple(r for r in _ROWS_BESIDE_TILES if r <= tile.mr), products=products)


def repays_tiles(rows: Size | None, depth: Size) -> bool:
    """Whether a product of that many rows and elements of K, in one run, fills enough of a CPU's tiles to be faster
    than multiply-adds; sizes that are not known are taken for large."""
    return not any(isinstance(size, int) and size < TILE_ROWS for size in (rows, depth))


def narrow_runs(vectors: int, bits: int) -> list[tuple[int, int, int]]:
    """How the product of one row with a panel of weights of few bits is cut: of each run of vectors of the panel the
    first one, their count, and the sums of each, one for as many neighbours in a word.

    Six or eight sums hide the latency of multiply-adds, and leave registers for as many words and totals."""
    width, sums = (_ODD_RUN, _SUMS_OF_ODD_RUN) if vectors == _ODD_RUN else (_RUN, _SUMS_OF_RUN)
    sums = min(sums, _HALF_WORD // bits)
    return [(first, min(width, vectors - first), sums) for first in range(0, vectors, width)]


def rows_in_cache(depth: Size | None, element: DType, target: Target) -> int:
    """The number of rows of `depth` elements that fill half of the second-level cache; of one, if it is symbolic."""
    return target.l2.bytes // 2 // (element.itemsize * (depth if isinstance(depth, int) else 1))


def refusal(tile: Tile, element: DType, target: Target, on_tiles: Tile | None = None) -> str | None:
    """Why a tile is illegal, or None: its sums, one row of B and an element of A have to stay in registers.

    on_tiles: the same tile as `on_tiles` has it, where products of parts are possible."""
    if tile.lanes != _lanes(element, target):
        return f"a vector has {_lanes(element, target)} sums of products of {element}, not {tile.lanes}"
    if tile.unit != unit_of(element, target):
        return f"products of {element} are computed by {unit_of(element, target)}, not by {tile.unit}"
    if not tile.rows or list(tile.rows) != sorted(set(tile.rows)) or tile.rows[0] < 1 or tile.vectors < 1:
        return f"row counts {tile.rows} by {tile.vectors} vectors are no tile"
    if tile.products and tile != on_tiles:
        return f"the precision and the target allow no products of parts {tile.products} in rows {tile.rows}"
    return too_many(tile.rows[-1], tile.vectors, target, tile.unit)


def too_many(rows: int, vectors: int, target: Target, unit: str = "fma") -> str | None:
    """Why a tile of `rows` by `vectors` sums does not fit the registers beside a row of operands and one element.

    A single row needs registers for one vector of operands, since each is used at once."""
    needed = rows * vectors + UNITS[unit].vectors * (vectors if rows > 1 else 1) + UNITS[unit].elements
    return f"needs {needed} registers of {target.registers}" if needed > target.registers else None
