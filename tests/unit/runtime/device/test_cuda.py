"""The CUDA runtime up to the driver: a driver of our own, whose kernels run under Triton's interpreter.

What runs is the whole path: cubins for a GPU that is not there, loading, memory, launches from C, copies, graphs. Each
test is a process of its own, as the driver and the interpreter are chosen once in one.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
HANDMADE = ROOT / "tests" / "handmade"

pytestmark = [
    pytest.mark.skipif(not shutil.which("cc"), reason="the driver is written in C"),
    pytest.mark.skipif(not importlib.util.find_spec("triton"), reason="kernels are built by triton"),
]

# What every test begins with: the driver, and `session(model)`, compiled for the GPU that it claims to have.
HEAD = """
import ctypes, sys
import numpy as np
import onnx
from onnx import TensorProto, helper
import intaglio
from intaglio.runtime.device import cuda, gpu
from intaglio.runtime.device.device import kernels_of
from intaglio.runtime.errors import EPFail, Fail, RuntimeException
from intaglio.runtime.device.triton_interpreter import InterpretedKernel
from pathlib import Path
import os, tempfile

fake = ctypes.CDLL(os.environ["INTAGLIO_LIBCUDA"])
VERSION, CAPABILITY, SHARED, MEMORY, DEVICES, FAILS = range(6)
counts = (ctypes.c_int64 * 8).in_dll(fake, "fake_counts")
LAUNCHES, COPIES, CAPTURES, GRAPH_LAUNCHES, ALLOCATIONS, PINNED = range(6)
fake.fake_set.argtypes = ctypes.c_int32, ctypes.c_int64
folder = Path(tempfile.mkdtemp())
known = {}

@ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_char_p, ctypes.c_int64, ctypes.c_int32, ctypes.c_int32,
                  ctypes.POINTER(ctypes.c_int64))
def run_kernel(name, programs, threads, shared, values):
    kernel, code = known[name.decode()]
    kernel.launch(programs, values[: code.buffers], values[code.buffers : len(code.arguments)])
    return 0

fake.fake_kernels(run_kernel)

def register(artifact):
    for code in kernels_of(artifact):
        if code.name not in known:
            file = folder / f"{code.name}.py"
            file.write_bytes(code.source)
            # The kernels run under the interpreter, though the runtime takes the GPU for real.
            known[code.name] = InterpretedKernel(file, code.name, code.arguments), code
            kinds = "".join("p" if kind.startswith("*") else "i" for kind in code.arguments)
            fake.fake_signature(code.name.encode(), kinds.encode())

def model(n="n"):
    nodes = [helper.make_node("Mul", ["x", "w"], ["m"]), helper.make_node("Softmax", ["m"], ["s"]),
             helper.make_node("MatMul", ["s", "v"], ["y"])]
    w = onnx.numpy_helper.from_array(np.linspace(0, 2, 8, dtype=np.float32), "w")
    v = onnx.numpy_helper.from_array(np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32), "v")
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [n, 8])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [n, 3])], [w, v])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()

def want(x):
    w = np.linspace(0, 2, 8, dtype=np.float32)
    v = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
    e = np.exp(x * w - (x * w).max(1, keepdims=True))
    return e / e.sum(1, keepdims=True) @ v

def session(data=None, **options):
    options = {"use_tf32": "0", **options}
    made = intaglio.InferenceSession(data or model(), providers=[("CUDAExecutionProvider", options),
                                                                 "CPUExecutionProvider"])
    register(made._artifact)
    return made

def check(made, n, seed=0):
    x = np.random.default_rng(seed).standard_normal((n, 8)).astype(np.float32)
    (y,) = made.run(None, {"x": x})
    np.testing.assert_allclose(y, want(x), rtol=1e-5, atol=1e-6)

