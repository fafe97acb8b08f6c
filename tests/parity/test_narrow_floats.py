"""Convolutions of f16 are convolution kernels, whose sums are of f32, and agree with onnxruntime to a rounding."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import intaglio
from intaglio.compiler import driver
from intaglio.compiler.kernel.ir import Matmul
from intaglio.compiler.options import Options

CASES = [(1, 3, "Conv"), (1, 1, "Matmul"), (4, 3, "Conv"), (16, 3, "Conv")]


def test_products_of_images_are_of_all_rows() -> None:
    """A 1x1 convolution of f16 is one product of as many rows as there are pixels, not one for each line of them."""
    w = np.ones((4, 8, 1, 1), np.float16)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [2, 5, 7, 8])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT16, None)]
    last = helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2])
    nodes = [last, helper.make_node("Conv", ["t", "w"], ["y"])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [onnx.numpy_helper.from_array(w, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    program = driver.lower_model(model.SerializeToString(), Options()).program
    assert program is not None
    (product,) = [launch.kernel.body for launch in program.launches if isinstance(launch.kernel.body, Matmul)]
    assert product.batch == ()


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
