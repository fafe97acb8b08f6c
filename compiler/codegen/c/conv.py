"""kernel.ir.Conv -> C: picks the template, dense (and grouped), Winograd or depthwise.

In: a Kernel whose body is a Conv, its schedule. Out: C source; `Size`s in the kernel's own symbols.
"""

from __future__ import annotations

from ...kernel.ir import Conv, Kernel
from ...scalar.dim import Size
from ...schedule.conv import ConvSchedule, DenseSchedule, DepthwiseSchedule, WinogradSchedule
from . import conv_dense, conv_depthwise, conv_winograd
from .kind import Kind

_KINDS: dict[type, Kind] = {
    DenseSchedule: conv_dense,
    WinogradSchedule: conv_winograd,
    DepthwiseSchedule: conv_depthwise,
}


def tasks(body: Conv, schedule: ConvSchedule) -> Size:
    """The number of tasks, in the kernel's sizes."""
    return _KINDS[type(schedule)].tasks(body, schedule)


def scratch_bytes(body: Conv, schedule: ConvSchedule) -> Size:
    """Bytes of scratch a thread needs, in the kernel's sizes."""
    return _KINDS[type(schedule)].scratch_bytes(body, schedule)


def source(kernel: Kernel, name: str, schedule: ConvSchedule) -> str:
    """The C source of the kernel, whose one function is called `name`."""
    return _KINDS[type(schedule)].source(kernel, name, schedule)
