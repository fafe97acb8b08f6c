# ruff: noqa: E501  (rows of a table)
"""The interface that programs are promised, row by row: the same script on onnxruntime and on Intaglio.

Compared are values, types, dtypes, writability, warnings, what is printed, and class and text of exceptions.
"""

from __future__ import annotations

import io
import json
import os
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import intaglio
from parity.test_session import Script, asynchronous, class_of, outcome, plain, stopped

A = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
FEED = {"x": A}
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class Files:
    """The same model in every form: y = relu(x - 2), z = y squared: exact in floats; x: [batch, 3]."""

    def __init__(self, folder: Path):
        graph = helper.make_graph(
            [helper.make_node("Sub", ["x", "two"], ["d"]), helper.make_node("Relu", ["d"], ["y"], name="relu"),
             helper.make_node("Mul", ["y", "y"], ["z"])],
            "spec", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 3]) for n in "yz"],
            [numpy_helper.from_array(np.float32(2), "two")], doc_string="of the graph",
        )  # fmt: skip
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="me", domain="a.b",
            model_version=5, doc_string="of the model",
        )  # fmt: skip
        helper.set_model_props(model, {"key": "value", "other": ""})
        self.path, self.ort = str(folder / "m.onnx"), str(folder / "m.ort")
        self.misnamed, self.other = str(folder / "misnamed.ort"), str(folder / "m.bin")
        self.missing, self.folder = str(folder / "nope.onnx"), str(folder)
        self.proto, self.bytes = model, model.SerializeToString()
        for path in (self.path, self.misnamed, self.other):
            Path(path).write_bytes(self.bytes)
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = self.ort
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        onnxruntime.InferenceSession(self.bytes, options)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("specification"))


def runs(ort: Any, source: Any, *arguments: Any, **keywords: Any) -> Any:
    """What a session of this model is and gives."""
    session = ort.InferenceSession(source, *arguments, **keywords)
    results = session.run(None, FEED)
    names = [each.name for each in session.get_outputs()]
    return names, session.get_providers(), session.get_provider_options(), type(results).__name__, results


def entries(ort: Any, **pairs: str) -> Any:
    options = ort.SessionOptions()
    for key, value in pairs.items():
        options.add_session_config_entry("session." + key, value)
    return options


def changed(ort: Any, f: Files) -> Any:
    """set_providers, then a run."""
    session = ort.InferenceSession(f.path)
    returned = session.set_providers([CPU], [{"a": "b"}])
    return returned, session.get_providers(), session.run(None, FEED)


def described(ort: Any, f: Files) -> Any:
    session = ort.InferenceSession(f.path)
    arguments = [*session.get_inputs(), *session.get_outputs()]
    same = session.get_inputs() is session.get_inputs(), session.get_outputs() is session.get_outputs()
    read_only = [class_of(setattr, arguments[0], name, 3) for name in ("name", "shape", "type", "what")]
    kinds = type(arguments).__name__, type(arguments[0]).__name__, type(arguments[0].shape).__name__
    return same, kinds, [(a.name, a.shape, a.type, str(a)) for a in arguments], read_only


def metadata(ort: Any, f: Files) -> Any:
    meta = ort.InferenceSession(f.path).get_modelmeta()
    names = sorted(n for n in dir(meta) if n[0] != "_" and not callable(getattr(meta, n)))
    return type(meta).__name__, {name: getattr(meta, name) for name in names}


def profiled(ort: Any, f: Files) -> Any:
    """What end_profiling returns, and what the file is made of."""
    options = ort.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, f.path + ort.__name__
    session = ort.InferenceSession(f.path, options)
    session.run(None, FEED)
    path = session.end_profiling()
    lines = Path(path).read_text().splitlines()
    events = json.loads("\n".join(lines))
    shape = re.sub(r"\d", "0", path.removeprefix(f.path + ort.__name__)), lines[0], lines[-1]
    fields = sorted({tuple(sorted(e)) for e in events})
    return shape, fields, sorted({e["name"] for e in events if e["cat"] == "Session"}), session.end_profiling()


def bound(ort: Any, f: Files, device: str = "cpu", providers: Any = None) -> Any:
    """The example of the specification, on a device."""
    session = ort.InferenceSession(f.path, providers=providers)
    binding = session.io_binding()
    x = ort.OrtValue.ortvalue_from_numpy(A, device, 0)
    binding.bind_ortvalue_input("x", x)
    binding.bind_output("y", device)
    returned = session.run_with_iobinding(binding)
    values = binding.get_outputs()
    return returned, [v.numpy() for v in values], [(v.device_name(), v.data_type(), v.shape()) for v in values]


def bound_to_cuda(ort: Any, f: Files) -> Any:
    """An output may be bound to a device that is not there; the run decides."""
    session = ort.InferenceSession(f.path)
    binding = session.io_binding()
    binding.bind_cpu_input("x", A)
    binding.bind_output("y", "cuda")
    session.run_with_iobinding(binding)
    return binding.copy_outputs_to_cpu()


