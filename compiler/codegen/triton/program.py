"""The device's part of a program: which kernels it has, and why others stay on the host.

In: launches of a lowered program. Out: `DeviceKernel`s, each once, numbered in the order in which they were first asked
for. Names come from the text of the source, so equal kernels are one binary.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from ...errors import Unsupported
from ...kernel.ir import Kernel, Launch, Schedule, Scheduled
from ...kernel.rebuild import expressions
from ...scalar.dim import Size, Symbol, symbols, upper_bound
from ...scalar.expr import Index
from ...schedule.device import arranged
from . import kernels
from .tiles import Source

_PLACEHOLDER = "intaglio_kernel"
_LARGEST = (1 << 31) - 1  # indices are int32
_LEAST = -(1 << 31)


@dataclass(frozen=True)
class DeviceKernel:
    """A kernel for the device. programs: how many run it, in the kernel's formal sizes."""

    name: str
    number: int
    source: Source
    programs: Size


class Device:
    """The kernels of one model (`kernel.lower.Accelerator`). allow_tf32: matrix products of f32 may round their
    operands to 10 bits."""

    weights = kernels.WEIGHTS

    def __init__(self, allow_tf32: bool = False) -> None:
        self.allow_tf32 = allow_tf32
        self.kernels: dict[Scheduled, DeviceKernel] = {}
        self._refused: dict[Scheduled, str] = {}

    def arranged(self, launch: Launch) -> Launch:
        """The launch as it runs on the device; its kernel is among `kernels` unless it was refused."""
        return arranged(launch, self.allow_tf32)

    def refusal(self, launch: Launch) -> str | None:
        """Why a launch cannot run on the device; None where it can, and its kernel is then among `kernels`."""
        launch = self.arranged(launch)
        kernel = launch.kernel
        if _computes_with(kernel, {s for s, size in zip(kernel.sizes, launch.sizes) if _may_be_anything(size)}):
            return "computes with a number that may be anything: those of the device have 32 bits"
        scheduled = launch.scheduled
        if scheduled not in self.kernels and scheduled not in self._refused:
            try:
                self._translate(*scheduled)
            except Unsupported as reason:
                self._refused[scheduled] = str(reason)
        return self._refused.get(scheduled)

    def _translate(self, kernel: Kernel, schedule: Schedule | None) -> None:
        for param in kernel.params:
            bound = upper_bound(param.size)
            if isinstance(param.size, int) and bound is not None and bound > _LARGEST:
                raise Unsupported(f"a buffer of {bound} elements: indices on the device have 32 bits")
        source = kernels.source(kernel, _PLACEHOLDER, schedule, self.allow_tf32)
        name = "d" + hashlib.sha256(source.text.encode()).hexdigest()[:16]
        named = Source(source.text.replace(_PLACEHOLDER, name), source.arguments, source.warps, source.stages)
        programs = kernels.tasks(kernel, schedule)
        self.kernels[kernel, schedule] = DeviceKernel(name, len(self.kernels), named, programs)


def _may_be_anything(size: Size) -> bool:
    """Whether a size is an element of a tensor, or random bits."""
    return isinstance(size, Symbol) and size.lower < _LEAST


def _computes_with(kernel: Kernel, sizes: set[Symbol]) -> bool:
    """Whether a kernel takes any of these sizes as a value, rather than as a place."""
    return bool(sizes) and any(isinstance(e, Index) and symbols(e.size) & sizes for e in expressions(kernel.body))
