"""Programs and kernels as text, for dumps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from itertools import count

from ..scalar.dim import Symbol
from ..scalar.expr import Acc, Call, Const, Expr, Index, Load, Local, Require, Var
from .ir import Bind, Branch, Check, Copy, HostCall, Kernel, Launch, LoopNest, Scheduled, Stage, Step
from .program import Program


def print_program(program: Program) -> str:
    """Buffers, then steps in order; a kernel is printed with its first launch."""
    lines = [
        f"%{i} = {b.kind} {b.number} {b.dtype}[{b.size}]{' on the device' if b.device else ''}"
        for i, b in enumerate(program.buffers)
    ]
    return "\n".join([*lines, *_steps(program.steps, program, {}, count())]) + "\n"


def _steps(steps: Sequence[Step], program: Program, known: dict[Scheduled, int], numbers: Iterator[int]) -> list[str]:
    """known: the numbers of the kernels with schedules that are printed already; numbers: counts the launches."""
    lines: list[str] = []

    def inside(steps: Sequence[Step]) -> list[str]:
        return ["  " + line for line in _steps(steps, program, known, numbers)]

    for step in steps:
        if isinstance(step, Launch):
            new = step.scheduled not in known
            number = known.setdefault(step.scheduled, len(known))
            buffers, sizes = ", ".join(f"%{b}" for b in step.buffers), ", ".join(map(str, step.sizes))
            where = " on the device" if step.device else ""
            call = f"kernel {number} ({buffers}) [{sizes}]"
            lines.append(f"step {next(numbers)}{where}: {call}  # {', '.join(step.origin)}")
            if new:
                lines += print_kernel(step.kernel).split("\n")
                lines += [f"    {step.schedule}"] if step.schedule else []
        elif isinstance(step, HostCall):
            results, arguments = (", ".join(f"%{b}" for b in numbers) for numbers in (step.outputs, step.inputs))
            lines.append(f"host {results} = {step.function}({arguments})  # {', '.join(step.origin)}")
        elif isinstance(step, Copy):
            lines.append(f"copy %{step.target} = %{step.source}  # {', '.join(step.origin)}")
        elif isinstance(step, Bind):
            lines.append(f"bind {step.symbol} = %{step.buffer}")
        elif isinstance(step, Check):
            condition = program.checks[step.number]
            lines.append(f"check {condition}  # {condition.text}")
        elif isinstance(step, Branch):
            lines += [f"if %{step.condition}", *inside(step.then), "else", *inside(step.otherwise)]
        else:
            held = "" if step.condition is None else f" while %{step.condition}"
            most = "" if step.trips is None else f" < {step.trips}"
            lines += [f"loop {step.symbol}{most}{held}, %{step.count} = iterations", *inside(step.body)]
    return lines


def print_kernel(kernel: Kernel) -> str:
    """The kernel as indented lines."""
    params = ", ".join(f"{'out ' if p.written else ''}{p.dtype}[{p.size}]" for p in kernel.params)
    lines = [f"  {type(kernel.body).__name__} params ({params}) sizes ({', '.join(map(str, kernel.sizes))})"]
    if isinstance(kernel.body, LoopNest):
        lines.append(f"    outer {_axes(kernel.body.outer)}")
        lines += [f"    stage {slot}: {_stage(s)}" for slot, s in enumerate(kernel.body.stages)]
    else:
        for f in fields(kernel.body):
            value = getattr(kernel.body, f.name)
            if f.name == "epilogue":
                lines += [f"    epilogue: {_stage(s)}" for s in value]
            else:
                lines.append(f"    {f.name} = {_value(value)}")
    return "\n".join(lines)


def _stage(stage: Stage) -> str:
    text = "".join(f"let {x.symbol} = {print_expr(x.value)}; " for x in stage.lets)
    if stage.axes:
        text += f"for {_axes(stage.axes)} "
    if stage.reduce:
        text += f"{stage.reduce} over {_axes(stage.reduce_axes)} of "
    if stage.scan:
        text += f"scan {stage.scan} of "
    text += print_expr(stage.value)
    if stage.store is not None:
        combine = f"{stage.store.combine} " if stage.store.combine else ""
        text += f" -> {combine}b{stage.store.buffer}[{stage.store.index}]"
    return text


def print_expr(e: Expr) -> str:
    """An expression in one line."""
    if isinstance(e, Const):
        return repr(e.value)
    if isinstance(e, Index):
        return f"({e.size})"
    if isinstance(e, Load):
        masked = f" if {print_expr(e.mask)} else {e.other.value if e.other else 0}" if e.mask is not None else ""
        return f"b{e.buffer}[{e.index}]{masked}"
    if isinstance(e, Local):
        return f"s{e.slot}[{e.index}]"
    if isinstance(e, Var):
        return e.name
    if isinstance(e, Acc):
        return "acc"
    if isinstance(e, Require):
        return f"require{e.number}({print_expr(e.ok)}, {print_expr(e.value)})"
    assert isinstance(e, Call)
    name = f"{e.prim}.{e.dtype}" if e.prim in ("cast", "bitcast") else e.prim
    return f"{name}({', '.join(print_expr(a) for a in e.args)})"


def _axes(axes: tuple[Symbol, ...]) -> str:
    return "(" + ", ".join(f"{s.name}<{s.extent}" for s in axes) + ")"


def _value(value: object) -> str:
    if isinstance(value, Expr):
        return print_expr(value)
    if isinstance(value, Symbol):
        return f"{value.name}<{value.extent}"
    if isinstance(value, tuple):
        return "(" + ", ".join(_value(v) for v in value) + ")"
    return str(value)
