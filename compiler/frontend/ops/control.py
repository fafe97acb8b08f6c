"""ONNX control flow: If, Loop and Scan.

In: values, sub-graphs, and two ways to import these: `run` inlines one, `trace` makes a graph of it. Out: values. What
is constant is decided at import: one branch is taken, short loops are unrolled. The rest becomes `branch` and `loop`,
whose states keep their shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ...errors import Unsupported
from ...graph.ir import Graph, Value, constant, input_value
from ...scalar.dim import Size, Symbol, dim_max, known_eq, prod, symbols
from ...scalar.dtype import BOOL, I64
from ..load import GraphDef, Type
from ..registry import Capture, Imported, Traced, onnx_op
from ..values import bound, concat, fold, fresh_symbol, largest, scalar, scalar_arg, shape_arg, vector

Run = Callable[[GraphDef, Sequence[Imported]], "list[Imported]"]
Trace = Callable[[GraphDef, Callable[[Capture], Sequence[Imported]]], Traced]
SHORT = 512  # nodes that an unrolled loop may make where a loop would do as well
MAX_UNROLLED = 20_000  # nodes that it may make otherwise
ENDLESS = 1 << 31  # trip counts from here on mean: as long as the condition holds


# -- branches --------------------------------------------------------------------------------------------------------


@onnx_op("If")
def if_(
    condition: Value, *, then_branch: GraphDef, else_branch: GraphDef, run: Run, trace: Trace
) -> tuple[Imported, ...]:
    data = fold(condition)
    if data is not None:
        return tuple(run(then_branch if data.reshape(-1)[0] else else_branch, []))
    return branched(condition, trace(then_branch, lambda capture: []), trace(else_branch, lambda capture: []))


def branched(condition: Value, then: Traced, otherwise: Traced) -> tuple[Value, ...]:
    """The results of one of two graphs. Where their sizes differ, the graphs give them in a flat tensor that is large
    enough for either, and beside it the shape."""
    pairs = list(zip(then.outputs, otherwise.outputs))
    rooms: list[Size | None] = []  # elements of the flat tensors; None where the shapes are alike
    for a, b in pairs:
        if a.rank != b.rank or a.dtype != b.dtype:
            raise Unsupported(f"a condition that depends on data, between {a} and {b}")
        rooms.append(None if _alike(a, b) else _either(prod(a.shape), prod(b.shape), then, otherwise))
    captures = list(dict.fromkeys([*then.captures, *otherwise.captures]))
    graphs = []
    for side in (then, otherwise):
        outputs = [v for result, room in zip(side.outputs, rooms) for v in _handed(result, room)]
        inputs = [side.captures.get(v) or input_value("", v.shape, v.dtype) for v in captures]
        graphs.append(_graph(replace(side, outputs=outputs), inputs))
    given = iter(condition.emit("branch", [condition.reshape(), *captures], then=graphs[0], otherwise=graphs[1]))
    results = []
    for (a, b), room in zip(pairs, rooms):
        result = next(given)
        if room is not None:
            dims, shape = next(given), list(a.shape)
            for i, (x, y) in enumerate(zip(a.shape, b.shape)):
                if not known_eq(x, y):
                    shape[i] = bound(dims.narrow(0, i, 1), upper=_either(x, y, then, otherwise))
            result = result.narrow(0, 0, prod(shape)).reshape(*shape)
        results.append(result)
    return tuple(results)


def _either(x: Size, y: Size, then: Traced, otherwise: Traced) -> Size:
    """What neither of two sizes, one of each side, exceeds."""
    return dim_max(largest(x, then.bindings, then.upper), largest(y, otherwise.bindings, otherwise.upper))


def _handed(v: Value, room: Size | None) -> list[Value]:
    """A result as one side of a branch gives it: as it is, or flat in `room` elements and followed by its shape."""
    if room is None:
        return [v]
    n = prod(v.shape)
    return [v.reshape(n).pad((0,), (room - n,)), vector(v.shape)]


def _alike(a: Value, b: Value) -> bool:
    return all(known_eq(x, y) for x, y in zip(a.shape, b.shape))


def _graph(traced: Traced, inputs: Sequence[Value]) -> Graph:
    return Graph(list(inputs), traced.outputs, [f"y{i}" for i in range(len(traced.outputs))], traced.bindings)


# -- loops -----------------------------------------------------------------------------------------------------------


def looped(
    live: Value, trips: Size | None, states: Sequence[Value], index: Value, formals: Sequence[Value], traced: Traced
) -> tuple[list[Value], list[Value]]:
    """The final states and the rows, of a body traced on `index` and `formals` that returns condition, states, rows."""
    n = len(states)
    body = _graph(traced, [index, *formals, *traced.captures.values()])
    body.outputs = _steady(body, formals)
    try:
        count, *results = live.emit(
            "loop", [live.reshape(), *states, *traced.captures], body=body, trips=trips, states=n
        )
    except ValueError as e:
        raise Unsupported(f"a loop whose states change: {e}") from e
    rows = results[n:]
    if rows and not (_always(live) and _always(body.outputs[0])):
        done = bound(count, name="trips", upper=trips)
        rows = [row.narrow(0, 0, done) for row in rows]
    return results[:n], rows


def _steady(body: Graph, formals: Sequence[Value]) -> list[Value]:
    """The outputs of a loop's body in shapes that are the same in each iteration: of states, that of the state.

    That they have them is checked when the model runs. Raises Unsupported for rows of changing shapes."""
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
    """The number of the iteration: as a symbol, and as an input of a loop's body."""
    symbol = fresh_symbol("i", 0, extent)
    index = input_value("i", (), I64)
    index.content = np.array(symbol, object)
    return symbol, index


