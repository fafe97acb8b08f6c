"""kernel.ir.Matmul -> the context of templates/c/matmul.c.j2, its tasks and scratch.

In: a Kernel whose body is a Matmul, a Target. Out: C source; `Size`s in the kernel's own symbols.

One task computes `block_rows` rows by `panels_per_task` panels of NR columns over all of K, so a result does not depend
on the split. The numbers aim at tasks of some 10 to 200 microseconds whose part of A fits the second-level cache. K is
not blocked: with tiles of few rows the panel may come from the third level without loss (measured up to K = 11008).
A is read in place where it is a plain load with unit stride in k, else evaluated into scratch once per task.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...kernel.ir import Kernel, Matmul
from ...scalar.dim import Size, Symbol, ceil_div, dim_max, linear_in, prod, symbols
from ...scalar.expr import Call, Expr, Load, rewrite, walk
from ...target import Target
from ..render import render
from .expr import ctype
from .gemm import Tile, choose_nr, element_type, extent, tile_of, transpose_steps
from .holes import Holes

_PANEL, _COLUMN = Symbol("panel"), Symbol("column")  # n // NR and n % NR, which the template has at hand
_BLOCK_ROWS = 96  # at most, before balancing; each block reads its panels from the second-level cache again
_BLOCK_ROWS_OF_PACKING = 384  # where B is packed at run time, which each block does again
_BLOCK_ROWS_OF_COPY = 48  # where A is evaluated into scratch: [block_rows][K] should stay in the second-level cache
_BLOCK_ROWS_OF_BOTH = 192  # where both are true
_PANELS_PER_COPY = 4  # then the evaluation is repaid by this many panels


@dataclass(frozen=True, slots=True)
class _Blocking:
    """How the result is cut into tasks; all sizes in elements."""

    tile: Tile
    row_blocks: Size
    block_rows: Size
    panels: Size
    panels_per_task: int


def tasks(body: Matmul, target: Target) -> Size:
    """The number of tasks, in the kernel's sizes."""
    cut = _blocking(body, target)
    return prod(extent(s) for s in body.batch) * cut.row_blocks * ceil_div(cut.panels, cut.panels_per_task)


def scratch_bytes(body: Matmul, target: Target) -> Size:
    """Bytes of scratch a thread needs: A's block where it is copied, then B's panel where it is."""
    cut, depth, size = _blocking(body, target), extent(body.k), body.acc.itemsize
    a = 0 if in_place_a(body) else ceil_div(cut.block_rows * depth * size, 64) * 64
    b = 0 if _panel_in_place(body) else depth * cut.tile.nr * size
    return a + b


def source(kernel: Kernel, name: str, target: Target) -> str:
    """The C source of the kernel, whose one function is called `name`."""
    body = kernel.body
    assert isinstance(body, Matmul)
    cut = _blocking(body, target)
    names = {body.m: "m", body.n: "n", body.k: "k", _PANEL: "panel", _COLUMN: "column"}
    holes = Holes(kernel, names | {s: f"batch{i}" for i, s in enumerate(body.batch)})
    a_statements, a_value = holes.value(_as_acc(body.a, body))
    b_statements, b_value = holes.value(_as_acc(_b_in_panel(body, cut.tile.nr) if body.packing else body.b, body))
    return render(
        "c/matmul.c.j2",
        **holes.frame(name),
        elem=element_type(body.acc),
        acc_type=ctype(body.acc),
        tile=cut.tile,
        M=holes.size(extent(body.m)),
        N=holes.size(extent(body.n)),
        K=holes.size(extent(body.k)),
        row_blocks=holes.size(cut.row_blocks),
        block_rows=holes.size(cut.block_rows),
        panels_per_task=cut.panels_per_task,
        batch=[(holes.names[s], holes.size(extent(s))) for s in reversed(body.batch)],
        a_row=_a_row(body, holes),
        a_statements=a_statements,
        a_value=a_value,
        b_panel=_b_panel(body, holes),
        b_rows=_b_rows(body, holes),
        b_columns=_b_columns(body, holes),
        transpose_steps=transpose_steps(cut.tile.lanes),
        b_statements=b_statements,
        b_value=b_value,
        epilogue=holes.epilogue(body.epilogue, "acc"),
    )