def foreign(ort: Any, f: Files) -> Any:
    one, two = (ort.InferenceSession(f.path) for _ in range(2))
    return one.run_with_iobinding(two.io_binding())


def unreached(ort: Any, f: Files) -> Any:
    """A callback is told of what `run` would raise; missing inputs are raised at once."""
    missing = outcome(lambda ort, m: ort.InferenceSession(m).run_async(None, {}, print, None), ort, f.path)
    told = [asynchronous(ort, f.path, names, feed) for names, feed in (
        (None, FEED), (["z"], FEED), (["q"], FEED), (None, {"x": A.astype(np.float64)}), (None, {"x": A[0]}),
        (None, {"x": A, "extra": A}))]  # fmt: skip
    return missing, told, asynchronous(ort, f.path, None, FEED, options=stopped(ort))


def positional(ort: Any, f: Files) -> Any:
    """All arguments by name, and by position."""
    session = ort.InferenceSession(path_or_bytes=f.path, sess_options=ort.SessionOptions(), providers=[CPU],
                                   provider_options=[{}])  # fmt: skip
    named = session.run(output_names=["z"], input_feed=FEED, run_options=ort.RunOptions())
    done = threading.Event()
    told: list[Any] = []

    def callback(results: Any, user_data: Any, err: str) -> None:
        told.append((plain(results), user_data, err))
        done.set()

    session.run_async(output_names=["z"], input_feed=FEED, callback=callback, user_data="mine", run_options=None)
    assert done.wait(20)
    binding = session.io_binding()
    binding.bind_cpu_input("x", A)
    binding.bind_output("y")
    session.run_with_iobinding(iobinding=binding, run_options=None)
    session.set_providers(providers=None, provider_options=None)
    return named, told, binding.copy_outputs_to_cpu(), session.run(["y", "z"], FEED, ort.RunOptions())


def keywords(**given: Any) -> Any:
    return lambda ort, f: runs(ort, f.path, **given)


def of_format(name: str, **pairs: str) -> Any:
    """By the name of the file, by the first bytes, and by the options."""

    def script(ort: Any, f: Files) -> Any:
        source = Path(f.ort).read_bytes() if name == "content" else getattr(f, name)
        return runs(ort, source, entries(ort, **pairs))

    return script


