"""Plans of runs: one for each combination of input sizes, of which the oldest are forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import handmade
import numpy as np
import pytest

from intaglio.runtime.errors import InvalidArgument
from intaglio.runtime.run.executable import MAX_PLANS, Executable
from intaglio.runtime.store import artifact


@pytest.fixture
def affine(artifacts: dict[str, Path]) -> Executable:
    return Executable(artifact.load(artifacts["affine"]), 1, 0)


@pytest.fixture
def shaping(artifacts: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Executable]:
    """One whose symbol is an element of its input."""
    loaded = artifact.load(artifacts["affine"])
    symbols = [{"name": "batch", "element": [0, 0]}]
    monkeypatch.setattr(loaded, "manifest", {**handmade.AFFINE, "symbols": symbols})
    yield Executable(loaded, 1, 0)


def rows(count: int) -> list[np.ndarray]:
    return [np.ones((count, 3), np.float32)]


def test_what_the_manifest_says(affine: Executable) -> None:
    assert [each.name for each in affine.inputs] == ["x"]
    assert affine.outputs == ["y", "z"]
    assert affine.shaping == [] and not affine.random


def test_a_plan_for_each_size(affine: Executable) -> None:
    two, five = affine.plan(rows(2)), affine.plan(rows(5))
    assert two is not five
    assert affine.plan(rows(2)) is two
    assert [shape for shape, _ in five.outputs] == [(5, 3), (3, 5)]


def test_the_oldest_plans_are_forgotten(affine: Executable) -> None:
    first, *_, last = [affine.plan(rows(n)) for n in range(1, MAX_PLANS + 2)]
    assert len(affine.plans) == MAX_PLANS
    assert affine.plan(rows(MAX_PLANS + 1)) is last
    assert affine.plan(rows(1)) is not first


def test_a_plan_that_cannot_be_is_not_kept(affine: Executable) -> None:
    with pytest.raises(InvalidArgument, match="batch 1001 is more than 1000"):
        affine.plan(rows(1001))
    assert not affine.plans


def test_elements_that_shapes_depend_on_are_part_of_what_a_plan_is_for(shaping: Executable) -> None:
    assert shaping.shaping == [0]
    two, five = [np.full((1, 3), 2, np.float32)], [np.full((1, 3), 5, np.float32)]
    assert [shape for shape, _ in shaping.plan(five).outputs] == [(5, 3), (3, 5)]
    assert shaping.plan(two) is not shaping.plan(five)
    assert shaping.plan(two) is shaping.plan([two[0].copy()])


def test_plans_with_random_numbers_hold_for_one_run(affine: Executable) -> None:
    affine.random = True
    assert affine.plan(rows(2)) is not affine.plan(rows(2))
    assert not affine.plans


def test_arrays_on_the_host_stay_where_they_are(affine: Executable) -> None:
    (x,) = rows(2)
    assert affine.placed([x])[0] is x
