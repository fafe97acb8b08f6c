# ruff: noqa: E501  (rows of a table)
"""The same scripts on onnxruntime and on Intaglio: values, types, dtypes, and the class and text of exceptions.

A script is a function of the module (`onnxruntime` or `intaglio`), the path of a model and a few arrays; what it
returns, or raises, is compared. Where texts differ on purpose (differences.py), `reduced` takes the difference out.
"""

from __future__ import annotations

import copy
import ctypes
import gc
import json
import pickle
import re
import threading
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import intaglio

A = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
B = np.array([[10, 20, 30], [40, 50, 60]], np.float32)
FEED = {"a": A, "b": B}
SUM = A + np.array([1, 2, 3], np.float32)
Script = Callable[[Any, str], Any]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """mid = a + w, y = mid * b, z = relu(mid); w is an initializer and an input."""
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["a", "w"], ["mid"], name="add"),
            helper.make_node("Mul", ["mid", "b"], ["y"], name="mul"),
            helper.make_node("Relu", ["mid"], ["z"]),
        ],
        "both",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("a", ["n", 3]), ("b", ["n", 3]), ("w", [3]))],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 3]) for n in ("y", "z")],
        [numpy_helper.from_array(np.array([1, 2, 3], np.float32), "w")],
    )  # fmt: skip
    graph.input[0].type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    path = tmp_path_factory.mktemp("model") / "both.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return str(path)


def plain(value: Any) -> Any:
    """Something that `==` compares, with dtypes and shapes."""
    if isinstance(value, np.ndarray):
        return value.dtype.name, value.shape, value.tolist(), value.flags.writeable
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [plain(each) for each in value]
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if hasattr(type(value), "__members__"):
        return repr(value)
    return value if isinstance(value, (str, int, float, type(None))) else type(value).__name__


def reduced(text: str) -> str:
    """Without what differences.py lists: places in onnxruntime's sources, native signatures, names of inputs."""
    text = re.sub(
        r"/onnxruntime_src/\S+.*?(?:was false\. |\)> |\) (?=Graph|This|Unsupported|Items|IsC))", "", text, flags=re.S
    )
    text = re.sub(r"^[^\n]* was false\. ", "", text)
    text = re.sub(r"\b\w+\.(?:cc|h):\d+ \S+ ", "", text)
    text = re.sub(r"^[\w.]*\(\): (incompatible \w+ arguments).*", r"\1", text, flags=re.S)
    text = re.sub(r" for input: \w+$", "", text)
    text = re.sub(r"Non-zero status code.*Missing Input", "Missing Input", text, flags=re.S)
    text = re.sub(r"'[\w.]*\.(\w+)' object", r"'\1' object", text)
    return text.strip()


def outcome(script: Script, engine: Any, model: str) -> Any:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = plain(script(engine, model))
        except BaseException as error:
            result = type(error).__name__, reduced(str(error))
    return result, [(type(w.message).__name__, str(w.message)) for w in caught]


def class_of(function: Any, *arguments: Any) -> str:
    """The class of what a call raises, where only the class is the same."""
    try:
        function(*arguments)
    except Exception as error:
        return type(error).__name__
    return "nothing"


def session(ort: Any, model: str, **settings: Any) -> Any:
    options = ort.SessionOptions()
    for name, value in settings.items():
        setattr(options, name, value)
    return ort.InferenceSession(model, options)


def value(ort: Any, array: Any = A) -> Any:
    return ort.OrtValue.ortvalue_from_numpy(array)


def bound(ort: Any, model: str, outputs: Callable[[Any], Any], inputs: Callable[[Any], Any] | None = None) -> Any:
    """Binds a and b, then what the caller wants, runs, and tells what came out."""
    s = ort.InferenceSession(model)
    binding = s.io_binding()
    binding.bind_cpu_input("a", A)
    binding.bind_cpu_input("b", B)
    for each in (inputs, outputs):
        if each is not None:
            each(binding)
    returned = s.run_with_iobinding(binding)
    results = binding.get_outputs()
    devices = [each.device_name() for each in results]
    return returned, [each.numpy() for each in results], devices, binding.copy_outputs_to_cpu()


def asynchronous(ort: Any, model: str, *arguments: Any, options: Any = None) -> Any:
    done, told = threading.Event(), []

    def callback(*given: Any) -> None:
        told.append(given)
        done.set()

    returned = ort.InferenceSession(model).run_async(*arguments, callback, "user", *([options] if options else []))
    assert done.wait(20)
    return returned, [(plain(results), user, reduced(error)) for results, user, error in told]


def stopped(ort: Any) -> Any:
    options = ort.RunOptions()
    options.terminate = True
    return options


def with_entry(ort: Any, key: str, text: str) -> Any:
    options = ort.RunOptions()
    options.add_run_config_entry(key, text)
    return options


