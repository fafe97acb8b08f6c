"""Threads of the pool run where the options of a session say. In a process of its own: the pool is shared."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

MODEL = """
import os, sys, time
import numpy as np
import intaglio
from onnx import TensorProto, helper

x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 512, 512]) for n in "xy")
graph = helper.make_graph([helper.make_node("MatMul", ["x", "x"], ["y"])], "g", [x], [y])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()

def workers():
    return [int(t) for t in os.listdir("/proc/self/task") if int(t) != os.getpid()]

def masks():
    return sorted(sorted(os.sched_getaffinity(t)) for t in workers())

def session(affinities=""):
    options = intaglio.SessionOptions()
    options.intra_op_num_threads = 2
    if affinities:
        options.add_session_config_entry("session.intra_op_thread_affinities", affinities)
    return intaglio.InferenceSession(model, options)

def run(session):
    session.run(None, {"x": np.ones((2, 512, 512), np.float32)})

def are_free(seconds=10):
    # Whether the workers may use all CPUs, once those that are woken have run.
    end = time.monotonic() + seconds
    while any(mask != everywhere for mask in masks()) and time.monotonic() < end:
        time.sleep(0.001)
    return all(mask == everywhere for mask in masks())

everywhere = sorted(os.sched_getaffinity(0))
"""
PLACES = """
run(session())
assert are_free() and len(workers()) == 1, masks()
for affinities in sys.argv[1:]:
    run(session(affinities))
    print(*masks()[-1])
assert sorted(os.sched_getaffinity(0)) == everywhere  # the caller's own thread stays free
"""


# The worker last ran on the caller's CPU, and all others have had nothing to do for a while.
WAKES = """
made = session()
run(made)
(worker,) = workers()
here = everywhere[0]
os.sched_setaffinity(0, [here])
elsewhere = 0
for _ in range(20):
    os.sched_setaffinity(worker, [here])
    run(made)
    os.sched_setaffinity(worker, everywhere)
    time.sleep(0.02)
    run(made)
    assert are_free(), masks()
    with open(f"/proc/self/task/{worker}/stat") as stat:
        elsewhere += int(stat.read().rsplit(")", 1)[1].split()[36]) != here
print(elsewhere)
"""


def execute(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", MODEL + program, *arguments], check=True, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "INTAGLIO_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    return done.stdout


needs_affinities = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system has no affinities")


@needs_affinities
def test_a_worker_wakes_on_another_cpu_than_its_callers() -> None:
    """The system would often wake it where its caller runs, so that only one of them can; then it is free again."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("there is one CPU")
    assert int(execute(WAKES)) > 10


@needs_affinities
def test_threads_run_where_the_options_say() -> None:
    first, *others = sorted(os.sched_getaffinity(0))
    last = [first, *others][-1]
    entries = [str(first + 1), str(last + 1), f"{first + 1},{last + 1}", "1000"]
    both = sorted({first, last})
    # The last set has no CPU of this machine: it changes nothing.
    places = [[first], [last], both, both]
    assert execute(PLACES, *entries).splitlines() == [" ".join(map(str, place)) for place in places]
