"""Lowering: a graph becomes a program, and each fused group of its nodes a kernel.

In: a graph. Out: a `Program`: buffers and steps (`steps.py`). Each group of `fuse.py` becomes one kernel, whose body
(`bodies.py`) consists of expressions of its elements (`elements.py`). Targets, and how a kernel is executed, are not
known here (`compiler/schedule/`). With an accelerator, a group is lowered for it first, and again for the host if it
is not to run there, as each side reads weights in its own way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from ..graph.conditions import Condition
from ..graph.ir import Graph, Node, Value
from ..kernel.ir import Launch
from ..kernel.program import Program
from ..plan.place import host_reason
from .bodies import body_of
from .build import Buffers, make_launch
from .elements import HOST_WEIGHTS, Elements, Weights
from .fuse import Group, distinct_outputs
from .steps import StepBuilder


class Accelerator(Protocol):
    """What the compiler asks of an accelerator: how it reads weights, what it can run, and how."""

    weights: Weights

    def refusal(self, launch: Launch) -> str | None:
        """Why it cannot run a launch, or None."""

    def arranged(self, launch: Launch) -> Launch:
        """The launch with its schedule for the accelerator, closed over formal sizes."""


def lower(
    graph: Graph,
    demanded: Sequence[Condition] = (),
    accelerator: Accelerator | None = None,
    rounds: bool = True,
    watched: Sequence[Value] = (),
) -> Program:
    """Fuses and lowers a graph.

    demanded: conditions to check beside those of the graph, if their symbols are known before a run.
    accelerator: runs the launches that it does not refuse. rounds: see `Buffers`.
    watched: values that become outputs of the program, behind those of the graph, once it is decided which nodes share
    a kernel: one that has a buffer is kept, one inside of a kernel is written by it as well (`fuse.inside`)."""
    graph = distinct_outputs(graph)
    program = Program(_watched(graph, watched), placed=accelerator is None)
    bufs = Buffers(program, rounds)
    for i, value in enumerate(graph.inputs):
        bufs.add(value, "input", i)
    names = dict(enumerate(graph.output_names))
    for i, value in enumerate(graph.outputs):
        bufs.add(value, "output", i, names.get(i, ""))
    for i, value in enumerate(watched, len(graph.outputs)):
        bufs.add(value, "output", i)
    bufs.watched.update(watched)

    def launch_of(group: Group, bufs: Buffers, static: set[Node]) -> Launch:
        if accelerator is None:
            return _launch(Elements(group, bufs, static, HOST_WEIGHTS))
        mark = bufs.mark()
        launch = on_side(_launch(Elements(group, bufs, static, accelerator.weights)))
        if launch.device:
            return launch
        bufs.undo(mark)
        return replace(_launch(Elements(group, bufs, static, HOST_WEIGHTS)), refusal=launch.refusal)

    def on_side(launch: Launch) -> Launch:
        if accelerator is None:
            return launch
        refusal = host_reason(launch) or accelerator.refusal(launch)
        return replace(launch, device=refusal is None, refusal=refusal or "")

    program.steps = StepBuilder(graph, bufs, launch_of, on_side).run(program.conditions)
    given, known = set(program.symbols()), set(program.conditions)
    program.conditions += [c for c in demanded if c not in known and c.symbols <= given]
    return program


def _watched(graph: Graph, watched: Sequence[Value]) -> Graph:
    """The graph as its program has it: with the watched values as outputs."""
    names = [f"watched {i}" for i in range(len(watched))]
    names = [*graph.output_names, *names] if watched else graph.output_names
    return replace(graph, outputs=[*graph.outputs, *watched], output_names=names)


def _launch(elements: Elements) -> Launch:
    """The launch of a group's kernel, whose sizes are the model's symbols."""
    program = elements.bufs.program
    body = body_of(elements)
    origin = tuple(dict.fromkeys(o for n in reversed(elements.group.nodes) for o in n.origin if o))
    launch = make_launch(body, tuple(elements.params), tuple(elements.buffers), origin, program.indices)
    faults = tuple(program.check(r) for r in elements.required)
    return replace(launch, kernel=replace(launch.kernel, faults=len(faults)), faults=faults)
