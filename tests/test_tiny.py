"""End to end in a few seconds: a model in, right numbers out, compiled on demand and ahead of time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import intaglio as ort
from intaglio.compiler.cli import main as cli

RNG = np.random.default_rng(0)
W = RNG.standard_normal((8, 5), np.float32)
B = RNG.standard_normal(5, np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """softmax(x @ W + B) with a symbolic batch."""
    nodes = [helper.make_node("Gemm", ["x", "W", "B"], ["h"]), helper.make_node("Softmax", ["h"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 5])],
        [numpy_helper.from_array(W, "W"), numpy_helper.from_array(B, "B")],
    )
    path = tmp_path_factory.mktemp("tiny") / "tiny.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


def expected(x: np.ndarray) -> np.ndarray:
    h = x.astype(np.float64) @ W + B
    e = np.exp(h - h.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


@pytest.mark.parametrize("batch", [1, 7])
def test_session(model: Path, batch: int) -> None:
    x = RNG.standard_normal((batch, 8), np.float32)
    session = ort.InferenceSession(model)
    (y,) = session.run(["y"], {"x": x})
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, expected(x), rtol=1e-5, atol=1e-7)


def test_ahead_of_time(model: Path, tmp_path: Path) -> None:
    artifact = tmp_path / "tiny.intaglio"
    assert cli.main(["compile", str(model), "-o", str(artifact)]) == 0
    x = RNG.standard_normal((3, 8), np.float32)
    (ahead,) = ort.InferenceSession(artifact).run(None, {"x": x})
    (on_demand,) = ort.InferenceSession(model).run(None, {"x": x})
    np.testing.assert_array_equal(ahead, on_demand)