def denoted(ort: Any, model: str, kind: str, name: str, size: int) -> Any:
    options = ort.SessionOptions()
    getattr(options, f"add_free_dimension_override_by_{kind}")(name, size)
    s = ort.InferenceSession(model, options)
    return [str(each) for each in s.get_inputs() + s.get_outputs()], s.run(None, FEED)


def replaced(ort: Any, model: str, method: str) -> Any:
    options, w = ort.SessionOptions(), value(ort, np.array([5, 6, 7], np.float32))
    if method == "add_initializer":
        options.add_initializer("w", w)
    s = ort.InferenceSession(model, options)
    return s.run(None, FEED)


def cuda_binding(ort: Any, model: str) -> Any:
    """The specification's second example."""
    s = ort.InferenceSession(model, providers=["CUDAExecutionProvider", "CPUExecutionProvider"])
    binding = s.io_binding()
    x = ort.OrtValue.ortvalue_from_numpy(A, "cuda", 0)
    binding.bind_ortvalue_input("a", x)
    binding.bind_output("y", "cuda")
    s.run_with_iobinding(binding)
    return binding.get_outputs()[0].numpy()


def in_order(ort: Any, model: str) -> Any:
    """The specification's third example."""
    s = ort.InferenceSession(
        model, providers=[("CUDAExecutionProvider", {"device_id": 0, "arena_extend_strategy": "kNextPowerOfTwo"}),
                          "CPUExecutionProvider"],
    )  # fmt: skip
    return s.get_providers(), s.get_provider_options(), s.run(None, FEED)


def providers(*arguments: Any, **keywords: Any) -> Script:
    def script(ort: Any, model: str) -> Any:
        s = ort.InferenceSession(model, None, *arguments, **keywords)
        return s.get_providers(), s.get_provider_options()

    return script


def twice(ort: Any, model: str) -> Any:
    """The memory of an output without an address is used again."""
    s = ort.InferenceSession(model)
    binding = s.io_binding()
    binding.bind_cpu_input("a", A)
    binding.bind_cpu_input("b", B)
    binding.bind_output("y")
    s.run_with_iobinding(binding)
    first = binding.get_outputs()[0].numpy()
    before = first.copy()
    binding.bind_cpu_input("a", A * 2)
    s.run_with_iobinding(binding)
    return before, first, binding.get_outputs()[0].numpy()


def vectors(ort: Any, model: str) -> Any:
    s = ort.InferenceSession(model)
    vector = type(s.io_binding().get_outputs_as_ortvaluevector())
    values, fetches = vector(), vector()
    for array in (A, B):
        values.push_back(value(ort, array)._ortvalue)
    s.run_with_ortvaluevector(
        ort.RunOptions(), ["a", "b"], values, ["y"], fetches, [ort.OrtDevice.make("cpu", 0)._get_c_device()]
    )
    return [each.numpy() for each in fetches]


def pointers(ort: Any, model: str) -> Any:
    room = np.zeros((2, 3), np.float32)

    def inputs(binding: Any) -> None:
        binding.bind_input("a", "cpu", 0, np.float32, A.shape, A.ctypes.data)
        binding.bind_input("b", "cpu", 0, TensorProto.FLOAT, B.shape, B.ctypes.data)

    def outputs(binding: Any) -> None:
        binding.bind_output("y", "cpu", 0, np.float32, room.shape, room.ctypes.data)

    return bound(ort, model, outputs, inputs), room


def facts(v: Any) -> Any:
    return (
        v.shape(), v.data_type(), v.element_type(), v.device_name(), v.tensor_size_in_bytes(), v.has_value(), v.is_tensor(),
        v.is_sparse_tensor(), v.is_tensor_sequence(), v.__dlpack_device__(),
    )  # fmt: skip


def of_type(element_type: Any) -> Script:
    return lambda ort, model: facts(ort.OrtValue.ortvalue_from_shape_and_type([2, 3], element_type))


def on_device(maker: str, device: str) -> Script:
    first = {"ortvalue_from_numpy": [A], "ortvalue_from_shape_and_type": [[2, 3], np.float32]}[maker]
    return lambda ort, model: facts(getattr(ort.OrtValue, maker)(*first, device, 0))


def updated(ort: Any, model: str) -> Any:
    mine = A.copy()
    v = value(ort, mine)
    v.update_inplace(B)
    seen = mine.copy()
    v.update_inplace(value(ort, A))
    return seen, mine, v.data_ptr() == mine.ctypes.data


def sparse(ort: Any) -> Any:
    cpu = ort.OrtDevice.make("cpu", 0)
    values, indices = np.array([1, 2], np.float32), np.array([1, 4], np.int64)
    return ort.SparseTensor.sparse_coo_from_numpy(np.array([3, 3], np.int64), values, indices, cpu)


def sparse_facts(ort: Any, model: str) -> Any:
    s = sparse(ort)
    v = ort.OrtValue.ort_value_from_sparse_tensor(s)
    told = (
        s.values(),
        list(s.dense_shape()),
        s.format(),
        s.data_type(),
        s.device_name(),
        s.as_coo_view().indices().tolist(),
    )
    return told, v.is_sparse_tensor(), v.is_tensor(), v.data_type(), v.shape(), v.as_sparse_tensor().data_type()


