"""kernel.ir.Sort -> the context of templates/triton/sort.py.j2: each element counts those that come before it.

In: a Kernel whose body is a Sort. Out: Triton source, and the number of programs in the kernel's sizes.

A program ranks a block of elements of one row. The work of a row grows with the square of its length.
"""

from __future__ import annotations

from ...kernel.ir import Kernel, Sort
from ...scalar.dim import Size, ceil_div, extent, prod
from ...scalar.expr import as_type
from ...schedule.device.sort import SortSchedule
from ...schedule.device.tile import warps_of
from ..render import render
from .expr import Value
from .holes import Axis, epilogue, part
from .tiles import Source, arguments, parameters, printer


def tasks(body: Sort, schedule: SortSchedule) -> Size:
    """The number of programs."""
    return prod(size for _, size in _programs(body, schedule))


def refusal(kernel: Kernel, schedule: SortSchedule) -> str | None:
    """Why the kernel cannot be printed; None if it can."""
    body = kernel.body
    assert isinstance(body, Sort)
    return "a sort of tuples in Triton" if body.column is not None else None


def source(kernel: Kernel, name: str, schedule: SortSchedule) -> Source:
    """The kernel's source."""
    body = kernel.body
    assert isinstance(body, Sort)
    out = printer(kernel)
    out.names |= {s: Value(f"o{i}") for i, s in enumerate(body.outer)}
    out.names[body.j] = Value("rank", frozenset((0,)))
    out.acc = Value("acc", frozenset((0,)))
    compute = body.x.dtype.compute
    x = as_type(body.x, compute)
    rows, columns = schedule.rows, schedule.columns
    length, first = out.size(extent(body.i)), out.size(extent(body.j))
    text = render(
        "triton/sort.py.j2",
        name=name,
        parameters=parameters(kernel),
        outer=[(s, out.size(e)) for s, e in _programs(body, schedule)],
        kind=compute.kind,
        bits=compute.bits,
        descending=body.descending,
        rows=rows,
        columns=columns,
        N=length,
        x=part(out, x, (Axis(body.i, "i", f"(i < {length})"),)),
        others=part(out, x, (None, Axis(body.i, "others", f"(others < {length})"))),
        begins=body.begins is not None,
        epilogue=epilogue(out, kernel, body.stores, (Axis(body.i, "i", f"(i < {length}) & (rank < {first})"),)),
        functions=list(out.functions.definitions.values()),
    )
    return Source(text, arguments(kernel), warps_of(rows * columns), 2)


def _programs(body: Sort, schedule: SortSchedule) -> list[tuple[str, Size]]:
    """The names and extents of a program's coordinates, the last one fastest."""
    blocks = ceil_div(extent(body.i), schedule.rows)
    return [*((f"o{i}", extent(s)) for i, s in enumerate(body.outer)), ("block", blocks)]