def in_place_a(body: Matmul) -> bool:
    """Whether A's rows are read where they are: a plain load of the accumulator's type with unit stride in k."""
    return _row_start(body) is not None


def _as_acc(value: Expr, body: Matmul) -> Expr:
    return value if value.dtype == body.acc else Call("cast", (value,), body.acc)


def _blocking(body: Matmul, target: Target) -> _Blocking:
    rows, columns = extent(body.m), extent(body.n)
    tile = tile_of(body.packing.nr if body.packing else choose_nr(columns, body.acc, target), body.acc, target)
    in_place = in_place_a(body)
    if isinstance(rows, int):
        tile = tile.at_most(rows)
    if in_place:
        limit = _BLOCK_ROWS if _panel_in_place(body) else _BLOCK_ROWS_OF_PACKING
    else:
        limit = _BLOCK_ROWS_OF_COPY if _panel_in_place(body) else _BLOCK_ROWS_OF_BOTH
    row_blocks = ceil_div(rows, limit)
    block_rows = tile.mr * ceil_div(rows, tile.mr * dim_max(row_blocks, 1))  # balanced
    return _Blocking(tile, row_blocks, block_rows, ceil_div(columns, tile.nr), 1 if in_place else _PANELS_PER_COPY)


def _plain_load(value: Expr, body: Matmul) -> Load | None:
    return value if isinstance(value, Load) and value.mask is None and value.dtype == body.acc else None


def _row_start(body: Matmul) -> Size | None:
    """Index of A's element (m, k = 0) where A can be read in place."""
    load = _plain_load(body.a, body)
    parts = load and linear_in(load.index, body.k)
    return parts[1] if parts and parts[0] == 1 else None


def _a_row(body: Matmul, holes: Holes) -> dict[str, str] | None:
    start = _row_start(body)
    if start is None:
        return None
    assert isinstance(body.a, Load)
    return {"buffer": holes.buffer(body.a.buffer), "start": holes.size(start)}


def _panel_in_place(body: Matmul) -> bool:
    return body.packing is not None and _plain_load(body.b, body) is not None


def _b_panel(body: Matmul, holes: Holes) -> dict[str, str] | None:
    """Start of a panel of packed B that is used where it is."""
    if not _panel_in_place(body):
        return None
    assert isinstance(body.b, Load)
    return {"buffer": holes.buffer(body.b.buffer), "start": f"{holes.size(body.b.index)} + panel * K * NR"}


def _b_in_panel(body: Matmul, nr: int) -> Expr:
    """B's element (k, n) where packed B is converted: its load, at the place of (k, n) in a panel."""

    def at_place(e: Expr) -> Expr | None:
        if not isinstance(e, Load) or e.buffer != packed:
            return None
        return Load(e.buffer, e.index + (_PANEL * extent(body.k) + body.k) * nr + _COLUMN, e.dtype, e.mask, e.other)

    packed = next(e.buffer for e in walk(body.b) if isinstance(e, Load))
    return rewrite(body.b, at_place)


def _b_lines(body: Matmul, along: Symbol, across: Symbol) -> tuple[Load, Size, Size] | None:
    """B in memory as lines with unit stride in `along`: its load, the index where both are 0, the distance of lines."""
    load = None if body.packing else _plain_load(body.b, body)
    line = load and linear_in(load.index, along)
    lines = linear_in(line[1], across) if line and line[0] == 1 else None
    if load is None or lines is None or across in symbols(lines[0]):
        return None
    return load, lines[1], lines[0]


def _b_rows(body: Matmul, holes: Holes) -> dict[str, str] | None:
    """B that may be read without a copy: where its row k = 0 has column n, and the distance of rows."""
    lines = _b_lines(body, body.n, body.k)
    if lines is None:
        return None
    load, start, stride = lines
    return {"buffer": holes.buffer(load.buffer), "start": holes.size(start + body.n), "stride": holes.size(stride)}


def _b_columns(body: Matmul, holes: Holes) -> dict[str, str] | None:
    """B whose columns are contiguous, to be transposed: where column n begins, and the distance of columns."""
    lines = _b_lines(body, body.k, body.n)
    if lines is None:
        return None
    load, start, stride = lines
    start = start + stride * body.n
    return {"buffer": holes.buffer(load.buffer), "start": holes.size(start), "stride": holes.size(stride)}