@onnx_op("Loop")
def loop(
    trips: Value | None, condition: Value | None, *carried: Imported, body: GraphDef, run: Run, trace: Trace
) -> tuple[Imported, ...]:
    if trips is None and condition is None:
        raise Unsupported("a loop without end")
    limit = None if trips is None else shape_arg(trips, "trip count")[0]
    if isinstance(limit, int) and limit * max(len(body.nodes), 1) <= SHORT:
        try:
            return _unrolled(limit, condition, carried, body, run)
        except Unsupported:
            pass  # of a condition that depends on data, say
    try:
        return _as_loop(limit, condition, carried, body, trace)
    except Unsupported:
        if limit is not None and not isinstance(limit, int):
            raise
        return _unrolled(limit, condition, carried, body, run)


def _as_loop(
    limit: Size | None, condition: Value | None, carried: Sequence[Imported], body: GraphDef, trace: Trace
) -> tuple[Imported, ...]:
    states = [v for v in carried if isinstance(v, Value)]
    if len(states) != len(carried):
        raise Unsupported("a loop over what is no tensor")
    count = None if limit is None or (isinstance(limit, int) and limit >= ENDLESS) else dim_max(limit, 0)
    if count is None and len(body.outputs) > 1 + len(states):
        raise Unsupported("a loop that collects values, without a limit")
    _, index = loop_index(count)
    formals = [input_value(name, v.shape, v.dtype) for name, v in zip(list(body.inputs)[2:], states)]
    traced = trace(body, lambda capture: [index, scalar(True, BOOL), *formals])
    live = scalar(True, BOOL) if condition is None else condition
    finals, rows = looped(live, count, states, index, formals, traced)
    return (*finals, *rows)


def stacked(parts: Sequence[Imported], axis: int = 0) -> Value:
    """Tensors of one shape, joined along a new axis."""
    values = [v for v in parts if isinstance(v, Value)]
    if len(values) != len(parts) or not parts:
        raise Unsupported("joining no tensors")
    axis = axis % (values[0].rank + 1)
    return concat([v.unsqueeze(axis) for v in values], axis)


def _check_work(body: GraphDef, trips: int) -> None:
    if trips * max(len(body.nodes), 1) > MAX_UNROLLED:
        raise Unsupported(f"a loop of {trips} iterations")


def _unrolled(
    limit: int | None, condition: Value | None, carried: Sequence[Imported], body: GraphDef, run: Run
) -> tuple[Imported, ...]:
    """Iteration by iteration; conditions must be constant."""
    states = list(carried)
    scanned: list[list[Imported]] = []
    live = condition is None or bool(scalar_arg(condition, "condition"))
    i = 0
    while live and (limit is None or i < limit):
        _check_work(body, i + 1)
        go_on, *results = run(body, [constant(np.array(i, np.int64)), scalar(True, BOOL), *states])
        states = results[: len(carried)]
        scanned.append(results[len(carried) :])
        if not isinstance(go_on, Value):
            raise ValueError("the condition is no tensor")
        live = bool(scalar_arg(go_on, "condition"))
        i += 1
    if scanned:
        outputs: list[Imported] = [stacked(parts) for parts in zip(*scanned)]
    else:
        outputs = [_empty(t) for t in list(body.outputs.values())[1 + len(carried) :]]
    return (*states, *outputs)


def _empty(type: Type) -> Value:
    """What a loop without iterations collects."""
    if type.dtype is None or type.shape is None or not all(isinstance(d, int) for d in type.shape):
        raise Unsupported("a loop without iterations, whose outputs have no declared shape")
    return constant(np.zeros((0, *type.shape), type.dtype.to_numpy()))  # type: ignore[arg-type]


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
        rows = [stacked(parts) for parts in zip(*collected)]
        finals = [v for v in carried if isinstance(v, Value)]
    else:
        symbol, index = loop_index(length)
        formals = [input_value(name, v.shape, v.dtype) for name, v in zip(body.inputs, states)]
        traced = trace(body, lambda capture: [*formals, *slices([capture(v) for v in sources], symbol)])
        traced.outputs.insert(0, scalar(True, BOOL))
        finals, rows = looped(scalar(True, BOOL), length, states, index, formals, traced)
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
    """With a batch axis in front of everything; each batch is scanned on its own."""
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
    return tuple(stacked(parts) for parts in zip(*each))
