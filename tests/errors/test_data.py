"""Data that an operator forbids fail the run, as in onnxruntime, wherever the operator is fused; never silently inside,
never outside of a buffer. One option trusts them instead: the nearest element is then taken for what is outside."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper
from onnx.numpy_helper import from_array

import intaglio
from intaglio.runtime.api.options import CHECK_DATA

F = np.float32
X = np.arange(24, dtype=F).reshape(4, 6) + 1


def model(op: str, feeds: dict[str, np.ndarray], after: list[Any] = (), **attrs: Any) -> bytes:  # type: ignore[assignment]
    """One operator on inputs whose dimensions are symbolic, but for the length of tuples of indices, then the nodes
    `after`, from "y" to "z"."""
    nodes = [helper.make_node(op, list(feeds), ["y"], name="it", **attrs), *after]
    inputs = [
        helper.make_tensor_value_info(
            name,
            helper.np_dtype_to_tensor_dtype(x.dtype),
            [1 if (name, i) == ("i", 1) and op.endswith("ND") else f"{name}{i}" for i in range(x.ndim)],
        )
        for name, x in feeds.items()
    ]
    output = helper.make_tensor_value_info("z" if after else "y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", inputs, [output])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


def session(content: bytes, trusting: bool = False) -> Any:
    options = intaglio.SessionOptions()
    options.log_severity_level = 4
    if trusting:
        options.add_session_config_entry(CHECK_DATA, "0")
    return intaglio.InferenceSession(content, options)


def theirs(content: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


INDEX = {
    "Gather": ({"x": X}, lambda i: np.array([1, i, 0]), {}),
    "GatherElements": ({"x": X}, lambda i: np.array([[1, 2, i, 0, 0, 1]]), {}),
    "GatherND": ({"x": X}, lambda i: np.array([[1], [i]]), {}),
    "ScatterElements": ({"x": X}, lambda i: np.array([[1, 2, i, 0, 0, 1]]), {"u": np.ones((1, 6), F)}),
    "ScatterND": ({"x": X}, lambda i: np.array([[1], [i]]), {"u": np.ones((2, 6), F)}),
}
LOGITS = [
    helper.make_node("Softmax", ["y"], ["s"]),  # the index is then read in another kernel, or in a later stage
    helper.make_node("ReduceSum", ["s"], ["z"]),
]


@pytest.mark.parametrize("after", [[], LOGITS], ids=["alone", "fused"])
@pytest.mark.parametrize("op", INDEX)
def test_indices_out_of_range(op: str, after: list[Any]) -> None:
    before, index, behind = INDEX[op]
    content = model(op, {**before, "i": index(0), **behind}, after)
    ours, other = session(content), theirs(content)
    for i in (0, 3, -1, -4):
        feeds = {**before, "i": index(i), **behind}
        np.testing.assert_allclose(ours.run(None, feeds)[0], other.run(None, feeds)[0], rtol=1e-6)
    for i in (4, -5, 1 << 31, 1 << 40, (1 << 63) - 1, -(1 << 63)):
        feeds = {**before, "i": index(i), **behind}
        with pytest.raises(Exception) as expected:
            other.run(None, feeds)
        with pytest.raises(Exception, match=rf"running {op} node. Name:'it'.*out of data bounds") as got:
            ours.run(None, feeds)
        assert type(got.value).__name__ == type(expected.value).__name__
    np.testing.assert_allclose(  # nothing stays behind
        ours.run(None, {**before, "i": index(2), **behind})[0],
        other.run(None, {**before, "i": index(2), **behind})[0],
        rtol=1e-6,
    )


@pytest.mark.parametrize("op", INDEX)
def test_trusted_indices_stay_inside(op: str) -> None:
    before, index, behind = INDEX[op]
    ours = session(model(op, {**before, "i": index(0), **behind}), trusting=True)
    for i, clamped in ((4, 3), (1 << 40, 3), (-9, 0)):
        got = ours.run(None, {**before, "i": index(i), **behind})[0]
        np.testing.assert_array_equal(got, ours.run(None, {**before, "i": index(clamped), **behind})[0])


IMAGES = {
    "MaxRoiPool": (lambda i: {"r": np.array([[i, 0, 0, 2, 2]], F)}, {"pooled_shape": [2, 2]}),
    "RoiAlign": (lambda i: {"r": np.array([[0, 0, 2, 2]], F), "b": np.array([i], np.int64)}, {}),
}


@pytest.mark.parametrize("op", IMAGES)
def test_regions_of_images_that_are_not_there(op: str) -> None:
    """onnxruntime reads the memory of others."""
    regions, attrs = IMAGES[op]
    x = np.arange(96, dtype=F).reshape(2, 3, 4, 4)
    ours = session(model(op, {"x": x, **regions(0)}, **attrs))
    for i in (0, 1):
        assert ours.run(None, {"x": x, **regions(i)})[0].shape[1] == 3
    for i in (2, -1, 1 << 20):
        with pytest.raises(intaglio.capi.onnxruntime_pybind11_state.Fail, match=f"running {op} node. Name:'it'"):
            ours.run(None, {"x": x, **regions(i)})


def test_many_threads_and_many_elements() -> None:
    """One bad index among a million, in the last task, found by whatever thread."""
    content = model("GatherElements", {"x": X, "i": np.zeros((4, 6), np.int64)}, axis=1)
    ours = session(content)
    x, i = np.ones((1000, 1000), F), np.zeros((1000, 1000), np.int64)
    assert ours.run(None, {"x": x, "i": i})[0].sum() == 1e6
    for place in ((0, 0), (999, 999), (500, 3)):
        bad = i.copy()
        bad[place] = 1000
        with pytest.raises(intaglio.capi.onnxruntime_pybind11_state.Fail, match="out of data bounds"):
            ours.run(None, {"x": x, "i": bad})


def test_what_is_not_read_requires_nothing() -> None:
    """Padding around a gather reads no index; its positions are no fault."""
    pad = [helper.make_node("Pad", ["y", "p"], ["z"])]
    content = model("Gather", {"x": X, "i": np.zeros(3, np.int64)}, pad)
    proto = ModelProto.FromString(content)
    proto.graph.initializer.append(from_array(np.array([2, 3, 4, 5]), "p"))
    content = proto.SerializeToString()
    feeds = {"x": X[1:2], "i": np.zeros(3, np.int64)}
    np.testing.assert_array_equal(session(content).run(None, feeds)[0], theirs(content).run(None, feeds)[0])


@pytest.mark.parametrize("view", ["Transpose", "Squeeze", "Slice", "Concat", "Pad"])
def test_indices_into_an_axis_of_one(view: str) -> None:
    """There is one place to read, whatever the index; it is out of range all the same, through any view."""
    nodes = {
        "Transpose": [helper.make_node("Transpose", ["y"], ["z"], perm=[1, 0])],
        "Squeeze": [helper.make_node("Squeeze", ["y", "zero"], ["z"])],
        "Slice": [helper.make_node("Slice", ["y", "zero", "one", "one"], ["z"])],
        "Concat": [helper.make_node("Concat", ["y", "x"], ["z"], axis=0)],
        "Pad": [helper.make_node("Pad", ["y", "pads"], ["z"])],
    }[view]
    constants = {"zero": np.array([0]), "one": np.array([1]), "pads": np.array([0, 1, 0, 0])}
    for shape in ([1, 6], ["n", 6]):
        inputs = [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, shape),
            helper.make_tensor_value_info("i", TensorProto.INT64, [1]),
        ]
        nodes_of = [
            helper.make_node("Reshape", ["x", "three"], ["t"]),
            helper.make_node("Gather", ["t", "i"], ["g"], name="it", axis=1),
            helper.make_node("Reshape", ["g", "two"], ["y"]),
            *nodes,
        ]
        shapes = {"three": np.array([6, 1, 1]), "two": np.array([1, 6])}
        graph = helper.make_graph(
            nodes_of, "g", inputs, [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
            [from_array(v, k) for k, v in {**constants, **shapes}.items()],
        )  # fmt: skip
        opsets = [helper.make_opsetid("", 18)]
        content = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
        ours, x = session(content), X[:1]
        np.testing.assert_array_equal(
            ours.run(None, {"x": x, "i": np.array([0])})[0], theirs(content).run(None, {"x": x, "i": np.array([0])})[0]
        )
        for i in (1, -2, 1 << 40):
            with pytest.raises(Exception, match="out of data bounds"):
                ours.run(None, {"x": x, "i": np.array([i])})


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("reduction", ["ReduceMax", "ReduceSum", "ArgMax"])
def test_indices_into_what_is_reduced(reduction: str, axis: int) -> None:
    """The index is known in the loop that writes, and not in the one before it, which reduces."""
    kept = {"keepdims": 1, "axis": 1} if reduction == "ArgMax" else {"axes": [1]}
    gather = helper.make_node("Gather", ["r", "i"], ["y"], axis=axis)
    nodes = [helper.make_node(reduction, ["x"], ["r"], **kept), gather]
    kind = TensorProto.INT64 if reduction == "ArgMax" else TensorProto.FLOAT
    for shape in (["d", 16], ["d", "d"], [1, 16], ["d", 1]):
        inputs = [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, shape),
            helper.make_tensor_value_info("i", TensorProto.INT64, [1, 3]),
        ]
        graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("y", kind, None)])
        opsets = [helper.make_opsetid("", 12)]
        content = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
        ours, x = session(content), np.arange(16, dtype=F).reshape(1, 16)[:, : 1 if shape[1] in (1, "d") else 16]
        for i in (0, -1):
            feeds = {"x": x, "i": np.full((1, 3), i)}
            np.testing.assert_array_equal(ours.run(None, feeds)[0], theirs(content).run(None, feeds)[0])
        with pytest.raises(Exception, match="out of data bounds"):
            ours.run(None, {"x": x, "i": np.array([[0, 0, 1]])})


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8, np.int8, np.uint64])
@pytest.mark.parametrize(("op", "attrs"), [("Div", {}), ("Mod", {}), ("Mod", {"fmod": 1})])
def test_divisors_of_zero(op: str, attrs: dict[str, int], dtype: type) -> None:
    a = np.arange(1, 7, dtype=dtype)
    graph = helper.make_graph(
        [helper.make_node(op, ["a", "b"], ["y"], name="it", **attrs)], "g",
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), [n]) for n in "ab"],
        [helper.make_tensor_value_info("y", helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), None)],
    )  # fmt: skip
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    ours = session(content)
    b = a[::-1].copy()
    np.testing.assert_array_equal(ours.run(None, {"a": a, "b": b})[0], a // b if op == "Div" else a % b)
    b[4] = 0
    with pytest.raises(Exception, match=rf"running {op} node. Name:'it'.*Integer (division|modulo) by zero"):
        ours.run(None, {"a": a, "b": b})
    with pytest.raises(Exception, match=r"Integer (division|modulo) by zero"):
        ours.run(None, {"a": a, "b": np.zeros(1, dtype)})
