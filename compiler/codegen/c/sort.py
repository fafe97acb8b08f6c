"""kernel.ir.Sort -> the context of templates/c/sort.c.j2, its tasks and scratch; and the context of order.h.j2.

In: a Kernel whose body is a Sort, its schedule. Out: C source; `Size`s in the kernel's own symbols.

One task is one row, of less than 2**32 elements. Values are not moved: the kernel sorts keys with indices, then
evaluates the row's expression again at the sorted indices.
"""

from __future__ import annotations

from ...kernel.ir import Kernel, Sort
from ...scalar.dim import Size, dim_min, extent, prod
from ...scalar.dtype import DType
from ...schedule.sort import Order, SortSchedule
from ..render import render
from .expr import value_type
from .holes import Holes, narrowed


def tasks(body: Sort, schedule: SortSchedule) -> Size:
    """The number of tasks, in the kernel's sizes."""
    return prod(extent(s) for s in body.outer)


def scratch_bytes(body: Sort, schedule: SortSchedule) -> Size:
    """Bytes of scratch a thread needs: the items, as much for sorting them, and for tuples a flag each."""
    return _capacity(body, schedule) * (2 * item_bytes(body.x.dtype) + (body.column is not None))


def source(kernel: Kernel, name: str, schedule: SortSchedule) -> str:
    """The C source of the kernel, whose one function is called `name`."""
    body = kernel.body
    assert isinstance(body, Sort)
    names = {body.i: "i", body.j: "j"} | {s: f"outer{i}" for i, s in enumerate(body.outer)}
    holes = Holes(kernel, names | ({body.column: "column"} if body.column is not None else {}))
    compute = body.x.dtype.compute
    statements, value = holes.value(narrowed(body.x, compute))
    return render(
        "c/sort.c.j2",
        **holes.frame(name),
        **ordering(compute, body.descending, schedule.order),
        block=schedule.block,
        few=schedule.few,
        N=holes.size(extent(body.i)),
        K=holes.size(extent(body.j)),
        columns=holes.size(extent(body.column)) if body.column is not None else "",
        capacity=holes.size(_capacity(body, schedule)),
        scratch_bytes=holes.size(scratch_bytes(body, schedule)),
        outer=[(holes.names[s], holes.size(extent(s))) for s in reversed(body.outer)],
        faults=[f"fault{i}" for i in range(kernel.faults)],
        statements=statements,
        value=value,
        begins=body.begins is not None,
        stores=holes.epilogue(body.stores, "is_other"),
    )


def ordering(dtype: DType, descending: bool, order: Order) -> dict[str, object]:
    """The context of templates/c/order.h.j2, for values of a type that is computed with."""
    return {
        "value_type": value_type(dtype),
        "kind": dtype.kind,
        "key_type": f"uint{dtype.bits}_t",
        "item_type": "uint64_t" if item_bytes(dtype) == 8 else "unsigned __int128",
        "descending": descending,
        "order": order,
    }


def item_bytes(dtype: DType) -> int:
    """The bytes of a key and an index: 32 bits each, or 64 each."""
    return 16 if dtype.compute.bits == 64 else 8


def _capacity(body: Sort, schedule: SortSchedule) -> Size:
    return dim_min(extent(body.i), 2 * extent(body.j) + schedule.spare)
