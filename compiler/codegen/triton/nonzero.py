"""kernel.ir.Nonzero -> the context of templates/triton/nonzero.py.j2: running counts, block by block.

In: a Kernel whose body is a Nonzero. Out: Triton source, and the number of programs.
"""

from __future__ import annotations

from ...kernel.ir import Kernel, Nonzero, Stage
from ...scalar.dim import Size, extent
from ...scalar.dtype import I64
from ...scalar.expr import Acc, Index
from ...schedule.device.nonzero import NonzeroSchedule
from ...schedule.device.tile import warps_of
from ..render import render
from .expr import Value
from .holes import Axis, epilogue, part
from .tiles import Source, arguments, parameters, printer


def tasks(body: Nonzero, schedule: NonzeroSchedule) -> Size:
    """One program."""
    return 1


def refusal(kernel: Kernel, schedule: NonzeroSchedule) -> None:
    """None: every kernel can be printed."""


def source(kernel: Kernel, name: str, schedule: NonzeroSchedule) -> Source:
    """The kernel's source."""
    body = kernel.body
    assert isinstance(body, Nonzero)
    out = printer(kernel)
    length, rows = out.size(extent(body.i)), schedule.rows
    element, counted = Axis(body.i, "i", f"(i < {length})"), Axis(body.i, "i", "counts")
    mask = part(out, body.mask, (element,))
    out.names[body.j] = Value("j", frozenset((0,)))
    out.acc = Value("acc")
    places = epilogue(out, kernel, [Stage(Index(body.i), body.places)], (counted,))
    count = epilogue(out, kernel, [Stage(Acc(I64), body.count)], ())
    text = render(
        "triton/nonzero.py.j2",
        name=name,
        parameters=parameters(kernel),
        rows=rows,
        N=length,
        mask=mask,
        places=places,
        count=count,
        functions=list(out.functions.definitions.values()),
    )
    return Source(text, arguments(kernel), warps_of(rows), 2)
