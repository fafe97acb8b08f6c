"""The C back end: prints kernels, by the kind of their body.

In: kernels of a scheduled program, and their schedules. Out: C sources, and the numbers of tasks and of scratch bytes,
which the program needs. Each kind of body has a module (`Kind`); this table is the only place that lists them.
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
    """A C file with one kernel, whose function's name is a hash of the text, so that equal kernels share an object."""
    text = _KINDS[type(kernel.body)].source(kernel, _PLACEHOLDER, schedule)
    name = "k" + hashlib.sha256(text.encode()).hexdigest()[:16]
    return Source(name, text.replace(_PLACEHOLDER, name))


def tasks(kernel: Kernel, schedule: Schedule | None) -> Size:
    """The number of the kernel's independent tasks, in its formal sizes."""
    return _KINDS[type(kernel.body)].tasks(kernel.body, schedule)


def scratch_bytes(kernel: Kernel, schedule: Schedule | None) -> Size:
    """Bytes of private memory that each thread needs, in the kernel's formal sizes."""
    return _KINDS[type(kernel.body)].scratch_bytes(kernel.body, schedule)


def grain(kernel: Kernel, schedule: Schedule | None) -> Size:
    """Neighbouring tasks claimed at once, in the kernel's formal sizes; one for templates, whose tasks are large."""
    if not isinstance(kernel.body, LoopNest):
        return 1
    assert isinstance(schedule, LoopNestSchedule)
    return loopnest.grain(kernel.body, schedule)
