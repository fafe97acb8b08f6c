"""Programs that import onnxruntime, run on Intaglio. Each in a process of its own: the name is taken over for good."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def run(*command: str, fails: bool = False) -> str:
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    assert fails == (done.returncode != 0), done.stderr
    return (done.stderr if fails else done.stdout).strip()


IMPORTS = """
import sys
import numpy as np
import onnxruntime as ort

state = ort.capi.onnxruntime_pybind11_state  # without an import of its own
assert state.Fail is ort.capi._pybind_state.Fail and ort.capi.onnxruntime_inference_collection.Session
import onnxruntime.backend
import onnxruntime.backend.backend
import onnxruntime.capi.onnxruntime_pybind11_state as C
from onnxruntime import InferenceSession
from onnxruntime.capi import _pybind_state
from onnxruntime.capi.onnxruntime_inference_collection import InferenceSession as Inner
from onnxruntime.datasets import get_example
import intaglio
import intaglio.backend.backend
import intaglio.runtime.errors

assert ort is not intaglio and ort.__name__ == "onnxruntime" and ort.__version__ >= "1.31"
assert ort.InferenceSession is InferenceSession is Inner is intaglio.InferenceSession
assert onnxruntime.backend.backend is intaglio.backend.backend
assert intaglio.backend.__spec__.name == "intaglio.backend" == intaglio.backend.__name__
assert C.Fail is state.Fail is _pybind_state.Fail is intaglio.runtime.errors.Fail
try:
    InferenceSession("nope.onnx")
except C.NoSuchFile as error:
    print(error)
session = InferenceSession(get_example("sigmoid.onnx"))
print(session.run(["y"], {"x": np.zeros((3, 4, 5), np.float32)})[0].max())
"""


def test_the_names(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(IMPORTS + "print(__name__, *sys.argv[1:], sys.path[0])")
    assert run("-m", "intaglio.as_onnxruntime", str(program), "a", "-b").splitlines() == [
        "[ONNXRuntimeError] : 3 : NO_SUCHFILE : "
        "Load model from nope.onnx failed:Load model nope.onnx failed. File doesn't exist",
        "0.5",
        f"__main__ a -b {tmp_path}",
    ]


def test_from_inside() -> None:
    assert run("-c", "import intaglio.as_onnxruntime\n" + IMPORTS).endswith("0.5")


def test_modules(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import sys, onnxruntime; print(onnxruntime.get_device(), sys.argv[1:], __name__)"
    )
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import intaglio.as_onnxruntime as a; a.main(sys.argv[1:])"
    )
    assert run("-c", code, "-m", "mine", "x") == "CPU ['x'] __main__"


def test_too_late() -> None:
    pytest.importorskip("onnxruntime")
    assert "import intaglio.as_onnxruntime before it" in run(
        "-c", "import onnxruntime, intaglio.as_onnxruntime", fails=True
    )


def test_toolkits_without_the_native_module() -> None:
    pytest.importorskip("onnxruntime")
    code = """
import sys, intaglio.as_onnxruntime
import onnxruntime.quantization, onnxruntime.tools.symbolic_shape_infer
from onnxruntime.transformers import optimizer
files = [getattr(m, "__file__", None) or "" for name, m in sys.modules.items() if name.startswith("onnxruntime")]
print(len(files) > 30, [file for file in files if file and not file.endswith(".py")])
"""
    assert run("-c", code) == "True []"


def test_without_onnxruntime() -> None:
    """The names are there, the toolkits are not."""
    code = """
import importlib.machinery
look = importlib.machinery.PathFinder.find_spec
importlib.machinery.PathFinder.find_spec = lambda name, *rest: None if name == "onnxruntime" else look(name, *rest)
import intaglio.as_onnxruntime
import onnxruntime, onnxruntime.backend
print(onnxruntime.get_device())
try:
    import onnxruntime.quantization
except ImportError as error:
    print(error)
"""
    assert run("-c", code).splitlines() == ["CPU", "No module named 'onnxruntime.quantization'"]


def test_usage() -> None:
    assert run("-m", "intaglio.as_onnxruntime", fails=True).startswith("usage: python -m intaglio.as_onnxruntime")