def device(*arguments: Any) -> Script:
    def script(ort: Any, model: str) -> Any:
        d = ort.OrtDevice.make(*arguments)
        return d.device_id(), d.device_type(), d.device_vendor_id(), d.device_mem_type()

    return script


def numbered(*numbers: int) -> Script:
    """A device as the native module has it, by its numbers."""

    def script(ort: Any, model: str) -> Any:
        made = ort.capi._pybind_state.OrtDevice(*numbers)
        return [getattr(made, name)() for name in ("device_type", "mem_type", "vendor_id", "device_id")]

    return script


def kinds_of_devices(ort: Any, model: str) -> Any:
    native = ort.capi._pybind_state.OrtDevice
    names = ("cpu", "cuda", "gpu", "dml", "webgpu", "npu", "fpga", "cann", "default_memory")
    return {name: getattr(native, name)() for name in names}


def memory(info: Any) -> Any:
    names = ("name", "device_id", "mem_type", "allocator_type", "device_mem_type", "device_vendor_id")
    return [getattr(info, name) for name in names]


def set_option(name: str, given: Any) -> Script:
    def script(ort: Any, model: str) -> Any:
        options = ort.SessionOptions()
        setattr(options, name, given)
        return getattr(options, name)

    return script


def option(method: str, *arguments: Any) -> Script:
    return lambda ort, model: getattr(ort.SessionOptions(), method)(*arguments)


def configured(ort: Any, model: str) -> Any:
    options = ort.SessionOptions()
    options.add_session_config_entry("a.b", "1")
    options.add_session_config_entry("a.b", "2")
    before = options.has_providers()
    options.add_provider("CPUExecutionProvider", {})
    return options.get_session_config_entry("a.b"), before, options.has_providers()


def cancelled(ort: Any, model: str) -> Any:
    options = ort.SessionOptions()
    options.set_load_cancellation_flag(True)
    try:
        ort.InferenceSession(model, options)
    except Exception as error:
        return type(error).__name__, str(error)[:50], str(error).strip().endswith("canceled due to user request.")


def identity(ort: Any, model: str) -> Any:
    s, options = ort.InferenceSession(model), ort.SessionOptions()
    return (
        s.get_inputs() is s.get_inputs(), s.get_modelmeta() is s.get_modelmeta(), s._model_path == model, s._model_bytes,
        s.get_session_options() is s.get_session_options(), s.get_session_options() is options, s._enable_fallback,
        s._sess is not None, s._fallback_providers, s.io_binding()._iobinding is not None,
    )  # fmt: skip


def outlives(ort: Any, model: str) -> Any:
    s = ort.InferenceSession(model)
    argument, result = s.get_inputs()[0], s.run(None, FEED)
    reference = weakref.ref(s)
    del s
    gc.collect()
    return reference() is None, str(argument), result


def changed(ort: Any, model: str) -> Any:
    """Results are new arrays, which may be written to."""
    s = ort.InferenceSession(model)
    first = s.run(["z"], FEED)[0]
    kept = first.copy()
    first[:] = 0
    return kept, s.run(["z"], FEED)[0], A


def terminated_and_again(ort: Any, model: str) -> Any:
    s, options = ort.InferenceSession(model), stopped(ort)
    with pytest.raises(Exception, match="terminate flag") as caught:
        s.run(None, FEED, options)
    options.terminate = False
    return type(caught.value).__name__, s.run(None, FEED, options)


