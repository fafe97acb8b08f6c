"""How kernels are executed on a CPU: for each kind of body that has a choice, a schedule, which is a value.

In: bodies, and a Target. Out: schedules. `default` follows rules that need no measurement, `legal` says why a body
cannot be computed in some way, and `space` lists what can be tried. Printers read nothing else: kernel source is a pure
function of a kernel and its schedule, and so are the numbers of tasks and of scratch bytes.
"""

from __future__ import annotations

from types import ModuleType
from typing import TypeAlias

from ..kernel.ir import Attention, Body, Conv, Kernel, Matmul, Recurrent
from ..kernel.program import Program
from ..target import Target
from . import attention, conv, matmul, recurrent
from .attention import AttentionSchedule
from .conv import ConvSchedule
from .matmul import MatmulSchedule
from .recurrent import RecurrentSchedule

Schedule: TypeAlias = MatmulSchedule | ConvSchedule | AttentionSchedule | RecurrentSchedule
Schedules: TypeAlias = dict[Kernel, Schedule | None]  # None: there is nothing to choose

_MODULES: dict[type, ModuleType] = {Attention: attention, Conv: conv, Matmul: matmul, Recurrent: recurrent}


def default(body: Body, target: Target) -> Schedule | None:
    """By rules that need no measurement."""
    module = _MODULES.get(type(body))
    made: Schedule | None = module.default(body, target) if module else None
    return made


def choose(program: Program, target: Target) -> Schedules:
    """A schedule for each kernel that runs on the host."""
    kernels = dict.fromkeys(launch.kernel for launch in program.launches if not launch.device)
    return {kernel: default(kernel.body, target) for kernel in kernels}


def print_schedules(schedules: Schedules) -> str:
    """A schedule in each line, of the kernels on the host in the order in which programs have them."""
    return "".join(f"{type(kernel.body).__name__}: {schedule}\n" for kernel, schedule in schedules.items() if schedule)
