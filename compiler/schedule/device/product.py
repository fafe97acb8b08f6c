"""Schedules of products on an accelerator: how the result is cut into tiles, and K into blocks.

A tile is summed in one of three forms:
    dot      acc[rows, columns] += [rows, depth] @ [depth, columns]: on matrix units, except for f32 without tf32
    outer    acc[rows, columns] += [rows, 1] * [1, columns] for one k after the other: for any type
    inner    acc[depth, columns] += [depth, 1] * [depth, columns], then summed: for a single row
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...kernel.ir import Kernel, Matmul, Schedule, Stage
from ...precision import Rounding
from ...scalar.dim import Size, ceil_div, extent, known_eq, prod, upper_bound
from ...scalar.dtype import BF16, F16, F32, I8, I32, DType
from ...scalar.expr import Call, Expr, as_type, walk
from ...scalar.prims import TABLE
from .tile import MIN_DOT, PROGRAMS, power_of_two, tile_length

_GROUP = 8
_SHARED = 96 << 10  # bytes of shared memory for blocks in flight
_ROW_BYTES = 128  # of K in a block: a line of the cache
_UNKNOWN = 1024  # assumed for rows and columns without a bound
# Rows and columns of tiles, those with the best ratio of products to loads first; none has less than the 64 rows of
# Hopper's instructions. Then rows of K and columns of tiles for a single row.
_TILES = ((128, 128), (128, 64), (64, 64), (64, 32))
_TILES_OF_ROW = ((64, 64), (128, 32), (256, 16))


@dataclass(frozen=True, slots=True)
class ProductSchedule(Schedule):
    """How the result is cut into programs: rows and columns of each, `depth` elements of K at a time, in which form.

    group: rows of blocks that are computed together, column by column, so that they share B in the second-level cache;
    rounding: of factors of f32.
    """

    form: str
    rows: int
    columns: int
    depth: int
    warps: int
    stages: int
    group: int = _GROUP
    rounding: Rounding = "ieee"

    def programs(self, rows: Size, columns: Size) -> Size:
        """The number of programs for a matrix."""
        return ceil_div(rows, self.rows) * ceil_div(columns, self.columns)


def default(kernel: Kernel, rounding: Rounding) -> ProductSchedule:
    """The schedule by rules that need no measurement."""
    body = kernel.body
    assert isinstance(body, Matmul)
    m, n, k = (extent(s) for s in (body.m, body.n, body.k))
    batch = prod(extent(s) for s in body.batch)
    if known_eq(m, 1) is True:
        return inner_blocks(n, k, batch)
    blocks = blocks_of(m, n, k, batch, body.acc, factors(body.a, body.b, body.acc)[0].dtype, body.epilogue)
    return replace(blocks, rounding=rounding)


def factors(a: Expr, b: Expr, acc: DType) -> tuple[Expr, Expr]:
    """The factors of products: both in the 16-bit float type or i8 that they are casts of, else in the accumulator's
    type."""
    narrow = {F32: (F16, BF16), I32: (I8,)}.get(acc, ())
    x, y = (e.args[0] if isinstance(e, Call) and e.prim == "cast" else e for e in (a, b))
    return (x, y) if x.dtype == y.dtype and x.dtype in narrow else (as_type(a, acc), as_type(b, acc))


def has_dot(factor: DType) -> bool:
    """Whether the form "dot" takes factors of that type."""
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
    """Blocks for a product with factors of that type, on which their rows and columns do not depend.

    unknown: assumed for rows and columns without a bound.
    """
    few_registers = _has_expansions(epilogue)
    m, n = _tile(rows, columns, depth, batch, acc, few_registers, unknown)
    warps = 8 if m * n >= (128 * 64 if few_registers else 128 * 128) else 4
    if not has_dot(factor):
        return ProductSchedule("outer", m, n, 1, warps, 2)
    k = _depth(depth, _ROW_BYTES // factor.itemsize, max(MIN_DOT, 32 // factor.itemsize))
    stages = _SHARED // ((m + n) * k * factor.itemsize)
    return ProductSchedule("dot", m, n, k, warps, max(2, min(4, stages)))


def inner_blocks(columns: Size, depth: Size, batch: Size) -> ProductSchedule:
    """Blocks for one row by a matrix: reading the matrix is the bottleneck, so many programs matter most."""
    enough = (t for t in _TILES_OF_ROW if _typical(batch, 1) * -(-_typical(columns, _UNKNOWN) // t[1]) >= PROGRAMS)
    k, n = next(enough, _TILES_OF_ROW[-1])
    return ProductSchedule("inner", 1, tile_length(columns, n), tile_length(depth, k), 4, 3)


def _has_expansions(epilogue: Sequence[Stage]) -> bool:
    """Whether an epilogue has primitives that are expanded, whose parts need registers beside the accumulators."""
    calls = (e for e in walk(*(stage.value for stage in epilogue)) if isinstance(e, Call))
    prims = ((TABLE[e.prim], e.args[-1].dtype) for e in calls)
    return any(prim.expand is not None and prim.triton_spelling(dtype) is None for prim, dtype in prims)


def _tile(
    rows: Size, columns: Size, depth: Size, batch: Size, acc: DType, few_registers: bool, unknown: int
) -> tuple[int, int]:
    """The first tile that makes enough programs, or the last one; no longer than the extents and MIN_DOT need.

    Lines in memory whose length is unknown may begin anywhere, so that each element has an address of its own, which
    takes registers, as wide accumulators do.
    """
    scattered = upper_bound(columns) is None or upper_bound(depth) is None
    for most_m, most_n in _TILES[2 if scattered else 1 if acc.itemsize > 4 or few_registers else 0 :]:
        m, n = max(MIN_DOT, tile_length(rows, most_m)), max(MIN_DOT, tile_length(columns, most_n))
        if _typical(batch, 1) * -(-_typical(rows, unknown) // m) * -(-_typical(columns, unknown) // n) >= PROGRAMS:
            break
    return m, n


def _depth(size: Size, most: int, least: int) -> int:
    """The longest one of the lengths of blocks of K that waste least; half of `most` if K has no bound."""
    bound = upper_bound(size)
    if bound is None:
        return most // 2
    shortest = max(least, min(32, power_of_two(max(bound, 1))))
    lengths = [n for n in (most, most // 2, most // 4, most // 8) if n >= shortest]
    return min(lengths, key=lambda n: (-(-bound // n) * n, -n))


def _typical(size: Size, unknown: int) -> int:
    bound = upper_bound(size)
    return unknown if bound is None else bound
