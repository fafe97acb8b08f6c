"""kernel.ir.Attention -> the context of templates/c/attention.c.j2, its tasks and scratch.

In: a Kernel whose body is an Attention, its schedule. Out: C source; `Size`s in the kernel's own symbols.

k and v are read in place if they are plain loads of the computing type, affine in their two symbols with any strides;
else each task evaluates the block of keys that it works on into scratch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...kernel.ir import Attention, Kernel
from ...kernel.operands import plain_load
from ...scalar.approx import exp_nonpositive
from ...scalar.dim import Size, Symbol, ceil_div, dim_max, extent, known_lt, linear_in, prod, symbols
from ...scalar.dtype import F32, DType
from ...scalar.expr import Expr, Index, Load, Local, Var, walk
from ...scalar.prims import call
from ...schedule.attention import AttentionSchedule
from ..render import render
from .expr import literal
from .gemm import element_type, transpose_steps
from .holes import Holes, narrowed


def tasks(body: Attention, tile: AttentionSchedule) -> Size:
    """The number of tasks, in the kernel's sizes."""
    return prod(extent(s) for s in body.batch) * _panels(body, tile)


def scratch_bytes(body: Attention, tile: AttentionSchedule) -> Size:
    """Bytes of scratch a thread needs, in the order of the pointers in the template."""
    acc = body.acc
    q_columns, v_columns = _padded(extent(body.d), tile), _padded(extent(body.dv), tile)
    score_rows = -(-tile.keys // tile.lanes) * tile.lanes
    elements = (q_columns + score_rows + v_columns + 3) * tile.panel + tile.lanes * _row_stride(body, tile)
    if _place(body.k, body.n, body.d, acc) is None:
        elements += tile.keys * extent(body.d)
    if _place(body.v, body.n, body.dv, acc) is None:
        elements += tile.keys * extent(body.dv)
    return elements * acc.itemsize


def source(kernel: Kernel, name: str, tile: AttentionSchedule) -> str:
    """The C source of the kernel, whose one function is called `name`."""
    body = kernel.body
    assert isinstance(body, Attention)
    acc = body.acc
    loops = {body.m: "m", body.n: "n", body.d: "d", body.dv: "dv"}
    holes = Holes(kernel, loops | {s: f"batch{i}" for i, s in enumerate(body.batch)})
    q_statements, q_value = holes.value(narrowed(body.q, acc))
    k_statements, k_value = holes.value(narrowed(body.k, acc))
    v_statements, v_value = holes.value(narrowed(body.v, acc))
    x = Var("x", acc)
    exp_statements, exp_value = holes.value(exp_nonpositive(x) if acc == F32 else call("exp", x))
    mask_statements, mask = holes.value(narrowed(body.mask, acc)) if body.mask else ([], None)
    return render(
        "c/attention.c.j2",
        **holes.frame(name),
        elem=element_type(acc),
        acc_type=element_type(acc),
        lanes=tile.lanes,
        vectors=tile.vectors,
        rows=tile.rows,
        keys=tile.keys,
        few=_few(body, tile),
        exp_statements=exp_statements,
        exp_value=exp_value,
        transpose_steps=transpose_steps(tile.lanes),
        M=holes.size(extent(body.m)),
        N=holes.size(extent(body.n)),
        D=holes.size(extent(body.d)),
        DV=holes.size(extent(body.dv)),
        q_columns=holes.size(_padded(extent(body.d), tile)),
        v_columns=holes.size(_padded(extent(body.dv), tile)),
        row_stride=holes.size(_row_stride(body, tile)),
        panels=holes.size(_panels(body, tile)),
        batch=[(holes.names[s], holes.size(extent(s))) for s in reversed(body.batch)],
        scale=literal(body.scale, acc)[0],
        causal=None if body.causal is None else holes.size(body.causal),
        empty="total" if body.zero_rows else "N",
        q_statements=q_statements,
        q_value=q_value,
        k_place=_printed(_place(body.k, body.n, body.d, acc), body.k, holes),
        k_statements=k_statements,
        k_value=k_value,
        v_place=_printed(_place(body.v, body.n, body.dv, acc), body.v, holes),
        v_statements=v_statements,
        v_value=v_value,
        mask=mask,
        mask_statements=mask_statements,
        mask_varies=body.mask is not None and _mentions(body.mask, body.m),
        epilogue=holes.epilogue(body.epilogue, "acc"),
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """An operand that is read in place: element (n, column) is at start + n * stride + column * step."""

    start: Size
    stride: Size
    step: Size


def _panels(body: Attention, tile: AttentionSchedule) -> Size:
    return ceil_div(ceil_div(extent(body.m), tile.lanes), tile.vectors)


def _padded(columns: Size, tile: AttentionSchedule) -> Size:
    """`columns` rounded up to whole transpositions and tiles."""
    block = math.lcm(tile.lanes, tile.rows)
    return ceil_div(columns, block) * block


def _row_stride(body: Attention, tile: AttentionSchedule) -> Size:
    return dim_max(_padded(extent(body.d), tile), _padded(extent(body.dv), tile), _padded(tile.keys, tile))


def _few(body: Attention, tile: AttentionSchedule) -> int:
    """The number of queries up to which they are computed row by row; 0 if there are always more."""
    return 0 if known_lt(tile.few, extent(body.m)) else tile.few


def _place(operand: Expr, row: Symbol, column: Symbol, acc: DType) -> _Place | None:
    load = plain_load(operand, acc)
    if load is None:
        return None
    along_row = linear_in(load.index, column)
    down = along_row and linear_in(along_row[1], row)
    if along_row is None or down is None or {row, column} & (symbols(along_row[0]) | symbols(down[0])):
        return None
    return _Place(down[1], down[0], along_row[0])


def _printed(place: _Place | None, operand: Expr, holes: Holes) -> dict[str, str] | None:
    if place is None:
        return None
    assert isinstance(operand, Load)
    return {
        "buffer": holes.buffer(operand.buffer),
        "start": holes.size(place.start),
        "stride": holes.size(place.stride),
        "step": holes.size(place.step),
    }


def _mentions(value: Expr, symbol: Symbol) -> bool:
    indices = (e.index if isinstance(e, (Load, Local)) else e.size if isinstance(e, Index) else 0 for e in walk(value))
    return any(symbol in symbols(index) for index in indices)
