"""Many kernels that differ in numbers alone are one, few keep their numbers; what they compute is the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.numpy_helper import from_array

import intaglio
from intaglio.compiler.driver import lower_model
from intaglio.compiler.kernel.ir import Launch
from intaglio.compiler.kernel.program import every_step
from intaglio.compiler.options import Options
from intaglio.compiler.schedule.share import ALIKE

Array = np.ndarray[Any, Any]
MANY = 3 * ALIKE


def model(numbers: Array, joined: bool) -> bytes:
    """y{i} = x + numbers[i], each an output, or all of them in one."""
    kind = helper.np_dtype_to_tensor_dtype(numbers.dtype)
    names = [f"y{i}" for i in range(len(numbers))]
    nodes = [helper.make_node("Add", ["x", f"c{i}"], [y]) for i, y in enumerate(names)]
    if joined:
        nodes.append(helper.make_node("Concat", names, ["y"], axis=0))
    outputs = [helper.make_tensor_value_info(y, kind, None) for y in (["y"] if joined else names)]
    constants = [from_array(np.asarray(c), f"c{i}") for i, c in enumerate(numbers)]
    inputs = [helper.make_tensor_value_info("x", kind, ["n"])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


def kernels(content: bytes) -> int:
    """How many different ones a model has."""
    program = lower_model(content, Options()).program
    assert program is not None
    return len({step.kernel for step in every_step(program.steps) if isinstance(step, Launch)})


NUMBERS = {
    "f32": np.geomspace(1e-30, 1e30, MANY).astype(np.float32) * np.where(np.arange(MANY) % 2, 1, -1).astype(np.float32),
    "f64": np.geomspace(1e-300, 1e300, MANY),
    "i64": np.concatenate([np.arange(1, MANY - 1), [2**62, -(2**63)]]),
    "i32": np.arange(1, MANY + 1, dtype=np.int32) * -9,
    "u64": np.arange(1, MANY + 1, dtype=np.uint64),
}


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("name", NUMBERS)
def test_constants_and_places(name: str, joined: bool) -> None:
    numbers = NUMBERS[name]
    content = model(numbers, joined)
    assert kernels(content) == 1
    x = np.arange(5).astype(numbers.dtype)
    wanted = [x + c for c in numbers]
    got = intaglio.InferenceSession(content).run(None, {"x": x})
    for a, b in zip(got, [np.concatenate(wanted)] if joined else wanted, strict=True):
        np.testing.assert_array_equal(a, b)


def test_floats_that_are_no_numbers() -> None:
    numbers = np.arange(1, MANY + 1, dtype=np.float32)
    numbers[:3] = np.nan, np.inf, -np.inf
    content = model(numbers, False)
    assert kernels(content) == 1
    got = intaglio.InferenceSession(content).run(None, {"x": np.array([-0.0, 1], np.float32)})
    np.testing.assert_array_equal(got[:4], [[np.nan] * 2, [np.inf] * 2, [-np.inf] * 2, [4, 5]])


def test_few_keep_their_numbers() -> None:
    assert kernels(model(NUMBERS["f32"][:ALIKE], False)) == ALIKE


def test_parts_that_are_read() -> None:
    names = [f"y{i}" for i in range(MANY)]
    nodes = [helper.make_node("Split", ["x"], names, axis=0, num_outputs=MANY)]
    nodes += [helper.make_node("Tanh", [y], [f"z{i}"]) for i, y in enumerate(names)]
    outputs = [helper.make_tensor_value_info(f"z{i}", onnx.TensorProto.FLOAT, None) for i in range(MANY)]
    inputs = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [MANY, 3])]
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    content = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9
    ).SerializeToString()  # fmt: skip
    assert kernels(content) == 1
    x = np.random.default_rng(0).standard_normal((MANY, 3), np.float32)
    got = intaglio.InferenceSession(content).run(None, {"x": x})
    np.testing.assert_allclose(np.concatenate(got), np.tanh(x), rtol=1e-6)
