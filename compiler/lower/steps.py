"""The order of a program's steps: kernels, and between them what is decided while the model runs.

In: a graph, how one group of its nodes becomes a launch, and which side a copy is for. Out: steps. Each symbol that
depends on data is bound as soon as its value is computed, and what the graph demands of sizes is checked as soon as all
of them are known.
Sub-graphs become the steps of branches and loops in the same way; what they read and write are buffers of the graph
around them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..graph.conditions import Condition, conditions
from ..graph.ir import Graph, Node, Value, live_bindings, rewrite, size_value, static_nodes
from ..kernel.ir import Bind, Branch, Check, Launch, Loop, Step
from ..kernel.program import Provenance
from ..scalar.dim import Symbol
from ..scalar.dtype import BOOL
from .build import Buffers, copy
from .fuse import Group, distinct_outputs, through_reshapes
from .fuse import run as fuse

OfGroup = Callable[[Group, Buffers, "set[Node]"], Launch]
OnSide = Callable[[Launch], Launch]  # decides on which side it runs


class Walk:
    """One graph's steps. The buffers of its inputs and outputs are known to `bufs`."""

    def __init__(self, graph: Graph, bufs: Buffers, of_group: OfGroup, on_side: OnSide) -> None:
        self.graph = graph
        self.bufs = bufs
        self.program = bufs.program
        self.of_group = of_group
        self.on_side = on_side
        self.static = static_nodes(graph.nodes())
        self.bindings = live_bindings(graph)
        self.steps: list[Step] = []

    def run(self, known_before: list[Condition] | None = None) -> list[Step]:
        """The steps. known_before: gets the conditions on what is known before the first step, instead of a check."""
        last: dict[Symbol | None, list[Condition]] = {}
        order = {s: i for i, s in enumerate(self.bindings)}
        for condition in conditions(self.graph):
            late = max((s for s in condition.symbols if s in order), key=order.__getitem__, default=None)
            last.setdefault(late, []).append(condition)
        if known_before is None:
            self.check(last.get(None, []))
        else:
            known_before += last.get(None, [])
        groups = fuse(self.graph)
        made = {g.writes for g in groups} | {v for g in groups if g.anchor for v in g.anchor.outputs}
        self.bufs.made = made
        position = {node: i for i, node in enumerate(self.graph.nodes())}
        pending = deque((position[v.node], s) for s, v in self.bindings.items())
        for group in groups:
            while pending and pending[0][0] < group.position:
                self.bind(pending.popleft()[1], last)
            self.group(group)
        for _, symbol in pending:
            self.bind(symbol, last)
        for value in self.graph.outputs:  # outputs that depend on constants alone have no group
            if value.node in self.static:
                self.copy(self.bufs.read(value, self.static), self.bufs.number[value], value.node.origin)
        return self.steps

    # -- steps -------------------------------------------------------------------------------------------------------

    def group(self, group: Group) -> None:
        anchor = group.anchor
        if anchor is not None and anchor.op.name == "branch":
            self.branch(anchor)
        elif anchor is not None and anchor.op.name == "loop":
            self.loop(anchor)
        else:
            self.launch(self.of_group(group, self.bufs, self.static), group)

    def launch(self, launch: Launch, group: Group | None = None) -> None:
        self.steps.append(launch)
        self.program.provenance.append(None if group is None else _provenance(group))

    def copy(self, source: int, target: int, origin: tuple[str, ...], row: Symbol | int = 0) -> None:
        self.launch(self.on_side(copy(self.program, source, target, origin, row)))

    def bind(self, symbol: Symbol, last: dict[Symbol | None, list[Condition]]) -> None:
        self.steps.append(Bind(symbol, self.buffer(self.bindings[symbol])))
        self.check(last.get(symbol, []))

    def check(self, found: Sequence[Condition]) -> None:
        for condition in found:
            self.steps.append(Check(self.program.check(condition)))

    def branch(self, node: Node) -> None:
        condition = self.buffer(node.inputs[0])
        captures = [self.buffer(v) for v in node.inputs[1:]]
        results = [self.bufs.of(v) for v in node.outputs]
        then, otherwise = (self.inside(node.attrs[name], captures, results) for name in ("then", "otherwise"))
        self.steps.append(Branch(condition, tuple(then.steps), tuple(otherwise.steps)))

    def loop(self, node: Node) -> None:
        """States live in the buffers of the loop's results; at the end of each iteration they get their new values."""
        n, origin = node.attrs["states"], node.origin
        live, *given = node.inputs
        index, body, go_on = _counted(node.attrs["body"])
        self.program.indices.add(index)
        count, *results = (self.bufs.of(v) for v in node.outputs)
        states, rows = results[:n], results[n:]
        condition = None if _always(live) and _always(go_on) else self.bufs.fresh(BOOL, 1)
        if condition is not None:
            self.copy(self.buffer(live), condition, origin)
        for value, state in zip(given, states):
            self.copy(self.buffer(value), state, origin)
        if not _always(go_on):
            body = replace(body, outputs=[*body.outputs, go_on], output_names=[*body.output_names, "condition"])
        inner = self.inside(body, [*states, *map(self.buffer, given[n:])])
        news = [inner.bufs.of(v) for v in inner.graph.outputs]
        for new, state in zip(news, states):
            inner.copy(new, state, origin)
        for new, row in zip(news[n:], rows):
            inner.copy(new, row, origin, index)
        if condition is not None and not _always(go_on):
            inner.copy(news[-1], condition, origin)
        self.steps.append(Loop(index, node.attrs["trips"], condition, count, tuple(rows), tuple(inner.steps)))

    def inside(self, graph: Graph, inputs: Sequence[int], outputs: Sequence[int] | None = None) -> Walk:
        """A sub-graph's steps, between buffers of this graph; outputs None: its results get buffers of their own."""
        graph = distinct_outputs(graph)
        bufs = self.bufs.inner()
        bufs.number.update(zip(graph.inputs, inputs, strict=True))
        for i, value in enumerate(graph.outputs):
            bufs.number[value] = bufs.of(value) if outputs is None else outputs[i]
        inner = Walk(graph, bufs, self.of_group, self.on_side)
        inner.run()
        return inner

    def buffer(self, value: Value) -> int:
        return self.bufs.read(through_reshapes(value), self.static)


def _always(value: Value) -> bool:
    """Whether a condition is the constant true."""
    return value.data is not None and bool(value.data)


def _counted(body: Graph) -> tuple[Symbol, Graph, Value]:
    """A loop's body in three parts: the symbol of the iteration, the graph of states and rows in which that symbol
    stands for the index everywhere, and the condition to go on."""
    index, *inputs = body.inputs
    assert index.content is not None
    (symbol,) = index.content.reshape(-1)
    body = rewrite(body, lambda node: [size_value(symbol)] if node is index.node else None)
    condition, *outputs = body.outputs
    return symbol, Graph(inputs, outputs, body.output_names[1:], body.bindings), condition


def _provenance(group: Group) -> Provenance:
    inside = set(group.nodes)
    reads = dict.fromkeys(v for node in group.nodes for v in node.inputs if v.node not in inside)
    reasons = (f"{', '.join(reason.value.node.origin)}: {reason.text}" for reason in group.reasons)
    return Provenance(tuple(reads), group.root, tuple(reasons))
