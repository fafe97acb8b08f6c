"""Scheduling for an accelerator, as `compiler/schedule/` for the host.

Kernels are specialised for known sizes, which decide tiles and show that accesses are aligned. Hence no schedule has a
dynamic part.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from ...kernel.ir import Attention, Body, Conv, Kernel, Launch, LoopNest, Matmul, Nonzero, Recurrent, Schedule, Sort
from ..close import close
from ..loopnest import arranged as in_order
from ..pack import packed
from . import attention, conv, loopnest, nonzero, product, recurrent, sort


class Kind(Protocol):
    """The functions of a module about the schedules of one kind of body."""

    def default(self, kernel: Kernel, allow_tf32: bool, /) -> Schedule:
        """The schedule by fixed rules; allow_tf32: products of f32 may round their operands to 11 bits."""


_KINDS: dict[type[Body], Kind] = {
    Attention: attention,
    Conv: conv,
    LoopNest: loopnest,
    Matmul: product,
    Nonzero: nonzero,
    Recurrent: recurrent,
    Sort: sort,
}


def arranged(launch: Launch, allow_tf32: bool = False) -> Launch:
    """The launch closed and with its default schedule; allow_tf32: products of f32 may round their operands."""
    body = launch.kernel.body
    if isinstance(body, LoopNest):
        launch = replace(launch, kernel=replace(launch.kernel, body=in_order(body, loopnest.ORDER)))
    elif isinstance(body, Conv):
        launch = packed(launch, conv.packing(body))
    launch = close(launch, literal=True)
    return replace(launch, schedule=default(launch.kernel, allow_tf32))


def default(kernel: Kernel, allow_tf32: bool = False) -> Schedule | None:
    """The schedule by rules that need no measurement; None for a kind of kernel that no accelerator has."""
    kind = _KINDS.get(type(kernel.body))
    return kind.default(kernel, allow_tf32) if kind else None
