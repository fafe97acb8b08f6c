"""Threads of the pool run where the options of a session say. In a process of its own: the pool is shared."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, sys
import numpy as np
import intaglio
from onnx import TensorProto, helper

x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 512, 512]) for n in "xy")
graph = helper.make_graph([helper.make_node("MatMul", ["x", "x"], ["y"])], "g", [x], [y])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()

def masks():
    return sorted(sorted(os.sched_getaffinity(int(t))) for t in os.listdir("/proc/self/task") if int(t) != os.getpid())

def run(affinities):
    options = intaglio.SessionOptions()
    options.intra_op_num_threads = 2
    if affinities:
        options.add_session_config_entry("session.intra_op_thread_affinities", affinities)
    intaglio.InferenceSession(model, options).run(None, {"x": np.ones((2, 512, 512), np.float32)})
    return masks()

everywhere = sorted(os.sched_getaffinity(0))
before = run("")
for affinities in sys.argv[1:]:
    print(*run(affinities)[-1])
assert before == [everywhere] * len(before) and len(before) == 1, before
assert sorted(os.sched_getaffinity(0)) == everywhere  # the caller's own thread stays free
"""


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system has no affinities")
def test_threads_run_where_the_options_say(tmp_path: Path) -> None:
    first, *others = sorted(os.sched_getaffinity(0))
    last = [first, *others][-1]
    (tmp_path / "p.py").write_text(PROGRAM)
    entries = [str(first + 1), str(last + 1), f"{first + 1},{last + 1}", "1000"]
    done = subprocess.run(
        [sys.executable, str(tmp_path / "p.py"), *entries], check=True, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "INTAGLIO_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    both = sorted({first, last})
    # The last set has no CPU of this machine: it changes nothing.
    assert done.stdout.splitlines() == [str(first), str(last), " ".join(map(str, both)), " ".join(map(str, both))]
