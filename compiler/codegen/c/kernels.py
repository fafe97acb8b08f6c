"""The C back end: what each kind of kernel body becomes.

In: kernels of a lowered program, and their schedules. Out: C sources, and the task and scratch counts that the
program's walk needs. Each body kind has a module of its own with `source`, `tasks` and `scratch_bytes`; this table is
the only place that lists them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from ...kernel.ir import Attention, Conv, Kernel, LoopNest, Matmul, Nms, Nonzero, Recurrent, Sort, Trees
from ...kernel.packing import Packing
from ...scalar.dim import Size
from ...scalar.dtype import DType
from ...schedule import Schedule
from ...schedule import conv as conv_schedule
from ...schedule import matmul as matmul_schedule
from ...target import Target
from . import attention, conv, loopnest, matmul, nms, nonzero, recurrent, sort, trees
from .build import Source

_MODULES: dict[type, ModuleType] = {
    LoopNest: loopnest,
    Matmul: matmul,
    Conv: conv,
    Attention: attention,
    Recurrent: recurrent,
    Sort: sort,
    Nonzero: nonzero,
    Nms: nms,
    Trees: trees,
}
_PLACEHOLDER = "intaglio_kernel"


def source(kernel: Kernel, schedule: Schedule | None) -> Source:
    """A C file with one kernel: its function's name comes from the text, so equal kernels are one object."""
    text: str = _MODULES[type(kernel.body)].source(kernel, _PLACEHOLDER, schedule)
    name = "k" + hashlib.sha256(text.encode()).hexdigest()[:16]
    return Source(name, text.replace(_PLACEHOLDER, name))


def tasks(kernel: Kernel, schedule: Schedule | None) -> Size:
    """How many independent tasks the kernel has, in its formal sizes."""
    size: Size = _MODULES[type(kernel.body)].tasks(kernel.body, schedule)
    return size


def scratch_bytes(kernel: Kernel, schedule: Schedule | None) -> Size:
    """Bytes of private memory each thread needs for it, in its formal sizes."""
    size: Size = _MODULES[type(kernel.body)].scratch_bytes(kernel.body, schedule)
    return size


class CTemplates:
    """Answers lowering's questions for a CPU target (`kernel.lower.Templates`).

    approximate: algorithms that round differently, and spread an infinity to neighbours, are allowed (Winograd)."""

    narrow_weights = False
    literal_sizes = False

    def __init__(self, target: Target, approximate: bool = True) -> None:
        self.target = target
        self.approximate = approximate

    def matmul_packing(self, n: Size, dtype: DType) -> Packing | None:
        return matmul_schedule.packing(n, dtype, self.target)

    def conv_packing(self, body_facts: Mapping[str, Any]) -> Packing:
        return conv_schedule.packing(body_facts, self.target, self.approximate)
