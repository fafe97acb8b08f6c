"""Schedules of kernel.ir.LoopNest on an accelerator: loops are ordered as on the host, a block of inner points is a
tile."""

from __future__ import annotations

from dataclasses import dataclass

from ...kernel.ir import Kernel, Schedule
from ...precision import Rounding
from ..loopnest import LoopNestSchedule

ORDER = LoopNestSchedule(scanned=0)  # a program for each column of a scan


@dataclass(frozen=True, slots=True)
class NestSchedule(Schedule):
    """How stages become tiles.

    elements: the most of a tile; columns: of a tile of a reduction that keeps columns apart; short: reductions up to
    this long do not get a program each, and outer axes shorter than this are not cut into blocks; scanned: the most
    elements of a tile of a scan; long: elements of a block from which a second variant without masks is worth its code;
    vector: the most elements of one access.
    """

    elements: int = 2048
    columns: int = 64
    short: int = 32
    scanned: int = 1024
    long: int = 512
    vector: int = 16


def default(kernel: Kernel, rounding: Rounding) -> NestSchedule:
    """The schedule by rules that need no measurement."""
    return NestSchedule()
