"""Schedules of tree ensembles: rows of a task by the length of their way and by their sums."""

from __future__ import annotations

import pytest

from intaglio.compiler.kernel.ir import Trees
from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import F32
from intaglio.compiler.scalar.expr import Load
from intaglio.compiler.schedule.trees import default
from intaglio.compiler.target import target

V3 = target("x86-64-v3")


def ensemble(steps: int, targets: int) -> Trees:
    part, row, place = Symbol("p", 0, 1), Symbol("r", 0, Symbol("n")), Symbol("x", 0, Symbol("m"))
    x, target = Load(0, place, F32), Symbol("t", 0, targets)
    return Trees(part, row, target, place, 4, x, 1, 2, 3, -1, "add", (0, 0), False, 1, steps, ())


@pytest.mark.parametrize(("steps", "targets", "rows"), [
    (1, 1, 256),  # no more are worth a claim
    (100, 1, 163),
    (10**6, 1, 16),  # no fewer, as they are walked at once
    (1, 100, 163),  # their sums stay in a cache
    (1, 10**6, 1),
])  # fmt: skip
def test_rows_of_a_task(steps: int, targets: int, rows: int) -> None:
    assert default(ensemble(steps, targets), V3).rows == rows
