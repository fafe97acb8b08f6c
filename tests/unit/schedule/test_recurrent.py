"""Schedules of recurrent layers: what rules choose, and what is not possible and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from unit.schedule.bodies import recurrent

from intaglio.compiler.scalar.dtype import F16, F32, F64
from intaglio.compiler.schedule.recurrent import Tile, default, legal
from intaglio.compiler.target import target

V3, V4 = target("x86-64-v3"), target("x86-64-v4")


@pytest.mark.parametrize("cpu", [V3, V4], ids=["v3", "v4"])
def test_no_more_sequences_at_once_than_there_are(cpu: Any) -> None:
    for batch, rows in ((1, 1), (2, 2), (3, 4), (4, 4), (100, 4)):
        assert default(recurrent(batch), cpu).rows == rows
    assert default(recurrent(), cpu).rows == 4  # where that is not known


def test_vectors_are_of_the_type_in_which_it_is_computed() -> None:
    assert [default(recurrent(dtype=d), V4).lanes for d in (F32, F64, F16)] == [16, 8, 16]


@pytest.mark.parametrize("cpu", [V3, V4], ids=["v3", "v4"])
def test_defaults_are_legal_and_fit_the_registers(cpu: Any) -> None:
    for batch in (1, 2, 3, 100):
        body = recurrent(batch)
        made = default(body, cpu)
        assert legal(body, made, cpu) is None
        assert all(tile.rows * tile.widths[0] < cpu.registers for tile in made.tiles)


ONE_SEQUENCE = "there is a tile for one sequence, and in each a width of one vector"


@pytest.mark.parametrize(("change", "text"), [
    ({"tiles": ()}, ONE_SEQUENCE),
    ({"tiles": (Tile(2, (4, 1)),)}, ONE_SEQUENCE),
    ({"tiles": (Tile(1, (4, 1)), Tile(4, (1,)), Tile(2, (1,)))}, ONE_SEQUENCE),
    ({"tiles": (Tile(1, (4, 2)),)}, ONE_SEQUENCE),
    ({"lanes": 8}, "a vector has 16 elements, not 8"),
])  # fmt: skip
def test_refusals(change: dict[str, Any], text: str) -> None:
    assert legal(recurrent(), replace(default(recurrent(), V4), **change), V4) == text
