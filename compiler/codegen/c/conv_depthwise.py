"""Depthwise kernel.ir.Conv -> the context of templates/c/depthwise.c.j2, its tasks and scratch.

Vectors run over channels; a result is summed tap by tap in one order, whatever tile it falls in. Such kernels are bound
by loads, not by multiplications, so blocks are chosen to find their input in the first-level cache: all rows of one
vector of channels, before the next vector.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...kernel.ir import Conv, Kernel
from ...scalar.dim import Size, ceil_div, dim_max, prod
from ...target import Target
from ..render import render
from .conv_input import X_NAMES, Y_NAMES, input_as_acc, plain_input, spread, symbol_names
from .expr import ctype
from .gemm import element_type, extent
from .holes import Holes

_BLOCK_H = 14  # output rows of a task at most, before balancing; neighbouring blocks read (taps - stride) rows twice
_VECTORS_PER_TASK = 2
_PIXELS = 7  # in a tile: rows of images are often multiples of it
_FEW_PIXELS = 3  # in the tile for what is left of a row
_UNROLLED_TAPS = 16  # in a row at most; their weights and a tile are to stay in registers


@dataclass(frozen=True, slots=True)
class _Blocking:
    row_blocks: Size
    block_h: Size
    channel_blocks: Size


def tasks(body: Conv, target: Target) -> Size:
    """The number of tasks, in the kernel's sizes."""
    cut = _blocking(body, target)
    outer = [extent(s) for s in (body.n, *body.out)]
    return prod(outer[:-2] if len(outer) > 2 else outer[:1]) * cut.row_blocks * cut.channel_blocks


def scratch_bytes(body: Conv, target: Target) -> Size:
    """Bytes of scratch a thread needs: a patch of the input for one vector of channels, and its weights."""
    cut = _blocking(body, target)
    (td, th, tw), (dd, dh, dw) = spread(body.taps, 1), spread(body.dilations, 1)
    _, sh, sw = spread(body.strides, 1)
    patch_w = (extent(body.out[-1]) - 1) * sw + (tw - 1) * dw + 1
    patch_rows = ((td - 1) * dd + 1) * ((cut.block_h - 1) * sh + (th - 1) * dh + 1)
    return (patch_rows * patch_w + math.prod(body.taps)) * target.vector_bytes


def source(kernel: Kernel, name: str, target: Target) -> str:
    """The C source of the kernel, whose one function is called `name`."""
    body = kernel.body
    assert isinstance(body, Conv)
    cut, plain, holes = _blocking(body, target), plain_input(body), Holes(kernel, symbol_names(body))
    x_statements, x_value = holes.value(input_as_acc(body))
    return render(
        "c/depthwise.c.j2",
        **holes.frame(name),
        elem=element_type(body.acc),
        acc_type=ctype(body.acc),
        lanes=target.lanes(body.acc.itemsize),
        pixels=_PIXELS,
        few_pixels=_FEW_PIXELS,
        unroll_taps=body.taps[-1] <= _UNROLLED_TAPS,
        taps=spread(body.taps, 1),
        strides=spread(body.strides, 1),
        dilations=spread(body.dilations, 1),
        pads=[holes.size(s) for s in spread(body.pads, 0)],
        input=[holes.size(s) for s in spread([extent(s) for s in body.spatial], 1)],
        output=[holes.size(s) for s in spread([extent(s) for s in body.out], 1)],
        channels=holes.size(extent(body.channel)),
        row_blocks=holes.size(cut.row_blocks),
        block_h=holes.size(cut.block_h),
        vectors_per_task=_VECTORS_PER_TASK,
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


def _blocking(body: Conv, target: Target) -> _Blocking:
    out_h = extent(body.out[-2]) if len(body.out) > 1 else 1
    row_blocks = ceil_div(out_h, _BLOCK_H)
    vectors = ceil_div(extent(body.channel), target.lanes(body.acc.itemsize))
    return _Blocking(row_blocks, ceil_div(out_h, dim_max(row_blocks, 1)), ceil_div(vectors, _VECTORS_PER_TASK))
