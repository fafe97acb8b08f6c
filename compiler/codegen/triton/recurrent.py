"""kernel.ir.Recurrent -> the context of templates/triton/recurrent.py.j2: all steps of a layer in one program.

In: a Kernel whose body is a Recurrent. Out: Triton source, and the number of programs in the kernel's sizes.

A program computes one direction of a block of sequences. Its outputs, in their type, hold the states between steps.
"""

from __future__ import annotations

from ...kernel.ir import Kernel, Recurrent
from ...scalar.dim import Size, ceil_div
from ...scalar.expr import Const, Var
from ...schedule.device.recurrent import RecurrentSchedule
from ..render import render
from .expr import Printer, literal, value_type
from .gemm import precision
from .tiles import Source, arguments, parameters, printer

GATES = {"lstm": 4, "gru": 3, "gru_linear_before_reset": 3, "rnn": 1}


def tasks(body: Recurrent, schedule: RecurrentSchedule) -> Size:
    """The number of programs."""
    return len(body.activations) * ceil_div(body.batch, schedule.rows)


def refusal(kernel: Kernel, schedule: RecurrentSchedule) -> str | None:
    """Why the kernel cannot be printed, or None: outputs that hold states are missing, or too narrow for them."""
    body = kernel.body
    assert isinstance(body, Recurrent)
    states = {"y": body.y} | ({"yc": body.yc} if body.kind == "lstm" else {"yh": body.yh} if body.kind == "gru" else {})
    for output, number in states.items():
        if number < 0:
            return f"{body.kind} without {output}, which holds a state between steps, in Triton"
    return f"{body.kind} of {body.dtype} in Triton" if body.dtype.bits < 16 else None


def source(kernel: Kernel, name: str, schedule: RecurrentSchedule) -> Source:
    """The kernel's source."""
    body = kernel.body
    assert isinstance(body, Recurrent)
    out = printer(kernel)
    acc = body.dtype.compute
    numbers = ("xw", "r", "rb", "peephole", "h0", "c0", "lengths", "y", "yh", "yc")
    buffers = {n: out.buffers[getattr(body, n)] if getattr(body, n) >= 0 else None for n in numbers}
    text = render(
        "triton/recurrent.py.j2",
        name=name,
        parameters=parameters(kernel),
        outer=[("direction", len(body.activations)), ("block", out.size(ceil_div(body.batch, schedule.rows)))],
        **buffers,
        kind=body.kind,
        gates=GATES[body.kind],
        directions=len(body.activations),
        reverse=body.direction == "reverse",
        T=out.size(body.time),
        B=out.size(body.batch),
        H=out.size(body.hidden),
        rows=schedule.rows,
        columns=schedule.columns,
        depth=schedule.depth,
        acc=value_type(acc),
        storage=value_type(body.dtype),
        precision=precision(acc, schedule.rounding) or "ieee",
        activations=_activations(out, body),
        clip=None if body.clip is None else literal(Const(body.clip, acc)),
        input_forget=body.input_forget,
        functions=list(out.functions.definitions.values()),
    )
    return Source(text, arguments(kernel), schedule.warps, 2)


def _activations(out: Printer, body: Recurrent) -> list[list[str]]:
    """For each activation the functions that compute it: one, or one per direction if those differ."""
    x = (Var("x", body.dtype.compute),)
    same = body.activations[:1] if len(set(body.activations)) == 1 else body.activations
    return [
        [out.functions.of_expression(f"activation{number}_{direction}", x, e) for direction, e in enumerate(of_each)]
        for number, of_each in enumerate(zip(*same, strict=True))
    ]
