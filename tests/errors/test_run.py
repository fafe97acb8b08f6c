"""Errors of loading a model and of running it: classes, numbers and texts are onnxruntime's, where it has the check."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import handmade
import numpy as np
import pytest

from intaglio import InferenceSession, RunOptions, SessionOptions
from intaglio.runtime import errors
from intaglio.runtime.errors import Fail, InvalidArgument, InvalidProtobuf, NoSuchFile

X = np.ones((2, 3), np.float32)
FIX = "Please fix either the inputs/outputs or the model."


@pytest.fixture
def affine(artifacts: dict[str, Path]) -> InferenceSession:
    return InferenceSession(artifacts["affine"])


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> InferenceSession:
    """A manifest with two inputs that share a dimension; never runs."""
    folder = tmp_path_factory.mktemp("pair")
    manifest = {
        **handmade.AFFINE,
        "inputs": [
            {"name": "a", "type": "tensor(float)", "shape": ["batch", 3]},
            {"name": "b", "type": "tensor(int64)", "shape": [2, "batch"]},
        ],
        "symbols": [{"name": "batch", "bind": [[0, 0], [1, 1]], "lower": 1}],
    }
    handmade.MANIFESTS["affine"], before = manifest, handmade.MANIFESTS["affine"]
    try:
        return InferenceSession(handmade.write("affine", folder / "pair", folder / "objects"))
    finally:
        handmade.MANIFESTS["affine"] = before


def raises(kind: type[Exception], text: str, session: InferenceSession, feed: Any, **arguments: Any) -> None:
    """The run raises exactly this text."""
    with pytest.raises(kind) as caught:
        session.run(arguments.pop("output_names", None), feed, **arguments)
    assert type(caught.value) is kind
    assert str(caught.value) == text


def test_classes() -> None:
    assert len(errors.BY_NAME) == 15
    for number, (name, kind) in enumerate(errors.BY_NAME.items(), 1):
        error = kind("text: {0}")
        assert kind.__name__ == name and not isinstance(error, (RuntimeError, ValueError))
        code = {"NoSuchFile": "NO_SUCHFILE", "EPFail": "EP_FAIL"}.get(name) or "".join(
            f"_{c}" if c.isupper() and i else c for i, c in enumerate(name)
        ).upper()
        assert str(error) == f"[ONNXRuntimeError] : {number} : {code} : text: {{0}}"
        assert str(pickle.loads(pickle.dumps(error))) == str(error)


# ---- Loading -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, 3, ["a.onnx"]])
def test_wrong_kind_of_model(value: Any) -> None:
    with pytest.raises(TypeError, match="Unable to load from type '<class"):
        InferenceSession(value)


def test_missing_file(tmp_path: Path) -> None:
    path = str(tmp_path / "nope.onnx")
    with pytest.raises(NoSuchFile) as caught:
        InferenceSession(path)
    text = f"Load model from {path} failed:Load model {path} failed. File doesn't exist"
    assert str(caught.value) == f"[ONNXRuntimeError] : 3 : NO_SUCHFILE : {text}"


def test_directory(tmp_path: Path) -> None:
    with pytest.raises(InvalidProtobuf, match=r"7 : INVALID_PROTOBUF : Load .* failed:Protobuf parsing failed"):
        InferenceSession(tmp_path)


def test_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(InvalidArgument, match=r"failed:No graph was found in the protobuf."):
        InferenceSession(tmp_path / "empty.onnx")
    with pytest.raises(InvalidArgument, match=r": 2 : INVALID_ARGUMENT : No graph was found in the protobuf."):
        InferenceSession(b"")


def test_wrong_options(artifacts: dict[str, Path]) -> None:
    with pytest.raises(TypeError, match="sess_options must be a SessionOptions, not int"):
        InferenceSession(artifacts["affine"], 3)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_unknown_provider(artifacts: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="Unknown Provider Type: Foo"):
        InferenceSession(artifacts["affine"], providers=["Foo"], enable_fallback=0)
    session = InferenceSession(artifacts["affine"], providers=["Foo"])
    assert session.get_providers() == ["CPUExecutionProvider"] and "EP Error" in capsys.readouterr().out
    with pytest.raises(RuntimeError, match="Unknown Provider Type: Bar"):
        session.set_providers(["Bar"])
    assert len(session.run(None, {"x": X})) == 2  # still usable


# ---- Feeds -------------------------------------------------------------------------------------------------------


def test_missing_input(affine: InferenceSession, pair: InferenceSession) -> None:
    raises(ValueError, "Required inputs (['b']) are missing from input feed (['a']).", pair, {"a": X})
    raises(ValueError, "Required inputs (['x']) are missing from input feed ([]).", affine, {})


def test_no_mapping(affine: InferenceSession) -> None:
    for feed in (None, [X], 3):
        with pytest.raises(AttributeError, match="has no attribute 'keys'"):
            affine.run(None, feed)  # type: ignore[arg-type]


def test_unknown_input(affine: InferenceSession) -> None:
    text = "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Invalid input name: c"
    raises(InvalidArgument, text, affine, {"x": X, "c": X})
    assert len(affine.run(None, {"x": X, "c": None})) == 2
    with pytest.raises(TypeError, match="input names must be str, not int"):
        affine.run(None, {"x": X, 3: X})  # type: ignore[dict-item]


def test_none(affine: InferenceSession) -> None:
    raises(Fail, "[ONNXRuntimeError] : 1 : FAIL : Missing Input: x", affine, {"x": None})


@pytest.mark.parametrize(
    ("dtype", "name"),
    [("float64", "double"), ("float16", "float16"), ("int32", "int32"), ("bool", "bool"), ("U3", "string")],
)
def test_wrong_dtype(affine: InferenceSession, dtype: str, name: str) -> None:
    raises(
        InvalidArgument,
        "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Unexpected input data type. "
        f"Actual: (tensor({name})) , expected: (tensor(float)) for input: x",
        affine,
        {"x": np.zeros((2, 3), dtype)},
    )


@pytest.mark.parametrize("value", ["text", b"bytes", object(), {1}, [[1, 2], [3]], (each for each in [1, 2])])
def test_no_array(affine: InferenceSession, value: Any) -> None:
    with pytest.raises(RuntimeError, match=r"Unable to handle|Input must be a list of dictionaries|Could not create"):
        affine.run(None, {"x": value})


@pytest.mark.parametrize("shape", [(), (3,), (1, 2, 3)])
def test_wrong_rank(affine: InferenceSession, shape: tuple[int, ...]) -> None:
    raises(
        InvalidArgument,
        f"[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Invalid rank for input: x Got: {len(shape)} Expected: 2 {FIX}",
        affine,
        {"x": np.zeros(shape, np.float32)},
    )


def test_wrong_dimension(affine: InferenceSession) -> None:
    raises(
        InvalidArgument,
        "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions for input: x for the following indices\n"
        f" index: 1 Got: 4 Expected: 3\n {FIX}",
        affine,
        {"x": np.zeros((2, 4), np.float32)},
    )


def test_dimensions_that_disagree(pair: InferenceSession) -> None:
    raises(
        InvalidArgument,
        "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions for input: b for the following indices\n"
        f" index: 1 Got: 5 Expected: 2\n (dimension 'batch' is 2 in input a) {FIX}",
        pair,
        {"a": X, "b": np.zeros((2, 5), np.int64)},
    )


def test_too_small(pair: InferenceSession) -> None:
    raises(
        InvalidArgument,
        "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions for input: a for the following indices\n"
        f" index: 0 Got: 0 Expected: at least 1\n {FIX}",
        pair,
        {"a": X[:0], "b": np.zeros((2, 0), np.int64)},
    )


def test_sizes_that_the_model_forbids(affine: InferenceSession) -> None:
    raises(
        InvalidArgument,
        "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : batch 1001 is more than 1000",
        affine,
        {"x": np.zeros((1001, 3), np.float32)},
    )
    assert len(affine.run(None, {"x": X})) == 2


# ---- Outputs and the run -----------------------------------------------------------------------------------------


def test_output_names(affine: InferenceSession) -> None:
    for name in ("zz", "x"):
        text = f"[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Invalid output name:{name}"
        raises(InvalidArgument, text, affine, {"x": X}, output_names=["y", name])
    for names in ("y", b"y"):
        with pytest.raises(TypeError, match="output_names must be a sequence of names"):
            affine.run(names, {"x": X})


def test_run_options(affine: InferenceSession) -> None:
    with pytest.raises(TypeError, match="run_options must be a RunOptions, not SessionOptions"):
        affine.run(None, {"x": X}, SessionOptions())  # type: ignore[arg-type]
    options = RunOptions()
    options.terminate = True
    text = "[ONNXRuntimeError] : 1 : FAIL : Exiting due to terminate flag being set to true."
    raises(Fail, text, affine, {"x": X}, run_options=options)


@pytest.mark.parametrize("batch", [1, 500])
def test_a_failing_program(affine: InferenceSession, batch: int) -> None:
    x = np.zeros((batch, 3), np.float32)
    x[0, 0] = np.inf
    text = f"[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : infinite, of batch {batch}, with 7"
    for _ in range(10):
        raises(InvalidArgument, text, affine, {"x": x})
        assert len(affine.run(None, {"x": X})) == 2


def test_order_of_checks(pair: InferenceSession) -> None:
    """Missing, convertible; then of each array known, dtype, shape; then outputs: the first that fails is told."""
    good = {"a": X, "b": np.zeros((2, 2), np.int64)}
    bad_shape, bad_dtype = np.zeros((2, 4), np.float32), X.astype(np.float64)
    with pytest.raises(ValueError, match="missing"):
        pair.run(["zz"], {"a": object(), "c": 1})
    with pytest.raises(RuntimeError, match="Unable to handle"):
        pair.run(["zz"], {**good, "a": object(), "c": 1})
    with pytest.raises(InvalidArgument, match="Invalid input name"):
        pair.run(["zz"], {"c": X, **good, "a": bad_dtype})
    with pytest.raises(InvalidArgument, match="Unexpected input data type"):
        pair.run(["zz"], {"b": X, "a": bad_shape})
    with pytest.raises(InvalidArgument, match="Got invalid dimensions"):
        pair.run(["zz"], {**good, "a": bad_shape})
    with pytest.raises(InvalidArgument, match="Invalid output name"):
        pair.run(["zz"], good)
