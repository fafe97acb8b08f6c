"""Narrow floats: kernels compute in f32, and round what they store; convolutions agree with onnxruntime's."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import intaglio
from intaglio.compiler import driver
from intaglio.compiler.frontend.registry import REGISTRY
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


def _of_one_input(type_: str) -> list[str]:
    """The operators that need one input, of a narrow float, make one value of its type and draw no numbers."""
    found = []
    for name in sorted(n for domain, n in REGISTRY if not domain and onnx.defs.has(n)):
        schema = onnx.defs.get_schema(name)
        if (
            schema.deprecated
            or schema.min_input != 1
            or len(schema.outputs) != 1
            or any(a.required for a in schema.attributes.values())
        ):
            continue
        given = schema.inputs[0].type_str
        allowed = {t for c in schema.type_constraints if c.type_param_str == given for t in c.allowed_type_strs}
        if schema.outputs[0].type_str == given and type_ in allowed:
            found.append(name)
    random = {"Bernoulli", "RandomNormalLike", "RandomUniformLike"}
    more = {"DFT", "Resize"}  # whose schemas allow less than their texts ask for
    return [name for name in found if name not in random | more]


@pytest.mark.parametrize(("type_", "number"), [("float16", TensorProto.FLOAT16), ("bfloat16", TensorProto.BFLOAT16)])
def test_a_value_is_the_same_where_it_stays_in_a_kernel(type_: str, number: int) -> None:
    """Each operator's result is one of its type: a cast reads what it would be as an output."""
    names = _of_one_input(f"tensor({type_})")
    assert len(names) > 30
    x = np.random.default_rng(0).uniform(0.05, 0.95, (2, 3, 4, 4)).astype(helper.tensor_dtype_to_np_dtype(number))
    results = []
    for inside in (False, True):
        nodes = [helper.make_node(name, ["x"], [f"y_{name}"]) for name in names]
        nodes += [helper.make_node("Cast", [f"y_{n}"], [f"z_{n}"], to=TensorProto.FLOAT) for n in names if inside]
        made, element = ("z", TensorProto.FLOAT) if inside else ("y", number)
        outputs = [helper.make_tensor_value_info(f"{made}_{name}", element, None) for name in names]
        graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", number, x.shape)], outputs)
        model = helper.make_model(graph).SerializeToString()
        results.append(intaglio.InferenceSession(model).run(None, {"x": x}))
    for name, outside, within in zip(names, *results):
        np.testing.assert_array_equal(outside.astype(np.float32), within, name)


@pytest.mark.parametrize("number", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_within_a_kernel_nothing_is_rounded_but_where_that_is_asked_for(number: int) -> None:
    """(a x + b) y - z, of which each operator's result would be rounded: at "strict" it is, bit for bit."""
    dtype = helper.tensor_dtype_to_np_dtype(number)
    rng = np.random.default_rng(1)
    feeds = {name: rng.uniform(0.5, 2, (1000,)).astype(dtype) for name in "abxyz"}
    nodes = [
        helper.make_node("Mul", ["a", "x"], ["p"]), helper.make_node("Add", ["p", "b"], ["q"]),
        helper.make_node("Mul", ["q", "y"], ["r"]), helper.make_node("Sub", ["r", "z"], ["s"]),
        helper.make_node("Floor", ["r"], ["f"]), helper.make_node("Less", ["q", "z"], ["l"]),
    ]  # fmt: skip
    inputs = [helper.make_tensor_value_info(name, number, [1000]) for name in feeds]

    def run(output: str, precision: str) -> np.ndarray:
        type_ = TensorProto.BOOL if output == "l" else number
        graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info(output, type_, [1000])])
        options = intaglio.SessionOptions()
        options.add_session_config_entry("intaglio.precision", precision)
        model = helper.make_model(graph, ir_version=8).SerializeToString()
        (result,) = intaglio.InferenceSession(model, options).run(None, feeds)
        return np.asarray(result)

    def rounded(x: np.ndarray) -> np.ndarray:
        return x.astype(dtype).astype(np.float32)

    a, b, x, y, z = (feeds[name].astype(np.float32) for name in "abxyz")
    q = rounded(rounded(a * x) + b)
    r = rounded(q * y)
    s, wide = (run("s", precision).astype(np.float64) for precision in ("strict", "exact"))
    np.testing.assert_array_equal(s, rounded(r - z))
    np.testing.assert_array_equal(run("f", "strict").astype(np.float32), np.floor(r))
    np.testing.assert_array_equal(run("l", "strict"), q < z)
    exact = (a.astype(np.float64) * x + b) * y - z
    assert np.abs(wide - exact).mean() < 0.5 * np.abs(s - exact).mean()
    half_of_unit = 2.0**-11 if number == TensorProto.FLOAT16 else 2.0**-8
    assert (np.abs(wide - exact) <= half_of_unit * np.abs(exact) + 1e-5).all()
