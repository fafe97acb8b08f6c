# ruff: noqa: E501  (models as tables)
"""Many runs at once, in threads, in the background and in forked processes."""

from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import intaglio

THREADS, RUNS = 8, 2000


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """y = relu(x @ w), x: [n, 32]"""
    w = np.random.default_rng(1).standard_normal((32, 16), dtype=np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Relu", ["m"], ["y"])]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 16])],
        [numpy_helper.from_array(w, "w")],
    )  # fmt: skip
    path = tmp_path_factory.mktemp("stress") / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return str(path)


def inputs() -> list[np.ndarray[Any, Any]]:
    random = np.random.default_rng(2)
    return [random.standard_normal((n, 32), dtype=np.float32) for n in (1, 2, 3, 5, 8, 13, 21, 34)]


def resident() -> int:
    """Bytes of memory in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def hammer(session: Any, runs: int, expected: list[np.ndarray[Any, Any]]) -> list[str]:
    """`runs` runs on each of the threads; what was wrong."""
    wrong: list[str] = []
    feeds = inputs()

    def work(number: int) -> None:
        for i in range(runs):
            which = (i + number) % len(feeds)
            got = session.run(None, {"x": feeds[which]})[0]
            if not np.allclose(got, expected[which], rtol=1e-4, atol=1e-5):
                wrong.append(f"thread {number}, run {i}")

    workers = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return wrong


@pytest.mark.slow
def test_threads(model: str) -> None:
    """All outputs right; more runs need no more memory: what leaks grows each time, what else the process does not."""
    theirs, ours = onnxruntime.InferenceSession(model), intaglio.InferenceSession(model)
    expected = [theirs.run(None, {"x": x})[0] for x in inputs()]
    assert hammer(ours, RUNS // 2, expected) == []
    grown = []
    for _ in range(3):
        gc.collect()
        before = resident()
        assert hammer(ours, RUNS // 2, expected) == []
        gc.collect()
        grown.append(resident() - before)
        if grown[-1] < 4 << 20:
            break
    assert min(grown) < 4 << 20


def test_background(model: str, capfd: pytest.CaptureFixture[str]) -> None:
    """1,000 runs in flight: each callback once, with the results of its own feed, though some raise."""
    session, feeds = intaglio.InferenceSession(model), inputs()
    expected = [session.run(None, {"x": x})[0] for x in feeds]
    calls: list[int] = []
    wrong: list[int] = []
    done, lock = threading.Event(), threading.Lock()

    def callback(results: list[Any], number: int, error: str) -> None:
        with lock:
            calls.append(number)
            if error or not np.array_equal(results[0], expected[number % len(feeds)]):
                wrong.append(number)
            if len(calls) == 1000:
                done.set()
        if number % 100 == 7:
            raise ValueError("of the callback")

    for number in range(1000):
        session.run_async(None, {"x": feeds[number % len(feeds)]}, callback, number)
    assert done.wait(60)
    time.sleep(0.05)  # the last callback may still be about to raise
    assert sorted(calls) == list(range(1000)) and wrong == []
    told = capfd.readouterr().err
    assert told.count("Exception ignored in: 'onnxruntime.InferenceSession.run_async callback'") == 10
    assert told.count("ValueError: of the callback") == 10


def test_lifetimes(model: str) -> None:
    """The feed and the session live until the callback has returned, and no longer."""
    session, done, seen = intaglio.InferenceSession(model), threading.Event(), []
    x = np.ones((4, 32), np.float32)
    alive = [weakref.ref(x), weakref.ref(session)]

    def callback(results: list[Any], user: None, error: str) -> None:
        seen.append([each() is not None for each in alive])
        done.set()

    session.run_async(None, {"x": x}, callback, None)
    del x, session
    assert done.wait(20) and seen == [[True, True]]
    for _ in range(100):
        gc.collect()
        if all(each() is None for each in alive):
            return
        time.sleep(0.02)
    pytest.fail("the feed or the session is still alive")


def _child(session: Any, x: np.ndarray[Any, Any], queue: Any) -> None:
    done = threading.Event()
    result = session.run(None, {"x": x})[0]
    session.run_async(None, {"x": x}, lambda results, user, error: done.set(), None)
    queue.put((float(result.sum()), done.wait(20)))


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_fork(model: str) -> None:
    """A session that has run works in a forked child, in the background too."""
    session, x = intaglio.InferenceSession(model), np.ones((64, 32), np.float32)
    expected = float(session.run(None, {"x": x})[0].sum())
    done = threading.Event()
    session.run_async(None, {"x": x}, lambda results, user, error: done.set(), None)
    assert done.wait(20)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child, args=(session, x, queue))
    child.start()
    assert queue.get(timeout=60) == (expected, True)
    child.join(20)
    assert child.exitcode == 0


def test_the_interpreter_ends_after_the_runs(model: str) -> None:
    """What was submitted is finished before the process ends."""
    code = f"""
