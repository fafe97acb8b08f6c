"""kernel.ir.Trees -> the context of templates/c/trees.c.j2, its tasks and scratch.

In: a Kernel whose body is a Trees, its schedule. Out: C source; `Size`s in the kernel's own symbols.

One task is a block of rows and the trees of one part, so a result does not depend on the split.
"""

from __future__ import annotations

from ...graph.ops.trees import COLUMN, EQUAL, GREATER, LESS, MISSING, NEUTRAL, RELATION
from ...kernel.ir import Kernel, Trees
from ...scalar.dim import Size, ceil_div, extent
from ...scalar.dtype import F64
from ...schedule.trees import TreesSchedule
from ..render import render
from .expr import literal
from .holes import Holes

_OPERATORS = {
    LESS: "<", LESS | EQUAL: "<=", EQUAL: "==", LESS | GREATER: "!=", GREATER | EQUAL: ">=", GREATER: ">",
}  # fmt: skip


def tasks(body: Trees, schedule: TreesSchedule) -> Size:
    """The number of tasks, in the kernel's sizes."""
    return extent(body.part) * ceil_div(extent(body.row), schedule.rows)


def scratch_bytes(body: Trees, schedule: TreesSchedule) -> Size:
    """Bytes of scratch a thread needs: the sums of a block of rows."""
    return schedule.rows * extent(body.target) * F64.itemsize


def source(kernel: Kernel, name: str, schedule: TreesSchedule) -> str:
    """The C source of the kernel, whose one function is called `name`."""
    body = kernel.body
    assert isinstance(body, Trees)
    names = {body.part: "part", body.row: "row", body.target: "target", body.place: "place"}
    holes = Holes(kernel, names)
    statements, x = holes.value(body.x)
    every, some = body.relations
    return render(
        "c/trees.c.j2",
        **holes.frame(name),
        bits=kernel.params[body.nodes].dtype.bits,
        lanes=schedule.lanes,
        RELATION=RELATION,
        MISSING=MISSING,
        COLUMN=COLUMN,
        operator=_OPERATORS.get(every) if every == some else None,
        at_most=(every, some) == (EQUAL, LESS | EQUAL),
        missing=body.missing,
        kind=body.kind,
        neutral=literal(NEUTRAL[body.kind], F64)[0],
        N=holes.size(extent(body.row)),
        parts=holes.size(extent(body.part)),
        targets=holes.size(extent(body.target)),
        trees=holes.size(body.trees),
        columns=holes.size(body.columns),
        rows=holes.size(schedule.rows),
        scratch_bytes=holes.size(scratch_bytes(body, schedule)),
        statements=statements,
        x=x,
        roots=holes.buffer(body.roots),
        nodes=holes.buffer(body.nodes),
        weights=holes.buffer(body.weights) if body.weights >= 0 else None,
        owners=holes.buffer(body.owners) if body.owners >= 0 else None,
        epilogue=holes.epilogue(body.epilogue, "acc"),
    )
