"""The Triton back end: what each kind of kernel body becomes.

In: kernels of a lowered program. Out: Triton sources and the numbers of programs that the launches need. Each body kind
has a module of its own with `source` and `tasks`; this table is the only place that lists them.
"""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

from ...errors import Unsupported
from ...kernel.ir import Attention, Conv, Kernel, Launch, LoopNest, Matmul, Nonzero, Recurrent, Sort
from ...kernel.lower import Weights
from ...kernel.packing import Packing
from ...scalar.dim import Size
from ...schedule import loopnest as loopnest_schedule
from ...schedule.close import close
from ...schedule.conv import channels
from ...schedule.pack import packed
from . import attention, conv, loopnest, matmul, nonzero, recurrent, sort
from .tiles import Source

_MODULES: dict[type, ModuleType] = {
    Attention: attention,
    Conv: conv,
    LoopNest: loopnest,
    Matmul: matmul,
    Nonzero: nonzero,
    Recurrent: recurrent,
    Sort: sort,
}
WEIGHTS = Weights(packed=False, narrow=True)
_PRODUCTS = (Attention, Conv, Matmul, Recurrent)  # bodies that have products


def source(kernel: Kernel, name: str, allow_tf32: bool = False) -> Source:
    """The kernel in Triton, as a function of that name. Raises Unsupported, with the reason.

    allow_tf32: products of f32 may round their operands to 11 bits.
    """
    module = _MODULES.get(type(kernel.body))
    if module is None:
        raise Unsupported(f"a {type(kernel.body).__name__} in Triton")
    options = {"allow_tf32": allow_tf32} if isinstance(kernel.body, _PRODUCTS) else {}
    made: Source = module.source(kernel, name, **options)
    return made


def tasks(kernel: Kernel) -> Size:
    """How many programs run it, in its formal sizes."""
    size: Size = _MODULES[type(kernel.body)].tasks(kernel.body)
    return size


def arranged(launch: Launch) -> Launch:
    """The launch as it is translated: weights of convolutions lie group by group, and kernels are made for the sizes
    that are known: tiles are chosen by them, and accesses are known to be aligned."""
    body = launch.kernel.body
    if isinstance(body, LoopNest):
        nest = loopnest_schedule.arranged(body, loopnest_schedule.ON_DEVICE)
        launch = replace(launch, kernel=replace(launch.kernel, body=nest))
    elif isinstance(body, Conv):
        in_c, out_c = channels(body)
        groups = body.groups
        taps = (in_c, out_c) == (1, groups)
        launch = packed(launch, Packing("taps") if taps else Packing("whole", out_c // groups, groups))
    return close(launch, literal=True)
