"""The Triton back end: what each kind of kernel body becomes.

In: kernels of a program, and their schedules. Out: Triton sources and the numbers of programs that the launches need.
Each body kind has a module of its own with `source` and `tasks`; this table is the only place that lists them.
"""

from __future__ import annotations

from types import ModuleType

from ...errors import Unsupported
from ...kernel.ir import Attention, Conv, Kernel, LoopNest, Matmul, Nonzero, Recurrent, Schedule, Sort
from ...lower.groups import Weights
from ...scalar.dim import Size
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


def source(kernel: Kernel, name: str, schedule: Schedule | None, allow_tf32: bool = False) -> Source:
    """The kernel in Triton, as a function of that name. Raises Unsupported, with the reason.

    schedule: None where there is none for a kernel of that kind. allow_tf32: products of f32 may round their operands
    to 11 bits.
    """
    module = _MODULES.get(type(kernel.body))
    if module is None:
        raise Unsupported(f"a {type(kernel.body).__name__} in Triton")
    options = {"allow_tf32": allow_tf32} if isinstance(kernel.body, _PRODUCTS) else {}
    made: Source = module.source(kernel, name, schedule, **options)
    return made


def tasks(kernel: Kernel, schedule: Schedule | None) -> Size:
    """How many programs run it, in its formal sizes."""
    size: Size = _MODULES[type(kernel.body)].tasks(kernel.body, schedule)
    return size
