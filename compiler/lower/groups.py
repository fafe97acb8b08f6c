"""Lowering: groups of graph nodes to kernels.

In: a graph. Out: a `Program`: buffers and steps (`steps.py`). Each group of `fuse.py` becomes one kernel, whose body
(`bodies.py`) is made of the elements of its values (`elements.py`). Nothing here knows a target, or how a kernel is
executed (`compiler/schedule/`). Where there is an accelerator, a group is lowered for it first, and again for the host
where the accelerator refuses the kernel: each side reads weights in its own way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from ..graph.conditions import Condition
from ..graph.ir import Graph, Node
from ..kernel.ir import Launch
from ..kernel.program import Program
from ..plan.place import of_shapes
from .bodies import body_of
from .build import Buffers, make_launch
from .elements import HOST_WEIGHTS, Elements, Weights
from .fuse import Group, distinct_outputs
from .steps import Walk


class Accelerator(Protocol):
    """What is asked of one: how it reads weights, what it can run, and how."""

    weights: Weights

    def refusal(self, launch: Launch) -> str | None:
        """Why it cannot run a launch; None where it can."""

    def arranged(self, launch: Launch) -> Launch:
        """The launch as it runs there, closed."""


def lower(graph: Graph, demanded: Sequence[Condition] = (), accelerator: Accelerator | None = None) -> Program:
    """Fuses and lowers a graph.

    demanded: conditions to be checked beside those of the graph itself, as far as they are known before a run.
    accelerator: what launches run on unless it refuses them."""
    graph = distinct_outputs(graph)
    program = Program(graph, placed=accelerator is None)
    bufs = Buffers(program)
    for i, value in enumerate(graph.inputs):
        bufs.add(value, "input", i)
    names = dict(enumerate(graph.output_names))
    for i, value in enumerate(graph.outputs):
        bufs.add(value, "output", i, names.get(i, ""))

    def of_group(group: Group, bufs: Buffers, static: set[Node]) -> Launch:
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
        refusal = of_shapes(launch) or accelerator.refusal(launch)
        return replace(launch, device=refusal is None, refusal=refusal or "")

    program.steps = Walk(graph, bufs, of_group, on_side).run(program.conditions)
    given, known = set(program.symbols()), set(program.conditions)
    program.conditions += [c for c in demanded if c not in known and c.symbols <= given]
    return program


def _launch(elements: Elements) -> Launch:
    """The launch of a group's kernel. Its sizes are the model's symbols."""
    program = elements.bufs.program
    body = body_of(elements)
    origin = tuple(dict.fromkeys(o for n in reversed(elements.group.nodes) for o in n.origin if o))
    launch = make_launch(body, tuple(elements.params), tuple(elements.buffers), origin, program.indices)
    faults = tuple(program.check(r) for r in elements.required)
    return replace(launch, kernel=replace(launch.kernel, faults=len(faults)), faults=faults)
