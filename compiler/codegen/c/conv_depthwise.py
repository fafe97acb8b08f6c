"""Depthwise kernel.ir.Conv -> the context of templates/c/depthwise.c.j2, its tasks and scratch.

Vectors run along channels; a result is summed tap by tap, in the same order in every tile. Loads are the bottleneck,
not multiplications, so a task computes all rows of one vector of channels before the next vector: their input then
stays in the first-level cache.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...kernel.ir import Conv, Kernel
from ...scalar.dim import Size, ceil_div, dim_max, extent, prod
from ...schedule.conv import DepthwiseSchedule
from ..render import render
from .conv_input import X_NAMES, Y_NAMES, plain_input, spread, symbol_names
from .expr import ctype
from .gemm import element_type
from .holes import Holes


@dataclass(frozen=True, slots=True)
class _Blocking:
    row_blocks: Size
    block_h: Size
    channel_blocks: Size


def tasks(body: Conv, schedule: DepthwiseSchedule) -> Size:
    """The number of tasks, in the kernel's sizes."""
    cut = _blocking(body, schedule)
    outer = [extent(s) for s in (body.n, *body.out)]
    return prod(outer[:-2] if len(outer) > 2 else outer[:1]) * cut.row_blocks * cut.channel_blocks


def scratch_bytes(body: Conv, schedule: DepthwiseSchedule) -> Size:
    """Bytes of scratch a thread needs: a patch of the input for one vector of channels, and its weights."""
    cut = _blocking(body, schedule)
    (td, th, tw), (dd, dh, dw) = spread(body.taps, 1), spread(body.dilations, 1)
    _, sh, sw = spread(body.strides, 1)
    patch_w = (extent(body.out[-1]) - 1) * sw + (tw - 1) * dw + 1
    patch_rows = ((td - 1) * dd + 1) * ((cut.block_h - 1) * sh + (th - 1) * dh + 1)
    return (patch_rows * patch_w + math.prod(body.taps)) * schedule.lanes * schedule.vectors * body.acc.itemsize


def source(kernel: Kernel, name: str, schedule: DepthwiseSchedule) -> str:
    """The C source of the kernel, whose one function is called `name`."""
    body = kernel.body
    assert isinstance(body, Conv)
    cut, plain, holes = _blocking(body, schedule), plain_input(body), Holes(kernel, symbol_names(body))
    x_statements, x_value = holes.value(body.x)
    return render(
        "c/depthwise.c.j2",
        **holes.frame(name),
        elem=element_type(body.acc),
        acc_type=ctype(body.acc),
        lanes=schedule.lanes,
        vectors=schedule.vectors,
        pixels=schedule.pixels,
        few_pixels=schedule.few_pixels,
        unroll_taps=schedule.unrolled,
        far_bytes=schedule.far_bytes,
        taps=spread(body.taps, 1),
        strides=spread(body.strides, 1),
        dilations=spread(body.dilations, 1),
        pads=[holes.size(s) for s in spread(body.pads, 0)],
        input=[holes.size(s) for s in spread([extent(s) for s in body.spatial], 1)],
        output=[holes.size(s) for s in spread([extent(s) for s in body.out], 1)],
        channels=holes.size(extent(body.channel)),
        row_blocks=holes.size(cut.row_blocks),
        block_h=holes.size(cut.block_h),
        tiles_per_task=holes.size(schedule.tiles_per_task),
        x=X_NAMES,
        y=Y_NAMES,
        plain=plain
        and {
            "buffer": holes.buffer(plain.buffer),
            "start": holes.size(plain.start),
            "strides": [holes.size(s) for s in plain.strides],
        },
        x_statements=x_statements,
        x_value=x_value,
        w_buffer=holes.buffer(body.w),
        epilogue=holes.epilogue(body.epilogue, "acc"),
    )


def _blocking(body: Conv, schedule: DepthwiseSchedule) -> _Blocking:
    out_h = extent(body.out[-2]) if len(body.out) > 1 else 1
    row_blocks = ceil_div(out_h, schedule.block_rows)
    tiles = ceil_div(extent(body.channel), schedule.lanes * schedule.vectors)
    return _Blocking(row_blocks, ceil_div(out_h, dim_max(row_blocks, 1)), ceil_div(tiles, schedule.tiles_per_task))
