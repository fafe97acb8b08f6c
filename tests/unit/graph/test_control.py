"""Sizes that depend on data, branches and loops in the graph IR: meaning, order, text, verification, passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from intaglio.compiler.graph.interp import evaluate
from intaglio.compiler.graph.ir import Array, Graph, Value, constant, input_value, live_bindings, make, size_value
from intaglio.compiler.graph.text import parse_graph, print_graph
from intaglio.compiler.graph.verify import verify
from intaglio.compiler.passes import PASSES
from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import BOOL, F32, I64

B, N, INDEX = Symbol("b"), Symbol("n"), Symbol("i")


def bound_graph() -> Graph:
    """The first n elements of x, n being how many are positive."""
    x = input_value("x", (B,), F32)
    count = (x > 0).cast(I64).sum()
    return Graph([x], [x.narrow(0, 0, N)], ["y"], {N: count})


def branch_graph() -> Graph:
    """exp(x) or x - 1, twice; one side is a branch itself."""
    c, x = input_value("c", (), BOOL), input_value("x", (B,), F32)

    def side(kind: str) -> Graph:
        inner = input_value("v", (B,), F32)
        return Graph([inner], [inner.exp() if kind == "exp" else inner - 1], ["r"])

    flag, given = input_value("flag", (), BOOL), input_value("w", (B,), F32)
    nested = make("branch", [flag, given], then=side("exp"), otherwise=side("sub"))[0]
    (y,) = make("branch", [c, c, x], then=Graph([flag, given], [nested], ["r"]), otherwise=_second(side("sub")))
    return Graph([c, x], [y + y], ["y"])


def _second(graph: Graph) -> Graph:
    """The same with another input in front."""
    return Graph([input_value("unused", (), BOOL), *graph.inputs], graph.outputs, graph.output_names)


def loop_graph(trips: int | None = 5) -> Graph:
    """s -> s * x while the sum of s is below 100; the rows are the sums and the number of the iteration."""
    x = input_value("x", (B,), F32)
    index, s, inner = input_value("i", (), I64), input_value("s", (B,), F32), input_value("v", (B,), F32)
    index.content = np.array(INDEX, object)
    t = s * inner
    rows = [t.sum(), size_value(INDEX)] if trips else []
    body = Graph([index, s, inner], [t.sum() < 100, t, *rows], ["c", "t", "sum", "at"][: 2 + len(rows)])
    outputs = make("loop", [constant(np.array(True)), x, x], body=body, trips=trips, states=1)
    return Graph([x], list(outputs), ["count", "s", "sums", "at"][: len(outputs)])


GRAPHS = {"binding": bound_graph, "branch": branch_graph, "loop": loop_graph}


def feeds_of(graph: Graph) -> list[Array]:
    given: dict[str, Any] = {"x": np.array([2, 3, -1], np.float32), "c": np.array(True)}
    return [given[v.name] for v in graph.inputs]


def test_a_bound_size() -> None:
    (y,) = evaluate(bound_graph(), [np.array([5, -1, 7, -2], np.float32)])
    np.testing.assert_array_equal(y, np.array([5, -1], np.float32))


@pytest.mark.parametrize("choice", [True, False])
def test_a_branch(choice: bool) -> None:
    x = np.array([0, 1], np.float32)
    (y,) = evaluate(branch_graph(), [np.array(choice), x])
    np.testing.assert_allclose(y, 2 * np.exp(x) if choice else 2 * (x - 1), rtol=1e-6)


@pytest.mark.parametrize(("trips", "done"), [(2, 2), (5, 3), (None, 3)])
def test_a_loop(trips: int | None, done: int) -> None:
    count, s, *rows = evaluate(loop_graph(trips), [np.array([4], np.float32)])
    assert count == done and s == 4.0 ** (done + 1)
    if trips:
        sums, numbers = rows
        assert len(sums) == trips
        np.testing.assert_array_equal(sums[:done], 4.0 ** np.arange(2, done + 2))
        np.testing.assert_array_equal(numbers[:done], np.arange(done))


@pytest.mark.parametrize("name", GRAPHS)
def test_text_is_read_back(name: str) -> None:
    graph = GRAPHS[name]()
    verify(graph)
    text = print_graph(graph)
    again = parse_graph(text)
    verify(again)
    assert print_graph(again) == text
    for a, b in zip(evaluate(again, feeds_of(graph)), evaluate(graph, feeds_of(graph)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", GRAPHS)
def test_passes_keep_the_meaning(name: str) -> None:
    graph = GRAPHS[name]()
    wanted = evaluate(graph, feeds_of(graph))
    for _, run in PASSES:
        graph = run(graph)
        verify(graph)
    for a, b in zip(evaluate(graph, feeds_of(graph)), wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_passes_go_into_sub_graphs() -> None:
    c, x = input_value("c", (), BOOL), input_value("x", (B,), F32)
    v = input_value("v", (B,), F32)
    sides = [Graph([v], [v * 1 + 0], ["r"]), Graph([v], [v.map("neg").map("neg")], ["r"])]
    graph = Graph([c, x], list(make("branch", [c, x], then=sides[0], otherwise=sides[1])), ["y"])
    for _, run in PASSES:
        graph = run(graph)
    branch = graph.outputs[0].node
    assert [n.op.name for n in branch.attrs["then"].nodes()] == ["input"]


def test_a_value_that_binds_comes_first() -> None:
    x = input_value("x", (B,), F32)
    late = (x > 0).cast(I64).sum()
    fresh = make("iota", [], shape=(N,), axis=0, dtype=I64)[0]  # has no inputs at all
    graph = Graph([x], [fresh], ["y"], {N: late})
    nodes = graph.nodes()
    assert nodes.index(late.node) < nodes.index(fresh.node)


def test_bindings_that_nothing_mentions_are_dropped() -> None:
    graph = bound_graph()
    graph.outputs = [graph.inputs[0].exp()]
    assert live_bindings(graph) == {}
    assert [n.op.name for n in graph.nodes()] == ["input", "map"]


def test_what_a_sub_graph_mentions_is_known_before() -> None:
    graph = bound_graph()
    x = graph.inputs[0]
    inner = [make("iota", [], shape=(N,), axis=0, dtype=I64)[0] for _ in range(2)]
    flag = input_value("c", (), BOOL)
    (y,) = make("branch", [flag], then=Graph([], [inner[0]], ["r"]), otherwise=Graph([], [inner[1]], ["r"]))
    graph = Graph([x, flag], [y], ["y"], graph.bindings)
    verify(graph)
    assert len(evaluate(graph, [np.ones(3, np.float32), np.array(True)])[0]) == 3


def _unbound(graph: Graph, y: Value) -> None:
    graph.bindings = {}


def _no_scalar(graph: Graph, y: Value) -> None:
    graph.bindings = {N: graph.inputs[0]}


@pytest.mark.parametrize(("spoil", "message"), [(_unbound, "symbols that no"), (_no_scalar, "no i64 scalar")])
def test_what_is_wrong_with_a_binding(spoil: Any, message: str) -> None:
    graph = bound_graph()
    spoil(graph, graph.outputs[0])
    with pytest.raises(AssertionError, match=message):
        verify(graph)


def test_sides_of_a_branch_agree() -> None:
    c, v = input_value("c", (), BOOL), input_value("v", (3,), F32)
    longer = Graph([v], [v.emit("concat", [v, v], axis=0)[0]], ["r"])
    with pytest.raises(ValueError, match="the two sides of a branch: sizes 6 and 3 differ"):
        make("branch", [c, v], then=Graph([v], [v], ["r"]), otherwise=longer)


def test_states_keep_their_shape() -> None:
    index, s = input_value("i", (), I64), input_value("s", (3,), F32)
    index.content = np.array(INDEX, object)
    body = Graph([index, s], [constant(np.array(True)), s.emit("concat", [s, s], axis=0)[0]], ["c", "s"])
    with pytest.raises(ValueError, match="sizes 6 and 3 differ"):
        make("loop", [constant(np.array(True)), s], body=body, trips=3, states=1)
