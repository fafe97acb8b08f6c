"""Traces of runs: what each thread did for each step, whatever runs at the same time, and however often."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from intaglio import InferenceSession, SessionOptions
from intaglio.runtime.run.executable import Executable
from intaglio.runtime.run.trace import Recorder, Timed, Trace


def timed(model: bytes, feeds: dict[str, np.ndarray], threads: int) -> Timed:
    options = SessionOptions()
    options.intra_op_num_threads = threads
    session = InferenceSession(model, options)
    return Timed(Executable(session._main.artifact, threads, 0), feeds)


def model(nodes: list, inputs: dict[str, list], outputs: dict[str, list], **weights: np.ndarray) -> bytes:
    def infos(shapes: dict[str, list]) -> list:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]

    constants = [helper.make_tensor(n, TensorProto.FLOAT, w.shape, w.ravel()) for n, w in weights.items()]
    graph = helper.make_graph(nodes, "g", infos(inputs), infos(outputs), constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()


def products(branches: int) -> bytes:
    """Products of one input, which run at the same time, and one that needs the first of them."""
    random = np.random.default_rng(0)
    weights = {f"w{i}": random.standard_normal((256, 256), np.float32) for i in range(branches + 1)}
    nodes = [helper.make_node("MatMul", ["x", f"w{i}"], [f"y{i}"]) for i in range(branches)]
    nodes.append(helper.make_node("MatMul", ["y0", f"w{branches}"], ["z"]))
    outputs = {name: [256, 256] for name in ("z", *(f"y{i}" for i in range(branches)))}
    return model(nodes, {"x": [256, 256]}, outputs, **weights)


def loop() -> bytes:
    """As many products as the input n says."""
    body = helper.make_graph(
        [helper.make_node("MatMul", ["v", "w"], ["next"]), helper.make_node("Identity", ["c"], ["go"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [64, 64]),
        ],
        [
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [64, 64]),
        ],
    )
    nodes = [
        helper.make_node("Softmax", ["x"], ["s"]),
        helper.make_node("Cast", ["t"], ["n"], to=TensorProto.INT64),
        helper.make_node("Loop", ["n", "", "s"], ["y"], body=body),
    ]
    return model(nodes, {"x": [64, 64], "t": []}, {"y": [64, 64]}, w=np.eye(64, dtype=np.float32))


def check(trace: Trace) -> None:
    """What holds of every trace."""
    assert trace.lost == 0
    assert (trace.start >= trace.begin).all() and (trace.stop <= trace.end).all() and (trace.start <= trace.stop).all()
    assert (trace.start[1:] >= trace.start[:-1]).all()
    worked = trace.work[:, :, 3] > 0
    begin, end, busy = (trace.work[:, :, i] for i in range(3))
    assert (begin >= trace.start[:, None])[worked].all() and (end <= trace.stop[:, None])[worked].all()
    assert (busy <= end - begin)[worked].all() and (busy[worked] > 0).all() and not trace.work[~worked].any()
    assert 0 < trace.share.sum() <= trace.end - trace.begin


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_thread_of_every_step(threads: int) -> None:
    """Steps that run together share their time; no thread does two things at once."""
    runs = timed(products(3), {"x": np.random.default_rng(1).standard_normal((256, 256), np.float32)}, threads)
    traces = [runs.trace() for _ in range(20)]
    for trace in traces:
        check(trace)
        assert sorted(trace.step) == list(range(trace.step.size))
        for thread in range(trace.work.shape[1]):
            spans = [w for w in trace.work[:, thread] if w[3]]
            assert all(first[1] <= then[0] for first, then in pairwise(spans))
        assert trace.seconds(trace.step.size).sum() == pytest.approx(trace.share.sum() / 1e9)
    together = [trace for trace in traces if len(set(trace.start)) < trace.step.size]
    assert bool(together) == (threads > 1)
    if threads > 1:
        assert any(len({w[4] for w in t.work[:, :, :].reshape(-1, 6) if w[3]}) > 1 for t in traces), "workers helped"


@pytest.mark.parametrize("threads", [1, 2])
def test_steps_of_a_loop_are_recorded_each_time(threads: int) -> None:
    runs = timed(loop(), {"x": np.zeros((64, 64), np.float32), "t": np.array(50, np.float32)}, threads)
    trace = runs.trace()
    check(trace)
    counts = np.bincount(trace.step)
    assert 50 in counts and counts[trace.step[0]] == 1
    seconds = trace.seconds(counts.size)
    assert seconds[np.argmax(counts)] == pytest.approx(trace.share[trace.step == np.argmax(counts)].sum() / 1e9)


def test_step_by_step() -> None:
    """Where it is asked for, steps do not run together."""
    options = SessionOptions()
    options.intra_op_num_threads = 2
    main = InferenceSession(products(3), options)._main
    recorder = Recorder(main.artifact.manifest["steps"], 2, alone=True)
    arrays = [np.ones((256, 256), np.float32)]
    main.program.run(main.plan(arrays), arrays, profile=recorder.address)
    trace = recorder.trace()
    assert trace.step.size == 4 and (trace.stop[:-1] <= trace.start[1:]).all()


def test_what_there_is_no_room_for_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intaglio.runtime.run.trace._LEAST", 16)
    trace = timed(loop(), {"x": np.zeros((64, 64), np.float32), "t": np.array(500, np.float32)}, 1).trace()
    assert trace.lost > 400 and trace.step.size >= 16


def test_a_program_by_hand(artifacts: dict[str, Path]) -> None:
    shared = InferenceSession(artifacts["affine"])
    runs = Timed(shared._main, {"x": np.ones((900, 3), np.float32)})
    for _ in range(20):
        trace = runs.trace()
        check(trace)
        assert list(trace.step) == [0, 1]
