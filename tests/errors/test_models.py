"""Bad models: the class of the error is onnxruntime's, and the message names what is wrong.

Every defect of DEFECTS is given to onnxruntime too, where its classes are the specification.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import intaglio
from intaglio.compiler.frontend.importer import import_model
from intaglio.compiler.frontend.load import load_model
from intaglio.compiler.frontend.registry import REGISTRY
from intaglio.runtime import errors

Model = onnx.ModelProto


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, Any] | None = None,
    outputs: Sequence[str] = ("y",),
    opsets: dict[str, int] | None = None,
    initializers: Sequence[onnx.TensorProto] = (),
    dtype: int = TensorProto.FLOAT,
) -> Model:
    graph = helper.make_graph(
        list(nodes), "g",
        [helper.make_tensor_value_info(n, t, s) for n, (t, s) in (inputs or {"x": (TensorProto.FLOAT, [2])}).items()],
        [helper.make_tensor_value_info(n, dtype, None) for n in outputs],
        list(initializers),
    )  # fmt: skip
    imports = [helper.make_opsetid(d, v) for d, v in (opsets or {"": 21}).items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def relu(source: str = "x", target: str = "y", name: str = "rl", **attrs: Any) -> onnx.NodeProto:
    return helper.make_node("Relu", [source], [target], name, **attrs)


def _ir(version: int) -> Model:
    made = model([relu()])
    made.ir_version = version
    return made


def _no_opset() -> Model:
    made = model([relu()])
    del made.opset_import[:]
    return made


def _raw(size: int) -> Model:
    made = model([helper.make_node("Add", ["x", "w"], ["y"])])
    made.graph.initializer.append(onnx.TensorProto(name="w", data_type=1, dims=[2], raw_data=bytes(size)))
    return made


def _empty_graph_field() -> Model:
    made = Model()
    made.ir_version = 10
    return made


MATMUL = {"a": (TensorProto.FLOAT, [2, 3]), "b": (TensorProto.FLOAT, [4, 5])}
CLASH = {"a": (TensorProto.FLOAT, [2, 3]), "b": (TensorProto.INT64, [3, 5])}

DEFECTS: dict[str, tuple[Callable[[], Model], str, str]] = {
    "ir version": (lambda: _ir(99), "Fail", "Unsupported model IR version: 99, max supported IR version:"),
    "opset": (lambda: model([relu()], opsets={"": 999}), "Fail", "Opset 999 is under development"),
    "no opset": (_no_opset, "Fail", "Missing opset in the model"),
    "no graph": (_empty_graph_field, "InvalidArgument", "No graph was found in the protobuf."),
    "unknown operator": (
        lambda: model([helper.make_node("Nope", ["x"], ["y"], "rl")]), "InvalidGraph",
        "No Op registered for Nope with domain_version of 21",
    ),
    "domain not imported": (
        lambda: model([helper.make_node("Relu", ["x"], ["y"], domain="my.dom")]), "InvalidGraph",
        "Error No opset import for domain 'my.dom'",
    ),
    "unknown custom operator": (
        lambda: model([helper.make_node("Relu", ["x"], ["y"], domain="my.dom")], opsets={"": 21, "my.dom": 1}),
        "Fail", "Fatal error: my.dom:Relu(-1) is not a registered function/op",
    ),
    "dangling input": (
        lambda: model([relu("zzz")]), "InvalidArgument",
        "Invalid model. Node input 'zzz' is not a graph input, initializer, or output of a previous node.",
    ),
    "dangling output": (
        lambda: model([relu()], outputs=["zzz"]), "Fail",
        "This is an invalid model. Graph output (zzz) does not exist in the graph.",
    ),
    "two nodes of one name": (
        lambda: model([relu(target="t"), relu("t")]), "Fail",
        "This is an invalid model. Error: two nodes with same node name (rl).",
    ),
    "two makers of one value": (
        lambda: model([relu(), relu(name="other")]), "Fail", "Error: Duplicate definition of name (y)",
    ),
    "cycle": (
        lambda: model([relu("b", "a", "p"), relu("a", "b", "q"), relu("b", "y", "r")]), "Fail",
        "This is an invalid model. Error: the graph is not acyclic.",
    ),
    "unknown attribute": (
        lambda: model([relu(foo=1)]), "InvalidGraph", "Unrecognized attribute: foo for operator Relu",
    ),
    "too many inputs": (
        lambda: model([helper.make_node("Relu", ["x", "x"], ["y"], "rl")]), "InvalidGraph",
        "Node(rl) with schema(::Relu:14) has input size 2 not in range [min=1, max=1].",
    ),
    "shapes": (
        lambda: model([helper.make_node("MatMul", ["a", "b"], ["y"], "mm")], MATMUL), "Fail",
        "Node (mm) Op (MatMul) [ShapeInferenceError]",
    ),
    "types": (
        lambda: model([helper.make_node("MatMul", ["a", "b"], ["y"], "mm")], CLASH), "Fail",
        "Type Error: Type parameter (T) of Optype (MatMul) bound to different types"
        " (tensor(float) and tensor(int64) in node (mm).",
    ),
    "type of a parameter": (
        lambda: model([relu()], {"x": (TensorProto.BOOL, [2])}, dtype=TensorProto.BOOL), "InvalidGraph",
        "Type Error: Type 'tensor(bool)' of input parameter (x) of operator (Relu) in node (rl) is invalid.",
    ),
    "type of an output": (
        lambda: model([relu(name="")], dtype=TensorProto.INT64), "Fail",
        "Type Error: Type (tensor(int64)) of output arg (y) of node () does not match expected type (tensor(float)).",
    ),
    "complex": (
        lambda: model(
            [helper.make_node("Identity", ["x"], ["y"])], {"x": (TensorProto.COMPLEX64, [2])},
            dtype=TensorProto.COMPLEX64,
        ),
        "Fail", "MLDataType for: tensor(complex64) is not currently registered or supported",
    ),
    "undefined type": (
        lambda: model([relu()], {"x": (TensorProto.UNDEFINED, [2])}), "InvalidArgument",
        "Failed to load model with error: Invalid tensor data type 0.",
    ),
    "initializer too short": (lambda: _raw(4), "Fail", "initializer 'w' of type tensor(float) and shape [2] needs 8"),
}  # fmt: skip
# What onnxruntime says another way, and why we do not follow.
DIFFERENT = {
    "initializer too short": "an internal assertion there",
    "undefined type": "found by its type inference, with another class",
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_defects_have_a_class_and_a_message(defect: str) -> None:
    build, name, message = DEFECTS[defect]
    with pytest.raises(errors.BY_NAME[name]) as caught:  # type: ignore[misc]
        import_model(load_model(build().SerializeToString()))
    assert message in str(caught.value)


@pytest.mark.parametrize("defect", DEFECTS)
def test_onnxruntime_raises_the_same_class(defect: str) -> None:
    ort = pytest.importorskip("onnxruntime")
    build, name, _ = DEFECTS[defect]
    options = ort.SessionOptions()
    options.log_severity_level = 4
    with pytest.raises(Exception) as caught:  # the class is what is compared
        ort.InferenceSession(build().SerializeToString(), options)
    if defect not in DIFFERENT:
        assert type(caught.value).__name__ == name, str(caught.value)


@pytest.mark.parametrize("operator", ["Relu", "ai.onnx.ml.ZipMap", "ai.onnx.ml.LinearClassifier"])
@pytest.mark.parametrize(("inputs", "outputs"), [([], ["y"]), (["x"], []), ([], [])])
def test_nodes_without_inputs_or_outputs(operator: str, inputs: list[str], outputs: list[str]) -> None:
    domain, _, operator = operator.rpartition(".")
    labels = {"classlabels_strings": ["a", "b"]} if domain else {}
    node = helper.make_node(operator, inputs, outputs, "odd", domain=domain, **labels)
    data = model([relu("x", "z"), node], outputs=["z", *outputs], opsets={"": 21, "ai.onnx.ml": 3}).SerializeToString()
    with contextlib.suppress(errors.Status):  # it is refused, or left out where nobody needs it
        import_model(load_model(data))


def test_unsorted_nodes_are_accepted() -> None:
    graph = import_model(load_model(model([relu("t"), relu("x", "t", "first")]).SerializeToString()))
    assert [n.origin for n in graph.nodes() if n.origin] == [("first",), ("rl",)]


def test_everything_unsupported_is_listed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for lacking in ("StringNormalizer", "RandomNormal"):
        monkeypatch.setitem(REGISTRY, ("", lacking), [])
    nodes = [
        helper.make_node("StringNormalizer", ["s"], ["t"], "strings"),
        helper.make_node("RandomNormal", [], ["r"], "noise", shape=[2]),
        helper.make_node("RandomNormal", [], ["q"], "more noise", shape=[2]),
        relu(),
    ]
    inputs = {"x": (TensorProto.FLOAT, [2]), "s": (TensorProto.STRING, None)}
    with pytest.raises(errors.NotImplemented) as caught:
        import_model(load_model(model(nodes, inputs).SerializeToString()))
    text = str(caught.value)
    assert "RandomNormal(21) at nodes 'noise', 'more noise': this operator is not implemented" in text
    assert "StringNormalizer(21) at node 'strings'" in text
    assert "'s': inputs of unknown rank" in text
    assert "Relu" not in text


# -- files -----------------------------------------------------------------------------------------------------------


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(errors.NoSuchFile, match=r"failed:Load model .* failed. File doesn't exist"):
        load_model(tmp_path / "nope.onnx")


@pytest.mark.parametrize("content", [b"\xff" * 64, b"not a model", model([relu()]).SerializeToString()[:-7]])
def test_garbage(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(errors.InvalidProtobuf, match="failed:Protobuf parsing failed"):
        load_model(path)
    with pytest.raises(errors.InvalidProtobuf, match="Failed to load model because protobuf parsing failed"):
        load_model(content)


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidProtobuf):
        load_model(tmp_path)


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").touch()
    with pytest.raises(errors.InvalidArgument, match="No graph was found in the protobuf"):
        load_model(tmp_path / "m.onnx")
    with pytest.raises(errors.InvalidArgument, match="No graph was found in the protobuf"):
        load_model(b"")


@pytest.mark.parametrize("dims", [[-1], [1 << 62, 4], [1 << 32, 1 << 32], [1 << 40], [3]], ids=str)
def test_a_size_that_is_not_there_is_not_allocated(dims: list[int]) -> None:
    made = _raw(8)
    made.graph.initializer[0].dims[:] = dims
    with pytest.raises(errors.Fail, match="initializer 'w'"):
        import_model(load_model(made.SerializeToString()))


def _external(folder: Path, location: str, offset: int = 0, length: int = 8) -> Path:
    made = model([helper.make_node("Add", ["x", "w"], ["y"])])
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[2], data_location=onnx.TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": str(offset), "length": str(length)}.items():
        tensor.external_data.add(key=key, value=value)
    made.graph.initializer.append(tensor)
    folder.mkdir(exist_ok=True)
    path = folder / "m.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def _import(path: Path) -> Any:
    return import_model(load_model(path))


def test_external_data_is_mapped(tmp_path: Path) -> None:
    np.arange(4, dtype=np.float32).tofile(tmp_path / "w.bin")
    graph = _import(_external(tmp_path, "w.bin", offset=4))
    (data,) = (n.attrs["data"] for n in graph.nodes() if n.op.name == "constant")
    np.testing.assert_array_equal(data, [1, 2])
    assert not data.flags.writeable and not data.flags.owndata


def test_external_data_may_not_leave_the_folder(tmp_path: Path) -> None:
    secret = tmp_path / "secret.bin"
    np.zeros(2, np.float32).tofile(secret)
    folder = tmp_path / "model"
    for location, text in {
        "../secret.bin": "escapes model directory",
        "sub/../../secret.bin": "escapes model directory",
        str(secret): "Absolute path not allowed for external data location",
        "": "Empty or malformed location",
    }.items():
        with pytest.raises(errors.Fail, match=text):
            _import(_external(folder, location))
    (folder / "link.bin").symlink_to(secret)
    with pytest.raises(errors.Fail, match="escapes model directory"):
        _import(_external(folder, "link.bin"))


@pytest.mark.parametrize("linked", ["file", "folder"])
def test_a_model_that_is_compiled_already_may_not_either(linked: str, tmp_path: Path) -> None:
    """Where the same bytes were read from within the folder before."""
    for name in ("good", "bad"):
        path = _external(tmp_path / name, "sub/w.bin")
        sub = tmp_path / name / "sub" if name == "good" or linked == "file" else tmp_path / "outside"
        sub.mkdir()
        data = sub / "w.bin" if name == "good" or linked == "folder" else tmp_path / "secret"
        np.ones(2, np.float32).tofile(data)
        if name == "good":
            intaglio.InferenceSession(str(path))
    if linked == "file":
        (tmp_path / "bad" / "sub" / "w.bin").symlink_to(tmp_path / "secret")
    else:
        (tmp_path / "bad" / "sub").symlink_to(tmp_path / "outside")
    with pytest.raises(errors.Fail, match="escapes model directory"):
        intaglio.InferenceSession(str(path))


def test_links_into_one_content_store_are_followed(tmp_path: Path) -> None:
    store, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    snapshot.mkdir()
    path = _external(store, "m.onnx.data")
    np.ones(2, np.float32).tofile(store / "1234")
    os.symlink(path, snapshot / "m.onnx")
    os.symlink(store / "1234", snapshot / "m.onnx.data")
    _import(snapshot / "m.onnx")


@pytest.mark.parametrize("offset, length", [(0, 16), (4, 8), (-4, 8), (1 << 62, 8)])
def test_external_data_beyond_the_file(tmp_path: Path, offset: int, length: int) -> None:
    np.zeros(2, np.float32).tofile(tmp_path / "w.bin")
    with pytest.raises(errors.Fail, match="are out of bounds or can not be read in full"):
        _import(_external(tmp_path, "w.bin", offset, length))


def test_external_data_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(errors.Fail, match="External data path does not exist"):
        _import(_external(tmp_path, "w.bin"))


def test_functions_that_call_each_other_end() -> None:
    calls = [helper.make_node("F", ["a"], ["b"], domain="f")]
    made = model([helper.make_node("F", ["x"], ["y"], domain="f")], opsets={"": 21, "f": 1})
    opset = [helper.make_opsetid("f", 1)]
    made.functions.append(helper.make_function("f", "F", ["a"], ["b"], calls, opset))
    with pytest.raises(errors.Fail, match="call each other without end"):
        import_model(load_model(made.SerializeToString()))
