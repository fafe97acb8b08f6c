"""kernel.ir.Attention -> the context of templates/triton/attention.py.j2: FlashAttention on blocks of queries and keys.

In: a Kernel whose body is an Attention. Out: Triton source, and the number of programs in the kernel's sizes.

A product is of 16-bit floats where both of its operands are casts of what is loaded as such, else of the computing
type. A d that is wide or has no bound is taken in blocks, again for each block of keys; such a dv, by several programs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...kernel.ir import Attention, Kernel
from ...scalar.dim import Size, Symbol, ceil_div, dim_max, dim_min, floor_div, known_eq, known_lt, prod, upper_bound
from ...scalar.dtype import F32, DType
from ...scalar.expr import Call, Const, Expr, Load
from ..render import render
from .expr import Value, as_type, literal, value_type
from .holes import Axis, epilogue, part, tile
from .tiles import Source, arguments, extent, parameters, printer, tile_length

_LEAST = 16  # length of an axis of a tl.dot
_WIDEST = 256  # columns of a tile
_SPLIT = 64  # columns of q and k, or of v, at a time where they do not fit a tile
_PROGRAMS = 128  # that fill a GPU
_HOPPER = 64  # rows of its tensor cores' instructions, below which blocks are not made shorter
_LOG2_E = math.log2(math.e)

# By the type of products, then by the greater one of d and dv: queries, keys, warps, stages. As many as registers hold.
_BLOCKS = {
    "16 bits": {64: (128, 64, 4, 3), 128: (128, 64, 8, 2), 256: (64, 32, 4, 2)},
    "tf32": {64: (64, 32, 4, 2), 128: (64, 32, 4, 2), 256: (32, 16, 4, 2)},
    "f32": {64: (64, 32, 8, 2), 128: (64, 16, 8, 2), 256: (32, 16, 4, 2)},
    "f64": {64: (32, 16, 4, 1), 128: (16, 16, 4, 1), 256: (16, 16, 4, 1)},
}


@dataclass(frozen=True)
class _Tile:
    """Queries and keys of a block, columns of q and k and of v at a time. kind: of products, a key of _BLOCKS."""

    kind: str
    m: int
    n: int
    d: int
    dv: int
    warps: int
    stages: int


def tasks(body: Attention) -> Size:
    """The number of programs."""
    return prod(size for _, size in _programs(body, _tile(body)))


def source(kernel: Kernel, name: str, allow_tf32: bool = False) -> Source:
    """The kernel's source. allow_tf32: products of f32 may round their operands to 11 bits."""
    body = kernel.body
    assert isinstance(body, Attention)
    sizes, acc = _tile(body, allow_tf32), body.acc
    q_value, k_value = _factors(acc, body.q, body.k)
    (v_value,) = _factors(acc, body.v)
    first = Symbol("first")
    out = printer(kernel)
    out.names |= {first: Value("first"), **{s: Value(f"o{i}") for i, s in enumerate(body.batch)}}

    def axis(symbol: Symbol, positions: str, length: int, whole: bool = False) -> Axis:
        whole = whole or known_eq(extent(symbol) % length, 0) is True
        return Axis(symbol, positions, None if whole else f"({positions} < {out.size(extent(symbol))})")

    m, d = axis(body.m, "m", sizes.m), axis(body.d, "d", sizes.d)
    d_row, dv = axis(body.d, "d_row", sizes.d), axis(body.dv, "dv", sizes.dv)

    def loop(begin: Size, end: Size, whole: bool) -> dict[str, object]:
        """A loop over blocks of keys; whole: all of their keys are included, for all queries."""
        n, n_row = axis(body.n, "n", sizes.n, whole), axis(body.n, "n_row", sizes.n, whole)
        included = [n.mask] if n.mask else []
        if body.causal is not None and not whole:
            included.append(f"(n <= {out.size(body.causal)} + m)")
        return {
            "begin": out.size(begin),
            "end": out.size(end),
            "included": " & ".join(included),
            "k": tile(out, k_value, (d_row, n), (sizes.d, sizes.n)),
            "v": tile(out, v_value, (n_row, dv), (sizes.n, sizes.dv)),
            "mask": None if body.mask is None else part(out, as_type(body.mask, acc), (m, n)),
        }

    end, shared = extent(body.n), extent(body.n)  # keys of any query, and of all of them
    if body.causal is not None:
        last = dim_min(first + sizes.m, extent(body.m)) + body.causal
        end, shared = (dim_max(0, dim_min(extent(body.n), x)) for x in (last, first + body.causal + 1))
    shared = floor_div(shared, sizes.n) * sizes.n
    if known_eq(shared, end) is not True and sizes.kind in ("f32", "f64"):
        shared = 0  # without tensor cores masks are cheap, and two loops too much for the registers
    loops = [(0, shared, True), (shared, end, False)]
    text = render(
        "triton/attention.py.j2",
        name=name,
        parameters=parameters(kernel),
        outer=[(s, out.size(e)) for s, e in _programs(body, sizes)],
        tile=sizes,
        D=out.size(extent(body.d)) if _is_wide(body.d) else None,
        acc=value_type(acc),
        precision="tf32" if allow_tf32 and acc == F32 else "ieee",
        p_type=value_type(v_value.dtype),
        scale=literal(Const(body.scale * (_LOG2_E if body.mask is None else 1.0), acc)),
        log2_e=literal(Const(_LOG2_E, acc)),
        empty="total" if body.zero_rows else "" if known_lt(0, extent(body.n)) else out.size(extent(body.n)),
        q=tile(out, q_value, (m, d), (sizes.m, sizes.d)),
        loops=[loop(*x) for x in loops if known_eq(x[0], x[1]) is not True],
        epilogue=epilogue(out, kernel, body.epilogue, (m, dv)),
        functions=list(out.functions.definitions.values()),
    )
    return Source(text, arguments(kernel), sizes.warps, sizes.stages)


