"""ONNX control flow: If and Scan, and what Loop has in common with them.

In: values, sub-graphs, and two ways to import these: `run` inlines one, `trace` makes a graph of it. Out: values.
Constant conditions are decided at import: one branch is taken, short loops are unrolled. The rest becomes `branch`, and
`loop`, whose states keep their shapes. Where the results of two branches differ in rank, so that no tensor represents
both, the nodes that follow are imported into each branch (`Diverging`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ....runtime.errors import Fail
from ...errors import Unsupported
from ...graph.ir import Graph, Value, input_value
from ...scalar.dim import Size, Symbol, dim_max, known_eq, prod, select_size, symbols
from ...scalar.dtype import BOOL, I64
from ..load import UNKNOWN, GraphDef
from ..objects import joined, value_of, whole
from ..registry import Capture, Captures, Diverging, Imported, Object, Rest, Shaped, Traced, onnx_op
from ..values import (
    assume,
    bound,
    collecting,
    concat,
    demanded,
    fold,
    fresh_symbol,
    largest,
    scalar,
    truth,
    vector,
)

Side = Callable[[bool], "tuple[GraphDef, Callable[[Capture], Sequence[Imported]]]"]
Pair = tuple[Value, Value]  # of one shape: the results of the two sides of a branch
Join = tuple[int, "list[Pair]", "Callable[..., Any]"]  # the number of pairs, the pairs, what builds a result of them


class Run(Protocol):
    def __call__(self, graph: GraphDef, inputs: Sequence[Imported], open: bool = False) -> list[Imported]:
        """Inlines a sub-graph. open: Diverging may be raised, as the results are the outputs of the node."""


class Trace(Protocol):
    def __call__(
        self, graph: GraphDef, formals: Callable[[Capture], Sequence[Imported]], known: Captures | None = None,
        assumed: Mapping[Size, bool] | None = None, rest: Rest | None = None,
    ) -> Traced:  # fmt: skip
        """Makes a graph of a sub-graph and of what follows it.

        known: values that captured ones have there; assumed: whether formulas hold there."""


IDENTITY = GraphDef("", [], {"x": UNKNOWN}, {"x": UNKNOWN}, {}, {})  # returns its input
SHORT = 512  # nodes up to which a loop is unrolled without need


# -- branches --------------------------------------------------------------------------------------------------------


@onnx_op("If")
def if_(
    condition: Value, *, then_branch: GraphDef, else_branch: GraphDef, run: Run, trace: Trace
) -> tuple[Imported, ...]:
    formula = truth(condition)
    if isinstance(formula, int):
        return tuple(run(then_branch if formula else else_branch, [], open=True))

    go_on = either(condition, lambda holds: (then_branch if holds else else_branch, lambda capture: []), run, trace)
    try:
        results = go_on()
    except Unsupported:
        raise Diverging(go_on) from None
    if any(isinstance(v, Shaped) for v in results):
        raise Diverging(go_on)
    return tuple(results)


def either(condition: Value, side: Side, run: Run, trace: Trace) -> Callable[..., list[Any]]:
    """A branch as a function of what follows it (`Diverging.resume`), which returns the joined results.

    side(holds): the sub-graph that runs if the condition is `holds`, and what makes its inputs. Where the rest of the
    model is invalid after one side, a check that the condition leads to the other replaces the branch."""
    formula = truth(condition)

    def resume(rest: Rest | None = None) -> list[Any]:
        sides: dict[bool, Traced] = {}
        for holds in (True, False):
            known = {condition: scalar(holds, BOOL).reshape(*condition.shape)}
            assumed: dict[Size, bool] = {} if formula is None else {formula: holds}
            try:
                sides[holds] = trace(*side(holds), known=known, assumed=assumed, rest=rest)
            except Fail as e:
                if rest is None or (not holds and not sides):
                    raise
                text = e.text
        if len(sides) == 2:
            return emit_branch(condition, formula, sides[True], sides[False])
        return single(next(iter(sides)), text, rest)

    def single(holds: bool, text: str, rest: Rest | None) -> list[Any]:
        assert rest is not None
        graph, formals = side(holds)
        if formula is not None:
            assume(formula, holds)
        try:
            results = run(graph, formals(lambda v: v), open=True)
        except Diverging as e:
            return e.resume(rest)
        return rest([demand_side(v, holds, text) if isinstance(v, Value) else v for v in results])

    def demand_side(v: Value, holds: bool, text: str) -> Value:
        if formula is not None:
            return demanded(v, formula, int(holds), text)
        ok = condition.reshape() if holds else condition.reshape().map("not")
        return v.require(ok.broadcast(*v.shape), text)

    return resume


def emit_branch(condition: Value, formula: Size | None, then: Traced, otherwise: Traced) -> list[Imported | Shaped]:
    """Emits a `branch` and returns its results. formula: the condition as a size, if it is one."""
    if len(then.outputs) != len(otherwise.outputs):
        raise ValueError(f"the branches of a condition give {len(then.outputs)} and {len(otherwise.outputs)} outputs")
    branch = _Branch(condition, formula, then, otherwise)
    joins = [branch.join(a, b) for a, b in zip(then.outputs, otherwise.outputs)]
    values = iter(branch.emit([pair for _, pairs, _ in joins for pair in pairs]))
    return [build(*(next(values) for _ in range(n))) for n, _, build in joins]


@dataclass
class _Branch:
    """Two sub-graphs of which one runs, and how their results are joined."""

    condition: Value
    formula: Size | None  # the condition as a size, if it is one
    then: Traced
    otherwise: Traced

    def emit(self, pairs: Sequence[Pair]) -> tuple[Value, ...]:
        """Emits a `branch` that returns the first or the second value of each pair."""
        captures = list(dict.fromkeys([*self.then.captures, *self.otherwise.captures]))
        graphs = []
        for side, outputs in zip((self.then, self.otherwise), zip(*pairs)):
            inputs = [side.captures.get(v) or input_value("", v.shape, v.dtype) for v in captures]
            graphs.append(_graph(outputs, side.bindings, inputs))
        inputs = [self.condition.reshape(), *captures]
        return self.condition.emit("branch", inputs, then=graphs[0], otherwise=graphs[1])

    def join(self, a: Imported | Shaped, b: Imported | Shaped) -> Join:
        """How a pair of results leaves the branch: as pairs of equal shapes, from which the result is built."""
        if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
            joins = [self.join(x, y) for x, y in zip(a, b)]

            def build_list(*values: Value) -> list[Any]:
                rest = iter(values)
                return [build(*(next(rest) for _ in range(n))) for n, _, build in joins]

            return sum(n for n, _, _ in joins), [pair for _, pairs, _ in joins for pair in pairs], build_list
        if not isinstance(a, (Value, Shaped)) or not isinstance(b, (Value, Shaped)):
            first, second = (whole(v) for v in (a, b))
            type = joined(first.type, second.type)
            return 1, [(first.value, second.value)], lambda value: value_of(Object(value, type))
        if isinstance(a, Shaped) or isinstance(b, Shaped) or a.rank != b.rank:
            x, y = _shaped(a), _shaped(b)
            ranks = dim_max(x.sizes.shape[0], y.sizes.shape[0])
            sizes = (_filled(x.sizes, ranks), _filled(y.sizes, ranks))
            n, flat, build = self.join(x.flat, y.flat)
            return n + 1, [*flat, sizes], lambda *values: Shaped(build(*values[:-1]), values[-1])
        if a.dtype != b.dtype:
            raise ValueError(f"the branches of a condition give {a} and {b}")
        if all(known_eq(x, y) for x, y in zip(a.shape, b.shape)):
            return 1, [(a, b)], lambda value: value
        shape = self.shape(a, b)
        if shape is None:
            return self.flat(a, b)
        text = "the two sides of a branch"
        return 1, [(a.ensure_shape(*shape, text=text), b.ensure_shape(*shape, text=text))], lambda value: value

    def shape(self, a: Value, b: Value) -> list[Size] | None:
        """The joined shape of two values if it is known before the branch, else None.

        It is known if the condition is a formula of sizes. If a size has no upper bound, another branch before this one
        computes the shape."""
        inner = {*self.then.bindings, *self.otherwise.bindings}
        sizes = list(zip(a.shape, b.shape))
        if self.formula is not None and not any(inner & (symbols(x) | symbols(y)) for x, y in sizes):
            return [x if known_eq(x, y) else select_size(self.formula, x, y) for x, y in sizes]
        try:
            self.limit(prod(a.shape), prod(b.shape))
            return None
        except Unsupported:
            (computed,) = self.emit([(vector(a.shape), vector(b.shape))])
            return [x if known_eq(x, y) else bound(computed.narrow(0, i, 1)) for i, (x, y) in enumerate(sizes)]

    def flat(self, a: Value, b: Value) -> Join:
        """How a pair of results leaves the branch if its shape is known only inside: as elements, padded to the larger
        number, and sizes."""
        room = self.limit(prod(a.shape), prod(b.shape))

        def build(elements: Value, sizes: Value) -> Value:
            shape = [
                x if known_eq(x, y) else bound(sizes.narrow(0, i, 1), upper=self.limit(x, y))
                for i, (x, y) in enumerate(zip(a.shape, b.shape))
            ]
            return elements.narrow(0, 0, prod(shape)).reshape(*shape)

        x, y = (v.reshape(n).pad((0,), (room - n,)) for v, n in ((a, prod(a.shape)), (b, prod(b.shape))))
        return 2, [(x, y), (vector(a.shape), vector(b.shape))], build

    def limit(self, x: Size, y: Size) -> Size:
        """An upper bound of two sizes, one of each side. Raises Unsupported where none is known."""
        sides = ((x, self.then), (y, self.otherwise))
        return dim_max(*(largest(size, side.bindings, side.upper) for size, side in sides))


def _shaped(v: Value | Shaped) -> Shaped:
    return v if isinstance(v, Shaped) else Shaped(v.reshape(prod(v.shape)), vector(v.shape))


def _filled(sizes: Value, ranks: Size) -> Value:
    return sizes.pad((0,), (ranks - sizes.shape[0],), value=-1)


def _graph(outputs: Sequence[Value], bindings: dict[Symbol, Value], inputs: Sequence[Value]) -> Graph:
    return Graph(list(inputs), list(outputs), [f"y{i}" for i in range(len(outputs))], bindings)


# -- loops -----------------------------------------------------------------------------------------------------------


class Step(Protocol):
    def __call__(self, i: Symbol, index: Value, capture: Capture, *states: Value) -> tuple[list[Value], list[Value]]:
        """One iteration: of its number, as a symbol and as a value, and the states. Returns new states, and rows.

        capture: what a value of the graph around is inside."""


def repeated(trips: Size, states: Sequence[Value], step: Step) -> tuple[list[Value], list[Value]]:
    """Emits a loop of `trips` iterations; returns the final states, and the rows [trips, ...] of all iterations."""
    captures: Captures = {}

    def capture(v: Value) -> Value:
        if v.op == "constant":
            return v
        if v not in captures:
            captures[v] = input_value(f"capture{len(captures)}", v.shape, v.dtype)
        return captures[v]

    formals = [input_value(f"state{n}", v.shape, v.dtype) for n, v in enumerate(states)]
    live = scalar(True, BOOL)
    with collecting(inside=True) as symbols:
        i, index = loop_index(trips)
        new, rows = step(i, index, capture, *formals)
    traced = Traced([live, *new, *rows], captures, symbols.bindings, symbols.upper)
    return emit_loop(live, trips, states, index, formals, traced)


def emit_loop(
    live: Value, trips: Size | None, states: Sequence[Value], index: Value, formals: Sequence[Value], traced: Traced
) -> tuple[list[Value], list[Value]]:
    """Emits a loop; returns its final states and its collected rows.

    The body was traced on `index` and `formals`, and returns the condition, the states, and the rows."""
    n = len(states)
    body, (count, *results) = _emit(live, trips, states, index, formals, traced)
    rows = results[n:]
    if rows and not (_always(live) and _always(body.outputs[0])):
        done = bound(count, name="trips", upper=trips)
        rows = [row.narrow(0, 0, done) for row in rows]
    return results[:n], rows


def _emit(
    live: Value, trips: Size | None, states: Sequence[Value], index: Value, formals: Sequence[Value], traced: Traced
) -> tuple[Graph, tuple[Value, ...]]:
    """Emits a loop; returns its body, and its results: the number of iterations, the states, the rows."""
    outputs = tensors(traced.outputs)
    body = _graph(outputs, traced.bindings, [index, *formals, *traced.captures.values()])
    body.outputs = _with_fixed_shapes(body, formals)
    try:
        results = live.emit(
            "loop", [live.reshape(), *states, *traced.captures], body=body, trips=trips, states=len(states)
        )
    except ValueError as e:
        raise Unsupported(f"a loop whose states change: {e}") from e
    return body, results


def emit_counted(live: Value, states: Sequence[Value], index: Value, formals: Sequence[Value], traced: Traced) -> Value:
    """Emits a loop without a limit; returns the number of its iterations."""
    return _emit(live, None, states, index, formals, traced)[1][0]


def tensors(values: Sequence[Any]) -> list[Value]:
    """The values. Raises Unsupported where one is no tensor."""
    found = [v for v in values if isinstance(v, Value)]
    if len(found) != len(values):
        raise Unsupported("iterations that collect what is no tensor")
    return found


def _with_fixed_shapes(body: Graph, formals: Sequence[Value]) -> list[Value]:
    """The outputs of a loop's body in shapes that are the same in each iteration, those of states as they came in.

    The shapes of states are checked when the model runs. Raises Unsupported for rows of changing shapes."""
    condition, *results = body.outputs
    shaped = {v: v for v in results}
    for v, formal in zip(results, formals):
        if v.rank == formal.rank and not all(known_eq(a, b) for a, b in zip(v.shape, formal.shape)):
            shaped[v] = v.ensure_shape(*formal.shape, text="a state before and after an iteration of a loop")
    index = body.inputs[0].content
    inner = {*body.bindings, *([] if index is None else index.reshape(-1))}
    for v in shaped.values():
        if not inner.isdisjoint(s for d in v.shape for s in symbols(d)):
            raise Unsupported(f"a loop that makes tensors of changing shapes: {v}")
    return [condition.reshape(), *(shaped[v] for v in results)]


def _always(condition: Value) -> bool:
    data = fold(condition)
    return data is not None and bool(data.reshape(-1)[0])


def loop_index(extent: Size | None) -> tuple[Symbol, Value]:
    """The number of the iteration, as a symbol and as an input of a loop's body. extent: the number of iterations."""
    symbol = fresh_symbol("i", 0, extent)
    index = input_value("i", (), I64)
    index.content = np.array(symbol, object)
    return symbol, index


