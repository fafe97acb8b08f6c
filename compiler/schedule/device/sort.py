"""Schedules of kernel.ir.Sort on an accelerator: a program has a block of elements of one row."""

from __future__ import annotations

from dataclasses import dataclass

from ...kernel.ir import Kernel, Schedule, Sort
from ...precision import Rounding
from ...scalar.dim import extent
from .tile import tile_length

_ROWS, _COLUMNS = 32, 128


@dataclass(frozen=True, slots=True)
class SortSchedule(Schedule):
    """rows: elements of a block; columns: the elements that they are compared with at a time."""

    rows: int
    columns: int


def default(kernel: Kernel, rounding: Rounding) -> SortSchedule:
    """The schedule by rules that need no measurement."""
    body = kernel.body
    assert isinstance(body, Sort)
    return SortSchedule(tile_length(extent(body.i), _ROWS), tile_length(extent(body.i), _COLUMNS))