SPECIFICATION: dict[str, list[Any]] = {
    "InferenceSession(path_or_bytes, sess_options, providers, provider_options)": [
        lambda ort, f: runs(ort, f.path), lambda ort, f: runs(ort, f.path, ort.SessionOptions(), [CPU], [{}]), positional,
        lambda ort, f: runs(ort, f.path, 3), keywords(whatever=1), keywords(enable_fallback=0),
        keywords(disabled_optimizers=["ConstantFolding"]), keywords(read_config_from_model=1),
    ],
    "str | bytes | os.PathLike": [
        lambda ort, f: runs(ort, Path(f.path)), lambda ort, f: runs(ort, f.bytes), lambda ort, f: runs(ort, f.other),
        lambda ort, f: runs(ort, os.fspath(Path(f.path))), lambda ort, f: runs(ort, io.BytesIO(f.bytes)),
        lambda ort, f: runs(ort, None), lambda ort, f: runs(ort, 3), lambda ort, f: runs(ort, [f.path]),
        lambda ort, f: runs(ort, f.missing), lambda ort, f: runs(ort, f.folder), lambda ort, f: runs(ort, b""),
        lambda ort, f: runs(ort, f.path.encode()), lambda ort, f: runs(ort, ""), lambda ort, f: runs(ort, f.bytes[:-5]),
    ],
    ".ort": [
        of_format(name, **pairs)
        for name in ("path", "ort", "misnamed", "other", "content", "bytes")
        for pairs in ({}, {"load_model_format": "ORT"}, {"load_model_format": "ONNX"})
    ],
    "providers: decreasing precedence, names or (name, dict)": [
        keywords(providers=[CPU]), keywords(providers=["AzureExecutionProvider"]), keywords(providers=[]),
        keywords(providers=[CPU, "AzureExecutionProvider"]), keywords(providers=["AzureExecutionProvider", CPU]),
        keywords(providers=[(CPU, {"arena_extend_strategy": 1})]), keywords(providers=[CUDA]), keywords(providers=(CPU,)),
        keywords(providers=[(CUDA, {"device_id": 0}), CPU]), keywords(providers=["Foo"]), keywords(providers=[CPU, CPU]),
        keywords(providers=["Foo"], enable_fallback=0), keywords(providers=[3]), keywords(providers={CPU}),
        keywords(providers="CPU"), keywords(providers=[[CPU, {}]]),
    ],
    "providers omitted": [
        keywords(), keywords(providers=None),
        lambda ort, f: (ort.get_available_providers(), ort.get_all_providers(), ort.get_device()),
    ],
    "provider_options": [
        keywords(providers=[CPU], provider_options=[{"a": 1}]), keywords(providers=[CPU], provider_options=[]),
        keywords(providers=[(CPU, {})], provider_options=[{}]), keywords(providers=[CPU], provider_options=[3]),
        keywords(providers=[CPU], provider_options={}), keywords(provider_options=[{}]),
        keywords(providers=[CUDA, CPU], provider_options=[{"device_id": "0"}, {}]),
        keywords(providers=[CPU], provider_options=[], enable_fallback=0),
    ],
    "run(output_names, input_feed, run_options)": [
        lambda ort, f, names=names, feed=feed: ort.InferenceSession(f.path).run(names, feed)
        for names in (None, [], ["z"], ["z", "y", "z"], ("y",), ["q"], ["x"], "y", [3], [b"y"])
        for feed in (FEED,)
    ] + [
        lambda ort, f, feed=feed: ort.InferenceSession(f.path).run(None, feed)
        for feed in ({}, None, [A], {"x": None}, {"x": A, "c": A}, {"x": A, "c": None}, {"x": A.tolist()},
                     {"x": A[:0]}, {"x": A[:, :2]}, {"x": A[0]}, {"x": A.astype(int)}, {"x": "text"}, {"x": object()})
    ] + [
        lambda ort, f: ort.InferenceSession(f.path).run(None, FEED, ort.RunOptions()),
        lambda ort, f: ort.InferenceSession(f.path).run(None, FEED, stopped(ort)),
        lambda ort, f: ort.InferenceSession(f.path).run(None, FEED, 3),
    ],
    "run_async(output_names, input_feed, callback, user_data, run_options)": [
        unreached, lambda ort, f: class_of(ort.InferenceSession(f.path).run_async, None, FEED, print),
    ],
    "run_with_iobinding": [
        bound, foreign, lambda ort, f: ort.InferenceSession(f.path).run_with_iobinding(3),
        lambda ort, f: ort.InferenceSession(f.path).run_with_iobinding(None),
    ],
    "get_inputs, get_outputs": [described],
    "get_providers": [lambda ort, f: plain(ort.InferenceSession(f.path).get_providers())],
    "set_providers": [
        changed, lambda ort, f: ort.InferenceSession(f.path).set_providers(),
        lambda ort, f: ort.InferenceSession(f.path).set_providers(["Foo"]),
        lambda ort, f: ort.InferenceSession(f.path).set_providers([CUDA]),
        lambda ort, f: ort.InferenceSession(f.path).set_providers([CPU], []),
    ],
    "get_modelmeta": [metadata],
    "end_profiling": [profiled, lambda ort, f: ort.InferenceSession(f.path).end_profiling()],
    "the example on the CPU": [
        lambda ort, f: ort.InferenceSession(f.path, providers=[CPU]).run(["y"], {"x": A}),
    ],
    "the example with CUDA and CPU": [keywords(providers=[CUDA, CPU]), keywords(providers=[CUDA, CPU], enable_fallback=0)],
    "the example of a binding on cuda": [
        lambda ort, f: bound(ort, f, "cuda", [CUDA, CPU]), bound_to_cuda,
        lambda ort, f: ort.OrtValue.ortvalue_from_numpy(A, "cuda", 0),
    ],
    "the example of providers with options": [
        keywords(providers=[(CUDA, {"device_id": 0, "arena_extend_strategy": "kNextPowerOfTwo", "gpu_mem_limit": 2 << 30,
                                    "cudnn_conv_algo_search": "EXHAUSTIVE", "do_copy_in_default_stream": True}), CPU]),
    ],
}  # fmt: skip
ROWS = [(row, number) for row, scripts in SPECIFICATION.items() for number in range(len(scripts))]


@pytest.mark.parametrize(("row", "number"), ROWS)
def test_same(row: str, number: int, files: Files, capfd: pytest.CaptureFixture[str]) -> None:
    script: Script = SPECIFICATION[row][number]
    told = []
    for engine in (onnxruntime, intaglio):
        told.append((outcome(script, engine, files), capfd.readouterr().out))  # type: ignore[arg-type]
    assert told[1] == told[0]


@pytest.mark.parametrize("kind", [bytearray, memoryview, onnx.load_from_string], ids=["bytearray", "view", "proto"])
def test_more_kinds_of_models(kind: Any, files: Files) -> None:
    """What onnxruntime refuses as a TypeError."""
    assert outcome(lambda ort, m: runs(ort, kind(files.bytes)), onnxruntime, "")[0][0] == "TypeError"
    assert outcome(lambda ort, m: runs(ort, kind(files.bytes)), intaglio, "") == outcome(
        lambda ort, m: runs(ort, files.bytes), onnxruntime, ""
    )


def test_a_session_is_usable_after_a_failed_set_providers(files: Files) -> None:
    for engine, usable in ((onnxruntime, False), (intaglio, True)):
        session = engine.InferenceSession(files.path)
        with pytest.warns(UserWarning), pytest.raises(RuntimeError):
            session.set_providers(["Foo"])
        assert (class_of(session.run, None, FEED) == "nothing") == usable
