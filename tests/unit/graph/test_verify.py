"""The verifier names what is wrong, and where."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from intaglio.compiler.graph.ir import Graph, Value, input_value, make, size_value
from intaglio.compiler.graph.verify import verify
from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import F32, F64, I64

B = Symbol("b")


def graph() -> tuple[Graph, Value]:
    x = input_value("x", (B, 4), F32)
    y = x.exp()
    y.node.origin = ("the_exp",)
    return Graph([x], [y + 1], ["y"]), y


def wrong_shape(g: Graph, y: Value) -> None:
    y.shape = (B, 5)


def wrong_dtype(g: Graph, y: Value) -> None:
    y.dtype = F64


def wrong_content(g: Graph, y: Value) -> None:
    size = size_value(B)
    size.content = size_value(B + 1).content
    g.outputs.append(size)
    g.output_names.append("size")


def unknown_attribute(g: Graph, y: Value) -> None:
    y.node.attrs = {**y.node.attrs, "speed": 3}


def free_symbol(g: Graph, y: Value) -> None:
    g.outputs = [make("iota", [], shape=(Symbol("n"),), axis=0, dtype=I64)[0]]


def foreign_input(g: Graph, y: Value) -> None:
    g.inputs = []


def missing_name(g: Graph, y: Value) -> None:
    g.output_names = []


def foreign_output(g: Graph, y: Value) -> None:
    g.outputs = [Value(y.node, 0, y.shape, y.dtype)]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (wrong_shape, r"node 1, map from the_exp: shape \(b, 5\) where the rule gives \(b, 4\)"),
        (wrong_dtype, "dtype f64 where the rule gives f32"),
        (wrong_content, "content differs"),
        (unknown_attribute, r"unknown attributes \['speed'\]"),
        (free_symbol, "n has symbols that no input gives"),
        (foreign_input, "not an input of the graph"),
        (missing_name, "not one name for each output"),
        (foreign_output, "not an output of its node"),
    ],
)
def test_what_is_wrong_is_named(spoil: Callable[[Graph, Value], None], message: str) -> None:
    g, y = graph()
    verify(g)
    spoil(g, y)
    with pytest.raises(AssertionError, match=message):
        verify(g)


def test_random_numbers_come_from_nowhere() -> None:
    verify(Graph([], [size_value(Symbol("random#0")) + 1], ["y"]))
    with pytest.raises(AssertionError, match="random2 has symbols that no input gives"):
        verify(Graph([], [size_value(Symbol("random2")) + 1], ["y"]))
