"""Schedules as plain data: all come back as they were, and nothing else becomes one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from unit.tune.subjects import kernels, perceptron

from intaglio.compiler.schedule import space
from intaglio.compiler.schedule.attention import AttentionSchedule
from intaglio.compiler.schedule.conv import DenseSchedule, DepthwiseSchedule, WinogradSchedule
from intaglio.compiler.schedule.loopnest import LoopNestSchedule
from intaglio.compiler.schedule.matmul import MatmulSchedule
from intaglio.compiler.schedule.recurrent import RecurrentSchedule
from intaglio.compiler.schedule.recurrent import Tile as StepTile
from intaglio.compiler.schedule.tile import Tile
from intaglio.compiler.schedule.trees import TreesSchedule
from intaglio.compiler.target import target
from intaglio.compiler.tune.encoding import decoded, encoded

TILE = Tile((1, 2, 6), 4, 16)
SCHEDULES = [
    MatmulSchedule(TILE, 96, 1), DenseSchedule(TILE, True, 96, 4), WinogradSchedule(TILE, 24, 2),
    DepthwiseSchedule(16, 1, 14, 2, 7, 3, True, 1 << 19), AttentionSchedule(6, 3, 16, 60, 2),
    LoopNestSchedule(points=512), RecurrentSchedule((StepTile(4, (2, 1)), StepTile(1, (4, 1))), 16),
    TreesSchedule(64, 8),
]  # fmt: skip


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda each: type(each).__name__)
def test_a_schedule_comes_back(schedule: Any) -> None:
    assert decoded(json.loads(json.dumps(encoded(schedule)))) == schedule


def test_all_candidates_come_back() -> None:
    _, found, _ = kernels(perceptron(), {"n": 8})
    for problem in found:
        for how in space(problem.launch.kernel.body, target()):
            assert decoded(json.loads(json.dumps(encoded(how)))) == how


GOOD = encoded(MatmulSchedule(TILE, 96, 1))


@pytest.mark.parametrize("change", [
    {"type": "Tile"}, {"type": 1}, {"type": "MatmulSchedule2"}, {"block_rows": "96"}, {"block_rows": True},
    {"block_rows": 1.5}, {"block_rows": None}, {"more": 1}, {"tile": []}, {"tile": {"rows": [1]}}, {"tile": "exit"},
    {"tile": {**GOOD["tile"], "rows": [1, "2"]}}, {"tile": {**GOOD["tile"], "rows": 1}},
])  # fmt: skip
def test_other_data_are_no_schedule(change: dict[str, Any]) -> None:
    assert decoded(GOOD) is not None
    assert decoded({**GOOD, **change}) is None


def test_equal_kernels_have_equal_digests() -> None:
    def digests(width: int) -> list[str]:
        _, found, _ = kernels(perceptron(width), {"n": 8})
        return [problem.digest for problem in found]

    assert digests(64) == digests(64)
    assert digests(64)[:2] == digests(96)[:2]  # sizes are parameters
    assert len(set(digests(64))) == 3
