"""Schedules of kernel.ir.Conv on a CPU: dense (and grouped) over tables of pointers, Winograd's, and depthwise.

The packing of the weights follows from the schedule. A result does not depend on how it is cut into tasks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..kernel.ir import Conv, Schedule
from ..kernel.operands import conv_input, packed_operands
from ..kernel.packing import Form, Packing
from ..precision import Precision
from ..scalar.dim import Size, dim_min, extent, floor_div, known_le, prod
from ..scalar.dtype import I8, U8
from ..target import Target
from . import tile as tiles
from .tile import Tile

_BLOCK_PIXELS = 96  # before balancing: some 50 microseconds of work for one panel
_BLOCK_PIXELS_OF_PARTS = 256  # of products of parts: each block cuts its panels again
_TABLE_POINTERS = 1 << 14  # about the most in a table: with many taps blocks are small
_PATCH_PIXELS = 224  # of a block of rows with a patch: more than _BLOCK_PIXELS, as neighbouring patches overlap
_PATCH_PANELS = 4  # of a task, which repay its patch
_FEW_CHANNELS = 16  # up to which a row of taps is the better run, else one tap
_BLOCK_TILES = 24  # before balancing: the rows of each of the 16 products of a task
_PANELS_OF_TILES = 2  # of a task, which repay the transformation of its input
_BLOCK_ROWS = 14  # before balancing; neighbouring blocks read (taps - stride) rows twice
_VECTORS_PER_TASK = 2
_PIXELS = 7  # of a register tile: widths of images are often multiples of it
_PIXELS_OF_TWO = 4  # of a register tile of two vectors, beside their weights of three taps
_FEW_PIXELS = 3  # of the register tile for the end of a row
_UNROLLED_TAPS = 16  # the most in a row: their weights and a tile should stay in registers
# With fewer channels products are short; with fewer pixels they do not repay weights of 16/9 the size.
_WINOGRAD_CHANNELS, _WINOGRAD_PIXELS = 32, 49
_WINOGRAD_SURPLUS = 1.4  # the most that tiles may cover, in sizes of the output


@dataclass(frozen=True, slots=True)
class DenseSchedule(Schedule):
    """A product over a table of pointers to the input.

    tile: the micro-kernels; patch: whether the input of a block of output rows is first copied into a padded patch;
    block_pixels: the most of a task, before blocks are balanced; panels_per_task: panels of channels of a task."""

    tile: Tile
    patch: bool
    block_pixels: Size
    panels_per_task: Size


@dataclass(frozen=True, slots=True)
class WinogradSchedule(Schedule):
    """Winograd's F(2x2, 3x3).

    tile: the micro-kernels; block_tiles: the most tiles of 2x2 outputs of a task, before blocks are balanced;
    panels_per_task: panels of channels for which a task transforms its input once."""

    tile: Tile
    block_tiles: Size
    panels_per_task: Size


@dataclass(frozen=True, slots=True)
class DepthwiseSchedule(Schedule):
    """Tiles of `vectors` of `lanes` channels, tap by tap.

    block_rows: the most output rows of a task, before blocks are balanced; tiles_per_task: tiles of channels that it
    computes one after the other; pixels, few_pixels: of a register tile, and of that for the end of a row; unrolled:
    whether the loop over the taps of a row is unrolled; far_bytes: of an image from which on its rows are prefetched,
    since those of one vector are far apart."""

    lanes: int
    vectors: int
    block_rows: Size
    tiles_per_task: Size
    pixels: int
    few_pixels: int
    unrolled: bool
    far_bytes: int


ConvSchedule = DenseSchedule | WinogradSchedule | DepthwiseSchedule


def packing(body: Conv, schedule: ConvSchedule) -> Packing:
    """How the weights are packed."""
    if isinstance(schedule, DepthwiseSchedule):
        return Packing("taps")
    if isinstance(schedule, WinogradSchedule):
        return Packing("winograd", schedule.tile.nr)
    return schedule.tile.panels(body.x.dtype, body.groups, runs(body, schedule))


def runs(body: Conv, schedule: DenseSchedule) -> int:
    """The runs of taps whose input is contiguous: in a patch, a row of taps is one if they touch each other."""
    taps = body.taps[:-1] if schedule.patch and body.dilations[-1] == 1 else body.taps
    return math.prod(taps)


def _run_length(body: Conv, patch: bool) -> Size:
    """The elements of K in one run of taps whose input is contiguous."""
    in_c = floor_div(extent(body.channel), body.groups)
    return in_c * body.taps[-1] if patch and body.dilations[-1] == 1 else in_c


def channels(body: Conv) -> tuple[int, int]:
    """The input channels of a group, and the output channels of all groups."""
    (operand,) = packed_operands(body)
    *_, in_c, out_c = operand.shape
    assert isinstance(in_c, int) and isinstance(out_c, int)
    return in_c, out_c


def is_depthwise(body: Conv) -> bool:
    """Whether each channel is a group with one output channel, and taps outside of the input can be skipped."""
    return channels(body) == (1, body.groups) and body.fill is None


def _winograd_applies(body: Conv, target: Target) -> bool:
    """Whether Winograd's algorithm can compute it; its vectors run along input channels."""
    if body.taps != (3, 3) or {*body.strides, *body.dilations, body.groups} != {1}:
        return False
    return body.acc.is_float and channels(body)[0] % target.lanes(body.acc.itemsize) == 0


