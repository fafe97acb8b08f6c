"""Reading tensors: every data type, in each of the places where ONNX may put it, as onnx's own reader has it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from intaglio.compiler.frontend.load import Model, load_model
from intaglio.compiler.scalar.dtype import DTYPES, DType

NUMBERS = [d for d in DTYPES.values() if d.kind != "s"]


def loaded(tensor: onnx.TensorProto | None = None, **fields: Any) -> Model:
    graph = helper.make_graph([], "g", [], [], [] if tensor is None else [tensor])
    return load_model(helper.make_model(graph, **fields).SerializeToString())


def same(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
@pytest.mark.parametrize("shape", [(3, 5), (1,), (), (0, 2)], ids=str)
def test_every_type_reads_as_onnx_reads_it(dtype: DType, raw: bool, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 2, shape).astype(np.float32)
    tensor = helper.make_tensor("w", dtype.onnx, shape, values.astype(dtype.to_numpy()).reshape(-1).tolist())
    if raw:
        tensor = numpy_helper.from_array(numpy_helper.to_array(tensor), "w")
    read = loaded(tensor).graph.initializers["w"]
    assert (read.dtype, read.shape) == (dtype, shape)
    expected = numpy_helper.to_array(tensor)
    assert same(read.array, expected.astype(dtype.to_numpy())), (read.array, expected)


@pytest.mark.parametrize("name", ["i4", "u4", "i2", "u2", "f4e2m1"])
def test_all_values_of_packed_types(name: str) -> None:
    dtype = DTYPES[name]
    bits = 2 if name.endswith("2") else 4
    packed = np.arange(256, dtype=np.uint8)
    tensor = onnx.TensorProto(name="w", data_type=dtype.onnx, dims=[256 * 8 // bits], raw_data=packed.tobytes())
    assert same(loaded(tensor).graph.initializers["w"].array, numpy_helper.to_array(tensor))


def test_strings() -> None:
    tensor = helper.make_tensor("w", TensorProto.STRING, [2], ["grün".encode(), b""])
    read = loaded(tensor).graph.initializers["w"].array
    assert read.tolist() == ["grün", ""]


def test_a_sparse_initializer_is_filled_up() -> None:
    for indices in (np.array([1, 5]), np.array([[0, 1], [1, 2]])):
        values = numpy_helper.from_array(np.array([7.0, 9.0], np.float32), "w")
        sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(indices.astype(np.int64)), [2, 3])
        graph = helper.make_graph([], "g", [], [], sparse_initializer=[sparse])
        read = load_model(helper.make_model(graph).SerializeToString()).graph.initializers["w"].array
        np.testing.assert_array_equal(read, [[0, 7, 0], [0, 0, 9]])


def test_types_have_onnxruntimes_names() -> None:
    tensor = helper.make_tensor_type_proto(TensorProto.FLOAT, ["n", None, 3])
    types = {
        "t": tensor,
        "s": helper.make_sequence_type_proto(tensor),
        "o": helper.make_optional_type_proto(tensor),
        "m": helper.make_map_type_proto(TensorProto.INT64, tensor),
    }
    graph = helper.make_graph([], "g", [helper.make_value_info(n, t) for n, t in types.items()], [])
    inputs = load_model(helper.make_model(graph).SerializeToString()).graph.inputs
    assert inputs["t"].shape == ("n", None, 3)
    assert [str(t) for t in inputs.values()] == [
        "tensor(float)", "seq(tensor(float))", "optional(tensor(float))", "map(int64,tensor(float))",
    ]  # fmt: skip


def test_metadata() -> None:
    graph = helper.make_graph([], "g", [], [], doc_string="of the graph")
    made = helper.make_model(graph, producer_name="p", model_version=3, doc_string="of the model", domain="d")
    helper.set_model_props(made, {"k": "v"})
    read = load_model(made.SerializeToString())
    assert (read.producer, read.model_version, read.domain, read.metadata) == ("p", 3, "d", {"k": "v"})
    assert (read.description, read.graph_description, read.graph.name) == ("of the model", "of the graph", "g")


def test_external_data_from_memory() -> None:
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="w.bin")
    graph = helper.make_graph([], "g", [], [], [tensor])
    data = helper.make_model(graph).SerializeToString()
    model = load_model(data, files={"w.bin": np.float32([1, 2]).tobytes()})
    np.testing.assert_array_equal(model.graph.initializers["w"].array, [1, 2])


def test_names_that_are_no_utf8() -> None:
    """Protobuf's files may hold them; every one is text here, and different ones stay different."""
    node = helper.make_node("Relu", ["_in1"], ["_out"], "_node")
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("_in1", TensorProto.FLOAT, ["_dim"])], [])
    data = helper.make_model(graph).SerializeToString()
    for name in (b"_in1", b"_out", b"_node", b"_dim", b"Relu"):
        data = data.replace(name, b"\xff" + name[1:])
    read = load_model(data).graph
    assert list(read.inputs) == [r"\xffin1"] and read.inputs[r"\xffin1"].shape == (r"\xffdim",)
    (made,) = read.nodes
    assert (made.op, made.name, made.inputs, made.outputs) == (r"\xffelu", r"\xffnode", [r"\xffin1"], [r"\xffout"])
