"""Control flow that is decided while the model runs: branch and loop, whose bodies are sub-graphs.

A sub-graph gets values of the graph around it as inputs of its own (captures); symbols are shared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...scalar.dim import evaluate
from ...scalar.dtype import BOOL, I64
from ..conditions import Condition, equals
from ..interp import Function
from ..ir import Array, Node, Signature, Trait, Value
from .common import Attrs, agreed, check, register


def _check_condition(name: str, inputs: Sequence[Value]) -> None:
    fits = bool(inputs) and (inputs[0].dtype, inputs[0].shape) == (BOOL, ())
    check(fits, "{}: the condition is no bool scalar", name)


def _check_fits(name: str, values: Sequence[Value], expected: Sequence[Value]) -> None:
    check(len(values) == len(expected), "{}: {} values where {} are wanted", name, len(values), len(expected))
    for a, b in zip(values, expected):
        check(a.dtype == b.dtype and a.rank == b.rank, "{}: {} where {} is wanted", name, a, b)


def _demand_fit(values: Sequence[Value], expected: Sequence[Value], wrong: str) -> Iterator[Condition]:
    for a, b in zip(values, expected):
        yield from equals(a.shape, b.shape, wrong)


def _infer_branch(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """branch(condition, *captures; then, otherwise): the outputs of one of two graphs, each a graph of the captures.

    Both give values of the same types and sizes."""
    _check_condition("branch", inputs)
    then, otherwise = attrs["then"], attrs["otherwise"]
    for graph in (then, otherwise):
        _check_fits("branch", inputs[1:], graph.inputs)
    _check_fits("branch", then.outputs, otherwise.outputs)
    return [
        (tuple(agreed(x, y) for x, y in zip(a.shape, b.shape)), a.dtype)
        for a, b in zip(then.outputs, otherwise.outputs)
    ]


def _demand_branch(node: Node) -> Iterator[Condition]:
    for graph in (node.attrs["then"], node.attrs["otherwise"]):
        yield from _demand_fit(node.inputs[1:], graph.inputs, "a value outside and inside of a branch")
        yield from _demand_fit(node.outputs, graph.outputs, "the two sides of a branch")


def _evaluate_branch(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    side = attrs["then"] if arrays[0] else attrs["otherwise"]
    return list(side(arrays[1:]))


register("branch", _infer_branch, _evaluate_branch, "then otherwise", demands=_demand_branch, traits=Trait.HEAVY)


def _infer_loop(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """loop(condition, *states, *captures; body, trips, states) -> count, *states, *rows.

    body(index, *states, *captures) -> condition, *states, *rows runs while the condition holds, at most `trips` times
    (a Size; None: without limit). The index counts from 0; its content is a symbol, so that sizes may mention it.
    States keep their shapes. Each of the outputs `rows` is [trips, ...]: one row for each of the first `count`
    iterations; the others are undefined."""
    _check_condition("loop", inputs)
    body, trips, n = attrs["body"], attrs["trips"], attrs["states"]
    index, *formals = body.inputs
    check((index.dtype, index.shape) == (I64, ()) and index.content is not None, "loop: the index is no symbol")
    _check_fits("loop", inputs[1:], formals)
    _check_condition("loop", body.outputs)
    _check_fits("loop", body.outputs[1 : 1 + n], formals[:n])
    rows = body.outputs[1 + n :]
    check(trips is not None or not rows, "loop: rows of iterations without a limit")
    return [
        ((), I64),
        *((v.shape, v.dtype) for v in inputs[1 : 1 + n]),
        *(((trips, *v.shape), v.dtype) for v in rows),
    ]


def _demand_loop(node: Node) -> Iterator[Condition]:
    body, n = node.attrs["body"], node.attrs["states"]
    formals = body.inputs[1:]
    yield from _demand_fit(node.inputs[1:], formals, "a value outside and inside of a loop")
    yield from _demand_fit(body.outputs[1 : 1 + n], formals[:n], "a state before and after an iteration of a loop")


def _evaluate_loop(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    body, trips, n = attrs["body"], attrs["trips"], attrs["states"]
    live, *states = arrays[: 1 + n]
    rows = [_rows(v, trips, body) for v in body.graph.outputs[1 + n :]]
    count = 0
    while live and (trips is None or count < trips):
        live, *results = body([np.array(count, np.int64), *states, *arrays[1 + n :]])
        states = results[:n]
        for row, result in zip(rows, results[n:]):
            row[count] = result
        count += 1
    return [np.array(count, np.int64), *states, *rows]


def _rows(v: Value, trips: int, body: Function) -> Array:
    return np.zeros((trips, *(evaluate(d, body.sizes) for d in v.shape)), v.dtype.to_numpy())


register("loop", _infer_loop, _evaluate_loop, "body trips states", demands=_demand_loop, traits=Trait.HEAVY)