def _repays_transforming(body: Conv) -> bool:
    """Whether products are large enough to repay the transformations, and tiles cover little beyond the output."""
    height, width = (s.extent for s in body.out)
    if min(channels(body)) < _WINOGRAD_CHANNELS:
        return False
    if not (isinstance(height, int) and isinstance(width, int)):
        return True
    covered = 4 * -(-height // 2) * -(-width // 2)
    return height * width >= _WINOGRAD_PIXELS and covered <= _WINOGRAD_SURPLUS * height * width


def default(body: Conv, target: Target, precision: Precision = "exact") -> ConvSchedule:
    """The schedule by rules that need no measurement."""
    if body.packing.form != "plain":
        return _of(body, body.packing.form, body.packing.nr, target, precision)
    _, out_c = channels(body)
    nr = tiles.choose_nr(out_c // body.groups, body.x.dtype, target)
    dense = _of(body, "taps" if is_depthwise(body) else "panels", nr, target, precision)
    if precision == "strict" or (isinstance(dense, DenseSchedule) and dense.tile.products):
        return dense
    transformed = _winograd_applies(body, target) and _repays_transforming(body)
    return _of(body, "winograd", nr, target, precision) if transformed else dense


def _of(body: Conv, form: Form, nr: int, target: Target, precision: Precision, tiled: bool = True) -> ConvSchedule:
    """The default for weights of that packing; tiled: a CPU's tiles are used where they pay."""
    if form == "taps":
        lanes = target.lanes(body.acc.itemsize)
        unrolled = body.taps[-1] <= _UNROLLED_TAPS
        far_bytes = target.l2.bytes // 2
        vectors = max(1, tiles.STORED // lanes) if any(stage.value.dtype in (U8, I8) for stage in body.epilogue) else 1
        pixels = _PIXELS if vectors == 1 else _PIXELS_OF_TWO
        few, tasks = min(_FEW_PIXELS, pixels), max(1, _VECTORS_PER_TASK // vectors)
        return DepthwiseSchedule(lanes, vectors, _BLOCK_ROWS, tasks, pixels, few, unrolled, far_bytes)
    tile = tiles.tile_of(nr, body.x.dtype, target)
    if form == "winograd":
        return WinogradSchedule(tile, _BLOCK_TILES, _PANELS_OF_TILES)
    patch = _needs_patch(body, tile)
    if tiled and tiles.repays_tiles(prod(extent(s) for s in (body.n, *body.out)), _run_length(body, patch)):
        tile = tiles.on_tiles(tile, body.x, None, target, precision)
    if patch:
        return DenseSchedule(tile, True, _patch_pixels(body, tile, target), _PATCH_PANELS)
    pixels = _BLOCK_PIXELS_OF_PARTS if tile.cut else _BLOCK_PIXELS
    return DenseSchedule(tile, False, max(tile.mr, min(pixels, _TABLE_POINTERS // math.prod(body.taps))), 1)


def in_place(body: Conv, tile: Tile) -> bool:
    """Whether the input can be read in place."""
    return conv_input(body) is not None and tile.element(body.x.dtype) == body.x.dtype


def _needs_patch(body: Conv, tile: Tile) -> bool:
    if not in_place(body, tile):
        return True
    in_c = floor_div(extent(body.channel), body.groups)
    return isinstance(in_c, int) and in_c <= _FEW_CHANNELS and body.taps[-1] > 1 and body.dilations[-1] == 1


def _patch_pixels(body: Conv, tile: Tile, target: Target) -> int:
    """The most output pixels of a block; its patch stays in the second-level cache."""
    cached = tiles.rows_in_cache(floor_div(extent(body.channel), body.groups), tile.element(body.x.dtype), target)
    return max(tile.mr, min(_PATCH_PIXELS, cached // math.prod(body.strides)))


def legal(body: Conv, schedule: ConvSchedule, target: Target, precision: Precision = "exact") -> str | None:
    """Why the schedule cannot compute the body; None if it can."""
    reason = _weight_conflict(body, schedule, target)
    if reason:
        return reason
    if isinstance(schedule, DepthwiseSchedule):
        least = dim_min(schedule.block_rows, schedule.tiles_per_task, schedule.pixels, schedule.few_pixels)
        if schedule.pixels * schedule.vectors + 1 > target.registers:
            return f"{schedule.pixels * schedule.vectors} sums need more than {target.registers} registers"
        if schedule.vectors < 1:
            return "a tile has at least a vector"
        enough = known_le(1, least) and schedule.few_pixels <= schedule.pixels
        return None if enough else "all numbers are at least 1"
    if isinstance(schedule, DenseSchedule) and not schedule.patch and not in_place(body, schedule.tile):
        return "an input that is computed needs a patch"
    block = schedule.block_pixels if isinstance(schedule, DenseSchedule) else schedule.block_tiles
    if not known_le(1, dim_min(block, schedule.panels_per_task)):
        return "a task has at least a pixel and a panel"
    if isinstance(schedule, WinogradSchedule) and (precision == "strict" or schedule.tile.products):
        return "Winograd's algorithm rounds differently"
    allowed = tiles.on_tiles(schedule.tile, body.x, None, target, precision)
    return tiles.refusal(schedule.tile, body.x.dtype, target, allowed)


def _weight_conflict(body: Conv, schedule: ConvSchedule, target: Target) -> str | None:
    """Why the weights are not in the packing of the schedule, or cannot be; None if they are or can."""
    current, needed = body.packing, packing(body, schedule)
    if current.form == "plain":
        if (needed.form == "taps") != is_depthwise(body):
            return f"the convolution is {'not ' * (needed.form == 'taps')}depthwise"
        return None if needed.form != "winograd" or _winograd_applies(body, target) else "no algorithm of Winograd's"
    if needed.form == "taps" != current.form:
        return "the convolution is not depthwise"
    if needed.form != current.form:
        return f"the weights are packed for {current.form}"
    if needed != current:
        return f"the weights are packed as {current}, not as {needed}"
    return None


def space(body: Conv, target: Target, precision: Precision = "exact") -> Iterator[ConvSchedule]:
    """Candidates, the most promising first."""
    first = default(body, target, precision)
    candidates: list[ConvSchedule] = [first, *_around(first)]
    if body.packing.form == "plain":
        forms: tuple[Form, ...] = ("winograd", "panels") if precision != "strict" else ("panels",)
        for form in forms:
            for tile in tiles.tiles(body.x.dtype, target):
                for tiled in (True, False):
                    candidates += _around(_of(body, form, tile.nr, target, precision, tiled))
    return (each for each in dict.fromkeys(candidates) if legal(body, each, target, precision) is None)


def _around(first: ConvSchedule) -> list[ConvSchedule]:
    """A schedule, and others of its kind with other numbers."""
    if isinstance(first, DepthwiseSchedule):
        return [
            replace(first, vectors=vectors, block_rows=rows, tiles_per_task=tasks, pixels=pixels, unrolled=unrolled)
            for vectors in sorted({1, 2, first.vectors}, key=lambda vectors: vectors != first.vectors)
            for pixels in (_PIXELS, 4, 12)
            for rows in (_BLOCK_ROWS, 7, 28)
            for tasks in (1, 2, 4)
            for unrolled in sorted({first.unrolled, False}, reverse=True)
        ]
    if isinstance(first, WinogradSchedule):
        return [
            replace(first, block_tiles=block, panels_per_task=panels)
            for block in (_BLOCK_TILES, 12, 48)
            for panels in (1, 2, 4)
        ]
    return [
        replace(first, patch=patch, block_pixels=block, panels_per_task=panels)
        for patch in (first.patch, not first.patch)
        for block in (first.block_pixels, first.block_pixels // 2, first.block_pixels * 2)
        for panels in (1, 2, 4)
    ]
