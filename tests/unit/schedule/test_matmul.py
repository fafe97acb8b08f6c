"""Schedules of products: what rules choose, what is not possible and why, and that all that can be tried is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from unit.schedule.bodies import N, product, tensor, weights

from intaglio.compiler.kernel.ir import Matmul
from intaglio.compiler.kernel.packing import Packing
from intaglio.compiler.scalar.dtype import F16, F32
from intaglio.compiler.schedule.matmul import MatmulSchedule, default, legal, packing, space
from intaglio.compiler.schedule.tile import Tile, tile_of
from intaglio.compiler.target import Target, target

V3, V4 = target("x86-64-v3"), target("x86-64-v4")
WIDE = Tile((1, 2, 3, 4, 5, 6), 4, 16)
COLUMNS = tensor(30, N).permute(1, 0)  # a row is no row of memory: it is copied
LATE = tensor(30, 256, name="w")  # weights that are known when the model runs

BODIES = {
    "plain": product(),
    "packed": product(packing=Packing("panels", 64)),
    "narrow panels": product(packing=Packing("panels", 16)),
    "few rows": product(3),
    "copied": product(a=COLUMNS),
    "copied, few rows": product(40, a=tensor(30, 40).permute(1, 0)),
    "copied, deep": product(a=tensor(16384, N).permute(1, 0), b=weights(16384, 256)),
    "late": product(b=LATE),
    "copied, late": product(a=COLUMNS, b=LATE),
    "halves": product(a=tensor(N, 30, dtype=F16), b=weights(30, 256, dtype=F16)),
}


@pytest.mark.parametrize(("name", "wanted"), [
    ("packed", MatmulSchedule(WIDE, 96, 1)),
    ("narrow panels", MatmulSchedule(tile_of(16, F32, V4), 96, 1)),
    ("few rows", MatmulSchedule(WIDE.at_most(3), 96, 1)),
    ("copied", MatmulSchedule(WIDE, 12, 4)),
    ("copied, few rows", MatmulSchedule(WIDE, 12, 1)),
    ("copied, deep", MatmulSchedule(WIDE, 8, 4)),
    ("late", MatmulSchedule(WIDE, 384, 1)),
    ("copied, late", MatmulSchedule(WIDE, 192, 4)),
    ("halves", MatmulSchedule(WIDE, 192, 4)),
])  # fmt: skip
def test_defaults(name: str, wanted: MatmulSchedule) -> None:
    """Blocks are small where A is copied, and large where B is packed anew by each."""
    assert default(BODIES[name], V4) == wanted


def test_weights_are_packed_as_the_tile_is_wide() -> None:
    assert packing(BODIES["plain"], default(BODIES["plain"], V4)) == Packing("panels", 64)


GOOD = MatmulSchedule(WIDE, 96, 1)


@pytest.mark.parametrize(("change", "text"), [
    ({"tile": Tile((1, 2), 2, 16)}, "B is packed as panels of 64, not as panels of 32"),
    ({"block_rows": 0}, "a task has at least a row and a panel"),
    ({"panels_per_task": 0}, "a task has at least a row and a panel"),
    ({"block_rows": N}, "a task has at least a row and a panel"),  # it may be 0
    ({"tile": Tile((1, 8), 4, 16)}, "needs 37 registers of 32"),
])  # fmt: skip
def test_refusals(change: dict[str, Any], text: str) -> None:
    assert legal(BODIES["packed"], GOOD, V4) is None
    assert legal(BODIES["packed"], replace(GOOD, **change), V4) == text


def test_weights_that_are_not_packed_yet_may_be_packed_in_any_way() -> None:
    assert legal(BODIES["plain"], replace(GOOD, tile=Tile((1, 2), 2, 16)), V4) is None


@pytest.mark.parametrize("cpu", [V3, V4], ids=["v3", "v4"])
@pytest.mark.parametrize("name", BODIES)
def test_all_that_can_be_tried_is_legal(name: str, cpu: Target) -> None:
    body: Matmul = BODIES[name] if cpu is V4 or name != "packed" else BODIES["narrow panels"]
    found = list(space(body, cpu))
    assert found[0] == default(body, cpu)
    assert len(set(found)) == len(found) > 3
    assert not any(legal(body, each, cpu) for each in found)
