"""Adapter files go both ways between onnxruntime and Intaglio, and runs with them give the same."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import intaglio

X = np.float32([[1, 2]])
W, B = np.arange(6, dtype=np.float32).reshape(2, 3), np.float32([10])
BOTH = pytest.mark.parametrize(("writer", "reader"), [(onnxruntime, intaglio), (intaglio, onnxruntime)])


def model() -> bytes:
    """y = x @ w + b; w: [2, r], without columns, and b may be fed."""
    shapes: dict[str, Any] = {"x": ["n", 2], "w": [2, "r"], "b": [1], "y": ["n", "r"]}
    x, w, b, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items())
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["m", "b"], ["y"])]
    weights = [numpy_helper.from_array(a, n) for n, a in (("w", np.zeros((2, 0), np.float32)), ("b", np.float32([0])))]
    graph = helper.make_graph(nodes, "g", [x, w, b], [y], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())


def export(engine: Any, path: Path, **arrays: np.ndarray[Any, Any]) -> None:
    adapter = engine.AdapterFormat()
    adapter.set_adapter_version(3)
    adapter.set_model_version(7)
    adapter.set_parameters({name: engine.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()})
    adapter.export_adapter(str(path))


ALIVE: list[Any] = []  # onnxruntime's options do not keep their adapters alive


def adapted(engine: Any, *paths: Path) -> Any:
    options = engine.RunOptions()
    for path in paths:
        adapter = engine.LoraAdapter()
        adapter.Load(str(path))
        options.add_active_adapter(adapter)
        ALIVE.append(adapter)
    return options


@BOTH
def test_files(writer: Any, reader: Any, tmp_path: Path) -> None:
    arrays: dict[str, Any] = {
        "w": W, "one": np.array([3], np.int64), "half": np.float16([[1], [2]]), "double": np.float64([[1.5]]),
        "ünï": np.arange(5, dtype=np.uint8),
    }  # fmt: skip
    export(writer, tmp_path / "a.onnx_adapter", **arrays)
    found = reader.AdapterFormat.read_adapter(str(tmp_path / "a.onnx_adapter"))
    assert (found.get_format_version(), found.get_adapter_version(), found.get_model_version()) == (1, 3, 7)
    values = {name: value.numpy() for name, value in found.get_parameters().items()}
    assert values.keys() == arrays.keys()
    for name, array in arrays.items():
        assert values[name].dtype == array.dtype and np.array_equal(values[name], array)
    found.export_adapter(str(tmp_path / "again"))
    assert writer.AdapterFormat.read_adapter(str(tmp_path / "again")).get_parameters().keys() == arrays.keys()


@BOTH
def test_runs(writer: Any, reader: Any, tmp_path: Path) -> None:
    export(writer, tmp_path / "w", w=W)
    export(writer, tmp_path / "b", b=B)
    export(writer, tmp_path / "other", w=W * 2)
    outcomes: list[list[Any]] = []
    for engine in (writer, reader):
        session = engine.InferenceSession(model())
        told: list[Any] = [session.run(None, {"x": X})[0].tolist()]
        for paths in (["w"], ["w", "b"], ["w", "b", "w"]):
            told.append(session.run(None, {"x": X}, adapted(engine, *(tmp_path / p for p in paths)))[0].tolist())
        options = adapted(engine, tmp_path / "w")
        told.append(session.run(None, {"x": X, "w": W * 5}, options)[0].tolist())  # the adapter is what counts
        value = engine.OrtValue.ortvalue_from_numpy(X)
        told.append(session.run_with_ort_values(None, {"x": value}, options)[0].numpy().tolist())
        done = threading.Event()

        def callback(results: Any, user: Any, error: str, done: threading.Event = done) -> None:
            user.append(results[0].tolist())
            done.set()

        session.run_async(None, {"x": X}, callback, told, options)
        assert done.wait(20)
        binding = session.io_binding()  # nothing but what is bound
        binding.bind_cpu_input("x", X)
        binding.bind_output("y")
        session.run_with_iobinding(binding, options)
        told.append(binding.copy_outputs_to_cpu()[0].tolist())
        outcomes.append(told)
    assert outcomes[0] == outcomes[1]


def test_errors(tmp_path: Path) -> None:
    export(onnxruntime, tmp_path / "good", w=W)
    (tmp_path / "cut").write_bytes((tmp_path / "good").read_bytes()[:60])
    (tmp_path / "other").write_bytes(b"abc" * 30)
    for name in ("nope", "cut", "other"):
        told = []
        for engine in (onnxruntime, intaglio):
            for read in (engine.AdapterFormat.read_adapter, engine.LoraAdapter().Load):
                with pytest.raises(Exception) as caught:
                    read(str(tmp_path / name))
                told.append((caught.type, str(caught.value).strip().rpartition(" The buffer ")[2]))
        assert [kind for kind, _ in told] == [RuntimeError] * 4
        if name != "nope":
            assert len({text.removeprefix("The buffer ") for _, text in told}) == 1
    for engine in (onnxruntime, intaglio):
        with pytest.raises(RuntimeError, match="for writing"):
            engine.AdapterFormat().export_adapter(str(tmp_path / "no" / "x"))
        with pytest.raises(TypeError, match=r"add_active_adapter\(\): incompatible function arguments"):
            engine.RunOptions().add_active_adapter(3)
        with pytest.raises(AttributeError):
            engine.AdapterFormat().set_parameters({"a": W})
        unknown = tmp_path / "unknown"
        export(engine, unknown, what=W)
        with pytest.raises(Exception, match="2 : INVALID_ARGUMENT : Invalid input name: what"):
            engine.InferenceSession(model()).run(None, {"x": X}, adapted(engine, unknown))


@pytest.mark.parametrize("position", range(8, 200, 4))
def test_damage_is_noticed_or_harmless(position: int, tmp_path: Path) -> None:
    export(onnxruntime, tmp_path / "a", w=W, b=B)
    data = bytearray((tmp_path / "a").read_bytes())
    data[position : position + 4] = b"\xff\xff\xff\x7f"
    (tmp_path / "a").write_bytes(data)
    with contextlib.suppress(RuntimeError):
        intaglio.LoraAdapter().Load(str(tmp_path / "a"))