W = np.array([7, 8, 9], np.float32)
SCRIPTS: dict[str, Script] = {
    # The specification, item by item
    "run": lambda ort, m: ort.InferenceSession(m, providers=["CPUExecutionProvider"]).run(None, FEED),
    "run of bytes": lambda ort, m: ort.InferenceSession(Path(m).read_bytes()).run(["z"], FEED),
    "run of a path": lambda ort, m: ort.InferenceSession(Path(m)).run([], FEED),
    "unknown keywords": lambda ort, m: ort.InferenceSession(m, whatever=3).run(None, FEED),
    "cuda binding": cuda_binding,
    "providers in order": in_order,
    "inputs": lambda ort, m: [(i.name, i.shape, i.type, str(i)) for i in ort.InferenceSession(m).get_inputs()],
    "outputs": lambda ort, m: [(i.name, i.shape, i.type, str(i)) for i in ort.InferenceSession(m).get_outputs()],
    "read-only": lambda ort, m: class_of(setattr, ort.InferenceSession(m).get_inputs()[0], "name", "x"),
    "no profile": lambda ort, m: (session(ort, m).end_profiling(), session(ort, m).get_profiling_start_time_ns()),
    "identity": identity, "outlives": outlives, "changed": changed,
    # Providers
    "none": providers(), "empty": providers([]), "cpu": providers(["CPUExecutionProvider"]),
    "azure": providers(["AzureExecutionProvider"]), "cuda": providers(["CUDAExecutionProvider"]),
    "options": providers([("CPUExecutionProvider", {"a": 1})]),
    "cuda options": providers(["CUDAExecutionProvider", "CPUExecutionProvider"], [{"device_id": 1}, {}]),
    "unknown": providers(["Foo"]), "unknown without fallback": providers(["Foo"], enable_fallback=0),
    "duplicate": providers(["CPUExecutionProvider", "CPUExecutionProvider"]),
    "a string": providers("CPU"), "a set": providers({"CPUExecutionProvider"}),
    "a list for a tuple": providers([["CPUExecutionProvider", {}]]),
    "lengths": providers(["CPUExecutionProvider"], [{}, {}]),
    "lengths without fallback": providers(["CPUExecutionProvider"], [{}, {}], enable_fallback=False),
    "options with tuples": providers([("CPUExecutionProvider", {})], [{}], enable_fallback=False),
    "options that are none": providers(["CPUExecutionProvider"], [3], enable_fallback=False),
    "set_providers": lambda ort, m: (lambda s: (s.set_providers(["CPUExecutionProvider"]), s.get_providers()))(session(ort, m)),
    "set_providers of none": lambda ort, m: session(ort, m).set_providers(["Foo"]),
    # Running in other ways
    "ort values": lambda ort, m: [v.numpy() for v in session(ort, m).run_with_ort_values(None, {"a": value(ort), "b": value(ort, B)})],
    "ort values, some": lambda ort, m: [facts(v) for v in session(ort, m).run_with_ort_values(["z"], {"a": value(ort), "b": value(ort)})],
    "ort values missing": lambda ort, m: session(ort, m).run_with_ort_values(None, {"a": value(ort)}),
    "ort values of arrays": lambda ort, m: session(ort, m).run_with_ort_values(None, FEED),
    "ort values unknown": lambda ort, m: session(ort, m).run_with_ort_values(["q"], {"a": value(ort), "b": value(ort)}),
    "run on ort values": lambda ort, m: session(ort, m).run(None, {"a": value(ort), "b": B}),
    "vectors": vectors,
    "run options": lambda ort, m: session(ort, m).run(None, FEED, ort.RunOptions()),
    "wrong run options": lambda ort, m: session(ort, m).run(None, FEED, 3),
    "terminate": lambda ort, m: session(ort, m).run(None, FEED, stopped(ort)),
    "terminate and again": terminated_and_again,
    "shrink": lambda ort, m: session(ort, m).run(None, FEED, with_entry(ort, "memory.enable_memory_arena_shrinkage", "cpu:0")),
    "shrink what": lambda ort, m: session(ort, m).run(None, FEED, with_entry(ort, "memory.enable_memory_arena_shrinkage", "foo")),
    "graph": lambda ort, m: session(ort, m).run(None, FEED, with_entry(ort, "gpu_graph_id", "abc")),
    "unknown entry": lambda ort, m: session(ort, m).run(None, FEED, with_entry(ort, "what", "ever")),
    "missing entry": lambda ort, m: ort.RunOptions().get_run_config_entry("nope"),
    # Overridable initializers
    "overridable": lambda ort, m: [str(each) for each in session(ort, m).get_overridable_initializers()],
    "overridden": lambda ort, m: session(ort, m).run(None, {**FEED, "w": W}),
    "overridden rank": lambda ort, m: session(ort, m).run(None, {**FEED, "w": W[None]}),
    "overridden size": lambda ort, m: session(ort, m).run(None, {**FEED, "w": W[:2]}),
    "overridden type": lambda ort, m: session(ort, m).run(None, {**FEED, "w": W.astype(int)}),
    # In the background
    "async": lambda ort, m: asynchronous(ort, m, None, FEED),
    "async, some": lambda ort, m: asynchronous(ort, m, ["z"], FEED),
    "async missing": lambda ort, m: asynchronous(ort, m, None, {"a": A}),
    "async extra": lambda ort, m: asynchronous(ort, m, None, {**FEED, "c": A}),
    "async type": lambda ort, m: asynchronous(ort, m, None, {**FEED, "a": A.astype(int)}),
    "async output": lambda ort, m: asynchronous(ort, m, ["q"], FEED),
    "async terminated": lambda ort, m: asynchronous(ort, m, None, FEED, options=stopped(ort)),
    "async without user data": lambda ort, m: class_of(session(ort, m).run_async, None, FEED, print),
    # Bindings
    "bound": lambda ort, m: bound(ort, m, lambda b: b.bind_output("y")),
    "bound order": lambda ort, m: bound(ort, m, lambda b: (b.bind_output("z"), b.bind_output("y"))),
    "bound twice": twice,
    "bound cuda": lambda ort, m: bound(ort, m, lambda b: b.bind_output("y", "cuda")),
    "bound foo": lambda ort, m: bound(ort, m, lambda b: b.bind_output("y", "foo")),
    "bound unknown": lambda ort, m: bound(ort, m, lambda b: b.bind_output("q")),
    "bound none": lambda ort, m: bound(ort, m, lambda b: None),
    "bound cleared": lambda ort, m: bound(ort, m, lambda b: (b.bind_output("y"), b.clear_binding_outputs())),
    "bound missing": lambda ort, m: bound(ort, m, lambda b: (b.bind_output("y"), b.clear_binding_inputs())),
    "bound value": lambda ort, m: bound(ort, m, lambda b: b.bind_ortvalue_output("y", value(ort, np.zeros((2, 3), np.float32)))),
    "bound type": lambda ort, m: bound(ort, m, lambda b: b.bind_ortvalue_output("y", value(ort, np.zeros((2, 3), np.int64)))),
    "bound pointers": pointers,
    "bound pointer alone": lambda ort, m: bound(ort, m, lambda b: b.bind_output("y", "cpu", 0, None, None, 64)),
    "bound input unknown": lambda ort, m: bound(ort, m, lambda b: b.bind_output("y"), lambda b: b.bind_cpu_input("q", A)),
    "bound value unknown": lambda ort, m: bound(ort, m, lambda b: b.bind_output("y"), lambda b: b.bind_ortvalue_input("q", value(ort))),
    "bound list": lambda ort, m: bound(ort, m, lambda b: b.bind_output("y"), lambda b: b.bind_cpu_input("a", [[1.0]])),
    "bound input type": lambda ort, m: bound(ort, m, lambda b: b.bind_output("y"), lambda b: b.bind_cpu_input("a", A.astype(int))),
    "bound input rank": lambda ort, m: bound(ort, m, lambda b: b.bind_output("y"), lambda b: b.bind_cpu_input("a", A[0])),
    "bound input size": lambda ort, m: bound(ort, m, lambda b: b.bind_output("y"), lambda b: b.bind_cpu_input("a", A[:, :2])),
    "bound fortran": lambda ort, m: bound(ort, m, lambda b: b.bind_output("y"), lambda b: b.bind_cpu_input("a", np.asfortranarray(A))),
    "bound cuda input": lambda ort, m: bound(ort, m, lambda b: None, lambda b: b.bind_input("a", "cuda", 0, np.float32, A.shape, 64)),
    "bound elsewhere": lambda ort, m: session(ort, m).run_with_iobinding(session(ort, m).io_binding()),
    "bound before": lambda ort, m: session(ort, m).io_binding().get_outputs(),
    # Values
    "value": lambda ort, m: facts(value(ort)),
    "value numpy": lambda ort, m: (value(ort).numpy(), np.asarray(value(ort)), np.asarray(value(ort), np.int64)),
    "value dlpack": lambda ort, m: (np.from_dlpack(value(ort)).tolist(), ort.OrtValue.from_dlpack(A).numpy()),
    "value dlpack strided": lambda ort, m: class_of(ort.OrtValue.from_dlpack, A[:, ::2]),
    "value of text": lambda ort, m: value(ort, np.array(["a"])),
    "value of a list": lambda ort, m: value(ort, [1]),
    "value of a scalar": lambda ort, m: value(ort, np.float32(1)),
    "value strided": lambda ort, m: value(ort, A[:, ::2]).numpy(),
    "value updated": updated,
    "value updated badly": lambda ort, m: value(ort).update_inplace(A[:1]),
    "value updated by a list": lambda ort, m: value(ort).update_inplace([1]),
    "value not sparse": lambda ort, m: value(ort).as_sparse_tensor(),
    "value of bits": lambda ort, m: facts(ort.OrtValue.ortvalue_from_numpy_with_onnx_type(np.zeros((2, 3), np.uint16), 16)),
    "value of 4 bits": lambda ort, m: facts(ort.OrtValue.ortvalue_from_numpy_with_onnx_type(np.zeros((2, 3), np.uint8), 22)),
    **{f"value {t}": of_type(t) for t in (np.float32, np.dtype("f8"), "float16", float, np.bool_, 1, 9, 10, 16, 17, 22, 99, 8, np.str_, "q")},
    **{f"{f} {d}": on_device(f, d) for d in ("cpu", "cuda", "cann", "dml", "webgpu", "gpu", "npu", "foo", "CPU")
       for f in ("ortvalue_from_numpy", "ortvalue_from_shape_and_type")},
    "value of a session": lambda ort, m: facts(session(ort, m).create_ortvalue_from_shape_and_type([2], np.int8, "cpu")),
    "value of a session, cuda": lambda ort, m: session(ort, m).create_ortvalue_from_shape_and_type([2], np.int8, "cuda"),
    "sparse": sparse_facts,
    "sparse as rows": lambda ort, m: sparse(ort).as_csrc_view(),
    "sparse cuda": lambda ort, m: sparse(ort).to_cuda(ort.OrtDevice.make("cuda", 0)),
    # Devices and memory
    **{f"device {d}": device(d, 1) for d in ("cpu", "cuda", "gpu", "cann", "dml", "webgpu", "npu", "foo", "CPU")},
    "device of a vendor": device("gpu", 0, 0x8086),
    "kinds of devices": kinds_of_devices,
    **{f"device of the numbers {n}": numbered(*n) for n in ((1, 0, 2), (0, 5, 0x1414, 1), (1, 0), (1, 2, 3, 4, 5))},
    "device of no numbers": lambda ort, m: class_of(ort.capi._pybind_state.OrtDevice),
    "memory": lambda ort, m: (lambda s: [memory(i) for i in s.get_input_memory_infos()])(session(ort, m)),
    "memory of outputs": lambda ort, m: (lambda s: [memory(i) for i in s.get_output_memory_infos()])(session(ort, m)),
    "memory unknown": lambda ort, m: ort.OrtMemoryInfo("foo", ort.OrtAllocatorType.INVALID, 0, ort.OrtMemType.DEFAULT),
    "arena": lambda ort, m: [ort.OrtArenaCfg({"max_mem": 5}).max_mem, ort.OrtArenaCfg(1, -1, -1, -1).initial_chunk_size_bytes],
    "arena of what": lambda ort, m: ort.OrtArenaCfg({"foo": 5}),
    "devices": lambda ort, m: [(d.ep_name, d.device.type) for d in ort.get_ep_devices() + session(ort, m).get_input_epdevices()],
    # Options
    **{f"{n} = {v!r}": set_option(n, v) for n, v in (
        ("intra_op_num_threads", 1.5), ("intra_op_num_threads", -4), ("intra_op_num_threads", True),
        ("intra_op_num_threads", np.int64(2)), ("graph_optimization_level", 99), ("speed", 1), ("logid", 3), ("logid", "a"),
        ("enable_profiling", 1), ("optimized_model_filepath", None), ("log_severity_level", 9), ("execution_mode", 0),
        ("enable_mem_reuse", None), ("enable_mem_reuse", "x"), ("use_deterministic_compute", True))},
    "config": configured,
    "config empty": option("add_session_config_entry", "", "1"),
    "config long": option("add_session_config_entry", "a" * 1025, "1"),
    "config of a number": option("add_session_config_entry", "a", 1),
    "config missing": option("get_session_config_entry", "nope"),
    "dimension of a float": option("add_free_dimension_override_by_name", "n", 2.5),
    "initializer of an array": option("add_initializer", "w", A),
    "initializers of what": option("add_external_initializers", ["w"], [1]),
    "initializers, lengths": option("add_external_initializers", ["w"], []),
    "files, lengths": option("add_external_initializers_from_files_in_memory", ["w"], [b"abc"], [1, 2]),
    "provider unknown": option("add_provider", "Foo", {}),
    "provider cuda": option("add_provider", "CUDAExecutionProvider", {}),
    "policy": option("set_provider_selection_policy", 1),
    "custom operators": option("register_custom_ops_library", "nope.so"),
    "cancelled": cancelled,
    "dimension by name": lambda ort, m: denoted(ort, m, "name", "n", 2),
    "dimension by name, wrong": lambda ort, m: class_of(denoted, ort, m, "name", "n", 5),
    "dimension unknown": lambda ort, m: denoted(ort, m, "name", "what", 5),
    "add_initializer": lambda ort, m: replaced(ort, m, "add_initializer"),
    "tuning": lambda ort, m: (session(ort, m).get_tuning_results(), session(ort, m).set_tuning_results([])),
    "tuning invalid": lambda ort, m: session(ort, m).set_tuning_results(
        [{"ep": "CPUExecutionProvider", "results": {}, "validators": {}}], error_on_invalid=True),
    "assignment": lambda ort, m: class_of(session(ort, m).get_provider_graph_assignment_info),
    "nothing happens": lambda ort, m: (session(ort, m).set_ep_dynamic_options({"a": "b"}), session(ort, m).release_captured_graph()),
    "no dynamic options": lambda ort, m: session(ort, m).set_ep_dynamic_options({}),
    "severity": lambda ort, m: ort.set_default_logger_severity(9),
    "no library": lambda ort, m: ort.unregister_execution_provider_library("a"),
    "no constructor": lambda ort, m: class_of(ort.NodeArg),
}  # fmt: skip


