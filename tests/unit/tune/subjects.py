"""A model to tune, and its kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from intaglio.compiler import driver
from intaglio.compiler.kernel.program import Program
from intaglio.compiler.options import Options
from intaglio.compiler.target import target
from intaglio.compiler.tune.choose import Place, place
from intaglio.compiler.tune.kernels import Problem, problems
from intaglio.compiler.tune.machines import Local


def model(nodes: list[onnx.NodeProto], inputs: dict[str, list[Any]], constants: dict[str, Any]) -> bytes:
    """Inputs are of i64 where their names begin with i or j, of i32 with l, else of f32; the output is y."""
    integers = {"i": TensorProto.INT64, "j": TensorProto.INT64, "l": TensorProto.INT32}
    types = {name: integers.get(name[0], TensorProto.FLOAT) for name in inputs}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, types[name], shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())


def perceptron(width: int = 64) -> bytes:
    """Two products [n, width] x [width, width], and a softmax."""
    rng = np.random.default_rng(0)
    constants = {f"w{i}": rng.standard_normal((width, width)).astype(np.float32) / 8 for i in range(2)}
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w1"], ["c"], name="second"),
        helper.make_node("Softmax", ["c"], ["y"]),
    ]
    return model(nodes, {"x": ["n", width]}, constants)


def kernels(made: bytes, values: dict[str, int], to: str = "native") -> tuple[Program, list[Problem], dict[int, str]]:
    """The lowered program of a model, its kernels, and the reasons for those that are left out."""
    program = driver.lowered_model(made, Options(target=to)).program
    assert program is not None
    return program, *problems(program, values, target(to))


def here(to: str = "native") -> Place:
    return place(target(to), "a compiler")


def machines() -> Local:
    return Local(here())