import sys, numpy as np, intaglio
s = intaglio.InferenceSession({model!r})
for i in range(50):
    s.run_async(None, {{"x": np.ones((i + 1, 32), np.float32)}}, lambda r, u, e: sys.stdout.write(f"{{u}} {{len(r[0])}} {{e}}\\n"), i)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert sorted(done.stdout.split("\n")) == sorted(["", *(f"{i} {i + 1} " for i in range(50))]) and not done.stderr


def test_nothing_polls_when_idle(model: str) -> None:
    """Threads sleep soon after a run (once at least: the clock counts other threads of this process)."""
    session, x = intaglio.InferenceSession(model), np.ones((4096, 32), np.float32)
    spent: list[float] = []
    while len(spent) < 10 and min(spent, default=1.0) > 0.005:
        session.run(None, {"x": x})
        time.sleep(0.01)
        before = time.process_time()
        time.sleep(0.1)
        spent.append(time.process_time() - before)
    assert min(spent) <= 0.005


def loop(rounds: int) -> bytes:
    """A Loop of `rounds` iterations that each double and halve a tensor."""
    body = helper.make_graph(
        [
            helper.make_node("Mul", ["v", "two"], ["d"]), helper.make_node("Div", ["d", "two"], ["o"]),
            helper.make_node("Identity", ["go"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [1000]),
        ],
        [helper.make_tensor_value_info("next", TensorProto.BOOL, []), helper.make_tensor_value_info("o", TensorProto.FLOAT, [1000])],
    )  # fmt: skip
    graph = helper.make_graph(
        [helper.make_node("Loop", ["rounds", "", "x"], ["y"], body=body)], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1000])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1000])],
        [numpy_helper.from_array(np.array(rounds, np.int64), "rounds"), numpy_helper.from_array(np.array(2, np.float32), "two")],
    )  # fmt: skip
    serialized: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
    return serialized


def test_terminate_within_a_loop() -> None:
    """A flag that is set from another thread stops a long loop within 50 ms (once at least: others are busy)."""
    session, options = intaglio.InferenceSession(loop(10**9)), intaglio.RunOptions()
    text = "[ONNXRuntimeError] : 1 : FAIL : Exiting due to terminate flag being set to true."
    waits: list[float] = []
    while len(waits) < 40 and min(waits, default=1.0) >= 0.05:
        options.terminate = False
        ended: list[tuple[str, float]] = []

        def work(ended: list[tuple[str, float]] = ended) -> None:
            try:
                session.run(None, {"x": np.ones(1000, np.float32)}, options)
            except Exception as error:
                ended.append((str(error), time.perf_counter()))

        worker = threading.Thread(target=work)
        worker.start()
        worker.join(0.1)
        assert worker.is_alive()
        options.terminate = True
        at = time.perf_counter()
        worker.join(20)
        assert ended[0][0] == text
        waits.append(ended[0][1] - at)
    assert min(waits) < 0.05


def test_the_lock_of_the_interpreter_is_free() -> None:
    """A thread that counts keeps its pace while a run is in progress (once at least: others are busy); with the lock
    held it would not move at all."""
    options, stop, count = intaglio.SessionOptions(), threading.Event(), [0]
    options.intra_op_num_threads = 1
    session, x = intaglio.InferenceSession(loop(200_000), options), np.ones(1000, np.float32)

    def tick() -> None:
        while not stop.is_set():
            count[0] += 1

    def pace(wait: Any) -> float:
        """Counts per second while `wait` lasts."""
        before, start = count[0], time.perf_counter()
        wait()
        return (count[0] - before) / (time.perf_counter() - start)

    worker = threading.Thread(target=tick)
    worker.start()
    try:
        ratios: list[float] = []
        while len(ratios) < 20 and max(ratios, default=0.0) < 0.5:
            ratios.append(pace(lambda: session.run(None, {"x": x})) / pace(lambda: time.sleep(0.1)))
    finally:
        stop.set()
        worker.join()
    assert max(ratios) > 0.5
