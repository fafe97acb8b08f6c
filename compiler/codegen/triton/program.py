"""The device's part of a program: its kernels, and why others stay on the host.

In: launches of a lowered program; later the scheduled program. Out: the reasons why launches cannot run on the device;
`DeviceKernel`s. Names are hashes of the source, so equal kernels share a binary.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from ...kernel.ir import Kernel, Launch, Scheduled
from ...kernel.program import Program
from ...kernel.rebuild import expressions
from ...precision import Rounding
from ...scalar.dim import Size, Symbol, symbols
from ...scalar.expr import Index
from ...schedule.device import arranged
from . import kernels
from .tiles import Source

_PLACEHOLDER = "intaglio_kernel"
_INT32_MIN = -(1 << 31)


@dataclass(frozen=True)
class DeviceKernel:
    """A kernel for the device; programs: the number that run it, in the kernel's formal sizes."""

    name: str
    number: int
    source: Source
    programs: Size


class Device:
    """The accelerator of one model (`lower.groups.Accelerator`).

    rounding: of factors of f32."""

    weights = kernels.WEIGHTS

    def __init__(self, rounding: Rounding = "ieee") -> None:
        self.rounding = rounding

    def arranged(self, launch: Launch) -> Launch:
        """The launch with its schedule for the device, closed over formal sizes."""
        return arranged(launch, self.rounding)

    def refusal(self, launch: Launch) -> str | None:
        """Why a launch cannot run on the device; None if it can."""
        launch = self.arranged(launch)
        kernel = launch.kernel
        if _computes_with(kernel, {s for s, size in zip(kernel.sizes, launch.sizes) if _is_unbounded(size)}):
            return "computes with a number that may be anything: those of the device have 32 bits"
        return kernels.refusal(*launch.scheduled)


def translate(program: Program) -> dict[Scheduled, DeviceKernel]:
    """The distinct kernels of a scheduled program that run on the device, numbered in order of their first launch."""
    translated: dict[Scheduled, DeviceKernel] = {}
    for launch in program.launches:
        if launch.device and launch.scheduled not in translated:
            source = kernels.source(launch.kernel, _PLACEHOLDER, launch.schedule)
            name = "d" + hashlib.sha256(source.text.encode()).hexdigest()[:16]
            source = replace(source, text=source.text.replace(_PLACEHOLDER, name))
            programs = kernels.tasks(launch.kernel, launch.schedule)
            translated[launch.scheduled] = DeviceKernel(name, len(translated), source, programs)
    return translated


def _is_unbounded(size: Size) -> bool:
    """Whether a size may not fit 32 bits: whether it is an element of a tensor, or random bits."""
    return isinstance(size, Symbol) and size.lower < _INT32_MIN


def _computes_with(kernel: Kernel, sizes: set[Symbol]) -> bool:
    """Whether a kernel uses any of these sizes as a value, rather than in the index of an access."""
    return bool(sizes) and any(isinstance(e, Index) and symbols(e.size) & sizes for e in expressions(kernel.body))