def _factors(acc: DType, *values: Expr) -> list[Expr]:
    """The values as factors of products: as they are loaded, where that is in one 16-bit type, else in that of sums."""
    loaded = [e.args[0] if isinstance(e, Call) and e.prim == "cast" else e for e in values]
    kinds = {e.dtype for e in loaded}
    if len(kinds) == 1 and all(isinstance(e, Load) and e.dtype.is_float and e.dtype.bits == 16 for e in loaded):
        return loaded
    return [as_type(e, acc) for e in values]


def _programs(body: Attention, sizes: _Tile) -> list[tuple[str, Size]]:
    """The coordinates of a program and how many of each there are, the last one fastest."""
    batch = [(f"o{i}", extent(s)) for i, s in enumerate(body.batch)]
    blocks = [(x, ceil_div(extent(s), n)) for x, s, n in (("block", body.m, sizes.m), ("columns", body.dv, sizes.dv))]
    return [*batch, *blocks]


def _is_wide(symbol: Symbol) -> bool:
    """Whether an axis of columns does not fit a tile."""
    bound = upper_bound(extent(symbol))
    return bound is None or bound > _WIDEST


def _tile(body: Attention, allow_tf32: bool = False) -> _Tile:
    """The number of queries does not depend on allow_tf32."""
    acc = body.acc
    factors = [*_factors(acc, body.q, body.k), *_factors(acc, body.v)]
    kind = "16 bits" if all(e.dtype.bits == 16 for e in factors) else "tf32" if allow_tf32 and acc == F32 else acc.name
    d, dv = (_SPLIT if _is_wide(s) else max(tile_length(extent(s), _WIDEST), _LEAST) for s in (body.d, body.dv))
    m, n, warps, stages = next(block for width, block in _BLOCKS[kind].items() if width >= max(d, dv))
    m, n = (max(tile_length(extent(s), most), _LEAST) for s, most in ((body.m, m), (body.n, n)))
    points, queries = upper_bound(prod(extent(s) for s in body.batch)), upper_bound(extent(body.m))
    while points is not None and queries is not None and m > _HOPPER and points * -(-queries // m) < _PROGRAMS:
        m //= 2
    return _Tile(kind, m, n, d, dv, min(warps, max(m // 8, 4)), stages)
