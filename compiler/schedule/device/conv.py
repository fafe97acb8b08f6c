"""Schedules of kernel.ir.Conv on an accelerator: that of the product that it is, of pixels by channels."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...kernel.ir import Conv, Kernel, Schedule
from ...kernel.packing import Packing
from ...scalar.dim import Size, extent, floor_div, prod, upper_bound
from ...scalar.expr import Load
from .. import conv as host
from .product import ProductSchedule, blocks_of, factors
from .tile import tile_length

_UNKNOWN = 8192  # pixels
_FEW_CHANNELS = 16  # below, blocks of K run across taps
_PIXELS, _DEPTHWISE_COLUMNS = 32, 64  # of a tile of a depthwise convolution


@dataclass(frozen=True, slots=True)
class ConvSchedule(Schedule):
    """flat: whether blocks of K run across taps."""

    blocks: ProductSchedule
    flat: bool


def packing(body: Conv) -> Packing:
    """Weights lie group by group."""
    _, out_c = host.channels(body)
    return Packing("taps") if host.is_depthwise(body) else Packing("whole", out_c // body.groups, body.groups)


def default(kernel: Kernel, allow_tf32: bool) -> ConvSchedule:
    """By rules that need no measurement."""
    body = kernel.body
    assert isinstance(body, Conv)
    if is_depthwise(body):
        tile = tile_length(columns(body), _DEPTHWISE_COLUMNS)
        return ConvSchedule(ProductSchedule("outer", _PIXELS, tile, 1, 4, 2), False)
    in_c, taps = channels_of_group(body), prod(body.taps)
    few = upper_bound(in_c)
    across = few is not None and few < _FEW_CHANNELS and taps != 1
    factor = factors(body.x, Load(body.w, 0, kernel.params[body.w].dtype), body.acc)[0].dtype
    sizes = pixels(body), columns(body), in_c * (taps if across else 1), body.groups
    blocks = blocks_of(*sizes, body.acc, factor, body.epilogue, _UNKNOWN)
    return ConvSchedule(replace(blocks, tf32=allow_tf32), across and blocks.form == "dot")


# -- the product that a convolution is -------------------------------------------------------------------------------


def is_depthwise(body: Conv) -> bool:
    return body.packing.form == "taps"


def groups(body: Conv) -> int:
    """How many products there are; a depthwise convolution is one of another form."""
    return 1 if is_depthwise(body) else body.groups


def pixels(body: Conv) -> Size:
    return prod(extent(s) for s in (body.n, *body.out))


def columns(body: Conv) -> Size:
    return extent(body.c) if is_depthwise(body) else body.packing.nr


def channels_of_group(body: Conv) -> Size:
    """Input channels."""
    return 1 if is_depthwise(body) else floor_div(extent(body.channel), body.groups)
