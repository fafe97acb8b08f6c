"""What holds for a whole process: pools, variables, messages. The same program on both, each time in a new process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from parity.test_session import reduced

PROLOGUE = """
import json, os, sys
import numpy as np
from onnx import TensorProto, helper
ort = __import__(sys.argv[1])

def model(opset=17, **metadata):
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 3]) for n in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    helper.set_model_props(made, metadata)
    return made.SerializeToString()

def tell(function, *arguments, **keywords):
    try:
        result = function(*arguments, **keywords)
    except Exception as error:
        result = type(error).__name__, str(error)
    print(json.dumps(result if isinstance(result, (list, tuple, int, str)) else None))

def options(**settings):
    made = ort.SessionOptions()
    for name, value in settings.items():
        setattr(made, name, value)
    return made

def session(data=None, **settings):
    made = ort.InferenceSession(data or model(), options(**settings), enable_fallback=0)
    made.run(None, {"x": np.ones((2, 3), np.float32)})
    o = made.get_session_options()
    return [o.intra_op_num_threads, o.inter_op_num_threads, int(o.execution_mode), int(o.graph_optimization_level),
            o.enable_profiling]
"""
CONFIG = 'tell(session, model(ort_config=json.dumps({"session_options": %s})))'
PROGRAMS: dict[str, tuple[dict[str, str], str]] = {
    "no global pool": ({}, "tell(session, use_per_session_threads=False)"),
    "global pool": (
        {},
        """
tell(ort.set_global_thread_pool_sizes, 2, 1)
tell(session)
tell(session, use_per_session_threads=False)
tell(ort.set_global_thread_pool_sizes, 2, 1)
""",
    ),
    "a global pool later": ({}, "tell(session)\ntell(ort.set_global_thread_pool_sizes)"),
    "threads": ({"ORT_INTRA_OP_NUM_THREADS": "1"}, "tell(session)"),
    "threads of what": ({"ORT_INTRA_OP_NUM_THREADS": "abc"}, "tell(session)"),
    "a configuration, not asked for": ({}, CONFIG % '{"intra_op_num_threads": 2}'),
    "a configuration, not wanted": ({"ORT_LOAD_CONFIG_FROM_MODEL": "0"}, CONFIG % '{"intra_op_num_threads": 2}'),
    "a configuration": (
        {"ORT_LOAD_CONFIG_FROM_MODEL": "1"},
        CONFIG % '{"intra_op_num_threads": 2, "inter_op_num_threads": 3, "execution_mode": 1, "what": 5,'
        ' "graph_optimization_level": 1}',
    ),
    "no configuration": ({"ORT_LOAD_CONFIG_FROM_MODEL": "1"}, "tell(session)"),
    "a configuration of text": (
        {"ORT_LOAD_CONFIG_FROM_MODEL": "1"}, CONFIG % '{"intra_op_num_threads": "x"}'
    ),
    "an unknown mode": ({"ORT_LOAD_CONFIG_FROM_MODEL": "1"}, CONFIG % '{"execution_mode": 7}'),
    "an unknown level": ({"ORT_LOAD_CONFIG_FROM_MODEL": "1"}, CONFIG % '{"graph_optimization_level": 7}'),
    "an unknown truth": ({"ORT_LOAD_CONFIG_FROM_MODEL": "1"}, CONFIG % '{"enable_profiling": 5}'),
    "a configuration or not": ({"ORT_LOAD_CONFIG_FROM_MODEL": "x"}, "tell(session)"),
    "severity": ({}, "tell(ort.set_default_logger_severity, 0)\ntell(ort.set_default_logger_severity, 9)"),
    "seeds": ({}, "tell(ort.set_seed, 3)\ntell(ort.set_seed, -1)"),
    "telemetry": ({}, "tell(ort.enable_telemetry_events)\ntell(ort.disable_telemetry_events)"),
    "names": ({}, "tell(ort.get_device)\ntell(ort.get_available_providers)\ntell(ort.has_collective_ops)"),
}  # fmt: skip


def told(engine: str, name: str, folder: Path) -> list[Any]:
    variables, program = PROGRAMS[name]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ORT_")}
    done = subprocess.run(
        [sys.executable, "-c", PROLOGUE + program, engine], env={**environment, **variables}, cwd=folder, text=True,
        stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [[each[0], reduced(each[1])] if isinstance(each, list) and len(each) == 2 else each for each in lines]


@pytest.mark.sample(9)
@pytest.mark.parametrize("name", PROGRAMS)
def test_same(name: str, tmp_path: Path) -> None:
    assert told("intaglio", name, tmp_path) == told("onnxruntime", name, tmp_path)


LOGGING = (
    PROLOGUE
    + """
import logging
seen = []
class Handler(logging.Handler):
    def emit(self, record):
        seen.append((record.levelno, record.getMessage(), record.session))
