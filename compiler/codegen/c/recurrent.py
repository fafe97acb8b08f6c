"""kernel.ir.Recurrent -> the context of templates/c/recurrent.c.j2, its tasks and scratch.

In: a Kernel whose body is a Recurrent, its schedule. Out: C source; `Size`s in the kernel's own symbols.
"""

from __future__ import annotations

from ...kernel.ir import Kernel, Recurrent
from ...scalar.dim import Size, ceil_div
from ...scalar.expr import Expr, Var
from ...schedule.recurrent import RecurrentSchedule
from ..render import render
from .expr import ctype, literal
from .gemm import element_type
from .holes import Holes, narrowed

_GATES = {"lstm": 4, "gru": 3, "gru_linear_before_reset": 3, "rnn": 1}


def tasks(body: Recurrent, schedule: RecurrentSchedule) -> Size:
    """The number of tasks, in the kernel's sizes."""
    return len(body.activations) * _blocks(body, schedule)


def scratch_bytes(body: Recurrent, schedule: RecurrentSchedule) -> Size:
    """Bytes of scratch a thread needs, in the order of the pointers in the template."""
    acc = body.dtype.compute
    states = 1 + (body.kind in ("lstm", "gru"))
    if body.dtype != acc:
        states = 2
    row = states * _state_stride(body, schedule) + _gates_stride(body, schedule)
    weights = body.hidden * _GATES[body.kind] * body.hidden if body.dtype != acc else 0
    return (schedule.rows * row + weights) * acc.itemsize


def source(kernel: Kernel, name: str, schedule: RecurrentSchedule) -> str:
    """The C source of the kernel, whose one function is called `name`."""
    body = kernel.body
    assert isinstance(body, Recurrent)
    holes = Holes(kernel)
    acc = body.dtype.compute

    def function(value: Expr) -> dict[str, object]:
        statements, text = holes.value(value)
        return {"statements": statements, "value": text}

    def buffer(number: int) -> str | None:
        return None if number < 0 else holes.buffer(number)

    # If both directions have the same activations, as usual, the functions do not branch on the direction.
    by_direction = body.activations if len(set(body.activations)) == 2 else body.activations[:1]
    peephole = buffer(body.peephole)
    return render(
        "c/recurrent.c.j2",
        **holes.frame(name),
        elem=element_type(acc),
        storage=ctype(body.dtype),
        narrow_storage=body.dtype != acc,
        widen=function(narrowed(Var("x", body.dtype), acc))["value"],
        narrow=function(narrowed(Var("x", acc), body.dtype))["value"],
        lanes=schedule.lanes,
        tiles=schedule.tiles,
        kind=body.kind,
        gates=_GATES[body.kind],
        directions=len(body.activations),
        reverse=int(body.direction == "reverse"),
        activations=[[function(a) for a in same] for same in zip(*by_direction, strict=True)],
        clip=None if body.clip is None else literal(body.clip, acc)[0],
        input_forget=body.input_forget,
        T=holes.size(body.time),
        B=holes.size(body.batch),
        H=holes.size(body.hidden),
        blocks=holes.size(_blocks(body, schedule)),
        state_stride=holes.size(_state_stride(body, schedule)),
        gates_stride=holes.size(_gates_stride(body, schedule)),
        xw=buffer(body.xw),
        r=buffer(body.r),
        rb=buffer(body.rb),
        peepholes=peephole and _peepholes(peephole),
        h0=buffer(body.h0),
        c0=buffer(body.c0),
        lengths=buffer(body.lengths),
        y=buffer(body.y),
        yh=buffer(body.yh),
        yc=buffer(body.yc),
    )


def _blocks(body: Recurrent, schedule: RecurrentSchedule) -> Size:
    return ceil_div(body.batch, schedule.rows)


def _state_stride(body: Recurrent, schedule: RecurrentSchedule) -> Size:
    return ceil_div(body.hidden, schedule.lanes) * schedule.lanes


def _gates_stride(body: Recurrent, schedule: RecurrentSchedule) -> Size:
    return ceil_div(_GATES[body.kind] * body.hidden, schedule.lanes) * schedule.lanes


def _peepholes(buffer: str) -> tuple[str, ...]:
    """The texts that are added to the arguments of gates i, o and f."""
    return tuple(f" + widen(AT({buffer}, (direction * 3 + {i}) * H + j)) * AT(c, j)" for i in range(3))
