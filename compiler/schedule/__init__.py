"""Scheduling: decides how each launch is executed. A schedule is a value.

In: a lowered program, and a Target. Out: the program with packed weights, loops in order, and kernels that are closed
over formal sizes. Each kind of body has a module with its schedule, a frozen dataclass, and three functions (`Kind`):
`default` follows rules that need no measurement, `legal` says whether a body can be computed by a schedule, and `space`
enumerates candidates. A kind that is not in the table has nothing to choose. Kernel source is a pure function of a
kernel and its schedule, and so are the numbers of tasks and of scratch bytes.

Fields of a schedule whose type is `Size` are its dynamic part: closing makes them parameters of the kernel, so that
schedules which differ in them alone share an object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Protocol

from ..kernel.ir import Attention, Body, Conv, Launch, LoopNest, Matmul, Nms, Recurrent, Schedule, Sort, Trees
from ..kernel.operands import packed_operands
from ..kernel.program import Program, map_launches
from ..lower.groups import Accelerator
from ..precision import Precision
from ..target import Target
from . import attention, conv, loopnest, matmul, nms, recurrent, sort, trees
from .close import close
from .conv import DenseSchedule, DepthwiseSchedule, WinogradSchedule
from .loopnest import LoopNestSchedule
from .matmul import MatmulSchedule
from .pack import Packer, packed
from .share import share

WORK_OF_ONE_THREAD = 400_000  # operations; a model with fewer runs on the calling thread, as waking another costs more


class Kind(Protocol):
    """The functions of a module about the schedules of one kind of body."""

    def default(self, body: Any, target: Target, precision: Precision = "exact", /) -> Schedule:
        """The schedule by rules that need no measurement."""

    def legal(self, body: Any, schedule: Any, target: Target, precision: Precision = "exact", /) -> str | None:
        """Why the schedule cannot compute the body; None if it can."""

    def space(self, body: Any, target: Target, precision: Precision = "exact", /) -> Iterator[Schedule]:
        """Candidates: the default first, then the most promising ones."""


_KINDS: dict[type[Body], Kind] = {
    Attention: attention,
    Conv: conv,
    LoopNest: loopnest,
    Matmul: matmul,
    Nms: nms,
    Recurrent: recurrent,
    Sort: sort,
    Trees: trees,
}


# The schedules of each kind of body, where data from elsewhere are decoded.
SCHEDULES: dict[type[Body], tuple[type[Schedule], ...]] = {
    Attention: (attention.AttentionSchedule,),
    Conv: (DenseSchedule, WinogradSchedule, DepthwiseSchedule),
    LoopNest: (LoopNestSchedule,),
    Matmul: (MatmulSchedule,),
    Nms: (nms.NmsSchedule,),
    Recurrent: (recurrent.RecurrentSchedule,),
    Sort: (sort.SortSchedule,),
    Trees: (trees.TreesSchedule,),
}

Choose = Callable[[Launch, Target, Precision], Schedule | None]  # of a lowered launch


def schedule(
    program: Program,
    target: Target,
    precision: Precision = "exact",
    accelerator: Accelerator | None = None,
    choose: Choose | None = None,
) -> Program:
    """Decides how each launch is executed; changes the program, and returns it.

    precision: of products; all but "strict" allow algorithms that spread an infinity to neighbours (Winograd).
    choose: replaces `default`."""
    choose = choose or (lambda launch, target, precision: default(launch.kernel.body, target, precision))
    packer = Packer(program)

    def of(launch: Launch) -> Launch:
        if launch.device:
            assert accelerator is not None
            return packer.place(accelerator.arranged(launch))
        return packer.place(close(executed(launch, choose(launch, target, precision))))

    program.steps = share(map_launches(program.steps, of))
    program.scheduled = True
    return program


def executed(launch: Launch, how: Schedule | None) -> Launch:
    """Applies a legal schedule to a launch that is not closed yet: orders its loops, or packs its weights."""
    kernel = launch.kernel
    if isinstance(how, LoopNestSchedule):
        assert isinstance(kernel.body, LoopNest)
        launch = replace(launch, kernel=replace(kernel, body=loopnest.arranged(kernel.body, how)))
    elif isinstance(kernel.body, Conv):
        assert isinstance(how, (DenseSchedule, WinogradSchedule, DepthwiseSchedule))
        launch = packed(launch, conv.packing(kernel.body, how))
    elif isinstance(kernel.body, Matmul) and packed_operands(kernel.body):
        assert isinstance(how, MatmulSchedule)
        launch = packed(launch, matmul.packing(kernel.body, how))
    return replace(launch, schedule=how)


def default(body: Body, target: Target, precision: Precision = "exact") -> Schedule | None:
    """The schedule by rules that need no measurement; None for a kind of body that has nothing to choose."""
    kind = _KINDS.get(type(body))
    return kind.default(body, target, precision) if kind else None


def legal(body: Body, how: Schedule, target: Target, precision: Precision = "exact") -> str | None:
    """Why a schedule, of any kind, cannot compute the body; None if it can."""
    kind = _KINDS.get(type(body))
    if kind is None or not isinstance(how, SCHEDULES[type(body)]):
        return f"{type(how).__name__} is no schedule of {type(body).__name__}"
    return kind.legal(body, how, target, precision)


def space(body: Body, target: Target, precision: Precision = "exact") -> Iterator[Schedule]:
    """Candidates, the default first; none for a kind of body that has nothing to choose."""
    kind = _KINDS.get(type(body))
    return kind.space(body, target, precision) if kind else iter(())
