"""The search for a schedule: what it measures, in which order, and that a wrong result is never used."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from onnx import helper
from unit.tune.subjects import here, kernels, machines, model, perceptron

from intaglio.compiler.codegen.c import matmul
from intaglio.compiler.schedule.matmul import MatmulSchedule
from intaglio.compiler.tune import search as stage
from intaglio.compiler.tune.choose import wins
from intaglio.compiler.tune.encoding import decoded
from intaglio.compiler.tune.machines import Local, Lost
from intaglio.compiler.tune.search import Candidates, Timing, search
from intaglio.compiler.tune.trial import Bench, difference

f32 = np.float32


def bench(made: bytes | None = None, number: int = 0, threads: int = 2, **values: int) -> Bench:
    program, found, _ = kernels(made or perceptron(), values or {"n": 8})
    return Bench(found[number], program, threads)


def test_every_trial_is_a_record() -> None:
    told: list[Any] = []
    records = search(bench(), machines(), seconds=60, trials=4, report=told.append)
    assert told == records and len(records) == 4
    for record in records:
        assert record.refused == "" and record.turns > 0 and record.seconds > 0 and record.default_seconds > 0
        assert isinstance(decoded(record.schedule), MatmulSchedule)
    assert len({str(record.schedule) for record in records}) == 4


def test_it_ends_when_all_were_tried_or_the_time_is_over() -> None:
    mine = bench(number=2)
    count = Candidates(mine.problem).count
    assert len(search(mine, machines(), seconds=60)) == count
    assert search(bench(), machines(), seconds=0) == []


def test_what_is_known_is_not_measured_again() -> None:
    first = search(bench(), machines(), seconds=60, trials=3)
    told: list[Any] = []
    second = search(bench(), machines(), seconds=60, trials=5, known=first, report=told.append)
    assert second[:3] == first and len(second) == 5
    assert told == second[3:]


def test_a_candidate_whose_machines_end_is_left_out() -> None:
    class Ending(Local):
        """Machines that end whenever the second candidate is measured."""

        def measure(self, function: Callable[..., Any], calls: Sequence[Any]) -> Iterator[Any]:
            for number, result in enumerate(super().measure(function, calls)):
                yield Lost("they ended") if number == 1 else result

    told: list[Any] = []
    ending = Ending(here(), jobs=3)
    records = search(bench(), ending, seconds=60, trials=3, report=told.append)
    assert told[1] == Lost("they ended") and [each for each in told if each not in records] == [told[1]]
    assert len(records) == 3


def test_neighbours_of_the_best_come_first() -> None:
    candidates = Candidates(bench().problem)
    total = candidates.count
    (first,) = candidates.take(1)
    assert isinstance(first, MatmulSchedule)
    candidates.best = max((c for c in candidates.left if isinstance(c, MatmulSchedule)), key=lambda c: c.tile.nr)
    taken = candidates.take(total)
    assert len(taken) == total - 1 and candidates.take(1) == []
    near = [candidates._is_neighbour(how) for how in taken]
    assert near == sorted(near, reverse=True) and True in near and False in near


def faulty(original: Callable[..., str]) -> Callable[..., str]:
    """A template with a fault: schedules of two panels forget the last row of a tile."""

    def source(kernel: Any, name: str, schedule: MatmulSchedule) -> str:
        text = original(kernel, name, schedule)
        wrong = "for (int64_t r = 0; r < count - 1; r++)"
        right = "for (int64_t r = 0; r < count; r++)"
        assert right in text
        return text.replace(right, wrong) if schedule.tile.vectors == 1 else text

    return source


def test_a_wrong_schedule_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = bench()
    default = mine.problem.default
    assert isinstance(default, MatmulSchedule) and default.tile.vectors > 1
    monkeypatch.setattr(matmul, "source", faulty(matmul.source))
    records = search(mine, machines(), seconds=120)
    narrow = [r for r in records if r.schedule["tile"]["vectors"] == 1]
    assert narrow and all("differs by" in r.refused and not wins(r) for r in narrow)
    assert all(r.refused == "" for r in records if r not in narrow)


def test_a_schedule_that_does_not_compile_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    original = matmul.source

    def broken(kernel: Any, name: str, schedule: MatmulSchedule) -> str:
        return original(kernel, name, schedule) + ("#error" if schedule.tile.vectors == 1 else "")

    monkeypatch.setattr(matmul, "source", broken)
    records = search(bench(), machines(), seconds=120)
    assert {r.refused[:16] for r in records if r.schedule["tile"]["vectors"] == 1} == {"does not compile"}
    assert {r.refused for r in records if r.schedule["tile"]["vectors"] > 1} == {""}


class Clock:
    """A trial that takes as long as it is told."""

    def __init__(self, *seconds: float) -> None:
        self.seconds = itertools.cycle(seconds)
        self.runs = 0

    def run(self) -> float:
        self.runs += 1
        return next(self.seconds)


def compared(default: Clock, candidate: Clock) -> Timing:
    return stage.compare(default, candidate)  # type: ignore[arg-type]


def test_what_is_clearly_slower_is_given_up() -> None:
    slow, fast = Clock(1.0), Clock(0.5)
    assert compared(fast, slow).gain == 0.5 and slow.runs == stage.FEW
    slow, fast = Clock(1.0), Clock(0.5)
    assert compared(slow, fast).gain == 2.0 and fast.runs == stage.MANY


def test_a_gain_within_the_noise_is_none() -> None:
    noisy = compared(Clock(1.0), Clock(0.5, 1.3, 0.9))
    assert noisy.gain > 1 and noisy.gain_low < 1


@pytest.mark.parametrize(("mine", "other", "text"), [
    (f32([1, 2]), f32([1, 2]), None),
    (f32([1, 2.001]), f32([1, 2]), None),
    (f32([1, 2.01]), f32([1, 2]), "result 0 differs by 0.01, of 2"),
    (np.float64([1, 2.001]), np.float64([1, 2]), "result 0 differs by 0.001, of 2"),
    (np.float16([1, 2.05]), np.float16([1, 2]), None),
    (f32([1, np.nan]), f32([1, 2]), "result 0 has NaN or infinity at other places"),
    (f32([1, np.nan]), f32([1, np.nan]), None),
    (np.array([1, 2]), np.array([1, 2]), None),
    (np.array([1, 2]), np.array([1, 3]), "result 0 differs"),
    (f32([]), f32([]), None),
])  # fmt: skip
def test_results_may_differ_by_rounding(mine: Any, other: Any, text: str | None) -> None:
    assert difference([mine], [other]) == text


LAYERS = {
    "conv": ([helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])], {"x": ["n", 32, 9, 11]},
             {"w": np.ones((40, 32, 3, 3), f32)}),
    "depthwise": ([helper.make_node("Conv", ["x", "w"], ["y"], group=24)], {"x": ["n", 24, 9, 11]},
                  {"w": np.ones((24, 1, 3, 3), f32)}),
    "recurrent": ([helper.make_node("GRU", ["x", "w", "r", "", "l"], ["y"], hidden_size=16)],
                  {"x": [5, "n", 8], "l": ["n"]},
                  {"w": np.ones((1, 48, 8), f32) / 9, "r": np.ones((1, 48, 16), f32) / 9}),
    "gather": ([helper.make_node("Gather", ["x", "i"], ["y"])], {"x": ["n", 70], "i": [33]}, {}),
    "sort": ([helper.make_node("TopK", ["x", "k"], ["y", ""])], {"x": ["n", 3000]}, {"k": np.array([100])}),
    "reduction": ([helper.make_node("ReduceSum", ["x", "a"], ["y"], keepdims=0)], {"x": ["n", 500, 70]},
                  {"a": np.array([1])}),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_kernels_of_all_kinds_have_trials(name: str) -> None:
    made = model(*LAYERS[name])  # type: ignore[arg-type]
    program, found, left_out = kernels(made, {"n": 3})
    assert found and not left_out
    for problem in found:
        travelled = pickle.loads(pickle.dumps(Bench(problem, program, 2)))
        records = search(travelled, machines(), seconds=60, trials=4)
        assert [r.refused for r in records] == [""] * len(records)
    assert any(Candidates(problem).count for problem in found)


def test_a_kernel_whose_demands_random_data_violate_is_not_measured() -> None:
    nodes = [helper.make_node("Div", ["i", "j"], ["q"]), helper.make_node("Cast", ["q"], ["y"], to=1)]
    made = model(nodes, {"i": ["n", 5], "j": ["n", 5]}, {})
    program, found, _ = kernels(made, {"n": 3})
    assert [search(Bench(problem, program, 2), machines(), seconds=60) for problem in found] == [[]] * len(found)


def test_what_cannot_be_tuned_is_told() -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["p"]), helper.make_node("Cast", ["p"], ["f"], to=1),
             helper.make_node("Exp", ["f"], ["y"])]  # fmt: skip
    _, _, left_out = kernels(model(nodes, {"x": ["n", 5]}, {}), {"n": 3})
    assert any("depends on data" in reason for reason in left_out.values())
    nodes = [helper.make_node("ScatterElements", ["x", "i", "x"], ["y"], reduction="add", axis=0)]
    _, _, left_out = kernels(model(nodes, {"x": [4, 5], "i": [4, 5]}, {}), {})
    assert "it changes what other kernels have written" in left_out.values()
