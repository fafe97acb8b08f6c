"""Ctrl-C and other signals, while a model is compiled and while it runs: nothing is left behind, nothing waits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from families import alive, pids, script, until
from onnx import TensorProto, helper

from intaglio import InferenceSession

MLP = Path(__file__).parents[1] / "data" / "mlp.onnx"
X = np.ones((2, 64), np.float32)
PROGRAM = "import sys, numpy; from intaglio import InferenceSession; InferenceSession(sys.argv[1])"


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a cache, and of temporary files."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("INTAGLIO_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    return tmp_path


def compiling(folder: Path, *command: str | Path) -> subprocess.Popen[str]:
    """A process that compiles, with a compiler that takes a minute and has begun. command: other arguments of Python
    than those of a program that makes a session."""
    compiler = folder / "cc"
    compiler.write_text(f"#!/bin/sh\n{script(folder)}\n")
    compiler.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, *(command or ("-c", PROGRAM, MLP))], text=True, stderr=subprocess.PIPE, start_new_session=True,
        env={**os.environ, "INTAGLIO_CC": str(compiler)},
    )  # fmt: skip
    until(lambda: pids(folder) != [] and process.poll() is None, 30)
    return process


def left(folder: Path) -> list[Path]:
    """What work in progress leaves in the cache, and temporary files."""
    patterns = ("cache/tmp/*", "cache/locks/*", "cache/objects/build-*", "tmp/*")
    return [path for pattern in patterns for path in folder.glob(pattern)]


@pytest.mark.sample(3)
@pytest.mark.parametrize("receiver", ["process", "terminal"])
@pytest.mark.parametrize("delays", [(), (0, 0, 0), (0.001, 0.001, 0.001)])
def test_interrupted_while_compiling(folders: Path, receiver: str, delays: tuple[float, ...]) -> None:
    """Once, and again meanwhile."""
    process = compiling(folders)
    send = os.kill if receiver == "process" else os.killpg
    for delay in (0, *delays):
        time.sleep(delay)
        if process.poll() is None:
            send(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode != 0
    family = pids(folders)
    if delays:  # the end of the interpreter may have been interrupted as well, which then waits for no thread
        for pid in filter(alive, family):
            os.kill(pid, signal.SIGKILL)
    else:
        until(lambda: not any(map(alive, family)), 30)
        assert process.returncode == -signal.SIGINT and said.rstrip().endswith("KeyboardInterrupt")
        assert left(folders) == []
    assert InferenceSession(MLP).run(None, {"input": X})[0].shape == (2, 10)
    assert not list(folders.glob("cache/tmp/*")) and not list(folders.glob("cache/locks/*"))


IMPORTING = """
import os, signal, sys, time, numpy as np
from intaglio import InferenceSession

class Slow:
    def find_spec(self, name, *_):
        if name == "intaglio.compiler.codegen.c.toolchain":
            os.kill(os.getpid(), int(sys.argv[2]))
            time.sleep(0.5)

sys.meta_path.insert(0, Slow())
signal.signal(signal.SIGUSR1, lambda *_: InferenceSession(sys.argv[1]))
try:
    session = InferenceSession(sys.argv[1])
except KeyboardInterrupt:
    session = InferenceSession(sys.argv[1])
assert session.run(None, {"input": np.ones((2, 64), np.float32)})[0].shape == (2, 10)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_interrupted_while_the_compiler_is_imported(folders: Path, number: signal.Signals) -> None:
    """It can be imported later, and by the handler of the signal."""
    subprocess.run([sys.executable, "-c", IMPORTING, MLP, str(int(number))], check=True, timeout=60)
    assert left(folders) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_ended_while_compiling(folders: Path, number: signal.Signals) -> None:
    """The next one that needs the model neither waits nor finds half of it."""
    process = compiling(folders)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == -number
    start = time.monotonic()
    assert InferenceSession(MLP).run(None, {"input": X})[0].shape == (2, 10)
    assert time.monotonic() - start < 50
    assert not list(folders.glob("cache/tmp/*")) and not list(folders.glob("cache/locks/*"))
    for pid in pids(folders):
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_command_ended_while_compiling(folders: Path, number: signal.Signals) -> None:
    """It leaves neither processes nor files, and says nothing."""
    process = compiling(folders, "-m", "intaglio", "compile", MLP, "-o", folders / "mlp.intaglio")
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + number and "Traceback" not in said
    until(lambda: not any(map(alive, pids(folders))), 30)
    assert [*left(folders), *folders.glob("*.intaglio")] == []


def test_interrupted_while_running() -> None:
    """What was begun is finished, and the exception comes right after it; as many times as one likes."""
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", "n"]) for n in "xy")
    nodes = [helper.make_node("MatMul", ["x", "x"], ["a"]), helper.make_node("MatMul", ["a", "x"], ["y"])]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    session = InferenceSession(model.SerializeToString())
    feed = {"x": np.random.default_rng(0).standard_normal((700, 700)).astype(np.float32)}
    expected = session.run(None, feed)[0]
    for delay in (0.001, 0.003, 0.01, 0.01, 0.02, 0.03):
        timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            timer.start()
            end = time.monotonic() + 20
            while time.monotonic() < end:
                session.run(None, feed)
        assert np.array_equal(session.run(None, feed)[0], expected)


TIMER = """
import signal, sys, time, numpy
from intaglio import InferenceSession
session, x = InferenceSession(sys.argv[1]), numpy.ones((2, 64), numpy.float32)
plain, counts = session.run(None, {"input": x})[0], [0, 0]
def handler(*_):
    counts[0] += 1
    session.run([sys.argv[2]], {"input": x})
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
end = time.monotonic() + 1
while time.monotonic() < end or counts[0] < 50:
    counts[1] += not numpy.array_equal(session.run(None, {"input": x})[0], plain)
signal.setitimer(signal.ITIMER_REAL, 0)
print(counts[1])
"""


def test_a_timer_whose_handler_compiles(folders: Path) -> None:
    """Each time it is due it asks for an intermediate value, for which the model is compiled again: once."""
    command = [sys.executable, "-c", TIMER, str(MLP), "relu"]
    done = subprocess.run(command, text=True, capture_output=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("0\n", "")
