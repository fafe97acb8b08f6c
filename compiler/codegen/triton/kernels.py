"""The Triton back end: what each kind of kernel body becomes.

In: kernels of a lowered program. Out: Triton sources and the numbers of programs that the launches need. Each body kind
has a module of its own with `source` and `tasks`; this table is the only place that lists them.
"""

from __future__ import annotations

from types import ModuleType

from ...errors import Unsupported
from ...kernel.ir import Kernel, LoopNest
from ...scalar.dim import Size
from . import loopnest
from .tiles import Source

_MODULES: dict[type, ModuleType] = {
    LoopNest: loopnest,
}


def source(kernel: Kernel, name: str) -> Source:
    """The kernel in Triton, as a function of that name. Raises Unsupported, with the reason."""
    module = _MODULES.get(type(kernel.body))
    if module is None:
        raise Unsupported(f"a {type(kernel.body).__name__} in Triton")
    made: Source = module.source(kernel, name)
    return made


def tasks(kernel: Kernel) -> Size:
    """How many programs run it, in its formal sizes."""
    size: Size = _MODULES[type(kernel.body)].tasks(kernel.body)
    return size
