"""Tensors without elements, of sizes that are fixed and of named ones, give what onnxruntime gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import intaglio

INTS: dict[str, Any] = {
    "back": [-1], "all": [-(2**62)], "last": [-1], "minus_two": [-2], "zero": [0], "one": [1], "minus_one": [-1],
    "scalar_axis": -1, "ones": [1, 1], "pads": [0, 1, 1, 0],
}  # fmt: skip
OPS = [
    ("Slice", ["x", "back", "all", "last", "minus_one"], {}),
    ("Slice", ["x", "back", "all", "last", "minus_two"], {}),
    ("Slice", ["x", "zero", "one", "zero"], {}),
    ("Transpose", ["x"], {"perm": [1, 0]}),
    ("Reshape", ["x", "minus_one"], {}),
    ("Concat", ["x", "x"], {"axis": 1}),
    ("Pad", ["x", "pads"], {}),
    ("NonZero", ["x"], {}),
    ("Softmax", ["x"], {"axis": -1}),
    ("ReduceMax", ["x"], {"axes": [1]}),
    ("ReduceLogSumExp", ["x"], {"axes": [0]}),
    ("LogSoftmax", ["x"], {"axis": 0}),
    ("Hardmax", ["x"], {"axis": -1}),
    ("Hardmax", ["x"], {"axis": 0}),
    ("CumSum", ["x", "scalar_axis"], {}),
    ("ReduceSum", ["x", "one"], {}),
    ("ReduceProd", ["x"], {"axes": [0]}),
    ("MatMul", ["x", "t"], {}),
    ("Gemm", ["x", "x"], {"transB": 1}),
    ("TopK", ["x", "zero"], {}),
    ("Tile", ["x", "ones"], {}),
    ("Expand", ["x", "ones"], {}),
    ("Flatten", ["x"], {}),
    ("Trilu", ["x"], {}),
    ("Relu", ["x"], {}),
    ("Add", ["x", "x"], {}),
    ("Where", ["c", "x", "x"], {}),
    ("Shape", ["x"], {}),
    ("Size", ["x"], {}),
    ("Cast", ["x"], {"to": TensorProto.INT64}),
]


@pytest.mark.sample(18)
@pytest.mark.parametrize("named", [False, True], ids=["fixed", "named"])
@pytest.mark.parametrize("op, inputs, attributes", OPS)
def test_operators(
    op: str, inputs: list[str], attributes: dict[str, Any], named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is read of them, either."""
    monkeypatch.setenv("INTAGLIO_VERIFY", "2")
    for shape in ((0, 3), (2, 0), (0, 0)):
        feeds = {
            "x": np.zeros(shape, np.float32), "t": np.zeros(shape[::-1], np.float32), "c": np.zeros(shape, bool),
        }  # fmt: skip
        kinds = {"c": TensorProto.BOOL}
        fed = [
            helper.make_tensor_value_info(
                name, kinds.get(name, TensorProto.FLOAT), [f"d{d}" for d in a.shape] if named else a.shape
            )
            for name, a in feeds.items() if name in inputs
        ]  # fmt: skip
        constants = [
            numpy_helper.from_array(np.array(value, np.int64), name) for name, value in INTS.items() if name in inputs
        ]
        node = helper.make_node(op, inputs, ["y", "z"][: 1 + (op == "TopK")], **attributes)
        # What comes before and after is what views are joined with.
        before = helper.make_node("Identity", ["x"], ["first"])
        after = helper.make_node("Identity", ["y"], ["last_of_all"])
        graph = helper.make_graph([before, node, after], "g", fed, [onnx_info("last_of_all", op)], constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
        given = {each.name: feeds[each.name] for each in fed}
        try:
            (wanted,) = onnxruntime.InferenceSession(model).run(None, given)
        except Exception:
            with pytest.raises(Exception):  # noqa: B017  (of whatever class)
                intaglio.InferenceSession(model).run(None, given)
            continue
        (got,) = intaglio.InferenceSession(model).run(None, given)
        assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
        np.testing.assert_array_equal(got, wanted)


def onnx_info(name: str, op: str) -> Any:
    integers = op in ("NonZero", "Shape", "Size", "Cast")
    return helper.make_tensor_value_info(name, TensorProto.INT64 if integers else TensorProto.FLOAT, None)


def test_nothing_of_a_named_size() -> None:
    """A dim of 0 makes a tensor small, whatever its other dims are."""
    nodes = [helper.make_node("ReduceSum", ["x"], ["n"], keepdims=0), helper.make_node("Range", ["n", "e", "o"], ["y"])]
    constants = [numpy_helper.from_array(np.array(v, np.int64), name) for name, v in (("e", 4), ("o", 1))]
    x = helper.make_tensor_value_info("x", TensorProto.INT64, ["d", 0])
    graph = helper.make_graph(nodes, "g", [x], [onnx_info("y", "Size")], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    (got,) = intaglio.InferenceSession(model).run(None, {"x": np.zeros((3, 0), np.int64)})
    np.testing.assert_array_equal(got, np.arange(4))


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int8, bool])
@pytest.mark.parametrize("shape", [(0,), (0, 1), (3, 0), (0, 1, 0), (2, 0, 3), (1, 1, 1, 0)])
def test_where_a_constant_of_nothing_is_set(
    shape: tuple[int, ...], dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of places is known when the model is compiled."""
    monkeypatch.setenv("INTAGLIO_VERIFY", "1")
    for before in ("Identity", "Cast", "Transpose"):
        attrs = {"to": TensorProto.INT64} if before == "Cast" else {}
        nodes = [helper.make_node(before, ["x"], ["v"], **attrs), helper.make_node("NonZero", ["v"], ["y"])]
        constants = [numpy_helper.from_array(np.zeros(shape, dtype), "x")]
        graph = helper.make_graph(nodes, "g", [], [onnx_info("y", "NonZero")], constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
        (got,) = intaglio.InferenceSession(model).run(None, {})
        assert got.shape == (len(shape), 0) and got.dtype == np.int64
