"""Schedules of kernel.ir.Nonzero on an accelerator: one program, block by block."""

from __future__ import annotations

from dataclasses import dataclass

from ...kernel.ir import Kernel, Nonzero, Schedule
from ...precision import Rounding
from ...scalar.dim import extent
from .tile import tile_length

_ROWS = 1024


@dataclass(frozen=True, slots=True)
class NonzeroSchedule(Schedule):
    """rows: elements of a block."""

    rows: int


def default(kernel: Kernel, rounding: Rounding) -> NonzeroSchedule:
    """The schedule by rules that need no measurement."""
    body = kernel.body
    assert isinstance(body, Nonzero)
    return NonzeroSchedule(tile_length(extent(body.i), _ROWS))
