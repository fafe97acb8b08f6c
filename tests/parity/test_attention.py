"""Attention that exporters write out computes what its operators do one by one."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

import intaglio


@pytest.mark.parametrize("keys", [0, 1, 7])
def test_attention_written_out_over_any_number_of_keys(keys: int) -> None:
    """The softmax of nothing, times nothing, is a sum of nothing: 0."""
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((2, 3, n, 8)).astype(np.float32) for n in (5, keys, keys))
    nodes = [
        helper.make_node("Transpose", ["k"], ["t"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["q", "t"], ["s"]),
        helper.make_node("Softmax", ["s"], ["p"]),
        helper.make_node("MatMul", ["p", "v"], ["y"]),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", 3, name + "_n", 8]) for name in ("q", "k", "v")
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    (y,) = intaglio.InferenceSession(model).run(None, {"q": q, "k": k, "v": v})
    s = np.exp(q @ k.swapaxes(2, 3))
    np.testing.assert_allclose(y, (s / s.sum(-1, keepdims=True)) @ v, rtol=1e-4, atol=1e-5)
