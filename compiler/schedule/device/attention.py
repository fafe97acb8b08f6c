"""Schedules of kernel.ir.Attention on an accelerator: blocks of queries and keys."""

from __future__ import annotations

from dataclasses import dataclass

from ...kernel.ir import Attention, Kernel, Schedule
from ...precision import Rounding
from ...scalar.dim import Symbol, extent, prod, upper_bound
from ...scalar.dtype import F32, DType
from ...scalar.expr import Call, Expr, Load, as_type
from .tile import MIN_DOT, PROGRAMS, tile_length

_WIDEST = 256  # the most columns of a tile
_SPLIT = 64  # columns of q and k, or of v, at a time if they do not fit a tile
_HOPPER = 64  # rows of an instruction of Hopper's tensor cores, below which blocks are not shortened

# By the type of products and the greater one of d and dv: queries, keys, warps, stages. As many as registers hold.
_BLOCKS = {
    "16 bits": {64: (128, 64, 4, 3), 128: (128, 64, 8, 2), 256: (64, 32, 4, 2)},
    "tf32": {64: (64, 32, 4, 2), 128: (64, 32, 4, 2), 256: (32, 16, 4, 2)},
    "f32": {64: (64, 32, 8, 2), 128: (64, 16, 8, 2), 256: (32, 16, 4, 2)},
    "f64": {64: (32, 16, 4, 1), 128: (16, 16, 4, 1), 256: (16, 16, 4, 1)},
}


@dataclass(frozen=True, slots=True)
class AttentionSchedule(Schedule):
    """How queries, keys and columns are cut into blocks.

    kind: of products, a key of _BLOCKS; m, n: queries and keys of a block; d, dv: columns of q and k, and of v, at a
    time; rounding: of factors of f32."""

    kind: str
    m: int
    n: int
    d: int
    dv: int
    warps: int
    stages: int
    rounding: Rounding = "ieee"


def default(kernel: Kernel, rounding: Rounding) -> AttentionSchedule:
    """The schedule by rules that need no measurement."""
    body = kernel.body
    assert isinstance(body, Attention)
    acc = body.acc
    operands = [*factors(acc, body.q, body.k), *factors(acc, body.v)]
    is_rounded = rounding != "ieee" and acc == F32
    kind = "16 bits" if all(e.dtype.bits == 16 for e in operands) else "tf32" if is_rounded else acc.name
    d, dv = (_SPLIT if is_wide(s) else max(tile_length(extent(s), _WIDEST), MIN_DOT) for s in (body.d, body.dv))
    m, n, warps, stages = next(block for width, block in _BLOCKS[kind].items() if width >= max(d, dv))
    m, n = (max(tile_length(extent(s), most), MIN_DOT) for s, most in ((body.m, m), (body.n, n)))
    points, queries = upper_bound(prod(extent(s) for s in body.batch)), upper_bound(extent(body.m))
    while points is not None and queries is not None and m > _HOPPER and points * -(-queries // m) < PROGRAMS:
        m //= 2
    return AttentionSchedule(kind, m, n, d, dv, min(warps, max(m // 8, 4)), stages, rounding)


def factors(acc: DType, *values: Expr) -> list[Expr]:
    """The values as factors of products: in the 16-bit type from which all are loaded, else in that of sums."""
    loaded = [e.args[0] if isinstance(e, Call) and e.prim == "cast" else e for e in values]
    kinds = {e.dtype for e in loaded}
    if len(kinds) == 1 and all(isinstance(e, Load) and e.dtype.is_float and e.dtype.bits == 16 for e in loaded):
        return loaded
    return [as_type(e, acc) for e in values]


def is_wide(symbol: Symbol) -> bool:
    """Whether an axis of columns may be longer than a tile."""
    bound = upper_bound(extent(symbol))
    return bound is None or bound > _WIDEST
