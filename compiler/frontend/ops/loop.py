"""ONNX Loop.

In: values and a sub-graph. Out: values. A short loop is unrolled. The rest becomes `loop`, whose states are tensors
that keep their shapes; a state that is none, and rows whose shape is known only inside, are objects.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from ...errors import Unsupported
from ...graph.ir import Value, constant, input_value, reachable
from ...scalar.dim import Size, Symbol, dim_max, known_eq, symbols
from ...scalar.dtype import BOOL
from ..load import UNKNOWN, GraphDef, Type
from ..objects import as_object, host_object, is_open, joined, tensor, tensor_type, type_of, value_of, whole
from ..registry import Imported, Object, Shaped, Traced, onnx_op
from ..values import bound, scalar, scalar_arg, shape_arg
from .control import SHORT, Run, Trace, emit_counted, emit_loop, loop_index, stack, tensors

MAX_UNROLLED = 20_000  # nodes up to which a loop is unrolled that can't become a `loop`
ENDLESS = 1 << 31  # trip counts from here on do not limit a loop


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
            pass  # such as a condition that depends on data
    try:
        return _as_loop(limit, condition, carried, body, trace)
    except Unsupported:
        if limit is not None and not isinstance(limit, int):
            raise
        return _unrolled(limit, condition, carried, body, run)


def _as_loop(
    limit: Size | None, condition: Value | None, carried: Sequence[Imported], body: GraphDef, trace: Trace
) -> tuple[Imported, ...]:
    count = None if limit is None or (isinstance(limit, int) and limit >= ENDLESS) else dim_max(limit, 0)
    live = scalar(True, BOOL) if condition is None else condition
    names = list(body.inputs)[2:]
    states = _States(carried, [body.inputs[name] for name in names])

    def traced(extent: Size | None) -> tuple[Value, list[Value], Traced]:
        """The index, the states as inputs, and the body; again, while types of the states turn out to be wider."""
        _, index = loop_index(extent)
        formals = states.formals(names)
        inside = trace(body, lambda capture: [index, scalar(True, BOOL), *states.imported(formals)])
        outputs = states.results(inside, formals, [] if index.content is None else list(index.content.flat))
        return traced(extent) if outputs is None else (index, formals, replace(inside, outputs=[*outputs]))

    made = traced(count)
    initial = states.initial()
    if count is None and len(made[2].outputs) > 1 + len(initial):
        count = _counted(live, initial, *made)
        made = traced(count)
    finals, rows = emit_loop(live, count, initial, *made)
    return (*states.imported(finals), *states.all_rows(finals, rows))


class _States:
    """The states of a loop as tensors. One that is no tensor, or a tensor whose shape changes, is an object.

    types: of states that are objects; rows: of collected outputs whose rows are objects, by position: each is a
    sequence in a state of its own, after the others."""

    def __init__(self, carried: Sequence[Imported], declared: Sequence[Type]) -> None:
        self.carried = carried
        self.types: list[Type | None] = []
        for v, type in zip(carried, declared):
            stated = type if is_open(type_of(v)) and type.kind == type_of(v).kind else UNKNOWN
            self.types.append(None if isinstance(v, Value) else joined(type_of(v), stated))
        self.rows: dict[int, Type] = {}

    def initial(self) -> list[Value]:
        return [*map(self._stored, range(len(self.carried)), self.carried), *(as_object([]).value for _ in self.rows)]

    def formals(self, names: Sequence[str]) -> list[Value]:
        names = [*names, *(f"rows{k}" for k in self.rows)]
        return [input_value(name, v.shape, v.dtype) for name, v in zip(names, self.initial())]

    def imported(self, values: Sequence[Value]) -> list[Imported]:
        """The states, as the model has them, from tensors."""
        return [v if t is None else value_of(Object(v, t)) for v, t in zip(values, self.types)]

    def results(self, inside: Traced, formals: Sequence[Value], index: list[Symbol]) -> list[Value] | None:
        """The condition, the states and the rows that an iteration computes; None where these were not known to be
        objects, which they are from now on. index: the symbol that numbers the iterations."""
        n = len(self.carried)
        inner = {*inside.bindings, *index}
        go_on, results, rows = inside.outputs[0], inside.outputs[1 : 1 + n], inside.outputs[1 + n :]
        before = list(self.types), dict(self.rows)
        for i, v in enumerate(results):
            self._widen(i, v, inner)
        for k, row in enumerate(rows):
            if isinstance(row, Value) and _varies(row, inner):
                self.rows[k] = tensor_type(row.dtype, row.rank + 1)
        if before != (self.types, self.rows):
            return None
        collected = [
            host_object(UNKNOWN, "insert", [Object(formal, UNKNOWN), whole(rows[k])]).value
            for k, formal in zip(self.rows, formals[n:])
        ]
        kept = [row for k, row in enumerate(rows) if k not in self.rows]
        return tensors([go_on, *map(self._stored, range(n), results), *collected, *kept])

    def all_rows(self, finals: Sequence[Value], kept: Sequence[Value]) -> list[Value]:
        """The collected outputs: those that are kept as tensors, and those of objects, [iterations, ...]."""
        others = iter(kept)
        collected = dict(zip(self.rows, finals[len(self.carried) :]))
        found = []
        for k in range(len(kept) + len(self.rows)):
            if k in collected:
                type = self.rows[k]
                assert type.dtype is not None and type.shape is not None
                arguments = {"dtype": type.dtype.numpy, "rank": len(type.shape)}
                found.append(tensor(host_object(type, "stack", [Object(collected[k], UNKNOWN)], **arguments)))
            else:
                found.append(next(others))
        return found

    def _stored(self, i: int, v: Imported | Shaped) -> Value:
        """State i as a tensor: the number of an object."""
        if self.types[i] is not None:
            return whole(v).value
        assert isinstance(v, Value)
        return v

    def _widen(self, i: int, v: Imported | Shaped, inner: Collection[Symbol]) -> None:
        """Makes state i an object, if it has to be one, of a type that v has as well."""
        first = self.carried[i]
        if self.types[i] is None and isinstance(v, Value) and isinstance(first, Value):
            if v.dtype != first.dtype:
                raise ValueError(f"a state of a loop that is {first} and then {v}")
            changes = v.rank != first.rank or any(known_eq(a, b) is False for a, b in zip(v.shape, first.shape))
            if not changes and not _varies(v, inner):
                return
        self.types[i] = joined(self.types[i] or type_of(first), whole(v).type)


def _varies(v: Value, inner: Collection[Symbol]) -> bool:
    """Whether the shape depends on what is known only in an iteration."""
    return any(not symbols(d).isdisjoint(inner) for d in v.shape)


def _counted(live: Value, states: Sequence[Value], index: Value, formals: Sequence[Value], traced: Traced) -> Size:
    """The number of iterations of a loop without a limit, which the memory of collected rows depends on.

    Another loop before it computes the number: one of only those states that the condition depends on."""
    results = tensors(traced.outputs)
    condition, finals = results[0], results[1 : 1 + len(states)]
    needed_states: list[int] = []
    while True:
        nodes = {*reachable([condition, *(finals[i] for i in needed_states)], traced.bindings)}
        needed = [i for i, formal in enumerate(formals) if formal.node in nodes]
        if needed == needed_states:
            break
        needed_states = needed
    part = replace(
        traced, outputs=[condition, *(finals[i] for i in needed_states)],
        captures={v: formal for v, formal in traced.captures.items() if formal.node in nodes},
        bindings={symbol: v for symbol, v in traced.bindings.items() if v.node in nodes},
    )  # fmt: skip
    initial, inputs = ([values[i] for i in needed_states] for values in (states, formals))
    return bound(emit_counted(live, initial, index, inputs, part), name="trips")


def _check_work(body: GraphDef, trips: int) -> None:
    if trips * max(len(body.nodes), 1) > MAX_UNROLLED:
        raise Unsupported(f"a loop of {trips} iterations")


def _unrolled(
    limit: int | None, condition: Value | None, carried: Sequence[Imported], body: GraphDef, run: Run
) -> tuple[Imported, ...]:
    """Unrolls a loop. Raises Unsupported where its conditions are not constant."""
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
        outputs: list[Imported] = [stack(parts) for parts in zip(*scanned)]
    else:
        outputs = [_empty(t) for t in list(body.outputs.values())[1 + len(carried) :]]
    return (*states, *outputs)


def _empty(type: Type) -> Value:
    """The collected rows of a loop without iterations: none, of the declared type."""
    if type.dtype is None or type.shape is None or not all(isinstance(d, int) for d in type.shape):
        raise Unsupported("a loop without iterations, whose outputs have no declared shape")
    return constant(np.zeros((0, *type.shape), type.dtype.to_numpy()))  # type: ignore[arg-type]