@pytest.mark.parametrize("name", SCRIPTS)
def test_same(name: str, model: str, capfd: pytest.CaptureFixture[str]) -> None:
    theirs = outcome(SCRIPTS[name], onnxruntime, model)
    printed = capfd.readouterr().out
    ours = outcome(SCRIPTS[name], intaglio, model)
    assert ours == theirs
    assert capfd.readouterr().out == printed  # the fallback of providers is told on stdout


def test_profile(model: str, tmp_path: Path) -> None:
    """The same file name, the same events of a session, the same fields of an event, the nodes of every kernel."""
    files, events = [], []
    for name, engine in (("theirs", onnxruntime), ("ours", intaglio)):
        s = session(engine, model, enable_profiling=True, profile_file_prefix=str(tmp_path / name))
        s.run(None, FEED)
        assert abs(s.get_profiling_start_time_ns() / 1e9 - 1.79e9) < 1e9
        files.append(s.end_profiling())
        assert s.end_profiling() == ""
        events.append(json.loads(Path(files[-1]).read_text()))
    assert [re.sub(r"\d", "0", Path(f).name.partition("_")[2]) for f in files] == ["0000-00-00_00-00-00_000.json"] * 2
    theirs, ours = ({e["name"] for e in each if e["cat"] == "Session"} for each in events)
    assert theirs == ours
    kernels = [[e for e in each if e["cat"] == "Node"] for each in events]
    assert set(kernels[0][0]) == set(kernels[1][0])
    absent = {k for k in kernels[0][0]["args"] if k not in kernels[1][0]["args"]}
    assert all(k.startswith("mem_") for k in absent)
    assert {n for e in kernels[1] for n in e["args"]["nodes"]} == {"add", "mul", "Relu"}
    assert kernels[1][0]["args"]["output_type_shape"] == [{"float": [2, 3]}]


