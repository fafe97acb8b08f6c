"""kernel.ir.Matmul -> the context of templates/c/matmul.c.j2, its tasks and scratch.

In: a Kernel whose body is a Matmul, its schedule. Out: C source; `Size`s in the kernel's own symbols.

A is read in place if it is a plain load with unit stride in k, else evaluated into scratch once per task.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...kernel.ir import Kernel, Matmul
from ...kernel.operands import cast_load, panels_in_place, plain_load, row_start
from ...scalar.dim import Size, Symbol, ceil_div, dim_max, extent, linear_in, prod, symbols
from ...scalar.dtype import F16
from ...scalar.expr import Expr, Load, as_type, rewrite, walk
from ...schedule.matmul import FEW_ROWS, MatmulSchedule, packing, rows_in_place
from ...schedule.tile import narrow_runs
from ..render import render
from .expr import ctype
from .gemm import Scratch, element_type, transpose_steps
from .holes import Holes

_PANEL, _COLUMN = Symbol("panel"), Symbol("column")  # variables of the template: n // NR and n % NR
_ELEMENT = Symbol("element")  # of packed B


@dataclass(frozen=True, slots=True)
class _Blocking:
    """How the result is cut into tasks: blocks of rows of one size by panels."""

    row_blocks: Size
    block_rows: Size
    panels: Size


def tasks(body: Matmul, schedule: MatmulSchedule) -> Size:
    """The number of tasks, in the kernel's sizes."""
    cut = _blocking(body, schedule)
    return prod(extent(s) for s in body.batch) * cut.row_blocks * ceil_div(cut.panels, schedule.panels_per_task)


def scratch_bytes(body: Matmul, schedule: MatmulSchedule) -> Size:
    """Bytes of scratch a thread needs."""
    return _scratch(body, schedule).bytes


def _scratch(body: Matmul, schedule: MatmulSchedule) -> Scratch:
    return Scratch(schedule.tile, _copied(body, schedule), 1, extent(body.k))


def _copied(body: Matmul, schedule: MatmulSchedule) -> Size:
    """Bytes of a block of A, then of a panel of B, each if it is copied."""
    depth, block_rows = extent(body.k), _blocking(body, schedule).block_rows
    size = schedule.tile.element(body.a.dtype).itemsize
    a = 0 if rows_in_place(body, schedule) is not None else ceil_div(block_rows * depth * size, 64) * 64
    rows = packing(body, schedule).rows(depth)
    if body.blocks is not None:
        return a + (rows * schedule.tile.nr + FEW_ROWS * ceil_div(depth, body.blocks.size)) * body.acc.itemsize
    b = 0 if panels_in_place(body) else rows * schedule.tile.nr * body.b.dtype.itemsize
    return a + b


def source(kernel: Kernel, name: str, schedule: MatmulSchedule) -> str:
    """The C source of the kernel, whose one function is called `name`."""
    body, tile = kernel.body, schedule.tile
    assert isinstance(body, Matmul)
    cut = _blocking(body, schedule)
    names = {body.m: "m", body.n: "n", body.k: "k", _PANEL: "panel", _COLUMN: "column"}
    names[_ELEMENT] = "(panel * panel_rows * NR + at)"
    holes = Holes(kernel, names | {s: f"batch{i}" for i, s in enumerate(body.batch)})
    a_statements, a_value = holes.value(body.a)
    b_statements, b_value = holes.value(_b_in_panel(body, tile.nr) if body.packing else body.b)
    return render(
        "c/matmul.c.j2",
        **holes.frame(name),
        elem=element_type(tile.element(body.a.dtype)),
        acc_type=ctype(body.acc),
        tile=tile,
        M=holes.size(extent(body.m)),
        N=holes.size(extent(body.n)),
        K=holes.size(extent(body.k)),
        panel_rows=holes.size(packing(body, schedule).rows(extent(body.k))),
        row_blocks=holes.size(cut.row_blocks),
        block_rows=holes.size(cut.block_rows),
        panels_per_task=holes.size(schedule.panels_per_task),
        batch=[(holes.names[s], holes.size(extent(s))) for s in reversed(body.batch)],
        a_row=_a_row(body, schedule, holes),
        a_statements=a_statements,
        a_value=a_value,
        a_halves=_a_halves(body, holes),
        b_cast=_b_cast(body, holes),
        b_panel=_b_panel(body, holes),
        parts=_scratch(body, schedule).parts(holes),
        narrow=_narrow(body, schedule, holes),
        b_rows=_b_rows(body, holes),
        b_columns=_b_columns(body, holes),
        transpose_steps=transpose_steps(tile.lanes),
        b_statements=b_statements,
        b_value=b_value,
        epilogue=holes.epilogue(body.epilogue, "acc"),
    )


