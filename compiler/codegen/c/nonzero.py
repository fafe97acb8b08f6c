"""kernel.ir.Nonzero -> the context of templates/c/nonzero.c.j2, its tasks and scratch.

In: a Kernel whose body is a Nonzero; there is nothing to choose. Out: C source; `Size`s in the kernel's own symbols.
"""

from __future__ import annotations

from ...kernel.ir import Kernel, Nonzero, Stage
from ...scalar.dim import Size, extent
from ...scalar.dtype import I64
from ...scalar.expr import Acc, Index
from ..render import render
from .holes import Holes


def tasks(body: Nonzero, _: None = None) -> Size:
    """One task, since the index at which a position is written depends on all positions before it."""
    return 1


def scratch_bytes(body: Nonzero, _: None = None) -> Size:
    """No scratch."""
    return 0


def source(kernel: Kernel, name: str, _: None = None) -> str:
    """The C source of the kernel, whose one function is called `name`."""
    body = kernel.body
    assert isinstance(body, Nonzero)
    holes = Holes(kernel, {body.i: "i", body.j: "j"})
    statements, mask = holes.value(body.mask)
    return render(
        "c/nonzero.c.j2",
        **holes.frame(name),
        N=holes.size(extent(body.i)),
        statements=statements,
        mask=mask,
        places=holes.epilogue([Stage(Index(body.i), body.places)], "acc"),
        count=holes.epilogue([Stage(Acc(I64), body.count)], "j"),
    )
