"""Schedules of kernel.ir.Recurrent on an accelerator: a program has one direction of a block of sequences."""

from __future__ import annotations

from dataclasses import dataclass

from ...kernel.ir import Kernel, Recurrent, Schedule
from ...precision import Rounding
from .tile import MIN_DOT, tile_length

_ROWS = 16
_COLUMNS, _DEPTH = 64, 32
_WARPS = 8


@dataclass(frozen=True, slots=True)
class RecurrentSchedule(Schedule):
    """rows: sequences of a program; columns: hidden units computed at a time; depth: hidden units summed at a time;
    rounding: of factors of f32."""

    rows: int
    columns: int
    depth: int
    warps: int
    rounding: Rounding = "ieee"


def default(kernel: Kernel, rounding: Rounding) -> RecurrentSchedule:
    """The schedule by rules that need no measurement."""
    body = kernel.body
    assert isinstance(body, Recurrent)
    columns, depth = (max(tile_length(body.hidden, most), MIN_DOT) for most in (_COLUMNS, _DEPTH))
    return RecurrentSchedule(tile_length(body.batch, _ROWS), columns, depth, _WARPS, rounding)
