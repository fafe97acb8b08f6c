"""Steps of models: from their notes, against limits by hand, and measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from unit.explain.reports import report, step, times

from intaglio import InferenceSession
from intaglio.compiler.explain.steps import Measured, explained, measure, steps
from intaglio.runtime.run.trace import Trace
from intaglio.runtime.store.artifact import Artifact

MLP = Path(__file__).parents[2] / "data" / "mlp.onnx"


def loaded(model: str | bytes) -> Artifact:
    return InferenceSession(model)._main.artifact


def test_limits() -> None:
    """Arithmetic at 100 GFLOP/s; memory at 10 GB/s, but for what a cache of 10 KB can keep."""
    made = report([step(0), step(1, flops=10**6, moved=10**7), step(2, flops=0, moved=5000)], [times(1e-2)] * 3)
    assert [made.bound(each) for each in made.steps] == ["compute", "memory", "memory"]
    limits = [made.limit(each) for each in made.steps]
    assert limits == pytest.approx([1e-2, (1e7 - 1e4) / 10e9, 5000 / 100e9])
    assert made.of_limit(made.steps[:1]) == pytest.approx(1)
    assert made.of_limit(made.steps[:2]) == pytest.approx((1e-2 + 0.999e-3) / 2e-2)


def test_a_weight_comes_from_where_a_whole_run_leaves_it() -> None:
    kept, fresh = step(0, flops=0, moved=5000, kept=5000), step(0, flops=0, moved=5000)
    for footprint, seconds in ((10**9, 5000 / 10e9), (5000, 5000 / 100e9)):
        made = report([kept], [times(1e-6)], footprint=footprint)
        assert made.limit(kept) == pytest.approx(seconds, rel=1e-3) and made.limit(fresh) == pytest.approx(5e-8)


def test_a_unit_can_be_faster_than_multiply_adds() -> None:
    assert report([step(0, rate=4.0)], [times(1.0)]).limit(step(0, rate=4.0)) == pytest.approx(2.5e-3)


def test_a_step_of_a_loop_counts_each_time() -> None:
    made = report([step(0)], [times(5e-2, count=5)])
    assert made.of_limit(made.steps) == pytest.approx(1)


def test_from_notes() -> None:
    notes = loaded(str(MLP)).notes()
    found = steps(notes, {"batch": 16})
    assert sum(each.flops for each in found) >= 2 * 16 * (64 * 32 + 32 * 32 + 32 * 10)
    assert [each.operators for each in found] == ["Gemm+Relu", "Gemm+Relu", "Gemm"]
    assert all(each.schedule.startswith("rules (tile = ") for each in found)
    assert all(0 < each.kept <= each.bytes and each.operations == each.flops for each in found)


@pytest.mark.parametrize("threads", [1, 2])
def test_every_part_of_a_run_is_somewhere(threads: int) -> None:
    model = str(MLP.with_name("bert.onnx"))
    artifact = loaded(model)
    feeds = {each["name"]: np.ones((4, 32), np.int64) for each in artifact.manifest["inputs"]}
    found = measure(artifact, feeds, threads, repeat=4)
    assert found.threads == threads and len(found.times) == artifact.manifest["steps"]
    assert found.latency > 0 and found.between > 0 and found.around > 0 and isinstance(found.trace, Trace)
    for each in found.times:
        assert each.count == 1 and len(each.busy) == len(each.waiting) == len(each.idle) == threads
        assert sum(each.busy) + sum(each.waiting) + sum(each.idle) == pytest.approx(threads * each.seconds, rel=1e-6)
        assert 0 < each.at_work <= 1


def test_a_report_measures_the_machine_before_and_after() -> None:
    order: list[str] = []
    artifact = loaded(str(MLP))

    def run() -> Measured:
        order.append("run")
        return measure(artifact, {"input": np.ones((2, 64), np.float32)}, 1, repeat=1)

    made = explained(artifact, {"batch": 2}, lambda: order.append("limits"), run)  # type: ignore[func-returns-value]
    assert order == ["limits", "run", "limits"] and made.limits is None
    assert made.footprint == sum(each.bytes for each in made.steps)


def test_steps_of_a_loop(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["": 17]> loop (float[64, 64] x, int64 n) => (float[64, 64] y) {
        y = Loop (n, , x) <body = b (int64 i, bool c, float[64, 64] v) => (bool d, float[64, 64] w) {
            d = Identity(c)
            w = MatMul(v, v) }> }"""
    artifact = loaded(onnx.parser.parse_model(text).SerializeToString())
    found = measure(artifact, {"x": np.zeros((64, 64), np.float32), "n": np.array(7)}, 1, repeat=2)
    assert 7 in [each.count for each in found.times]