def test_a_profile_is_written_when_the_session_goes(model: str, tmp_path: Path) -> None:
    s = session(intaglio, model, enable_profiling=True, profile_file_prefix=str(tmp_path / "p"))
    s.run(None, FEED)
    del s
    gc.collect()
    assert len(list(tmp_path.iterdir())) == 1


def test_dimension_by_denotation(model: str) -> None:
    """onnxruntime fixes the dimensions of that denotation alone; here the name takes the size along."""
    for engine in (onnxruntime, intaglio):
        options = engine.SessionOptions()
        options.add_free_dimension_override_by_denotation("DATA_BATCH", 2)
        s = engine.InferenceSession(model, options)
        assert s.get_inputs()[0].shape == [2, 3]
        assert np.array_equal(s.run(["z"], FEED)[0], SUM)
        with pytest.raises(Exception, match="Got: 1 Expected: 2"):
            s.run(None, {"a": A[:1], "b": B[:1]})


def test_external_initializers(tmp_path: Path, model: str) -> None:
    """Weights of another file: from memory, or as values."""
    proto = onnx.load(model)
    del proto.graph.input[2]
    onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    data = (tmp_path / "w.bin").read_bytes()
    content = (tmp_path / "m.onnx").read_bytes()
    (tmp_path / "w.bin").unlink()
    for engine in (onnxruntime, intaglio):
        options = engine.SessionOptions()
        options.add_external_initializers_from_files_in_memory(["w.bin"], [data], [len(data)])
        assert np.array_equal(engine.InferenceSession(content, options).run(["z"], FEED)[0], SUM)
        options = engine.SessionOptions()
        options.add_external_initializers(["w"], [value(engine, W)])
        assert np.array_equal(engine.InferenceSession(content, options).run(["z"], FEED)[0], A + W)


