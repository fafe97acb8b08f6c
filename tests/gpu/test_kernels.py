"""Small models on the GPU: the architectures of the tests, sizes that change, shapes that depend on data."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper
from parity import zoo

import intaglio

EXACT = ("CUDAExecutionProvider", {"use_tf32": "0"})


@pytest.mark.parametrize("name", zoo.NAMES)
def test_small_models_at_many_sizes(name: str) -> None:
    mine = intaglio.InferenceSession(zoo.small(name), providers=[EXACT, "CPUExecutionProvider"])
    reference = zoo.theirs(zoo.small(name))
    pairs = zoo.PAIRS if name in zoo.TEXT else [(batch, 1) for batch in (1, 2, 5)]
    for seed, (batch, sequence) in enumerate(pairs):
        for _ in range(2):
            zoo.compare(mine, reference, {"batch": batch, "sequence": sequence}, seed)


def test_shapes_that_depend_on_data() -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["z"]), helper.make_node("Cast", ["z"], ["y"], to=TensorProto.FLOAT)]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    model = helper.make_model(helper.make_graph(nodes, "g", inputs, outputs), ir_version=8)
    mine = intaglio.InferenceSession(model.SerializeToString(), providers=[EXACT, "CPUExecutionProvider"])
    for n in (1000, 3, 0, 1000):
        x = np.maximum(np.random.default_rng(n).standard_normal(n), 0).astype(np.float32)
        np.testing.assert_array_equal(mine.run(None, {"x": x})[0], np.stack(np.nonzero(x)))
