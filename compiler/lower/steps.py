"""The steps of a program: launches, and between them bindings, checks, branches and loops.

In: a graph, and functions that lower a group and decide on which side a copy runs. Out: steps. Each symbol that depends
on data is bound as soon as its value is computed, and each demand on sizes is checked as soon as these are known.
Sub-graphs become the steps of branches and loops in the same way; they read and write buffers of the graph around them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..graph.conditions import Condition, conditions
from ..graph.ir import Graph, Node, Value, live_bindings, rewrite, size_value, static_nodes
from ..kernel.ir import Bind, Branch, Check, HostCall, Launch, Loop, Step
from ..kernel.program import Provenance
from ..scalar.dim import Symbol
from ..scalar.dtype import BOOL
from .build import Buffers, copy
from .fuse import Group, distinct_outputs, through_reshapes
from .fuse import run as fuse

LaunchOf = Callable[[Group, Buffers, "set[Node]"], Launch]
OnSide = Callable[[Launch], Launch]  # decides on which side a launch runs


class StepBuilder:
    """Builds one graph's steps; `bufs` has the buffers of its inputs and outputs."""

    def __init__(self, graph: Graph, bufs: Buffers, launch_of: LaunchOf, on_side: OnSide) -> None:
        self.graph = graph
        self.bufs = bufs
        self.program = bufs.program
        self.launch_of = launch_of
        self.on_side = on_side
        self.static = static_nodes(graph.nodes())
        self.bindings = live_bindings(graph)
        self.steps: list[Step] = []

    def run(self, known_before: list[Condition] | None = None) -> list[Step]:
        """The steps. known_before: collects the conditions known before the first step; None: steps check them."""
        due: dict[Symbol | None, list[Condition]] = {}  # by the last of their symbols to be bound
        order = {s: i for i, s in enumerate(self.bindings)}
        for condition in conditions(self.graph):
            last = max((s for s in condition.symbols if s in order), key=order.__getitem__, default=None)
            due.setdefault(last, []).append(condition)
        if known_before is None:
            self.check(due.get(None, []))
        else:
            known_before += due.get(None, [])
        groups = fuse(self.graph)
        self.bufs.written = {g.writes for g in groups} | {v for g in groups if g.anchor for v in g.anchor.outputs}
        position = {node: i for i, node in enumerate(self.graph.nodes())}
        pending = deque((position[v.node], s) for s, v in self.bindings.items())
        for group in groups:
            while pending and pending[0][0] < group.position:
                self.bind(pending.popleft()[1], due)
            self.group(group)
        for _, symbol in pending:
            self.bind(symbol, due)
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
        elif anchor is not None and anchor.op.name == "host":
            self.host_call(anchor)
        else:
            self.launch(self.launch_of(group, self.bufs, self.static), group)

    def launch(self, launch: Launch, group: Group | None = None) -> None:
        self.steps.append(launch)
        self.program.provenance.append(None if group is None else _provenance(group))

    def copy(self, source: int, target: int, origin: tuple[str, ...], row: Symbol | int = 0) -> None:
        self.launch(self.on_side(copy(self.program, source, target, origin, row)))

    def bind(self, symbol: Symbol, due: dict[Symbol | None, list[Condition]]) -> None:
        self.steps.append(Bind(symbol, self.buffer(self.bindings[symbol])))
        self.check(due.get(symbol, []))

    def check(self, due: Sequence[Condition]) -> None:
        for condition in due:
            self.steps.append(Check(self.program.check(condition)))

    def host_call(self, node: Node) -> None:
        inputs, outputs = (tuple(map(self.buffer, node.inputs)), tuple(map(self.bufs.of, node.outputs)))
        shapes = tuple(v.shape for v in (*node.inputs, *node.outputs))
        names = ("function", "arguments", "takes", "gives")
        call = {name: node.attrs[name] for name in names}
        self.steps.append(HostCall(**call, inputs=inputs, outputs=outputs, shapes=shapes, origin=node.origin))

    def branch(self, node: Node) -> None:
        condition = self.buffer(node.inputs[0])
        captures = [self.buffer(v) for v in node.inputs[1:]]
        results = [self.bufs.of(v) for v in node.outputs]
        then, otherwise = (self.inside(node.attrs[name], captures, results) for name in ("then", "otherwise"))
        self.steps.append(Branch(condition, tuple(then.steps), tuple(otherwise.steps)))

    def loop(self, node: Node) -> None:
        """States live in the buffers of the loop's results, and are updated at the end of each iteration."""
        n, origin = node.attrs["states"], node.origin
        live, *operands = node.inputs
        index, body, go_on = _split_body(node.attrs["body"])
        self.program.indices.add(index)
        count, *outputs = (self.bufs.of(v) for v in node.outputs)
        states, rows = outputs[:n], outputs[n:]
        condition = None if _always(live) and _always(go_on) else self.bufs.fresh(BOOL, 1)
        if condition is not None:
            self.copy(self.buffer(live), condition, origin)
        for value, state in zip(operands, states):
            self.copy(self.buffer(value), state, origin)
        if not _always(go_on):
            body = replace(body, outputs=[*body.outputs, go_on], output_names=[*body.output_names, "condition"])
        inner = self.inside(body, [*states, *map(self.buffer, operands[n:])])
        results = [inner.bufs.of(v) for v in inner.graph.outputs]
        for result, state in zip(results, states):
            inner.copy(result, state, origin)
        for result, row in zip(results[n:], rows):
            inner.copy(result, row, origin, index)
        if condition is not None and not _always(go_on):
            inner.copy(results[-1], condition, origin)
        self.steps.append(Loop(index, node.attrs["trips"], condition, count, tuple(rows), tuple(inner.steps)))

    def inside(self, graph: Graph, inputs: Sequence[int], outputs: Sequence[int] | None = None) -> StepBuilder:
        """Builds the steps of a sub-graph over buffers of this graph; outputs None: its results get new buffers."""
        graph = distinct_outputs(graph)
        bufs = self.bufs.inner()
        bufs.number.update(zip(graph.inputs, inputs, strict=True))
        for i, value in enumerate(graph.outputs):
            bufs.number[value] = bufs.of(value) if outputs is None else outputs[i]
        inner = StepBuilder(graph, bufs, self.launch_of, self.on_side)
        inner.run()
        return inner

    def buffer(self, value: Value) -> int:
        return self.bufs.read(through_reshapes(value), self.static)


def _always(value: Value) -> bool:
    """Whether a condition is the constant true."""
    return value.data is not None and bool(value.data)


def _split_body(body: Graph) -> tuple[Symbol, Graph, Value]:
    """Splits a loop's body: the symbol of the iteration, the graph of states and rows, the condition to go on.

    In the graph the symbol replaces the index."""
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
