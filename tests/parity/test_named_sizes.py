"""Sizes of inputs that are named in the model, though its constants say what they have to be."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import intaglio
from intaglio.runtime.errors import NotImplemented

# operator, the shape of x, the shapes of its constants, attributes
CASES: list[tuple[str, tuple[int, ...], list[tuple[int, ...]], dict[str, Any]]] = [
    ("MatMul", (3, 5), [(5, 4)], {}),
    ("MatMul", (2, 3, 5), [(5, 17)], {}),
    ("MatMul", (5,), [(5, 4)], {}),
    ("MatMul", (2, 3, 5), [(2, 5, 4)], {}),
    ("Gemm", (3, 5), [(5, 4), (4,)], {}),
    ("Gemm", (5, 3), [(5, 4), (3, 4)], {"transA": 1}),
    ("Gemm", (3, 5), [(4, 5)], {"transB": 1}),
    ("Conv", (2, 4, 7, 7), [(6, 4, 3, 3), (6,)], {}),
    ("Conv", (2, 4, 7, 7), [(4, 1, 3, 3)], {"group": 4}),
    ("Conv", (2, 4, 7), [(6, 2, 3)], {"group": 2}),
    ("ConvTranspose", (2, 4, 5, 5), [(4, 3, 2, 2)], {"strides": [2, 2]}),
    ("RNN", (3, 2, 5), [(1, 4, 5), (1, 4, 4)], {"hidden_size": 4}),
    ("LSTM", (3, 2, 5), [(1, 16, 5), (1, 16, 4), (1, 32)], {"hidden_size": 4}),
    ("GRU", (3, 2, 5), [(2, 12, 5), (2, 12, 4)], {"hidden_size": 4, "direction": "bidirectional"}),
    ("LayerNormalization", (3, 5), [(5,), (5,)], {}),
    ("InstanceNormalization", (2, 4, 6), [(4,), (4,)], {}),
    ("PRelu", (2, 4, 6), [(4, 1)], {}),
    ("Add", (2, 5), [(5,)], {}),
]


@pytest.mark.sample(9)
@pytest.mark.parametrize("op, shape, constants, attributes", CASES)
def test_constants_tell_the_size(op: str, shape: Any, constants: Any, attributes: Any) -> None:
    """Each axis of the input is named, one at a time and all of them."""
    rng = np.random.default_rng(0)
    weights = {f"w{i}": rng.standard_normal(s, np.float32) for i, s in enumerate(constants)}
    x = rng.standard_normal(shape, np.float32)
    for named in [*({i} for i in range(len(shape))), set(range(len(shape)))]:
        dims = [f"n{i}" if i in named else size for i, size in enumerate(shape)]
        initializers = [onnx.numpy_helper.from_array(w, name) for name, w in weights.items()]
        compare(helper.make_node(op, ["x", *weights], ["y"], **attributes), {"x": x}, {"x": dims}, initializers)


def compare(
    node: onnx.NodeProto, feeds: dict[str, Any], dims: dict[str, Any], constants: Any = (), opset: int = 17
) -> None:
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims[name]) for name in feeds]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    opsets = [helper.make_opsetid("", opset)]
    graph = helper.make_graph([node], "g", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    (wanted,) = onnxruntime.InferenceSession(model).run(None, feeds)
    (got,) = intaglio.InferenceSession(model).run(None, feeds)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
def test_attributes_tell_the_size(op: str, direction: str) -> None:
    """All axes of all operands of a recurrent layer are named."""
    rng = np.random.default_rng(0)
    gates, d, h = {"RNN": 1, "GRU": 3, "LSTM": 4}[op], 1 + (direction == "bidirectional"), 4
    shapes = {"x": (3, 2, 5), "w": (d, gates * h, 5), "r": (d, gates * h, h), "b": (d, 2 * gates * h), "h0": (d, 2, h)}
    names = ["x", "w", "r", "b", "", "h0"]
    if op == "LSTM":
        shapes |= {"c0": (d, 2, h), "p": (d, 3 * h)}
        names += ["c0", "p"]
    feeds = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    dims = {name: [f"{name}{i}" for i in range(len(shape))] for name, shape in shapes.items()}
    compare(helper.make_node(op, names, ["y"], hidden_size=h, direction=direction), feeds, dims)


def test_heads_may_be_named() -> None:
    """Those of attention; where queries and keys have as many by the same name."""
    rng = np.random.default_rng(0)
    feeds = {name: rng.standard_normal((2, 3, 4, 8), np.float32) for name in "qkv"}
    dims = {name: ["b", "h", "s", 8] for name in feeds}
    compare(helper.make_node("Attention", list(feeds), ["y"]), feeds, dims, opset=23)
    dims["q"] = ["b", "more", "s", 8]
    with pytest.raises(NotImplemented, match="more heads of queries, h of keys"):
        compare(helper.make_node("Attention", list(feeds), ["y"]), feeds, dims, opset=23)
