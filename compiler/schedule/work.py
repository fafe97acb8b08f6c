"""What a schedule makes of a kernel's arithmetic: how much of it is done, and how fast at most.

In: a scheduled launch. Out: numbers for the roofline (compiler/roofline.py). They bound what a kernel can reach from
above; schedules are not chosen by them.
"""

from __future__ import annotations

from ..kernel import cost
from ..kernel.ir import Attention, Body, Conv, Launch, LoopNest, Schedule
from ..scalar.dim import Size, ceil_div, dim_min, extent, floor_div, prod, substitute
from .conv import WinogradSchedule
from .tile import Tile

# The most of each unit, as a multiple of f32 multiply-adds: a lane of f32 has room for four bytes, and a unit takes KR
# elements of K together. Matrix units: Intel's optimization manual, 2,048 and 1,024 operations in a cycle beside 64.
_BYTES, _TILES_OF_BYTES, _TILES_OF_BF16 = 4.0, 32.0, 16.0


def operations(launch: Launch) -> Size:
    """The arithmetic operations that are carried out, in the model's symbols: Winograd's algorithm has fewer
    multiplications than the convolution, and causal attention computes about half of the scores."""
    actual = dict(zip(launch.kernel.sizes, launch.sizes))
    return substitute(_done(launch.kernel.body, launch.schedule), actual)


def _done(body: Body, schedule: Schedule | None) -> Size:
    if isinstance(body, Conv) and isinstance(schedule, WinogradSchedule):
        depth = floor_div(extent(body.channel), body.groups)
        tiles = prod([extent(body.n), *(ceil_div(extent(s), 2) for s in body.out), extent(body.c)])
        return tiles * 16 * 2 * depth
    if isinstance(body, Attention) and body.causal is not None:
        rows, columns = prod(extent(s) for s in (*body.batch, body.m)), extent(body.n)
        seen = dim_min(columns, body.causal + floor_div(extent(body.m) + 1, 2))
        return rows * seen * (2 * extent(body.d) + 2 * extent(body.dv) + 20)
    return cost.flops(body)


def rate(launch: Launch) -> float:
    """The most operations per second, as a multiple of those of f32 multiply-adds."""
    body = launch.kernel.body
    tile = getattr(launch.schedule, "tile", None)
    if isinstance(body, LoopNest):
        return max(1.0, 4 / min(p.dtype.itemsize for p in launch.kernel.params))
    if not isinstance(tile, Tile):
        return 1.0
    if tile.products:
        return _TILES_OF_BF16 / len(tile.products) if tile.cut else _TILES_OF_BYTES
    return _BYTES if getattr(body, "blocks", None) is not None else float(tile.kr)