if len(sys.argv) > 2:
    logging.getLogger("intaglio").addHandler(Handler())
a, b, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [n]) for n in "aby")
graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["y"], name="add")], "g", [a, b], [y])
data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
run = ort.RunOptions()
run.logid = "once"

def fail(**settings):
    made = ort.InferenceSession(data, options(**settings))
    try:
        made.run(None, {"a": np.ones(2, np.float32), "b": np.ones(3, np.float32)}, run)
    except ort.capi.onnxruntime_pybind11_state.Fail:
        pass

fail(logid="mine")
print(len(seen), *seen)
fail(log_severity_level=4)
"""
)


def test_messages_go_to_python_logging(tmp_path: Path) -> None:
    """To the handlers of the program where there are any, else to stderr, in onnxruntime's form."""
    for more in ([], ["handler"]):
        done = subprocess.run(
            [sys.executable, "-c", LOGGING, "intaglio", *more], cwd=tmp_path, text=True, capture_output=True, check=True
        )
        text = "Non-zero status code returned while running Add node. Name:'add' Status Message: "
        if more:
            assert done.stdout.startswith("1 (40, ") and text in done.stdout and "'mine:once')" in done.stdout
            assert not done.stderr
        else:
            assert done.stdout.strip() == "0" and done.stderr.count(text) == 1
            assert f"[E:intaglio:mine:once] {text}" in done.stderr


PATHS = """
import pickle, subprocess, sys
from pathlib import Path
import numpy as np
from onnx import TensorProto, helper
import intaglio

class OfBytes:
    def __fspath__(self):
        return bytes(folder / name)

folder, name = Path(sys.argv[1]), sys.argv[2]
x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 4]) for n in "xy")
w = helper.make_tensor("w", TensorProto.FLOAT, [4], [1, 2, 3, 4])
graph = helper.make_graph([helper.make_node("Mul", ["x", "w"], ["y"])], "g", [x], [y], [w])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
w = model.graph.initializer[0]
(folder / "weights").write_bytes(np.array(w.float_data, np.float32).tobytes())
w.ClearField("float_data")
w.data_location = TensorProto.EXTERNAL
w.external_data.add(key="location", value="weights")
(folder / name).write_bytes(model.SerializeToString())

options = intaglio.SessionOptions()
options.optimized_model_filepath = str(folder / f"{name}.optimized")
options.profile_file_prefix, options.enable_profiling = str(folder / f"{name}.profile"), True
session = intaglio.InferenceSession(folder / name, options)
intaglio.ModelCompiler(intaglio.SessionOptions(), folder / name).compile_to_file(str(folder / f"{name}.intaglio"))
sessions = [session, *map(intaglio.InferenceSession, (OfBytes(), str(folder / f"{name}.intaglio")))]
for each in (*sessions, pickle.loads(pickle.dumps(sessions[1]))):
    assert (each.run(None, {"x": np.ones((2, 4), np.float32)})[0] == [1, 2, 3, 4]).all()
profile = session.end_profiling()
assert Path(profile).exists() and Path(options.optimized_model_filepath).exists()
try:
    intaglio.InferenceSession(folder / f"{name}.none")
except intaglio.capi.onnxruntime_pybind11_state.NoSuchFile as error:
    assert name in str(error)
for command in (["cache", "list"], ["cache", "explain", folder / name], ["run", folder / name]):
    done = subprocess.run([sys.executable, "-m", "intaglio", *command], stdout=subprocess.PIPE, check=True)
    assert command[0] == "run" or bytes(folder / name) in done.stdout or b"hit: " in done.stdout
"""


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "name",
    [b"Mod\xe8le \xff", "Modèle 模型\n".encode(), b"$(exit) `exit`; 'a' \"b\" %s {x} -o"],
    ids=["no text", "not ASCII", "shell"],
)
def test_any_path(name: bytes, tmp_path: Path) -> None:
    """Of the model and of the cache, text or not: compiled, from the cache, compiled ahead, by the commands."""
    folder = tmp_path / os.fsdecode(name)
    folder.mkdir()
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict", "INTAGLIO_CACHE_DIR": str(folder / "cache")}
    subprocess.run([sys.executable, "-c", PATHS, folder, name], env=environment, check=True)


def test_an_empty_environment(tmp_path: Path) -> None:
    """No PATH to find a compiler on, no HOME to keep models in."""
    program = """
import os, sys, numpy as np
from intaglio import InferenceSession
os.path.expanduser = lambda path: path
assert InferenceSession(sys.argv[1]).run(None, {"input": np.ones((1, 64), np.float32)})[0].shape == (1, 10)
"""
    model = Path(__file__).parents[1] / "data" / "mlp.onnx"
    done = subprocess.run([sys.executable, "-c", program, model], env={}, cwd=tmp_path, text=True, capture_output=True)
    assert done.returncode == 0 and not done.stderr
    assert not any(tmp_path.iterdir())