# ---- Better ----------------------------------------------------------------------------------------------------------


def test_intermediate_values(model: str) -> None:
    s = intaglio.InferenceSession(model)
    mid, y = s.run(["mid", "y"], FEED)
    assert np.array_equal(mid, SUM) and np.array_equal(y, mid * B)
    assert np.array_equal(s.run(["mid"], {**FEED, "w": W})[0], A + W)


@pytest.mark.parametrize("kind", [bytearray, memoryview, onnx.load_from_string])
def test_more_kinds_of_models(model: str, kind: Any) -> None:
    assert intaglio.InferenceSession(kind(Path(model).read_bytes())).run(["z"], FEED)[0].shape == (2, 3)


def test_a_failed_set_providers_changes_nothing(model: str) -> None:
    s = intaglio.InferenceSession(model)
    with pytest.warns(UserWarning), pytest.raises(RuntimeError, match="Unknown Provider Type: Foo"):
        s.set_providers(["Foo"])
    assert s.get_providers() == ["CPUExecutionProvider"] and len(s.run(None, FEED)) == 2


def test_close(model: str) -> None:
    with intaglio.InferenceSession(model) as s:
        s.run(None, FEED)
    with pytest.raises(RuntimeError, match="closed"):
        s.run(None, FEED)


def test_pickles(model: str) -> None:
    """A session as its model and its options; the options with what was given to them."""
    options = intaglio.SessionOptions()
    options.intra_op_num_threads, options.logid = 1, "copy"
    options.add_session_config_entry("a", "b")
    options.add_initializer("w", value(intaglio, W))
    for source in (model, Path(model).read_bytes()):
        session = intaglio.InferenceSession(source, options, ["CPUExecutionProvider"])
        again = pickle.loads(pickle.dumps(session))
        found = again.get_session_options()
        assert (found.intra_op_num_threads, found.logid, found.get_session_config_entry("a")) == (1, "copy", "b")
        assert again.get_providers() == session.get_providers()
        for a, b in zip(again.run(None, FEED), session.run(None, FEED)):
            assert np.array_equal(a, b)
    other = copy.copy(options)
    other.logid = "other"
    assert options.logid == "copy" and other.get_session_config_entry("a") == "b"
    run = pickle.loads(pickle.dumps(with_entry(intaglio, "what", "ever")))
    assert run.get_run_config_entry("what") == "ever" and run.terminate is False
    with pytest.raises(TypeError):
        pickle.dumps(onnxruntime.InferenceSession(model))


