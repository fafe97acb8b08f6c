"""The Triton back end: prints kernels, by the kind of their body.

In: kernels of a program, and their schedules. Out: Triton sources, and the numbers of programs of launches. Each kind
of body has a module (`Kind`); this table is the only place that lists them. `refusal` decides whether a kernel with its
schedule can be printed, before it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from ...kernel.ir import Attention, Body, Conv, Kernel, LoopNest, Matmul, Nonzero, Recurrent, Schedule, Sort
from ...kernel.rebuild import expressions
from ...lower.elements import Weights
from ...scalar.dim import Size
from ...scalar.dtype import F32, DType
from ...scalar.expr import Call
from ...scalar.prims import TABLE
from . import attention, conv, loopnest, matmul, nonzero, recurrent, sort
from .tiles import Source

LARGEST = (1 << 31) - 1  # indices on the device have 32 bits


class Kind(Protocol):
    """The interface of the modules that print one kind of kernel in Triton."""

    def refusal(self, kernel: Kernel, schedule: Any, /) -> str | None:
        """Why the kernel cannot be printed, although its types and primitives can; None if it can."""

    def source(self, kernel: Kernel, name: str, schedule: Any, /) -> Source:
        """The source of the kernel, whose function is called `name`."""

    def tasks(self, body: Any, schedule: Any, /) -> Size:
        """The number of programs, in the kernel's sizes."""


_KINDS: dict[type[Body], Kind] = {
    Attention: attention,
    Conv: conv,
    LoopNest: loopnest,
    Matmul: matmul,
    Nonzero: nonzero,
    Recurrent: recurrent,
    Sort: sort,
}
WEIGHTS = Weights(packed=False, narrow=True)


def refusal(kernel: Kernel, schedule: Schedule | None) -> str | None:
    """Why the kernel cannot run on the device; None if it can. schedule: None if the kind of body has none."""
    kind = _KINDS.get(type(kernel.body))
    if kind is None:
        return f"a {type(kernel.body).__name__} in Triton"
    for param in kernel.params:
        if param.dtype.kind in "sc":
            return f"buffers of {param.dtype}"
        if isinstance(param.size, int) and param.size > LARGEST:
            return f"a buffer of {param.size} elements: indices on the device have 32 bits"
    for prim, dtype in _functions(kernel.body):
        row = TABLE[prim]
        if row.triton_spelling(dtype) is None and (row.expand is None or dtype != F32):
            return f"{prim} of {dtype} in Triton"
    return kind.refusal(kernel, schedule)


def _functions(body: Body) -> Iterator[tuple[str, DType]]:
    """The primitives of a body, except conversions, with the type of their arguments."""
    for e in expressions(body):
        if isinstance(e, Call) and e.prim not in ("cast", "cast_unsaturated", "bitcast"):
            yield e.prim, e.args[-1].dtype
    for stage in body.stages if isinstance(body, LoopNest) else ():
        if stage.store is not None and stage.store.combine is not None:
            yield stage.store.combine, stage.value.dtype


def source(kernel: Kernel, name: str, schedule: Schedule | None) -> Source:
    """The source of a kernel that is not refused, as a function of that name."""
    return _KINDS[type(kernel.body)].source(kernel, name, schedule)


def tasks(kernel: Kernel, schedule: Schedule | None) -> Size:
    """The number of programs that run the kernel, in its formal sizes."""
    return _KINDS[type(kernel.body)].tasks(kernel.body, schedule)
