"""Random operators: the distributions that ONNX asks for, seeds, and streams. The numbers are not onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import intaglio

FLOAT, DOUBLE, INT32 = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT32
X = np.zeros((400, 500), np.float32)


def session(node: Any, dtype: int = FLOAT, threads: int = 0) -> intaglio.InferenceSession:
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", FLOAT, ["n", "m"])],
        [helper.make_tensor_value_info("y", dtype, None)],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    options = intaglio.SessionOptions()
    options.intra_op_num_threads = threads
    return intaglio.InferenceSession(made.SerializeToString(), options)


def run(node: Any, dtype: int = FLOAT, threads: int = 0) -> np.ndarray[Any, Any]:
    return session(node, dtype, threads).run(None, {"x": X})[0]


def test_uniform() -> None:
    y = run(helper.make_node("RandomUniformLike", ["x"], ["y"], low=-2.0, high=4.0))
    assert y.shape == X.shape and y.min() >= -2 and y.max() < 4
    assert abs(y.mean() - 1) < 0.03 and abs(y.std() - 6 / 12**0.5) < 0.03
    pairs = np.histogram2d(y[:, ::2].ravel(), y[:, 1::2].ravel(), bins=10)[0]  # neighbours know nothing of each other
    assert abs(pairs - 1000).max() < 200
    assert abs(np.corrcoef(y[1:].ravel(), y[:-1].ravel())[0, 1]) < 0.02


def test_normal() -> None:
    y = run(helper.make_node("RandomNormalLike", ["x"], ["y"], mean=3.0, scale=2.0, dtype=DOUBLE), DOUBLE)
    z = (y - 3) / 2
    assert y.dtype == np.float64 and np.isfinite(y).all()
    assert abs(z.mean()) < 0.015 and abs(z.std() - 1) < 0.015
    assert abs((z**3).mean()) < 0.03 and abs((z**4).mean() - 3) < 0.1


def test_multinomial() -> None:
    node = helper.make_node("Multinomial", ["x"], ["y"], sample_size=50_000)
    weights = np.log(np.array([[1, 2, 1], [0.2, 0.3, 0.5]], np.float32))
    (y,) = session(node, INT32).run(None, {"x": weights})
    assert y.dtype == np.int32
    shares = np.stack([np.bincount(row, minlength=3) / 50_000 for row in y])
    np.testing.assert_allclose(shares, [[0.25, 0.5, 0.25], [0.2, 0.3, 0.5]], atol=0.015)


@pytest.mark.parametrize("op", ["RandomUniformLike", "RandomNormalLike"])
def test_a_seed_gives_the_same_numbers_whatever_the_threads(op: str) -> None:
    first, *others = (run(helper.make_node(op, ["x"], ["y"], seed=7.0), threads=n) for n in (1, 2, 4))
    assert all(first.tobytes() == other.tobytes() for other in others)
    assert (first != run(helper.make_node(op, ["x"], ["y"], seed=8.0))).mean() > 0.99


def test_without_a_seed_every_run_differs_and_set_seed_repeats() -> None:
    made = session(helper.make_node("RandomUniformLike", ["x"], ["y"]))
    a, b = (made.run(None, {"x": X})[0] for _ in range(2))
    assert (a != b).mean() > 0.99
    runs = []
    for _ in range(2):
        intaglio.set_seed(5)
        runs.append([made.run(None, {"x": X})[0] for _ in range(2)])
    np.testing.assert_array_equal(runs[0], runs[1])
    assert (runs[0][0] != runs[0][1]).mean() > 0.99


def test_two_operators_of_a_model_have_streams_of_their_own() -> None:
    nodes = [helper.make_node("RandomUniformLike", ["x"], [name]) for name in ("y", "z")]
    outputs = [helper.make_tensor_value_info(name, FLOAT, None) for name in ("y", "z")]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", FLOAT, ["n", "m"])], outputs)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    y, z = intaglio.InferenceSession(made.SerializeToString()).run(None, {"x": X})
    assert abs(np.corrcoef(y.ravel(), z.ravel())[0, 1]) < 0.02