KEYS = [
    "session.load_model_format",
    "session.disable_prepacking",
    "session.use_env_allocators",
    "session.set_denormal_as_zero",
    "session.disable_quant_qdq",
    "session.disable_double_qdq_remover",
    "session.enable_quant_qdq_cleanup",
    "session.qdqisint8allowed",
    "session.enable_dq_matmulnbits_fusion",
    "session.qdq_matmulnbits_accuracy_level",
    "session.qdq_matmulnbits_block_size",
    "session.x64quantprecision",
    "session.intra_op.allow_spinning",
    "session.inter_op.allow_spinning",
    "session.force_spinning_stop",
    "session.dynamic_block_base",
    "session.strict_shape_type_inference",
    "session.allow_released_opsets_only",
    "session.disable_aot_function_inlining",
    "session.record_ep_graph_assignment_info",
    "session.use_device_allocator_for_initializers",
    "session.use_ort_model_bytes_directly",
    "session.use_ort_model_bytes_for_initializers",
    "session.use_memory_mapped_ort_model",
    "session.graph_optimizations_loop_level",
    "optimization.enable_gelu_approximation",
    "optimization.disable_specified_optimizers",
    "optimization.enable_cast_chain_elimination",
    "mlas.enable_gemm_fastmath_arm64_bfloat16",
    "ep.context_enable",
    "ep.share_ep_contexts",
    "ep.context_embed_mode",
    "session.debug_layout_transformation",
    "what.ever",
]


@pytest.mark.parametrize("key", KEYS)
def test_entries_that_are_accepted(key: str, model: str) -> None:
    for text in ("0", "ONNX" if "format" in key else "1"):
        results = []
        for engine in (onnxruntime, intaglio):
            options = engine.SessionOptions()
            options.add_session_config_entry(key, text)
            s = engine.InferenceSession(model, options, enable_fallback=0)
            assert s.get_session_options().get_session_config_entry(key) == text
            results.append(s.run(["z"], FEED)[0])
        assert np.array_equal(*results)


def test_torch(model: str) -> None:
    torch = pytest.importorskip("torch")
    s = intaglio.InferenceSession(model)
    result = s.run(["z"], {"a": torch.from_numpy(A), "b": torch.from_numpy(B)})[0]
    assert np.array_equal(result, SUM)
    half = torch.tensor([[1, 2.5]], dtype=torch.bfloat16)
    v = intaglio.OrtValue.from_dlpack(half)
    assert v.data_type() == "tensor(bfloat16)" and v.data_ptr() == half.data_ptr()
    assert torch.equal(torch.from_dlpack(v), half)


def test_narrow_types_in_and_out() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = np.array([[1, 2.5, -3]], np.float32).astype(ml_dtypes.bfloat16)
    info = [helper.make_tensor_value_info(n, TensorProto.BFLOAT16, [1, 3]) for n in "xy"]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", info[:1], info[1:])
    s = intaglio.InferenceSession(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    y = s.run(None, {"x": x})[0]
    assert y.dtype == x.dtype and np.array_equal(y, -x)
    packed = intaglio.OrtValue.ortvalue_from_shape_and_type([3], TensorProto.INT4)
    ctypes.memmove(packed.data_ptr(), b"\x2f\x07", 2)
    assert packed.numpy().dtype == ml_dtypes.int4 and packed.numpy().astype(int).tolist() == [-1, 2, 7]


def test_outputs_bound_without_memory_change_their_shape(model: str) -> None:
    s = intaglio.InferenceSession(model)
    binding = s.io_binding()
    binding.bind_output("z")
    for rows in (1, 2):
        binding.bind_cpu_input("a", A[:rows])
        binding.bind_cpu_input("b", B[:rows])
        s.run_with_iobinding(binding)
        assert binding.get_outputs()[0].shape() == [rows, 3]


def test_an_output_in_the_memory_of_an_input(model: str) -> None:
    s, v = intaglio.InferenceSession(model), intaglio.OrtValue.ortvalue_from_numpy(A.copy())
    binding = s.io_binding()
    binding.bind_ortvalue_input("a", v)
    binding.bind_cpu_input("b", B)
    binding.bind_ortvalue_output("z", v)
    for times in (1, 2):
        s.run_with_iobinding(binding)
        assert np.array_equal(v.numpy(), A + times * np.array([1, 2, 3]))
