"""kernel.ir.Attention -> the context of templates/triton/attention.py.j2: FlashAttention on blocks of queries and keys.

In: a Kernel whose body is an Attention. Out: Triton source, and the number of programs in the kernel's sizes.

A product is of 16-bit floats if its operands are loaded in one such type, else of the computing type. A wide or
unbounded d is summed in blocks, for each block of keys again; a wide or unbounded dv is split among programs.
"""

from __future__ import annotations

import math

from ...kernel.ir import Attention, Kernel
from ...scalar.dim import Size, Symbol, ceil_div, dim_max, dim_min, extent, floor_div, known_eq, known_lt, prod
from ...scalar.expr import Const, as_type
from ...schedule.device.attention import AttentionSchedule, factors, is_wide
from ..render import render
from .expr import Value, literal, value_type
from .gemm import precision
from .holes import Axis, epilogue, part, tile
from .tiles import Source, arguments, parameters, printer

_LOG2_E = math.log2(math.e)


def tasks(body: Attention, schedule: AttentionSchedule) -> Size:
    """The number of programs."""
    return prod(size for _, size in _programs(body, schedule))


def refusal(kernel: Kernel, schedule: AttentionSchedule) -> None:
    """None: every kernel can be printed."""


def source(kernel: Kernel, name: str, sizes: AttentionSchedule) -> Source:
    """The kernel's source."""
    body = kernel.body
    assert isinstance(body, Attention)
    acc = body.acc
    q_value, k_value = factors(acc, body.q, body.k)
    (v_value,) = factors(acc, body.v)
    first = Symbol("first")
    out = printer(kernel)
    out.names |= {first: Value("first"), **{s: Value(f"o{i}") for i, s in enumerate(body.batch)}}

    def axis(symbol: Symbol, positions: str, length: int, whole: bool = False) -> Axis:
        whole = whole or known_eq(extent(symbol) % length, 0) is True
        return Axis(symbol, positions, None if whole else f"({positions} < {out.size(extent(symbol))})")

    m, d = axis(body.m, "m", sizes.m), axis(body.d, "d", sizes.d)
    d_row, dv = axis(body.d, "d_row", sizes.d), axis(body.dv, "dv", sizes.dv)

    def loop(begin: Size, end: Size, whole: bool) -> dict[str, object]:
        """A loop over blocks of keys; whole: all of these keys exist, and are included for all queries."""
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

    end, shared = extent(body.n), extent(body.n)  # the ends of keys included for some query, and for all queries
    if body.causal is not None:
        last = dim_min(first + sizes.m, extent(body.m)) + body.causal
        end, shared = (dim_max(0, dim_min(extent(body.n), x)) for x in (last, first + body.causal + 1))
    shared = floor_div(shared, sizes.n) * sizes.n
    if known_eq(shared, end) is not True and sizes.kind in ("f32", "f64"):
        shared = 0  # without tensor cores masks are cheap, and two loops need too many registers
    loops = [(0, shared, True), (shared, end, False)]
    text = render(
        "triton/attention.py.j2",
        name=name,
        parameters=parameters(kernel),
        outer=[(s, out.size(e)) for s, e in _programs(body, sizes)],
        tile=sizes,
        D=out.size(extent(body.d)) if is_wide(body.d) else None,
        acc=value_type(acc),
        precision=precision(acc, sizes.rounding) or "ieee",
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


def _programs(body: Attention, sizes: AttentionSchedule) -> list[tuple[str, Size]]:
    """The names and extents of a program's coordinates, the last one fastest."""
    batch = [(f"o{i}", extent(s)) for i, s in enumerate(body.batch)]
    blocks = [(x, ceil_div(extent(s), n)) for x, s, n in (("block", body.m, sizes.m), ("columns", body.dv, sizes.dv))]
    return [*batch, *blocks]
