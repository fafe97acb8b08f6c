"""`python -m bench threads`: one session, eight threads, 2,000 runs each, with inputs and sizes that change.

In: nothing. Out: a table of runs per second of each engine, and exit code 1 where ours is slower, an output is wrong,
or the last 1,000 runs of each thread need more memory. The engines take turns, with a pause in which their threads go
to sleep; both have their defaults. The model, relu(x @ w), is small: what is measured is what stands around kernels.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import intaglio

from .tables import table

THREADS, RUNS = 8, 2000
ROWS = (1, 2, 3, 5, 8, 13, 21, 34)
SLACK = 4 << 20  # bytes: what the allocator of the system keeps is not exact
ROUNDS = 5
PAUSE = 0.3  # seconds


def model() -> bytes:
    """y = relu(x @ w), x: [n, 64], w: [64, 64]"""
    w = np.random.default_rng(1).standard_normal((64, 64), dtype=np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Relu", ["m"], ["y"])]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 64]) for name in "xy")
    graph = helper.make_graph(nodes, "threads", [x], [y], [numpy_helper.from_array(w, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def hammer(session: Any, feeds: list[np.ndarray], expected: list[np.ndarray], runs: int) -> tuple[float, int]:
    """Runs per second of all threads together, and how many outputs were wrong."""
    wrong = [0] * THREADS

    def work(number: int) -> None:
        for i in range(runs):
            which = (i + number) % len(feeds)
            (result,) = session.run(None, {"x": feeds[which]})
            if i % 16 == 0 and not np.allclose(result, expected[which], rtol=1e-4, atol=1e-4):
                wrong[number] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return THREADS * runs / (time.perf_counter() - start), sum(wrong)


def resident() -> int:
    """Bytes of memory in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(argv: list[str]) -> int:
    argparse.ArgumentParser(prog="python -m bench threads", description="Many threads, one session.").parse_args(argv)
    random = np.random.default_rng(2)
    feeds = [random.standard_normal((n, 64), dtype=np.float32) for n in ROWS]
    engines: dict[str, Any] = {"ours": intaglio, "ort": onnxruntime}
    sessions = {name: engine.InferenceSession(model()) for name, engine in engines.items()}
    expected = [sessions["ort"].run(None, {"x": x})[0] for x in feeds]
    rates: dict[str, list[float]] = {name: [] for name in sessions}
    grown, failures = dict.fromkeys(sessions, 0), dict.fromkeys(sessions, 0)
    for _ in range(ROUNDS):
        for name, session in sessions.items():
            time.sleep(PAUSE)
            first, wrong = hammer(session, feeds, expected, RUNS // 2)
            gc.collect()
            before = resident()
            second, more = hammer(session, feeds, expected, RUNS // 2)
            gc.collect()
            grown[name] = resident() - before  # of the last round
            failures[name] += wrong + more
            rates[name].append(2 / (1 / first + 1 / second))
    median = {name: statistics.median(each) for name, each in rates.items()}
    rows = [[name, f"{median[name]:.0f}", str(grown[name] >> 10), str(failures[name])] for name in sessions]
    print(table(["", "runs per second", "kB more", "wrong"], rows))
    return int(median["ours"] < median["ort"] or failures["ours"] > 0 or grown["ours"] > SLACK)
