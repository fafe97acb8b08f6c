"""kernel.ir.Conv -> C: picks the template, dense (and grouped), Winograd or depthwise.

In: a Kernel whose body is a Conv, its schedule. Out: C source; `Size`s in the kernel's own symbols.
"""

from __future__ import annotations

from types import ModuleType

from ...kernel.ir import Conv, Kernel
from ...scalar.dim import Size
from ...schedule.conv import ConvSchedule, DenseSchedule, DepthwiseSchedule, WinogradSchedule
from . import conv_dense, conv_depthwise, conv_winograd

_MODULES: dict[type, ModuleType] = {
    DenseSchedule: conv_dense,
    WinogradSchedule: conv_winograd,
    DepthwiseSchedule: conv_depthwise,
}


def tasks(body: Conv, schedule: ConvSchedule) -> Size:
    """The number of tasks, in the kernel's sizes."""
    size: Size = _MODULES[type(schedule)].tasks(body, schedule)
    return size


def scratch_bytes(body: Conv, schedule: ConvSchedule) -> Size:
    """Bytes of scratch a thread needs, in the kernel's sizes."""
    size: Size = _MODULES[type(schedule)].scratch_bytes(body, schedule)
    return size


def source(kernel: Kernel, name: str, schedule: ConvSchedule) -> str:
    """The C source of the kernel, whose one function is called `name`."""
    text: str = _MODULES[type(schedule)].source(kernel, name, schedule)
    return text
