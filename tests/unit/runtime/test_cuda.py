"""The CUDA runtime up to the driver: a driver of our own, whose kernels run under Triton's interpreter.

What runs is the whole path: cubins for a GPU that is not there, loading, memory, launches from C, copies, graphs. Each
test is a process of its own, as the driver and the interpreter are chosen once in one.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
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
from intaglio.runtime import cuda, gpu
from intaglio.runtime.device import kernels_of
from intaglio.runtime.errors import EPFail, Fail, RuntimeException
from intaglio.runtime.interpreter import InterpretedKernel
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
assert intaglio.get_available_providers()[0] == "CUDAExecutionProvider"
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


def test_the_library_is_missing() -> None:
    code = "from intaglio.runtime import cuda\ntry: cuda.driver()\nexcept Exception as error: print(error)"
    env = {**os.environ, "INTAGLIO_LIBCUDA": "libno-such-driver.so"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert "EP_FAIL" in done.stdout and "cannot be loaded" in done.stdout and "Install NVIDIA's driver" in done.stdout


def test_another_gpu(run) -> None:  # type: ignore[no-untyped-def]
    """An artifact for one GPU on another: of the same major version it runs, else the error says how to compile it."""
    run("""
from intaglio.compiler import driver, package
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
