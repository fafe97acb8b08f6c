"""Names that are used twice, of nodes, values and sizes: what loads, and what it then means, as by onnxruntime."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

import intaglio

from .test_invalid_models import reduced

OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
MAKERS = ("Constant", "node", "initializer", "input")
X = np.random.default_rng(0).standard_normal(3).astype(np.float32)


def info(name: str, kind: int = TensorProto.FLOAT, shape: Any = ("n",)) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def outcome(engine: Any, model: onnx.ModelProto, feeds: dict[str, Any]) -> Any:
    options = engine.SessionOptions()
    options.log_severity_level = 4
    try:
        session = engine.InferenceSession(model.SerializeToString(), options)
        names = {each.name for each in session.get_inputs()}
        return [np.asarray(v).tolist() for v in session.run(None, {k: v for k, v in feeds.items() if k in names})]
    except Exception as error:
        return type(error).__name__, reduced(str(error))


def compare(model: onnx.ModelProto, feeds: dict[str, Any]) -> None:
    assert outcome(intaglio, model, feeds) == outcome(onnxruntime, model, feeds)


def made(kind: str, value: float, output: str, name: str) -> list[NodeProto]:
    """A node that makes `output`."""
    tensor = numpy_helper.from_array(np.float32([value]), name)
    if kind == "Constant":
        return [helper.make_node("Constant", [], [output], name, value=tensor)]
    return [helper.make_node("Abs" if value > 1 else "Neg", ["x"], [output], name)]


def placed(nodes: list[NodeProto], place: str, before: list[NodeProto], weights: Any = ()) -> onnx.ModelProto:
    """A model of nodes that make y of x, after others: in its graph, in a branch of it, or in a function."""
    functions, outputs = [], [info("y", shape=None)]
    if place == "branch":
        sides = [
            helper.make_graph(nodes, "g", [], [info("y")], weights),
            helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [], [info("y")]),
        ]
        nodes = [helper.make_node("If", ["c"], ["y"], "if", then_branch=sides[0], else_branch=sides[1])]
    elif place == "function":
        functions = [helper.make_function("own", "F", ["x"], ["y"], nodes, OPSETS[:1])]
        nodes = [helper.make_node("F", ["x"], ["y"], "call", domain="own")]
    top = [] if place == "branch" else weights
    graph = helper.make_graph([*before, *nodes], "g", [info("x"), info("c", TensorProto.BOOL, [])], outputs, top)
    return helper.make_model(graph, opset_imports=OPSETS, ir_version=8, functions=functions)


FEEDS = {"x": X, "c": np.array(True)}


@pytest.mark.parametrize("place", ["graph", "branch", "function"])
@pytest.mark.parametrize("kinds", list(itertools.product(MAKERS[:2], repeat=2)))
def test_nodes_of_one_name(kinds: tuple[str, str], place: str) -> None:
    last = helper.make_node("Add", ["a", "b"], ["y"])
    compare(placed([*made(kinds[0], 1, "a", "name"), *made(kinds[1], 2, "b", "name"), last], place, []), FEEDS)


@pytest.mark.parametrize("place", ["branch", "function"])
@pytest.mark.parametrize("kinds", list(itertools.product(MAKERS[:2], repeat=2)))
def test_nodes_of_one_name_in_two_graphs(kinds: tuple[str, str], place: str) -> None:
    last = helper.make_node("Add", ["x", "b"], ["y"])
    compare(placed([*made(kinds[1], 2, "b", "name"), last], place, made(kinds[0], 1, "a", "name")), FEEDS)


@pytest.mark.parametrize("kinds", list(itertools.product(MAKERS, MAKERS[:2])))
def test_values_of_one_name(kinds: tuple[str, str]) -> None:
    first, second = kinds
    weights = [numpy_helper.from_array(np.float32([5]), "a")] if first == "initializer" else []
    nodes = made(first, 1, "a", "one") if first in MAKERS[:2] else []
    name = "x" if first == "input" else "a"
    last = helper.make_node("Sub", ["x", name], ["y"], "last")
    for order in ([*nodes, *made(second, 2, name, "two"), last], [*nodes, last, *made(second, 2, name, "two")]):
        compare(placed(order, "graph", [], weights), FEEDS)


@pytest.mark.parametrize("kinds", list(itertools.product(MAKERS[:3], repeat=2)))
def test_values_of_one_name_in_two_graphs(kinds: tuple[str, str]) -> None:
    """Of a branch, and of the graph around it: before the branch, or after it."""
    first, second = kinds
    inner = made(second, 2, "a", "two") if second != "initializer" else []
    weights = [numpy_helper.from_array(np.float32([5]), "a")] if second == "initializer" else []
    model = placed([*inner, helper.make_node("Sub", ["x", "a"], ["y"], "last")], "branch", [], weights)
    outer = numpy_helper.from_array(np.float32([7]), "a")
    nodes = list(model.graph.node)
    for order in ([*made(first, 1, "a", "one"), *nodes], [*nodes, *made(first, 1, "a", "one")]):
        del model.graph.node[:], model.graph.initializer[:]
        model.graph.node.extend(nodes if first == "initializer" else order)
        model.graph.initializer.extend([outer] if first == "initializer" else [])
        compare(model, FEEDS)


@pytest.mark.parametrize("name", ["?", "", "past + 1", "None", "-1", "7", "a b", "h//2", "a.b", "*"])
def test_sizes_without_a_name(name: str) -> None:
    """What is no identifier names no size: such sizes may differ, within an input and between two."""
    inputs = [info("x", shape=[name, name]), info("z", shape=[name])]
    nodes = [helper.make_node("Exp", ["x"], ["y"]), helper.make_node("Exp", ["z"], ["w"])]
    outputs = [info(n, shape=None) for n in "yw"]
    model = helper.make_model(helper.make_graph(nodes, "g", inputs, outputs), opset_imports=OPSETS[:1], ir_version=8)
    feeds = {"x": np.zeros((2, 3), np.float32), "z": np.zeros(5, np.float32)}
    compare(model, feeds)
    shapes = [
        [each.shape for each in engine.InferenceSession(model.SerializeToString()).get_inputs()]
        for engine in (intaglio, onnxruntime)
    ]
    assert shapes[0] == shapes[1]