# The interpreter is for the kernels of the driver alone: the runtime is not to choose it.
gpu.interpreted = lambda: False
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("driver") / "libcuda.so"
    command = ["cc", "-std=gnu11", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", str(HANDMADE / "fake_cuda.c")]
    subprocess.run([*command, "-o", str(library)], check=True)
    return library


@pytest.fixture
def run(driver: Path, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    cache = tmp_path_factory.getbasetemp() / "cuda-cache"  # the tests share what is compiled

    def run(body: str, **environ: str) -> str:
        env = {**os.environ, "TRITON_INTERPRET": "1", "INTAGLIO_LIBCUDA": str(driver),
               "INTAGLIO_CACHE_DIR": str(cache), **environ}  # fmt: skip
        done = subprocess.run([sys.executable, "-c", HEAD + body], env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_runs_and_graphs(run) -> None:  # type: ignore[no-untyped-def]
    """Runs of a size: launched the first time, captured the second, replayed from then on; always right."""
    run("""
assert intaglio.get_available_providers()[0] == "CUDAExecutionProvider" and intaglio.get_device() == "GPU"
s = session()
assert s.get_providers() == ["CUDAExecutionProvider", "CPUExecutionProvider"]
assert s._artifact.manifest["device"]["gpus"] == ["cuda:sm_90"] and s._artifact.manifest["device"]["straight"]
for n in (4, 1, 7):
    check(s, n)
assert counts[CAPTURES] == counts[GRAPH_LAUNCHES] == 0 and counts[LAUNCHES] > 0
for seed in range(3):
    check(s, 4, seed)
    check(s, 7, seed)
assert counts[CAPTURES] == 2 and counts[GRAPH_LAUNCHES] == 6, list(counts)
for n in range(60, 8, -1):  # the largest first: its memory serves all
    check(s, n), check(s, n)
assert counts[PINNED] == 2 * cuda.MAX_GRAPHS, list(counts)
s.close()
assert counts[ALLOCATIONS] == counts[PINNED] == 0, list(counts)
plain = session(enable_cuda_graph="0")
before = counts[CAPTURES]
check(plain, 3), check(plain, 3), check(plain, 3)
assert counts[CAPTURES] == before
""")


def test_a_buffer_beyond_the_reach_of_indices(run) -> None:  # type: ignore[no-untyped-def]
    """It is refused before a kernel of the device starts; memory for it need not be there."""
    run("""
node = helper.make_node("Expand", ["x", "s"], ["e"]), helper.make_node("ReduceSum", ["e"], ["y"], keepdims=0)
graph = helper.make_graph(list(node), "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1]),
                                            helper.make_tensor_value_info("z", TensorProto.FLOAT, ["m"])],
                          [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
graph.node.insert(0, helper.make_node("Shape", ["z"], ["m1"]))
graph.node.insert(1, helper.make_node("Concat", ["one", "m1"], ["s"], axis=0))
graph.node.insert(3, helper.make_node("MatMul", ["e", "e2"], ["p"]))
graph.node.insert(3, helper.make_node("Transpose", ["e"], ["e2"]))
graph.node[-1].input[0] = "p"
graph.initializer.append(onnx.numpy_helper.from_array(np.array([1], np.int64), "one"))
data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
s = session(data)
assert s.run(None, {"x": np.ones((3, 1), np.float32), "z": np.ones(2, np.float32)})[0] == 18
fake.fake_set(MEMORY, 1 << 40)
try:
    s.run(None, {"x": np.ones((50000, 1), np.float32), "z": np.ones(1, np.float32)})
    sys.exit("it runs")
except Fail as error:
    assert "more elements than the device's 32-bit indices" in str(error), error
""")


def test_threads_have_leases_of_their_own(run) -> None:  # type: ignore[no-untyped-def]
    run("""
from concurrent.futures import ThreadPoolExecutor
s = session()
check(s, 5)
with ThreadPoolExecutor(4) as pool:
    list(pool.map(lambda i: check(s, 1 + i % 6, i), range(24)))
""")


def test_host_kernels_between_those_of_the_device(run) -> None:  # type: ignore[no-untyped-def]
    """What the device lacks is computed by the host, with copies in both directions; sizes that depend on data too."""
    run("""
nodes = [helper.make_node("Exp", ["x"], ["e"]), helper.make_node("Tan", ["e"], ["t"]),
         helper.make_node("Add", ["t", "e"], ["u"]), helper.make_node("NonZero", ["u"], ["z"]),
         helper.make_node("Neg", ["z"], ["y"])]
graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["n"])],
                          [helper.make_tensor_value_info("y", TensorProto.INT64, None)])
data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
s = session(data)
on = [step["on"] for step in s._artifact.notes()["steps"]]
assert "device" in on and any(where.startswith("host: tan of f64") for where in on), on
for n in (300, 5, 300):
    x = np.random.default_rng(n).standard_normal(n)
    e = np.exp(x)
    np.testing.assert_array_equal(s.run(None, {"x": x})[0], -np.stack(np.nonzero(np.tan(e) + e)))
assert counts[CAPTURES] == 0
""")


@pytest.mark.parametrize(
    ("setting", "error", "text"),
    [
        ("MEMORY, 100", "RuntimeException", "Failed to allocate memory .* the GPU has no more .*smaller batch"),
        ("SHARED, 1", "EPFail", "needs .* bytes of shared memory, and this GPU has 1: compile the model for it"),
        ("FAILS, 700", "Fail", "CUDA error 700 in kernel d.* [(].*[)]: an illegal memory access"),
    ],
)
def test_what_the_driver_refuses(run, setting: str, error: str, text: str) -> None:  # type: ignore[no-untyped-def]
    """The error tells what to do, and the process, even the session where there is one, stays usable."""
    run(f"""
import re
try:
    if {setting.startswith("FAILS")}:
        s = session()
        fake.fake_set({setting})
        check(s, 4)
    else:
        fake.fake_set({setting})
        s = session()
        check(s, 4)
    sys.exit("nothing was refused")
except {error} as caught:
    assert re.search({text!r}, str(caught)), caught
    print(caught)
fake.fake_set({setting.split(",")[0]}, {{"MEMORY": 1 << 30, "SHARED": 232448, "FAILS": 0}}[{setting.split(",")[0]!r}])
check(s if {setting.startswith("FAILS")} else session(), 4)
""")


def test_no_driver_an_old_one_no_device(run) -> None:  # type: ignore[no-untyped-def]
    """Without a usable GPU, the provider is not there: onnxruntime's warning, and the CPU runs the model."""
    body = """
import warnings
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    s = intaglio.InferenceSession(model(), providers=["CUDAExecutionProvider", "CPUExecutionProvider"])
assert "CUDAExecutionProvider' is not in available provider names" in str(told[0].message)
assert s.get_providers() == ["CPUExecutionProvider"]
check(s, 4)
try:
    cuda.driver(), cuda.names()
except (EPFail, Fail) as error:
    print(error)
"""
    old = run("fake.fake_set(VERSION, 11080)" + body)
    assert "version 11.8; 12.0 or newer is needed. Update" in old
    run("fake.fake_set(DEVICES, 0)" + body)


def test_names_of_functions() -> None:
    """The functions are those that the driver's header means: an old one may have the plain name."""
    header = Path(importlib.util.find_spec("triton").origin).parent / "backends/nvidia/include/cuda.h"  # type: ignore
    renamed = dict(re.findall(r"^ *#define (cu[A-Z]\w+) +(?:__CUDA_API_PT[DS][SZ][(])?(\w+)", header.read_text(), re.M))
    source = (ROOT / "runtime" / "device" / "cuda.py").read_text()
    called = set(re.findall(r'"(cu[A-Z]\w+)"', source))
    assert len(called) > 25 and not {name for name in called if renamed.get(name, name) != name}


def test_the_library_is_missing() -> None:
    code = "from intaglio.runtime.device import cuda\ntry: cuda.driver()\nexcept Exception as error: print(error)"
    env = {**os.environ, "INTAGLIO_LIBCUDA": "libno-such-driver.so"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert "EP_FAIL" in done.stdout and "cannot be loaded" in done.stdout and "Install NVIDIA's driver" in done.stdout


def test_another_gpu(run) -> None:  # type: ignore[no-untyped-def]
    """An artifact for one GPU on another: of the same major version it runs, else the error says how to compile it."""
    run("""
from intaglio.compiler import driver
from intaglio.compiler.package import writer as package
from intaglio.compiler.options import Options
import tempfile
def compiled(target):
    folder = Path(tempfile.mkdtemp(dir=os.environ["INTAGLIO_CACHE_DIR"]))
    driver.compile_model(model(), Options(target=target), folder)
    out = folder.with_suffix(".intaglio")
    package.pack(folder, out)
    return str(out)
path = compiled("cuda:sm_80,cuda:sm_90")
s = intaglio.InferenceSession(path)
register(s._artifact)
check(s, 4)
fake.fake_set(CAPABILITY, 86)
s = intaglio.InferenceSession(path, providers=["CUDAExecutionProvider"])
check(s, 4)
fake.fake_set(CAPABILITY, 75)
try:
    intaglio.InferenceSession(path)
    sys.exit("it runs")
except EPFail as error:
    assert "compiled for cuda:sm_80, cuda:sm_90, and this GPU is cuda:sm_75" in str(error), error
try:
    compiled("cuda:sm_35")
    sys.exit("it compiles")
except Exception as error:
    assert type(error).__name__ == "InvalidArgument" and "unknown GPU 'cuda:sm_35'; choose of:" in str(error), error
""")


def test_values(run) -> None:  # type: ignore[no-untyped-def]
    """Values on the GPU: made, read, overwritten, exchanged; the memory goes with the last one."""
    run("""
from intaglio import OrtValue
x = np.arange(6, dtype=np.float32).reshape(2, 3)
v = OrtValue.ortvalue_from_numpy(x, "cuda", 0)
assert v.device_name() == "cuda" and v.shape() == [2, 3] and v.data_type() == "tensor(float)"
assert v.tensor_size_in_bytes() == 24 and v.element_type() == 1 and v.is_tensor() and v.has_value()
x[:] = -1
assert (v.numpy() == np.arange(6).reshape(2, 3)).all() and (np.asarray(v) == v.numpy()).all()
assert ctypes.string_at(v.data_ptr(), 24) == v.numpy().tobytes()  # the memory of this driver is the host's
assert counts[ALLOCATIONS] == 1
w = OrtValue.ortvalue_from_shape_and_type([2, 3], np.float32, "cuda", 0)
w.update_inplace(v)
assert (w.numpy() == v.numpy()).all() and w.data_ptr() != v.data_ptr()
w.update_inplace(x[:, ::-1])
assert (w.numpy() == -1).all()
host = OrtValue.ortvalue_from_numpy(np.zeros((2, 3), np.float32))
intaglio.copy_tensors([v, host], [host, w])
assert (host.numpy() == v.numpy()).all() and (w.numpy() == v.numpy()).all()
for made in (OrtValue.ortvalue_from_numpy(x.astype(">f4"), "gpu", 0, 0x10DE), OrtValue(v)):
    assert made.device_name() == "cuda" and made.numpy().dtype == np.float32
assert OrtValue(v).data_ptr() == v.data_ptr()
empty = OrtValue.ortvalue_from_numpy(np.zeros((0, 3)), "cuda", 0)
assert empty.data_ptr() == 0 and empty.numpy().shape == (0, 3)
four = OrtValue.ortvalue_from_shape_and_type([3], 22, "cuda", 0)
four.update_inplace(np.array([0x2F, 0x01], np.uint8))
assert four.numpy().astype(int).tolist() == [-1, 2, 1] and four.tensor_size_in_bytes() == 2
for call, text in (
    (lambda: OrtValue.ortvalue_from_numpy(x, "cuda", 1), "device id doesn't match any available GPUs"),
    (lambda: OrtValue.ortvalue_from_shape_and_type([1], 1, "cuda", -1), "device id doesn't match any available GPUs"),
    (lambda: OrtValue.ortvalue_from_numpy(np.array(["a"]), "cuda", 0), "only supported from non-string numpy arrays"),
    (lambda: OrtValue.ortvalue_from_numpy(x, "dml", 0), "Can't allocate memory"),
    (lambda: OrtValue.ortvalue_from_numpy(x, "cuda", 0, 0x8086), "Can't allocate memory"),
    (lambda: v.update_inplace(np.zeros(7, np.float32)), "does not match the size of the OrtValue"),
):
    try:
        call()
        sys.exit("nothing was raised: " + text)
    except RuntimeError as error:
        assert text in str(error), error

class Exporter:  # as tensors of torch are
    def __init__(self, value): self.value = value
    def __dlpack__(self, stream=None): return self.value.__dlpack__()
    def __dlpack_device__(self): return self.value.__dlpack_device__()

from intaglio.runtime.values import dlpack
gpu_run = session()
(y,) = gpu_run.run(None, {"x": Exporter(OrtValue.ortvalue_from_numpy(np.ones((2, 8), np.float32), "cuda", 0))})
np.testing.assert_allclose(y, want(np.ones((2, 8), np.float32)), rtol=1e-5)
gpu_run.close()
assert v.__dlpack_device__() == (2, 0) and host.__dlpack_device__() == (1, 0)
waits = counts[6]
for exported in (Exporter(v), v.to_dlpack(), v):
    shared = OrtValue.from_dlpack(exported)
    assert shared.data_ptr() == v.data_ptr() and shared.device_name() == "cuda" and shared.shape() == [2, 3]
assert counts[6] == waits + 3  # what the exporter has told the GPU to do is done
half = OrtValue.ortvalue_from_shape_and_type([4], 16, "cuda", 0)
assert OrtValue.from_dlpack(half).data_type() == "tensor(bfloat16)"
capsule = v.__dlpack__()
tensor = dlpack.Managed.from_address(dlpack._pointer(capsule, b"dltensor")).tensor
assert (tensor.device_type, tensor.device_id, tensor.data, tensor.ndim) == (2, 0, v.data_ptr(), 2)
strides = (ctypes.c_int64 * 2)(1, 2)
tensor.strides = ctypes.cast(strides, ctypes.POINTER(ctypes.c_int64))
try:
    OrtValue.from_dlpack(capsule)
    sys.exit("strides")
except RuntimeError as error:
    assert "contiguous" in str(error)
del capsule, tensor, exported, v, made, w, half, empty, four, gpu_run
assert counts[ALLOCATIONS] == 1 and (shared.numpy() == np.arange(6).reshape(2, 3)).all()
del shared
assert counts[ALLOCATIONS] == 0 and not dlpack._exported
""")


# Examples of onnxruntime's documentation, on a session; they run on whatever GPU there is.
EXAMPLES = """
def examples(onnxruntime, session, X, want):
    # input on the GPU, output on the CPU
    X_ortvalue = onnxruntime.OrtValue.ortvalue_from_numpy(X, 'cuda', 0)
    io_binding = session.io_binding()
    io_binding.bind_input(name='x', device_type=X_ortvalue.device_name(), device_id=0, element_type=np.float32,
                          shape=X_ortvalue.shape(), buffer_ptr=X_ortvalue.data_ptr())
    io_binding.bind_output('y')
    session.run_with_iobinding(io_binding)
    Y = io_binding.copy_outputs_to_cpu()[0]
    np.testing.assert_allclose(Y, want, rtol=1e-5, atol=1e-6)
    # both on the GPU, the memory of the output given
    Y_ortvalue = onnxruntime.OrtValue.ortvalue_from_shape_and_type(list(want.shape), np.float32, 'cuda', 0)
    io_binding = session.io_binding()
    io_binding.bind_input(name='x', device_type=X_ortvalue.device_name(), device_id=0, element_type=np.float32,
                          shape=X_ortvalue.shape(), buffer_ptr=X_ortvalue.data_ptr())
    io_binding.bind_output(name='y', device_type=Y_ortvalue.device_name(), device_id=0, element_type=np.float32,
                           shape=Y_ortvalue.shape(), buffer_ptr=Y_ortvalue.data_ptr())
    session.run_with_iobinding(io_binding)
    np.testing.assert_allclose(Y_ortvalue.numpy(), want, rtol=1e-5, atol=1e-6)
    # the run makes the memory of the output
    binding = session.io_binding()
    binding.bind_ortvalue_input('x', X_ortvalue)
    binding.bind_output('y', 'cuda')
    binding.synchronize_inputs()
    session.run_with_iobinding(binding)
    binding.synchronize_outputs()
    ort_output = binding.get_outputs()[0]
    assert ort_output.device_name() == 'cuda' and ort_output.shape() == list(want.shape)
    np.testing.assert_allclose(ort_output.numpy(), want, rtol=1e-5, atol=1e-6)
    # values in, values on the CPU out
    (value,) = session.run_with_ort_values(['y'], {'x': X_ortvalue})
    assert value.device_name() == 'cpu'
    np.testing.assert_allclose(value.numpy(), want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(session.run(None, {'x': X_ortvalue})[0], want, rtol=1e-5, atol=1e-6)
    return binding
"""


def test_bindings(run) -> None:  # type: ignore[no-untyped-def]
    """The documented examples; what is on the GPU is neither copied nor staged, and captured with its addresses."""
    run(
        EXAMPLES
        + """
import gc
from intaglio import OrtValue
x = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
s = session()
binding = examples(intaglio, s, x, want(x))
examples(intaglio, intaglio.InferenceSession(model(), providers=["CPUExecutionProvider"]), x, want(x))
examples(intaglio, session(enable_cuda_graph="False"), x, want(x))
gc.collect()
at, copies, captures = binding.get_outputs()[0].data_ptr(), counts[COPIES], counts[CAPTURES]
pinned, replays = counts[PINNED], counts[GRAPH_LAUNCHES]
for options in (None, intaglio.RunOptions(), None):
    s.run_with_iobinding(binding, options)
    assert binding.get_outputs()[0].data_ptr() == at  # used again
assert counts[COPIES] == copies and counts[PINNED] == pinned
assert counts[CAPTURES] == captures + 1 and counts[GRAPH_LAUNCHES] == replays + 3, list(counts)
v = OrtValue.ortvalue_from_numpy(-x, "cuda", 0)
binding.bind_ortvalue_input("x", v)  # other addresses: another graph
s.run_with_iobinding(binding)
assert counts[CAPTURES] == captures + 1 and counts[GRAPH_LAUNCHES] == replays + 3
np.testing.assert_allclose(binding.copy_outputs_to_cpu()[0], want(-x), rtol=1e-5, atol=1e-6)
v.update_inplace(x * 2)
s.run_with_iobinding(binding)
assert counts[CAPTURES] == captures + 2 and counts[COPIES] == copies
np.testing.assert_allclose(binding.copy_outputs_to_cpu()[0], want(x * 2), rtol=1e-5, atol=1e-6)
binding.bind_ortvalue_input("x", OrtValue.ortvalue_from_numpy(x[:3], "cuda", 0))  # another shape: new memory
s.run_with_iobinding(binding)
assert binding.get_outputs()[0].shape() == [3, 3]
binding.bind_cpu_input("x", x)  # one from the host, one on the GPU, and replayed
for seed in range(3):
    x[:] = np.random.default_rng(seed).standard_normal((4, 8))
    s.run_with_iobinding(binding)
    np.testing.assert_allclose(binding.copy_outputs_to_cpu()[0], want(x), rtol=1e-5, atol=1e-6)
assert counts[PINNED] == pinned + 1, list(counts)
square = OrtValue.ortvalue_from_shape_and_type([100, 8], np.float32, "cuda", 0)
offsets = [square.data_ptr() + 32 * i for i in range(40)]
for there in offsets:  # addresses that come twice, more than there are graphs
    binding.bind_input("x", "cuda", 0, 1, [1, 8], there)
    s.run_with_iobinding(binding), s.run_with_iobinding(binding)
assert counts[PINNED] == 0 and len(s._main.program._device._leases[-1]._graphs) == cuda.MAX_GRAPHS
# Memory that is not at a multiple of 16 is copied; outputs that lie on inputs are written in the end.
square.update_inplace(np.linspace(-1, 1, 800, dtype=np.float32).reshape(100, 8))
flat = square.numpy().reshape(-1)
binding.bind_input("x", "cuda", 0, np.float32, [5, 8], square.data_ptr() + 4)
binding.bind_output("y", "cuda", 0, np.float32, [5, 3], square.data_ptr() + 8)
s.run_with_iobinding(binding)
after = square.numpy().reshape(-1)
np.testing.assert_allclose(after[2:17].reshape(5, 3), want(flat[1:41].reshape(5, 8)), rtol=1e-5, atol=1e-6)
assert (after[17:] == flat[17:]).all() and (after[:2] == flat[:2]).all()
for bind, text in (
    (lambda: binding.bind_input("x", "cuda", 0, np.float64, [5, 8], square.data_ptr()), "Unexpected input data type"),
    (lambda: binding.bind_input("x", "cuda", 0, np.float32, [8], square.data_ptr()), "Invalid rank for input: x"),
    (lambda: binding.bind_input("x", "cuda", 0, np.float32, [1, 7], square.data_ptr()), "Got: 7 Expected: 8"),
    (lambda: binding.bind_input("x", "cuda", 3, np.float32, [5, 8], square.data_ptr()), "doesn't match any available"),
    (lambda: (binding.bind_ortvalue_input("x", v), binding.bind_ortvalue_output("y", square)), "has shape {100,8}"),
):
    try:
        bind()
        s.run_with_iobinding(binding)
        sys.exit("nothing was raised: " + text)
    except RuntimeError as error:
        assert text in str(error), error
assert s.create_ortvalue_from_shape_and_type([2], np.int8, "cuda").device_name() == "cuda"
s.close()
del binding, v, square, s
gc.collect()
assert counts[ALLOCATIONS] == counts[PINNED] == 0, list(counts)
"""
    )


def test_bindings_where_the_host_takes_part(run) -> None:  # type: ignore[no-untyped-def]
    """What the host reads or writes is copied: by kernels of the host, as conditions, as sizes; outputs whose shapes
    depend on data are made on the GPU."""
    run("""
from intaglio import OrtValue
def made(nodes, inputs, outputs, initializers=()):
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info(*i) for i in inputs],
                              [helper.make_tensor_value_info(*o) for o in outputs], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
def bound(s, feeds, outputs):
    binding = s.io_binding()
    for name, array in feeds.items():
        binding.bind_ortvalue_input(name, OrtValue.ortvalue_from_numpy(array, "cuda", 0))
    for name in outputs:
        binding.bind_output(name, "cuda")
    for _ in range(3):
        s.run_with_iobinding(binding)
        values = binding.get_outputs()
        assert [v.device_name() for v in values] == ["cuda"] * len(values)
        yield from (v.numpy() for v in values)

D, F, I = TensorProto.DOUBLE, TensorProto.FLOAT, TensorProto.INT64
nodes = [helper.make_node("Tan", ["x"], ["t"]), helper.make_node("Exp", ["t"], ["u"]),
         helper.make_node("Sin", ["u"], ["y"]), helper.make_node("NonZero", ["y"], ["z"]),
         helper.make_node("Neg", ["z"], ["k"])]
s = session(made(nodes, [("x", D, ["n"])], [("y", D, ["n"]), ("k", I, None)]))
facts = s._artifact.manifest["device"]
assert facts["host_inputs"] == [0], facts  # by the host's tan
x = np.linspace(-1, 1, 300)
y = np.sin(np.exp(np.tan(x)))
results = list(bound(s, {"x": x}, ["y", "k"]))
for i in range(0, 6, 2):
    np.testing.assert_allclose(results[i], y, rtol=1e-12)
    np.testing.assert_array_equal(results[i + 1], -np.stack(np.nonzero(y)))

inner = [helper.make_graph([helper.make_node(op, ["x"], [f"{op}_y"])], op, [],
                           [helper.make_tensor_value_info(f"{op}_y", F, None)]) for op in ("Exp", "Neg")]
nodes = [helper.make_node("If", ["c"], ["y"], then_branch=inner[0], else_branch=inner[1])]
s = session(made(nodes, [("c", TensorProto.BOOL, []), ("x", F, ["n"])], [("y", F, ["n"])]))
assert 0 in s._artifact.manifest["device"]["host_inputs"]
x = np.linspace(-2, 2, 50, dtype=np.float32)
for condition in (True, False):
    for y in bound(s, {"c": np.array(condition), "x": x}, ["y"]):
        np.testing.assert_allclose(y, np.exp(x) if condition else -x, rtol=1e-6)

nodes = [helper.make_node("Reshape", ["x", "shape"], ["r"]), helper.make_node("Exp", ["r"], ["y"])]
s = session(made(nodes, [("x", F, ["n"]), ("shape", I, [2])], [("y", F, None)]))
for shape in ((5, 10), (2, 25)):
    for y in bound(s, {"x": x, "shape": np.array(shape)}, ["y"]):
        np.testing.assert_allclose(y, np.exp(x).reshape(shape), rtol=1e-6)
""")


def test_threads_closing_and_garbage(run) -> None:  # type: ignore[no-untyped-def]
    """Threads bind what is theirs; a session may be closed during runs, and values outlive it."""
    run("""
import gc, threading
from concurrent.futures import ThreadPoolExecutor
from intaglio import OrtValue
s = session()
kept = []
def work(i):
    x = np.random.default_rng(i).standard_normal((1 + i % 3, 8)).astype(np.float32)
    binding = s.io_binding()
    binding.bind_ortvalue_input("x", OrtValue.ortvalue_from_numpy(x, "cuda", 0))
    binding.bind_output("y", "cuda")
    try:
        for _ in range(4):
            s.run_with_iobinding(binding)
    except RuntimeError as error:
        assert "The session is closed." in str(error), error
        return False
    np.testing.assert_allclose(binding.copy_outputs_to_cpu()[0], want(x), rtol=1e-5, atol=1e-6)
    kept.append((binding.get_outputs()[0], want(x)))
    return True
with ThreadPoolExecutor(4) as pool:
    assert all(pool.map(work, range(12)))
del s
assert counts[PINNED] == 0 and counts[ALLOCATIONS] == len(kept)  # at once, without the collector of garbage
s = session()
with ThreadPoolExecutor(4) as pool:
    runs = [pool.submit(work, i) for i in range(24)]
    runs[4].result()
    s.close()
    assert not all([r.result() for r in runs])
gc.collect()
assert counts[PINNED] == 0 and counts[ALLOCATIONS] == len(kept), list(counts)
for value, expected in kept:
    np.testing.assert_allclose(value.numpy(), expected, rtol=1e-5, atol=1e-6)
del value
kept.clear()
assert counts[ALLOCATIONS] == 0
fake.fake_set(MEMORY, 100)
try:
    OrtValue.ortvalue_from_shape_and_type([100], np.float32, "cuda", 0)
    sys.exit("nothing was raised")
except RuntimeException as error:
    assert "the GPU has no more" in str(error)
assert counts[ALLOCATIONS] == 0
""")


def test_two_gpus(run) -> None:  # type: ignore[no-untyped-def]
    """Values on another GPU than the session's are copied; inputs and outputs are told to be where they are."""
    run("""
from intaglio import OrtValue
fake.fake_set(DEVICES, 2)
stream = ctypes.c_void_p()
cuda.driver()("cuStreamCreate", ctypes.byref(stream), 1)
s = session(device_id=1, user_compute_stream=stream.value)
assert s.get_provider_options()["CUDAExecutionProvider"]["has_user_compute_stream"] == "1"
infos = s.get_input_memory_infos() + s.get_output_memory_infos()
assert [(i.name, i.device_id) for i in infos] == [("Cuda", 1)] * 2
x = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
binding = s.io_binding()
for number in (1, 0):
    v = OrtValue.ortvalue_from_numpy(x, "cuda", number)
    assert v.__dlpack_device__() == (2, number)
    binding.bind_ortvalue_input("x", v)
    binding.bind_output("y", "cuda", number)
    copies = counts[COPIES]
    s.run_with_iobinding(binding)
    assert counts[COPIES] == copies + (0 if number else 2)
    (value,) = binding.get_outputs()
    assert value.__dlpack_device__() == (2, number)
    np.testing.assert_allclose(value.numpy(), want(x), rtol=1e-5, atol=1e-6)
    w = OrtValue.ortvalue_from_shape_and_type([4, 3], np.float32, "cuda", 1 - number)
    w.update_inplace(value)
    assert (w.numpy() == value.numpy()).all()
""")


def test_providers(run) -> None:  # type: ignore[no-untyped-def]
    """Options as onnxruntime's provider takes them; other providers move the session to another device."""
    out = run("""
import pickle
GPU, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
s = session(device_id=0, arena_extend_strategy="kSameAsRequested", gpu_mem_limit=2 << 30, use_tf32=False,
            cudnn_conv_algo_search="HEURISTIC", do_copy_in_default_stream=True, prefer_nhwc=1)
options = s.get_provider_options()
assert options[CPU] == {} and options[GPU]["use_tf32"] == "0" and options[GPU]["prefer_nhwc"] == "1"
assert options[GPU]["gpu_mem_limit"] == str(2 << 30) and options[GPU]["do_copy_in_default_stream"] == "1"
assert options[GPU]["device_id"] == "0" and options[GPU]["sdpa_kernel"] == "0"
check(s, 4)
assert pickle.loads(pickle.dumps(s)).get_provider_options() == options
launched = counts[LAUNCHES]
s.set_providers([CPU])
check(s, 4)
assert s.get_providers() == [CPU] and counts[LAUNCHES] == launched and counts[ALLOCATIONS] == 0
s.set_providers([GPU, CPU], [options[GPU], {}])
register(s._artifact)
check(s, 4)
assert counts[LAUNCHES] > launched and s.get_provider_options() == options
for wrong, text in (({"foo": 1}, 'Unknown provider option: "foo".'),
                    ({"device_id": 7}, 'Failed to parse provider option "device_id": Invalid device ID: 7, must be '
                                       "between 0 (inclusive) and 1 (exclusive)."),
                    ({"use_tf32": "yes"}, 'Failed to parse provider option "use_tf32": Failed to parse value: "yes"'),
                    ({"arena_extend_strategy": "x"}, "Failed to map enum name to value: x")):
    for call in (lambda: s.set_providers([(GPU, wrong)]),
                 lambda: intaglio.InferenceSession(model(), providers=[(GPU, wrong)], enable_fallback=0)):
        try:
            call()
            sys.exit(f"{wrong} is accepted")
        except RuntimeError as error:
            assert text in str(error), error
    fallen = intaglio.InferenceSession(model(), providers=[(GPU, wrong)])
    assert fallen.get_providers() == [CPU]
check(s, 4)
assert s.get_providers() == [GPU, CPU]
""")
    assert 'EP Error [ONNXRuntimeError] : 1 : FAIL : Unknown provider option: "foo". when using' in out


def test_values_under_the_interpreter() -> None:
    """The same without a driver: the interpreter is the GPU, and its memory the host's."""
    body = (
        HEAD[: HEAD.index("fake = ")]
        + HEAD[HEAD.index("def model") : HEAD.index("def session")]
        + EXAMPLES
        + """
s = intaglio.InferenceSession(model(), providers=["CUDAExecutionProvider", "CPUExecutionProvider"])
assert s.get_providers()[0] == "CUDAExecutionProvider"
x = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
binding = examples(intaglio, s, x, want(x))
value = binding.get_outputs()[0]
assert value.__dlpack_device__() == (1, 0)  # for others it is memory of the host's
np.testing.assert_array_equal(np.from_dlpack(value), value.numpy())
from intaglio.runtime.device.interpreter import MEMORY
s.close()
del binding, value
assert not MEMORY._blocks
"""
    )
    env = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", body], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
