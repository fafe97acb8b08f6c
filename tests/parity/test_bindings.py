"""Outputs bound to the same memory, or to that of an input: each is computed as if it were alone, and then they are
written in the order in which they were bound. onnxruntime computes on with what it has overwritten meanwhile; where
nothing is shared, the two agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

import intaglio

SIZE = 12
NAMES = ("neg", "exp", "sum", "turned", "product", "total")


@pytest.fixture(scope="module")
def sessions() -> tuple[Any, Any]:
    """x: [12, 12] -> outputs of that shape, some made of others; total is of shape [1, 12]."""
    x, *outputs = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [SIZE, SIZE]) for n in ("x", *NAMES))
    outputs[-1].type.tensor_type.shape.dim[0].dim_value = 1
    graph = helper.make_graph(
        [
            helper.make_node("Neg", ["x"], ["neg"]),
            helper.make_node("Exp", ["x"], ["exp"]),
            helper.make_node("Add", ["neg", "exp"], ["sum"]),
            helper.make_node("Transpose", ["sum"], ["turned"]),
            helper.make_node("MatMul", ["turned", "x"], ["product"]),
            helper.make_node("ReduceSum", ["exp", "axes"], ["total"]),
        ],
        "g", [x], outputs, [helper.make_tensor("axes", TensorProto.INT64, [1], [0])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    return onnxruntime.InferenceSession(model), intaglio.InferenceSession(model)


def bound(session: Any, x: Any, memory: Any, places: dict[str, int | None]) -> dict[str, Any]:
    """The outputs after a run on x, at the start of `memory`, into it, at these elements, or (None) into new memory."""
    binding = session.io_binding()
    at = memory.ctypes.data
    memory[: x.size] = x.reshape(-1)
    binding.bind_input("x", "cpu", 0, np.float32, x.shape, at)
    for name, place in places.items():
        if place is None:
            binding.bind_output(name)
        else:
            binding.bind_output(name, "cpu", 0, np.float32, shape_of(name), at + 4 * place)
    session.run_with_iobinding(binding)
    return dict(zip(places, binding.copy_outputs_to_cpu()))


def shape_of(name: str) -> tuple[int, int]:
    return (1 if name == "total" else SIZE, SIZE)


@pytest.mark.parametrize("seed", range(40))
def test_shared_memory(sessions: tuple[Any, Any], seed: int) -> None:
    rng = np.random.default_rng(seed)
    ort, ours = sessions
    x = rng.standard_normal((SIZE, SIZE)).astype(np.float32)
    expected = dict(zip(NAMES, ort.run(list(NAMES), {"x": x})))
    names = [str(name) for name in rng.permutation(NAMES)[: rng.integers(1, len(NAMES) + 1)]]
    places = {name: None if rng.random() < 0.2 else int(rng.integers(5)) * SIZE * SIZE // 2 for name in names}
    memory, model = np.zeros(4 * SIZE * SIZE, np.float32), np.zeros(4 * SIZE * SIZE, np.float32)
    model[: x.size] = x.reshape(-1)
    for name, place in places.items():
        if place is not None:
            model[place : place + expected[name].size] = expected[name].reshape(-1)
    for _ in range(2):
        made = bound(ours, x, memory, places)
        np.testing.assert_allclose(memory, model, rtol=1e-5, atol=1e-5)
        for name, place in places.items():
            shape = shape_of(name)
            content = expected[name] if place is None else model[place : place + shape[0] * shape[1]].reshape(shape)
            np.testing.assert_allclose(made[name], content, rtol=1e-5, atol=1e-5)


def test_memory_of_their_own(sessions: tuple[Any, Any]) -> None:
    x = np.random.default_rng(0).standard_normal((SIZE, SIZE)).astype(np.float32)
    places: dict[str, int | None] = {name: number * SIZE * SIZE for number, name in enumerate(NAMES, 1)}
    made = [bound(session, x, np.zeros(8 * SIZE * SIZE, np.float32), places) for session in sessions]
    for name in NAMES:
        np.testing.assert_allclose(made[1][name], made[0][name], rtol=1e-5, atol=1e-5)