def stack(parts: Sequence[Imported], axis: int = 0) -> Value:
    """Stacks tensors of one shape along a new axis."""
    values = [v for v in parts if isinstance(v, Value)]
    if len(values) != len(parts) or not parts:
        raise Unsupported("joining no tensors")
    axis = axis % (values[0].rank + 1)
    return concat([v.unsqueeze(axis) for v in values], axis)


@onnx_op("Scan", since=9)
def scan(
    *inputs: Value, body: GraphDef, num_scan_inputs: int, scan_input_axes: list[int] | None = None,
    scan_input_directions: list[int] | None = None, scan_output_axes: list[int] | None = None,
    scan_output_directions: list[int] | None = None, run: Run, trace: Trace,
) -> tuple[Imported, ...]:  # fmt: skip
    n = len(inputs) - num_scan_inputs
    states, sources = list(inputs[:n]), list(inputs[n:])
    axes = [v.axis(a) for v, a in zip(sources, scan_input_axes or [0] * num_scan_inputs)]
    back = scan_input_directions or [0] * num_scan_inputs
    length = sources[0].shape[axes[0]]
    sources = [
        v.ensure_shape(*(length if i == a else d for i, d in enumerate(v.shape)), text="inputs of a Scan, equally long")
        for v, a in zip(sources, axes)
    ]

    def slices(values: Sequence[Value], t: Size) -> list[Value]:
        return [v.narrow(a, length - 1 - t if b else t, 1).squeeze(a) for v, a, b in zip(values, axes, back)]

    if isinstance(length, int) and length * max(len(body.nodes), 1) <= SHORT and length > 0:
        collected: list[list[Imported]] = []
        carried: list[Imported] = list(states)
        for t in range(length):
            results = run(body, [*carried, *slices(sources, t)])
            carried = results[:n]
            collected.append(results[n:])
        rows = [stack(parts) for parts in zip(*collected)]
        finals = [v for v in carried if isinstance(v, Value)]
    else:
        symbol, index = loop_index(length)
        formals = [input_value(name, v.shape, v.dtype) for name, v in zip(body.inputs, states)]
        traced = trace(body, lambda capture: [*formals, *slices([capture(v) for v in sources], symbol)])
        traced.outputs.insert(0, scalar(True, BOOL))
        finals, rows = emit_loop(scalar(True, BOOL), length, states, index, formals, traced)
    outputs: list[Imported] = []
    for i, row in enumerate(rows):
        row = row.flip(0) if scan_output_directions and scan_output_directions[i] else row
        outputs.append(row.moveaxis(0, scan_output_axes[i]) if scan_output_axes else row)
    return (*finals, *outputs)


@onnx_op("Scan", since=8)
def scan_8(
    lengths: Value | None, *inputs: Value, body: GraphDef, num_scan_inputs: int, directions: list[int] | None = None,
    run: Run, trace: Trace,
) -> tuple[Imported, ...]:  # fmt: skip
    """Scan with a leading batch axis on all inputs and outputs; each batch is scanned on its own."""
    batch = inputs[0].shape[0]
    if lengths is not None or not isinstance(batch, int):
        raise Unsupported("sequence_lens, or a symbolic batch")
    inputs = tuple(v.ensure_shape(batch, *v.shape[1:], text="the inputs of a Scan are of one batch") for v in inputs)
    each = [
        scan(
            *(v.narrow(0, b, 1).squeeze(0) for v in inputs), body=body, num_scan_inputs=num_scan_inputs,
            scan_input_directions=directions, run=run, trace=trace,
        )
        for b in range(batch)
    ]  # fmt: skip
    return tuple(stack(parts) for parts in zip(*each))