def _blocking(body: Matmul, schedule: MatmulSchedule) -> _Blocking:
    rows, tile = extent(body.m), schedule.tile
    row_blocks = ceil_div(rows, schedule.block_rows)
    block_rows = tile.mr * ceil_div(rows, tile.mr * dim_max(row_blocks, 1))  # balanced
    return _Blocking(row_blocks, block_rows, ceil_div(extent(body.n), tile.nr))


def _a_row(body: Matmul, schedule: MatmulSchedule, holes: Holes) -> dict[str, str] | None:
    start = rows_in_place(body, schedule)
    if start is None:
        return None
    assert isinstance(body.a, Load)
    return {"buffer": holes.buffer(body.a.buffer), "start": holes.size(start)}


def _a_halves(body: Matmul, holes: Holes) -> dict[str, str] | None:
    """The start of row m of A, if rows are contiguous numbers of f16."""
    load = cast_load(body.a)
    start = row_start(load, body.k) if load is not None and load.dtype == F16 else None
    if load is None or start is None:
        return None
    return {"buffer": holes.buffer(load.buffer), "start": holes.size(start)}


def _b_cast(body: Matmul, holes: Holes) -> dict[str, object] | None:
    """Packed panels of a shorter type: their buffer, and an element, the index of which in its panel is `at`."""
    load = cast_load(body.b) if body.packing and body.blocks is None else None
    if load is None:
        return None
    element = Load(load.buffer, load.index + _ELEMENT, load.dtype)
    _, value = holes.value(as_type(element, body.b.dtype))
    return {"buffer": holes.buffer(load.buffer), "value": value, "halves": load.dtype == F16}


def _b_panel(body: Matmul, holes: Holes) -> dict[str, str] | None:
    """The start of a panel of packed B, if panels are read in place."""
    if not panels_in_place(body):
        return None
    assert isinstance(body.b, Load)
    return {"buffer": holes.buffer(body.b.buffer), "start": f"{holes.size(body.b.index)} + panel * panel_rows * NR"}


def _narrow(body: Matmul, schedule: MatmulSchedule, holes: Holes) -> dict[str, object] | None:
    """The holes for weights of few bits: their buffers and numbers, and how a panel is cut into runs of vectors."""
    if body.blocks is None:
        return None
    assert isinstance(body.b, Load)
    blocks, bits = body.blocks, packing(body, schedule).bits
    return {
        "bits": bits,
        "block": blocks.size,
        "zero_bits": blocks.zero_bits,
        "float_zeros": holes.kernel.params[blocks.zero].dtype == body.acc,
        "few": FEW_ROWS,
        "runs": narrow_runs(schedule.tile.vectors, bits),
        "data": holes.buffer(body.b.buffer),
        "scale": holes.buffer(blocks.scale),
        "zeros": holes.buffer(blocks.zero),
    }


def _b_in_panel(body: Matmul, nr: int) -> Expr:
    """Packed B's element (k, n): its expression, with the load at the position of (k, n) in a panel."""

    def at_position(e: Expr) -> Expr | None:
        if not isinstance(e, Load) or e.buffer != packed:
            return None
        return Load(e.buffer, e.index + (_PANEL * extent(body.k) + body.k) * nr + _COLUMN, e.dtype, e.mask, e.other)

    packed = next(e.buffer for e in walk(body.b) if isinstance(e, Load))
    return rewrite(body.b, at_position)


def _b_lines(body: Matmul, along: Symbol, across: Symbol) -> tuple[Load, Size, Size] | None:
    """B as lines with unit stride in `along`: its load, the index at (0, 0), the distance of lines; else None. Of bytes
    there are none, as those of several k lie side by side in panels."""
    load = None if body.packing else plain_load(body.b, body.acc)
    line = load and linear_in(load.index, along)
    lines = linear_in(line[1], across) if line and line[0] == 1 else None
    if load is None or lines is None or across in symbols(lines[0]):
        return None
    return load, lines[1], lines[0]


def _b_rows(body: Matmul, holes: Holes) -> dict[str, str] | None:
    """B, if its rows are contiguous, so that it may be read in place: where column n begins, the distance of rows."""
    lines = _b_lines(body, body.n, body.k)
    if lines is None:
        return None
    load, start, stride = lines
    return {"buffer": holes.buffer(load.buffer), "start": holes.size(start + body.n), "stride": holes.size(stride)}


def _b_columns(body: Matmul, holes: Holes) -> dict[str, str] | None:
    """B, if its columns are contiguous, to be transposed: where column n begins, the distance of columns."""
    lines = _b_lines(body, body.k, body.n)
    if lines is None:
        return None
    load, start, stride = lines
    start = start + stride * body.n
    return {"buffer": holes.buffer(load.buffer), "start": holes.size(start), "stride": holes.size(stride)}
