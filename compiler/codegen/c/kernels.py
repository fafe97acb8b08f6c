"""The C back end: what each kind of kernel body becomes.

In: kernels of a lowered program, and their schedules. Out: C sources, and the task and scratch counts that the
program's walk needs. Each body kind has a module of its own with `source`, `tasks` and `scratch_bytes`; this table is
the only place that lists them.
"""

from __future__ import annotations

import hashlib

from ...kernel.ir import (
    Attention,
    Conv,
    Kernel,
    LoopNest,
    Matmul,
    Nms,
    Nonzero,
    Recurrent,
    Schedule,
    Sort,
    Trees,
)
from ...scalar.dim import Size
from ...schedule.loopnest import LoopNestSchedule
from . import attention, conv, loopnest, matmul, nms, nonzero, recurrent, sort, trees
from .build import Source
from .kind import Kind

_KINDS: dict[type, Kind] = {
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
    text = _KINDS[type(kernel.body)].source(kernel, _PLACEHOLDER, schedule)
    name = "k" + hashlib.sha256(text.encode()).hexdigest()[:16]
    return Source(name, text.replace(_PLACEHOLDER, name))


def tasks(kernel: Kernel, schedule: Schedule | None) -> Size:
    """How many independent tasks the kernel has, in its formal sizes."""
    return _KINDS[type(kernel.body)].tasks(kernel.body, schedule)


def scratch_bytes(kernel: Kernel, schedule: Schedule | None) -> Size:
    """Bytes of private memory each thread needs for it, in its formal sizes."""
    return _KINDS[type(kernel.body)].scratch_bytes(kernel.body, schedule)


def grain(kernel: Kernel, schedule: Schedule | None) -> Size:
    """Neighbouring tasks claimed at once, in the kernel's formal sizes: those of templates are of a size themselves."""
    if not isinstance(kernel.body, LoopNest):
        return 1
    assert isinstance(schedule, LoopNestSchedule)
    return loopnest.grain(kernel.body, schedule)
