"""The Triton back end: what each kind of kernel body becomes.

In: kernels of a lowered program. Out: Triton sources and the numbers of programs that the launches need. Each body kind
has a module of its own with `source` and `tasks`; this table is the only place that lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from ...errors import Unsupported
from ...kernel.ir import Attention, Conv, Kernel, LoopNest, Matmul, Nonzero, Recurrent, Sort
from ...kernel.packing import Packing
from ...scalar.dim import Size
from ...scalar.dtype import DType
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


class TritonTemplates:
    """Answers lowering's questions for a GPU (`kernel.lower.Templates`): weights lie as the graph has them, those of
    convolutions group by group."""

    narrow_weights = True
    literal_sizes = True  # tiles are chosen by them, and accesses are known to be aligned

    def matmul_packing(self, n: Size, dtype: DType) -> Packing | None:
        return None

    def conv_packing(self, body_facts: Mapping[str, Any]) -> Packing:
        groups = body_facts["groups"]
        return Packing("whole", body_facts["oc"] // groups, groups)
