"""Scheduling for an accelerator, as `compiler/schedule/` for the host.

Kernels are specialised for known sizes, which decide tiles and show that accesses are aligned. Hence no schedule has a
dynamic part.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from ...kernel.ir import Attention, Body, Conv, Kernel, Launch, LoopNest, Matmul, Nonzero, Recurrent, Schedule, Sort
from ...precision import Rounding
from ..close import close
from ..loopnest import arranged as in_order
from ..pack import packed
from . import attention, conv, loopnest, nonzero, product, recurrent, sort


class Kind(Protocol):
    """The functions of a module about the schedules of one kind of body."""

    def default(self, kernel: Kernel, rounding: Rounding, /) -> Schedule:
        """The schedule by fixed rules; rounding: of factors of f32."""


_KINDS: dict[type[Body], Kind] = {
    Attention: attention,
    Conv: conv,
    LoopNest: loopnest,
    Matmul: product,
    Nonzero: nonzero,
    Recurrent: recurrent,
    Sort: sort,
}


def arranged(launch: Launch, rounding: Rounding = "ieee") -> Launch:
    """The launch closed and with its default schedule; rounding: of factors of f32."""
    body = launch.kernel.body
    if isinstance(body, LoopNest):
        launch = replace(launch, kernel=replace(launch.kernel, body=in_order(body, loopnest.ORDER)))
    elif isinstance(body, Conv):
        launch = packed(launch, conv.packing(body))
    launch = close(launch, literal=True)
    return replace(launch, schedule=default(launch.kernel, rounding))


def default(kernel: Kernel, rounding: Rounding = "ieee") -> Schedule | None:
    """The schedule by rules that need no measurement; None for a kind of kernel that no accelerator has."""
    kind = _KINDS.get(type(kernel.body))
    return kind.default(kernel, rounding) if kind else None
