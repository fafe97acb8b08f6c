"""The optimised model that a session writes: valid ONNX, which onnxruntime loads, and whose outputs are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import intaglio
from bench.inputs import model_inputs

DATA = Path(__file__).parents[1] / "data"
X = np.arange(6, dtype=np.float32).reshape(2, 3)


def options_for(path: Path, level: str = "ORT_ENABLE_ALL", **entries: str) -> intaglio.SessionOptions:
    options = intaglio.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.graph_optimization_level = intaglio.GraphOptimizationLevel[level]
    for key, value in entries.items():
        options.add_session_config_entry(key.replace("__", "."), value)
    return options


def model() -> bytes:
    """y = x * (2 + 3) + w, with an Identity, a node that nothing needs, and nodes out of order; w may be fed."""
    nodes = [
        helper.make_node("Add", ["p", "w"], ["y"], name="add"),
        helper.make_node("Mul", ["same", "five"], ["p"], name="mul"),
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("Add", ["two", "three"], ["five"]),
        helper.make_node("Constant", [], ["three"], value_float=3.0),
        helper.make_node("Relu", ["x"], ["nobody"]),
    ]
    shapes = {"x": ["n", 3], "w": [3], "y": ["n", 3]}
    x, w, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items())
    weights = [numpy_helper.from_array(np.float32([1, 2, 3]), "w"), numpy_helper.from_array(np.float32(2), "two")]
    made = helper.make_model(
        helper.make_graph(nodes, "small", [x, w], [y], weights), opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8, producer_name="me", model_version=3, doc_string="words",
    )  # fmt: skip
    helper.set_model_props(made, {"a": "b"})
    data: bytes = made.SerializeToString()
    return data


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", ["mlp", "lstm", "vit", "bert", "mobilenetv2"])
def test_onnxruntime_runs_it(name: str, tmp_path: Path) -> None:
    source, path = DATA / f"{name}.onnx", tmp_path / "optimized.onnx"
    feeds = model_inputs(source, {"batch": 2}, seed=3)
    intaglio.InferenceSession(source, options_for(path))
    onnx.checker.check_model(path)
    written, original = onnx.load(path), onnx.load(source)
    assert len(written.graph.node) <= len(original.graph.node)
    assert not any(n.op_type == "Constant" for n in written.graph.node)
    for engine in (onnxruntime, intaglio):
        found, wanted = (engine.InferenceSession(p).run(None, feeds) for p in (path, source))
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_what_is_known_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "o.onnx"
    intaglio.InferenceSession(model(), options_for(path))
    onnx.checker.check_model(path)
    written = onnx.load(path)
    assert [n.op_type for n in written.graph.node] == ["Identity", "Mul", "Add"]
    assert sorted(t.name for t in written.graph.initializer) == ["five", "w"]
    session = onnxruntime.InferenceSession(path)
    assert np.array_equal(session.run(None, {"x": X})[0], X * 5 + np.float32([1, 2, 3]))
    assert np.array_equal(session.run(None, {"x": X, "w": np.zeros(3, np.float32)})[0], X * 5)
    meta = session.get_modelmeta()
    assert (meta.producer_name, meta.version, meta.description) == ("me", 3, "words")
    assert meta.custom_metadata_map == {"a": "b"} and meta.graph_name == "small"


def test_without_optimizations_it_is_the_model(tmp_path: Path) -> None:
    path = tmp_path / "o.onnx"
    intaglio.InferenceSession(model(), options_for(path, "ORT_DISABLE_ALL"))
    assert len(onnx.load(path).graph.node) == 6  # in an order that ONNX allows
    assert np.array_equal(onnxruntime.InferenceSession(path).run(None, {"x": X})[0], X * 5 + np.float32([1, 2, 3]))


def test_what_the_user_gave_is_in_it(tmp_path: Path) -> None:
    path, w = tmp_path / "o.onnx", np.float32([7, 8, 9])
    options = options_for(path)
    options.add_free_dimension_override_by_name("n", 2)
    options.add_initializer("w", intaglio.OrtValue.ortvalue_from_numpy(w))
    intaglio.InferenceSession(model(), options)
    session = onnxruntime.InferenceSession(path)
    assert session.get_inputs()[0].shape == [2, 3] == session.get_outputs()[0].shape
    assert np.array_equal(session.run(None, {"x": X})[0], X * 5 + w)


def test_external_data(tmp_path: Path) -> None:
    """In both directions: the weights of a model with external data go into the file, or into a file beside it."""
    source = onnx.load(DATA / "mlp.onnx")
    onnx.save(source, tmp_path / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0)
    inside, beside = tmp_path / "inside.onnx", tmp_path / "out" / "beside.onnx"
    beside.parent.mkdir()
    entries = {
        "session__optimized_model_external_initializers_file_name": "beside.bin",
        "session__optimized_model_external_initializers_min_size_in_bytes": "16",
    }
    feeds = model_inputs(DATA / "mlp.onnx", {"batch": 2}, seed=3)
    expected = onnxruntime.InferenceSession(DATA / "mlp.onnx").run(None, feeds)
    for path, more in ((inside, {}), (beside, entries), (beside, entries)):  # written over, not added to
        intaglio.InferenceSession(tmp_path / "m.onnx", options_for(path, **more))
        for found, wanted in zip(onnxruntime.InferenceSession(path).run(None, feeds), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    size = (tmp_path / "out" / "beside.bin").stat().st_size
    assert beside.stat().st_size < 1 << 16 and size <= (tmp_path / "m.bin").stat().st_size + (1 << 16)


def test_control_flow_and_functions(tmp_path: Path) -> None:
    proto: Any = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["": 17, "own": 1]>
    g (float[n] x, bool flag) => (float[n] y) {
      one = Constant<value_float = 1.0>()
      two = Add(one, one)
      t = own.twice(x)
      y = If(flag) <then_branch = a () => (float[n] p) { p = Mul(t, two) },
                    else_branch = b () => (float[n] q) { q = Sub(t, two) }>
    }
    <domain: "own", opset_import: ["": 17]> twice (v) => (w) { w = Add(v, v) }
    """)
    path = tmp_path / "o.onnx"
    intaglio.InferenceSession(proto.SerializeToString(), options_for(path))
    onnx.checker.check_model(path)
    x = np.float32([1, 2])
    for flag, expected in ((True, [4, 8]), (False, [0, 2])):
        found = onnxruntime.InferenceSession(path).run(None, {"x": x, "flag": np.array(flag)})[0]
        assert found.tolist() == expected


def test_what_cannot_be_written(tmp_path: Path) -> None:
    for engine in (onnxruntime, intaglio):
        options = engine.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / "nowhere" / "o.onnx")
        with pytest.raises(Exception) as caught:
            engine.InferenceSession(model(), options)
        assert (caught.type.__name__, str(caught.value)) == ("InvalidArgument", "SystemError : 2")
    with pytest.raises(Exception, match="are read, and not written"):
        intaglio.InferenceSession(model(), options_for(tmp_path / "o.ort"))
