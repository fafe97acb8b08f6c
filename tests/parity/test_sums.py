"""Long sums of float32 lose no more than a few units in the last place, along any axis and in any form of the loops."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

import intaglio

MILLION = 1_000_000


@pytest.mark.sample(14)
@pytest.mark.parametrize("named", [False, True], ids=["sizes", "named"])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [((3 * MILLION,), (0,)), ((3 * MILLION, 4), (0,)), ((4, 3 * MILLION), (1,)), ((2000, 3, 500), (0, 2)),
     ((3, 1000, 1000), (1, 2)), ((5, 100_000, 3), (1,)), ((1500, 1500), (0, 1))],
)  # fmt: skip
@pytest.mark.parametrize("op", ["ReduceSum", "ReduceMean", "ReduceL2"])
def test_long_sums(op: str, shape: tuple[int, ...], axes: tuple[int, ...], named: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.random(shape, np.float32)
    dims = [f"d{i}" if named else d for i, d in enumerate(shape)]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    axis = helper.make_tensor("axes", TensorProto.INT64, [len(axes)], axes)
    graph = helper.make_graph([helper.make_node(op, ["x", "axes"], ["y"])], "g", inputs, outputs, [axis])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (y,) = intaglio.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    wide = x.astype(np.float64)
    of = {"ReduceSum": wide.sum, "ReduceMean": wide.mean, "ReduceL2": np.square(wide).sum}[op]
    want = of(axis=axes, keepdims=True)
    want = np.sqrt(want) if op == "ReduceL2" else want
    assert np.abs(y / want - 1).max() < 4e-7
    x.flat[7] = np.inf
    (y,) = intaglio.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    assert np.isposinf(y).sum() == 1 and not np.isnan(y).any()
