"""Convolutions of f16 are convolution kernels, whose sums are of f32, and agree with onnxruntime to a rounding."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import intaglio

CASES = [(1, 3, "Conv"), (1, 1, "Matmul"), (4, 3, "Conv"), (16, 3, "Conv")]


@pytest.mark.parametrize(("groups", "taps", "kind"), CASES)
def test_convolutions(groups: int, taps: int, kind: str) -> None:
    rng = np.random.default_rng(0)
    w = (rng.standard_normal((16, 16 // groups, taps, taps)) * 0.1).astype(np.float16)
    constants = [onnx.numpy_helper.from_array(w, "w"), onnx.numpy_helper.from_array(w[:, 0, 0, 0], "b")]
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[taps // 2] * 4, group=groups),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT16, ["n", 16, 9, 9])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT16, None)]
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    x = rng.standard_normal((2, 16, 9, 9)).astype(np.float16)
    mine = intaglio.InferenceSession(model)
    assert kind in [step["kind"] for step in mine._artifact.notes()["steps"]]
    (got,), (expected,) = mine.run(None, {"x": x}), onnxruntime.InferenceSession(model).run(None, {"x": x})
    assert got.dtype == expected.dtype == np.float16
    np.testing.assert_allclose(got, expected, rtol=2**-10, atol=2**-12)
