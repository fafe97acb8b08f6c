"""Kernels in Triton, by the schedules that are chosen for them."""

from __future__ import annotations

from intaglio.compiler.codegen.triton import kernels
from intaglio.compiler.codegen.triton.tiles import Source
from intaglio.compiler.kernel.ir import Kernel
from intaglio.compiler.precision import Rounding
from intaglio.compiler.scalar.dim import Size
from intaglio.compiler.schedule.device import default


def source(kernel: Kernel, rounding: Rounding = "ieee") -> Source:
    return kernels.source(kernel, "kernel", default(kernel, rounding))


def refusal(kernel: Kernel) -> str | None:
    return kernels.refusal(kernel, default(kernel))


def tasks(kernel: Kernel) -> Size:
    return kernels.tasks(kernel, default(kernel))
