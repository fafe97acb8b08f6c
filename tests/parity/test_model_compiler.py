"""`ModelCompiler`: what it writes is a model that a session loads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import intaglio

X = np.array([1, -2, 3], np.float32)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [3]) for n in "xy"]
    graph = helper.make_graph([helper.make_node("Abs", ["x"], ["m"]), helper.make_node("Neg", ["m"], ["y"])], "g",
                              info[:1], info[1:])  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


@pytest.mark.parametrize("form", ["file", "default", "bytes", "stream"])
def test_compiled_models_run(model: Path, form: str) -> None:
    compiler = intaglio.ModelCompiler(intaglio.SessionOptions(), str(model))
    if form == "file":
        compiler.compile_to_file(str(model.with_name("out.bin")))
        session = intaglio.InferenceSession(model.with_name("out.bin"))
    elif form == "default":
        compiler.compile_to_file()
        session = intaglio.InferenceSession(model.with_suffix(".intaglio"))
    elif form == "bytes":
        session = intaglio.InferenceSession(compiler.compile_to_bytes())
    else:
        parts: list[bytes] = []
        compiler.compile_to_stream(parts.append)
        session = intaglio.InferenceSession(b"".join(parts))
    assert session.run(None, {"x": X})[0].tolist() == [-1, -2, -3]
    with pytest.raises(Exception, match="Invalid output name:m"):  # there is no ONNX model to compile again
        session.run(["m"], {"x": X})


def test_errors(model: Path) -> None:
    options, flags = intaglio.SessionOptions(), intaglio.OrtCompileApiFlags.ERROR_IF_OUTPUT_FILE_EXISTS
    with pytest.raises(TypeError, match="Unable to load from type"):
        intaglio.ModelCompiler(options, 3)  # type: ignore[arg-type]
    with pytest.raises(Exception, match="exists already"):
        intaglio.ModelCompiler(options, str(model), flags=flags).compile_to_file(str(model))
    with pytest.raises(Exception, match="output_model_path is needed"):
        intaglio.ModelCompiler(options, model.read_bytes()).compile_to_file()
    compiled = intaglio.ModelCompiler(options, str(model)).compile_to_bytes()
    with pytest.raises(Exception, match="compiled already"):
        intaglio.ModelCompiler(options, compiled).compile_to_bytes()
