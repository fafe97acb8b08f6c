"""Schedules of kernel.ir.Conv on an accelerator, as a product of pixels by channels."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...kernel.ir import Conv, Kernel, Schedule
from ...kernel.packing import Packing
from ...precision import Rounding
from ...scalar.dim import Size, extent, floor_div, prod, upper_bound
from ...scalar.expr import Load
from .. import conv as host
from .product import ProductSchedule, blocks_of, factors
from .tile import tile_length

_UNKNOWN = 8192  # pixels assumed without a bound
_FEW_CHANNELS = 16  # below which blocks of K run across taps
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


def default(kernel: Kernel, rounding: Rounding) -> ConvSchedule:
    """The schedule by rules that need no measurement."""
    body = kernel.body
    assert isinstance(body, Conv)
    if is_depthwise(body):
        tile = tile_length(columns(body), _DEPTHWISE_COLUMNS)
        return ConvSchedule(ProductSchedule("outer", _PIXELS, tile, 1, 4, 2), False)
    in_c, taps = channels_of_group(body), prod(body.taps)
    most = upper_bound(in_c)
    across = most is not None and most < _FEW_CHANNELS and taps != 1
    factor = factors(body.x, Load(body.w, 0, kernel.params[body.w].dtype), body.acc)[0].dtype
    sizes = pixels(body), columns(body), in_c * (taps if across else 1), body.groups
    blocks = blocks_of(*sizes, body.acc, factor, body.epilogue, _UNKNOWN)
    return ConvSchedule(replace(blocks, rounding=rounding), across and blocks.form == "dot")


# -- a convolution as a product --------------------------------------------------------------------------------------


def is_depthwise(body: Conv) -> bool:
    return body.packing.form == "taps"


def groups(body: Conv) -> int:
    """The number of products; a depthwise convolution is one product of form "outer"."""
    return 1 if is_depthwise(body) else body.groups


def pixels(body: Conv) -> Size:
    return prod(extent(s) for s in (body.n, *body.out))


def columns(body: Conv) -> Size:
    return extent(body.c) if is_depthwise(body) else body.packing.nr


def channels_of_group(body: Conv) -> Size:
    """The input channels of a group."""
    return 1 if is_depthwise(body) else floor_div(extent(body.channel), body.groups)
