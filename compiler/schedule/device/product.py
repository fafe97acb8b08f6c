"""Schedules of products on an accelerator: how the result is cut into tiles, and K into blocks.

A tile is summed in one of three forms:
    dot      acc[rows, columns] = products of [rows, depth] by [depth, columns]: on matrix units, but for f32 as it is
    outer    acc[rows, columns] += [rows, 1] * [1, columns], for one k after the other: every type, in order
    inner    acc[depth, columns] += [depth, 1] * [depth, columns], then summed: for a single row
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...kernel.ir import Kernel, Matmul, Schedule, Stage
from ...scalar.dim import Size, ceil_div, extent, known_eq, prod, upper_bound
from ...scalar.dtype import BF16, F16, F32, I8, I32, DType
from ...scalar.expr import Call, Expr, as_type, walk
from ...scalar.prims import TABLE
from .tile import LEAST, PROGRAMS, power_of_two, tile_length

_GROUP = 8
_SHARED = 96 << 10  # bytes of shared memory for blocks that are on their way
_ROW_BYTES = 128  # of K in a block: what a line of the cache holds
_UNKNOWN = 1024  # rows and columns without a bound are taken for so many
# Rows and columns of tiles, from the best ratio of products to loads on: none of less than the 64 rows of Hopper's
# instructions, unless there are fewer. Rows of K and columns of those for one row.
_TILES = ((128, 128), (128, 64), (64, 64), (64, 32))
_TILES_OF_ROW = ((64, 64), (128, 32), (256, 16))


@dataclass(frozen=True, slots=True)
class ProductSchedule(Schedule):
    """How the result is cut into programs: rows and columns of each, elements of K at a time, in which form.

    group: rows of blocks that are computed together, column by column, so that they find B in the second-level cache.
    tf32: whether products of f32 may round their operands to 11 bits.
    """

    form: str
    rows: int
    columns: int
    depth: int
    warps: int
    stages: int
    group: int = _GROUP
    tf32: bool = False

    def programs(self, rows: Size, columns: Size) -> Size:
        """How many they are for a matrix."""
        return ceil_div(rows, self.rows) * ceil_div(columns, self.columns)


def default(kernel: Kernel, allow_tf32: bool) -> ProductSchedule:
    """By rules that need no measurement."""
    body = kernel.body
    assert isinstance(body, Matmul)
    m, n, k = (extent(s) for s in (body.m, body.n, body.k))
    batch = prod(extent(s) for s in body.batch)
    if known_eq(m, 1) is True:
        return inner_blocks(n, k, batch)
    made = blocks_of(m, n, k, batch, body.acc, factors(body.a, body.b, body.acc)[0].dtype, body.epilogue)
    return replace(made, tf32=allow_tf32)


def factors(a: Expr, b: Expr, acc: DType) -> tuple[Expr, Expr]:
    """The factors of products on matrix units: 16-bit floats or i8 where both are casts of such, else in the
    accumulator's type."""
    narrow = {F32: (F16, BF16), I32: (I8,)}.get(acc, ())
    x, y = (e.args[0] if isinstance(e, Call) and e.prim == "cast" else e for e in (a, b))
    return (x, y) if x.dtype == y.dtype and x.dtype in narrow else (as_type(a, acc), as_type(b, acc))


def has_dot(factor: DType) -> bool:
    """Whether there are products of factors of that type on matrix units."""
    return factor in (F16, BF16, F32, I8)


def blocks_of(
    rows: Size,
    columns: Size,
    depth: Size,
    batch: Size,
    acc: DType,
    factor: DType,
    epilogue: Sequence[Stage],
    unknown: int = _UNKNOWN,
) -> ProductSchedule:
    """Blocks for a product with factors of that type; rows and columns of them do not depend on it.

    unknown: what rows and columns without a bound are taken for.
    """
    crowded = _is_written_out(epilogue)
    m, n = _tile(rows, columns, depth, batch, acc, crowded, unknown)
    warps = 8 if m * n >= (128 * 64 if crowded else 128 * 128) else 4
    if not has_dot(factor):
        return ProductSchedule("outer", m, n, 1, warps, 2)
    k = _depth(depth, _ROW_BYTES // factor.itemsize, max(LEAST, 32 // factor.itemsize))
    stages = _SHARED // ((m + n) * k * factor.itemsize)
    return ProductSchedule("dot", m, n, k, warps, max(2, min(4, stages)))


def inner_blocks(columns: Size, depth: Size, batch: Size) -> ProductSchedule:
    """Blocks for one row by a matrix: bound by reading the matrix, so that many programs matter most."""
    enough = (t for t in _TILES_OF_ROW if _typical(batch, 1) * -(-_typical(columns, _UNKNOWN) // t[1]) >= PROGRAMS)
    k, n = next(enough, _TILES_OF_ROW[-1])
    return ProductSchedule("inner", 1, tile_length(columns, n), tile_length(depth, k), 4, 3)


def _is_written_out(epilogue: Sequence[Stage]) -> bool:
    """Whether it has functions by their expansions, whose parts need registers beside those of the accumulators."""
    calls = (e for e in walk(*(stage.value for stage in epilogue)) if isinstance(e, Call))
    prims = ((TABLE[e.prim], e.args[-1].dtype) for e in calls)
    return any(prim.expand is not None and prim.triton_spelling(dtype) is None for prim, dtype in prims)


def _tile(
    rows: Size, columns: Size, depth: Size, batch: Size, acc: DType, crowded: bool, unknown: int
) -> tuple[int, int]:
    """The first tile that makes enough programs, or the last one; no longer than the extents, where that is allowed.

    Where the length of lines in memory is not known they may begin anywhere, and each number has an address of its own:
    registers for that are as scarce as those for wide accumulators.
    """
    scattered = upper_bound(columns) is None or upper_bound(depth) is None
    for most_m, most_n in _TILES[2 if scattered else 1 if acc.itemsize > 4 or crowded else 0 :]:
        m, n = max(LEAST, tile_length(rows, most_m)), max(LEAST, tile_length(columns, most_n))
        if _typical(batch, 1) * -(-_typical(rows, unknown) // m) * -(-_typical(columns, unknown) // n) >= PROGRAMS:
            break
    return m, n


def _depth(size: Size, most: int, least: int) -> int:
    """The length of blocks of K that wastes least, and the longest of those; half of `most` for scattered lines."""
    bound = upper_bound(size)
    if bound is None:
        return most // 2
    shortest = max(least, min(32, power_of_two(max(bound, 1))))
    lengths = [n for n in (most, most // 2, most // 4, most // 8) if n >= shortest]
    return min(lengths, key=lambda n: (-(-bound // n) * n, -n))


def _typical(size: Size, unknown: int) -> int:
    bound = upper_bound(size)
    return unknown if bound is None else bound
