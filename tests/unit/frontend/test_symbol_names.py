"""Dims of a model may be called like anything, also like the symbols that the compiler makes for itself."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import intaglio
from intaglio.compiler.frontend.importer import import_model
from intaglio.compiler.frontend.load import load_model
from intaglio.compiler.graph import interp

# Of the import, of kernels, of schedules; and what is special to printers and parsers of sizes.
NAMES = [
    ("n#0", "n#1"), ("n#1", "n#2"), ("n#2", "n#0"), ("n#1'", "n#1"), ("random#0", "random#1"), ("random", "random#"),
    ("x.0", "x.1"), ("y.0", "x.1"), ("k[0]", "k[1]"), ("k[0]'", "k[0]"), ("o0", "o1"), ("@0", "@1"), ("m", "n"),
    ("k", "m"), ("p0", "p1"), ("panel", "column"), ("o0h2", "o0l2"), ("min", "max"), ("1", "0"), ("-1", "2"),
    (" ", "a b"), ("`", "\\"), ("//", "%"), ("n", "N"), ("\x00", "\n"), ("é", "日本"),
]  # fmt: skip
X = np.array([[1, 0, 2], [0, 0, 3]], np.float32)
FEEDS = [X, np.array([7, 8, 9, 10], np.float32), np.array([2, 3])]


def model(first: str, second: str) -> bytes:
    """Symbols for data (what is not zero), for elements of an input (k), for unnamed dims (y)."""
    nodes = [
        helper.make_node("NonZero", ["x"], ["where"]),
        helper.make_node("Transpose", ["where"], ["rows"]),
        helper.make_node("GatherND", ["x", "rows"], ["found"]),
        helper.make_node("Relu", ["y"], ["z"]),
        helper.make_node("Expand", ["one", "k"], ["ones"]),
        helper.make_node("Add", ["x", "ones"], ["sum"]),
        helper.make_node("RandomUniformLike", ["x"], ["drawn"]),
        helper.make_node("Shape", ["drawn"], ["size"]),
    ]
    f, i = TensorProto.FLOAT, TensorProto.INT64
    inputs = [("x", f, [first, second]), ("y", f, [None]), ("k", i, [2])]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(*each) for each in inputs],
        [onnx.ValueInfoProto(name=n) for n in ("found", "z", "sum", "size")],
        [onnx.numpy_helper.from_array(np.ones((1, 1), np.float32), "one")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


EXPECTED = [X[np.nonzero(X)], FEEDS[1], X + 1, np.array([2, 3])]


@pytest.mark.parametrize("names", NAMES, ids=ascii)
def test_a_name_of_a_dim_is_no_name_of_ours(names: tuple[str, str]) -> None:
    graph = import_model(load_model(model(*names)))
    assert [d.name for d in graph.inputs[0].shape] == list(names)  # type: ignore[union-attr]
    for made, wanted in zip(interp.evaluate(graph, FEEDS), EXPECTED, strict=True):
        np.testing.assert_array_equal(made, wanted)


@pytest.mark.parametrize("names", NAMES[1::9], ids=ascii)
def test_compiled(names: tuple[str, str]) -> None:
    session = intaglio.InferenceSession(model(*names))
    assert session.get_inputs()[0].shape == list(names)
    assert session.get_inputs()[1].shape == [None]
    for made, wanted in zip(session.run(None, dict(zip("xyk", FEEDS))), EXPECTED, strict=True):
        np.testing.assert_array_equal(made, wanted)


def test_question_marks_are_no_names() -> None:
    """As in models of PaddlePaddle."""
    x = np.arange(-6, 6, dtype=np.float32).reshape(1, 3, 4)
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", "?", "?"])], [onnx.ValueInfoProto(name="y")],
    )  # fmt: skip
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    session = intaglio.InferenceSession(data)
    assert session.get_inputs()[0].shape == ["b", "?", "?"]
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], np.maximum(x, 0))
