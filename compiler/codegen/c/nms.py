"""kernel.ir.Nms -> the context of templates/c/nms.c.j2, its tasks and scratch.

In: a Kernel whose body is an Nms, its schedule. Out: C source; `Size`s in the kernel's own symbols.

One task is one row of scores, of less than 2**32 boxes. Scratch grows with the number of boxes, not with its square.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...kernel.ir import Kernel, Nms, Stage
from ...scalar.dim import Size, extent, prod
from ...scalar.dtype import I64
from ...scalar.expr import Acc, Expr, Index
from ...schedule.nms import NmsSchedule
from ..render import render
from .holes import Holes
from .sort import item_bytes, ordering

_KEPT = 5  # numbers of a selected box: its corners and its area


class _Values(NamedTuple):
    """Statements, and the texts of values in terms of them."""

    lines: list[str]
    values: list[str]


def tasks(body: Nms, schedule: NmsSchedule) -> Size:
    """The number of tasks, in the kernel's sizes."""
    return prod(extent(s) for s in body.outer)


def scratch_bytes(body: Nms, schedule: NmsSchedule) -> Size:
    """Bytes of scratch a thread needs: the boxes' items, as much for sorting them, and the selected boxes."""
    kept = _KEPT * body.score.dtype.itemsize
    return 2 * item_bytes(body.score.dtype) * extent(body.i) + kept * extent(body.j)


def source(kernel: Kernel, name: str, schedule: NmsSchedule) -> str:
    """The C source of the kernel, whose one function is called `name`."""
    body = kernel.body
    assert isinstance(body, Nms)
    holes = Holes(kernel, {body.i: "i", body.j: "j"} | {s: f"outer{i}" for i, s in enumerate(body.outer)})

    def printed(values: Sequence[Expr]) -> _Values:
        return _Values(*holes.printer.statements(values))

    return render(
        "c/nms.c.j2",
        **holes.frame(name),
        **ordering(body.score.dtype, True, schedule.order),
        block=schedule.block,
        N=holes.size(extent(body.i)),
        most=holes.size(extent(body.j)),
        scratch_bytes=holes.size(scratch_bytes(body, schedule)),
        outer=[(holes.names[s], holes.size(extent(s))) for s in reversed(body.outer)],
        limits=printed([body.overlap, *([] if body.least is None else [body.least])]),
        has_least=body.least is not None,
        score=printed([body.score]),
        box=printed([body.top, body.left, body.bottom, body.right]),
        places=holes.epilogue([Stage(Index(body.i), body.places)], "acc"),
        counts=holes.epilogue([Stage(Acc(I64), body.counts)], "taken"),
    )
