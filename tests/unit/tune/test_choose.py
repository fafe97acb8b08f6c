"""Which measured schedules a compilation uses, and why it does not use others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from unit.tune.subjects import here, kernels, perceptron

from intaglio.compiler.schedule import space
from intaglio.compiler.schedule.matmul import MatmulSchedule
from intaglio.compiler.target import target
from intaglio.compiler.tune.choose import Chooser, code
from intaglio.compiler.tune.encoding import encoded
from intaglio.compiler.tune.kernels import Problem
from intaglio.runtime.store.tuning import Record


def problem() -> Problem:
    return kernels(perceptron(), {"n": 8})[1][0]


def others(mine: Problem) -> list[MatmulSchedule]:
    found = [how for how in space(mine.launch.kernel.body, mine.target) if isinstance(how, MatmulSchedule)]
    return found[1:]


def record(mine: Problem, how: MatmulSchedule, **fields: Any) -> Record:
    """Of a schedule that is half as fast again as the default."""
    place = here()
    made = Record(
        kernel=mine.digest, sizes=mine.sizes, cpu=place.cpu, target=place.target, threads=2, toolchain=place.toolchain,
        code=code(mine.launch, how), kind=mine.kind, schedule=encoded(how), seconds=1e-3, default_seconds=1.5e-3,
        gain=1.5, gain_low=1.4, turns=25, refused="", nodes=mine.nodes, time=0.0,
    )  # fmt: skip
    return replace(made, **fields)


def chosen(mine: Problem, *records: Record) -> tuple[Any, str]:
    """The schedule of the kernel, and where it is from."""
    chooser = Chooser(records, here())
    how = chooser(mine.launch, mine.target, True)
    (choice,) = chooser.told.values()
    return how, choice.source


def test_a_faster_schedule_is_used() -> None:
    mine = problem()
    first, second, *_ = others(mine)
    found = chosen(mine, record(mine, first, gain=1.2), record(mine, second))
    assert found == (second, "measured, 1.50 times as fast as by rules")


def test_without_records_there_are_rules() -> None:
    mine = problem()
    assert chosen(mine) == (mine.default, "rules")


@pytest.mark.parametrize(("fields", "source"), [
    ({"cpu": "another CPU"}, "rules: measured on another CPU, not here"),
    ({"target": "x86_64"}, "rules: measured on {cpu}, not here"),
    ({"toolchain": "gcc 2"}, "rules: measured with another C compiler"),
    ({"code": "k0"}, "rules: measured with other templates"),
    ({"schedule": {"type": "MatmulSchedule"}}, "rules: measured schedules are none of this version"),
    ({"schedule": {"type": "TreesSchedule", "rows": 1, "lanes": 1}},
     "rules: measured schedules are none of this version"),
    ({"refused": "result 0 differs"}, "rules: the fastest of 2 that were measured"),
    ({"gain": 1.01}, "rules: the fastest of 2 that were measured"),
    ({"seconds": 1.4999e-3}, "rules: the fastest of 2 that were measured"),
    ({"gain_low": 0.99}, "rules: the fastest of 2 that were measured"),
    ({"kernel": "another"}, "rules"),
    ({"sizes": (1, 2, 3, 4)}, "rules"),
])  # fmt: skip
def test_what_is_not_used(fields: dict[str, Any], source: str) -> None:
    mine = problem()
    sizes = fields.get("sizes")
    fields = fields | ({"sizes": tuple(size + 1 for size in mine.sizes)} if sizes else {})
    found = chosen(mine, record(mine, others(mine)[0], **fields))
    assert found == (mine.default, source.format(cpu=here().cpu))


def test_a_schedule_has_to_win_at_every_size_that_was_measured() -> None:
    """The rows are not known when the model is compiled."""
    mine = problem()
    first, second, *_ = others(mine)
    more = tuple(8 * size if size == 8 else size for size in mine.sizes)
    assert more != mine.sizes
    loses = record(mine, first, gain=3.0), record(mine, first, sizes=more, gain=0.9, gain_low=0.8)
    wins = record(mine, second), record(mine, second, sizes=more, gain=1.1, gain_low=1.05)
    assert chosen(mine, *loses, *wins)[0] == second
    assert chosen(mine, *loses)[0] == mine.default


def test_an_illegal_schedule_is_not_used() -> None:
    mine = problem()
    narrow = replace(others(mine)[0].tile, lanes=3)
    assert chosen(mine, record(mine, others(mine)[0], schedule=encoded(replace(others(mine)[0], tile=narrow))))[0] == (
        mine.default
    )


def test_a_place_is_a_cpu_and_a_target() -> None:
    assert here("x86-64-v3") != here("x86-64-v4")
    assert here("x86-64-v3") != here("x86-64-v3+l2=1M")
    assert target("x86-64-v3").features[0] in here("x86-64-v3").target
