"""Schedules of kernel.ir.LoopNest on an accelerator. Its loops are in the order of the host's; a block of inner points
is a tile."""

from __future__ import annotations

from dataclasses import dataclass

from ...kernel.ir import Kernel, Schedule
from ..loopnest import LoopNestSchedule

ORDER = LoopNestSchedule(scanned=0)  # a program for each column of a scan


@dataclass(frozen=True, slots=True)
class NestSchedule(Schedule):
    """How stages become tiles.

    elements: of a tile, at most; columns: of a tile of a reduction that keeps them apart; short: elements of a
    reduction that are too few for a program, and points that are too few for a block; scanned: elements of a tile of a
    scan; long: elements of a block whose accesses without masks are worth a second text; vector: that one access takes
    at most.
    """

    elements: int = 2048
    columns: int = 64
    short: int = 32
    scanned: int = 1024
    long: int = 512
    vector: int = 16


def default(kernel: Kernel, allow_tf32: bool) -> NestSchedule:
    """By rules that need no measurement."""
    return NestSchedule()
