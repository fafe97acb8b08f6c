"""Dense and grouped kernel.ir.Conv -> the context of templates/c/conv.c.j2, its tasks and scratch.

They are matrix products over tables of pointers (see the template). If the schedule says so, the input of a block of
output rows is first copied into a padded patch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...kernel.ir import Conv, Kernel
from ...kernel.operands import PlainInput
from ...scalar.dim import Size, ceil_div, dim_max, extent, floor_div, known_eq, prod
from ...scalar.dtype import DType
from ...scalar.expr import Const
from ...schedule.conv import DenseSchedule, in_place, runs
from ..render import render
from .conv_input import X_NAMES, Y_NAMES, plain_input, spread, symbol_names
from .expr import ctype
from .gemm import Scratch, element_type
from .holes import Holes


@dataclass(frozen=True, slots=True)
class _Blocking:
    """How the result is cut into tasks, blocks of pixels by panels; block_h: output rows of a block with a patch."""

    row_blocks: Size
    block_pixels: Size
    block_h: Size
    panels: Size


def tasks(body: Conv, schedule: DenseSchedule) -> Size:
    """The number of tasks, in the kernel's sizes."""
    cut = _blocking(body, schedule)
    return cut.row_blocks * body.groups * ceil_div(cut.panels, schedule.panels_per_task)


def scratch_bytes(body: Conv, schedule: DenseSchedule) -> Size:
    """Bytes of scratch a thread needs."""
    return _scratch(body, schedule).bytes


def _scratch(body: Conv, schedule: DenseSchedule) -> Scratch:
    count = runs(body, schedule)
    depth = floor_div(extent(body.channel), body.groups) * (math.prod(body.taps) // count)
    return Scratch(schedule.tile, _copied(body, schedule), count, depth)


def _copied(body: Conv, schedule: DenseSchedule) -> Size:
    """Bytes of the table of pointers, then of the patch, or of zeros and the starts of pixels."""
    cut, size = _blocking(body, schedule), _element(body, schedule).itemsize
    in_c = floor_div(extent(body.channel), body.groups)
    pitch = ceil_div(cut.block_pixels, schedule.tile.mr) * schedule.tile.mr
    table = _cache_lines(runs(body, schedule) * pitch * 8)
    if not schedule.patch:
        return table + _cache_lines(in_c * size) + pitch * 20
    (td, th, tw), (dd, dh, dw) = spread(body.taps, 1), spread(body.dilations, 1)
    _, sh, sw = spread(body.strides, 1)
    patch_w = (extent(body.out[-1]) - 1) * sw + (tw - 1) * dw + 1
    patch_rows = ((td - 1) * dd + 1) * ((cut.block_h - 1) * sh + (th - 1) * dh + 1)
    return table + patch_rows * patch_w * in_c * size


def source(kernel: Kernel, name: str, schedule: DenseSchedule) -> str:
    """The C source of the kernel, whose one function is called `name`."""
    body = kernel.body
    assert isinstance(body, Conv)
    cut, plain, holes = _blocking(body, schedule), plain_input(body), Holes(kernel, symbol_names(body))
    x_statements, x_value = holes.value(body.x)
    fill_statements, fill_value = holes.value(Const(0, body.x.dtype) if body.fill is None else body.fill)
    depth = prod(body.taps) * floor_div(extent(body.channel), body.groups)
    return render(
        "c/conv.c.j2",
        **holes.frame(name),
        elem=element_type(_element(body, schedule)),
        acc_type=ctype(body.acc),
        tile=schedule.tile,
        taps=spread(body.taps, 1),
        strides=spread(body.strides, 1),
        dilations=spread(body.dilations, 1),
        pads=[holes.size(s) for s in spread(body.pads, 0)],
        groups=body.groups,
        batch=holes.size(extent(body.n)),
        input=[holes.size(s) for s in spread([extent(s) for s in body.spatial], 1)],
        output=[holes.size(s) for s in spread([extent(s) for s in body.out], 1)],
        in_c=holes.size(floor_div(extent(body.channel), body.groups)),
        out_c=holes.size(floor_div(extent(body.c), body.groups)),
        row_blocks=holes.size(cut.row_blocks),
        block_pixels=holes.size(cut.block_pixels),
        block_h=holes.size(cut.block_h),
        panels_per_task=holes.size(schedule.panels_per_task),
        panel_rows=holes.size(body.packing.rows(depth)),
        parts=_scratch(body, schedule).parts(holes),
        patch=schedule.patch,
        fill_statements=fill_statements,
        fill_value=fill_value,
        x=X_NAMES,
        y=Y_NAMES,
        x_statements=x_statements,
        x_value=x_value,
        x_row=_x_row(body, plain, holes) if in_place(body, schedule.tile) else None,
        x_start=holes.size(plain.start) if plain else "",
        x_strides=[holes.size(s) for s in plain.strides] if plain else [],
        x_buffer=holes.buffer(plain.buffer) if plain else "",
        w_buffer=holes.buffer(body.w),
        epilogue=holes.epilogue(body.epilogue, "acc"),
    )


def _element(body: Conv, schedule: DenseSchedule) -> DType:
    return schedule.tile.element(body.x.dtype)


def _cache_lines(size: Size) -> Size:
    return ceil_div(size, 64) * 64


def _blocking(body: Conv, schedule: DenseSchedule) -> _Blocking:
    tile = schedule.tile
    panels = ceil_div(floor_div(extent(body.c), body.groups), tile.nr)
    *outer, out_w = (extent(s) for s in (body.n, *body.out))
    if schedule.patch:
        block_h = dim_max(schedule.block_pixels // out_w, 1)
        out_h = outer.pop() if len(outer) > 1 else 1
        row_blocks = prod(outer) * ceil_div(out_h, block_h)
        return _Blocking(row_blocks, block_h * out_w, block_h, panels)
    pixels = prod(outer) * out_w
    row_blocks = ceil_div(pixels, schedule.block_pixels)
    block_pixels = tile.mr * ceil_div(pixels, tile.mr * dim_max(row_blocks, 1))  # balanced
    return _Blocking(row_blocks, block_pixels, 1, panels)


def _x_row(body: Conv, plain: PlainInput | None, holes: Holes) -> dict[str, str] | None:
    """The start of a row of the input, if rows are contiguous, so that memcpy can copy them; else None."""
    if plain is None or body.groups != 1 or not known_eq(plain.strides[-1], extent(body.channel)):
        return None
    return {"buffer": holes.buffer(plain.buffer), "start": holes.size(plain.start)}
