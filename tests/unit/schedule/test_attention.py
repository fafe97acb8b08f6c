"""Schedules of attention: what rules choose, what is not possible and why, and that all that can be tried is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from unit.schedule.bodies import N, softmax

from intaglio.compiler.scalar.dtype import F32, F64, DType
from intaglio.compiler.schedule.attention import AttentionSchedule, default, legal, space
from intaglio.compiler.target import Target, target

V3, V4 = target("x86-64-v3"), target("x86-64-v4")


def test_defaults() -> None:
    """Sums in all registers but a few; keys of a block in whole tiles."""
    assert default(softmax(), V3) == AttentionSchedule(rows=6, vectors=2, lanes=8, keys=60, few=1)
    assert default(softmax(), V4) == AttentionSchedule(rows=8, vectors=3, lanes=16, keys=64, few=2)
    assert default(softmax(F64), V4) == AttentionSchedule(rows=8, vectors=3, lanes=8, keys=64, few=1)
    assert default(softmax(), V4).panel == 48


@pytest.mark.parametrize(("cpu", "keys", "vectors"), [
    ("znver4", N, 1), ("znver4", 4096, 1),  # with one unit for multiply-adds, loads are fast enough for any panel
    ("x86-64-v4", 64, 1), ("x86-64-v4", N, 2), ("x86-64-v4", 4096, 2), ("x86-64-v3", N, 2),
])  # fmt: skip
def test_causal_panels_are_narrow(cpu: str, keys: Any, vectors: int) -> None:
    """A panel computes for all its queries what the last one needs."""
    made = default(softmax(keys=keys, causal=0), target(cpu))
    assert made == replace(default(softmax(keys=keys), target(cpu)), vectors=vectors)


@pytest.mark.parametrize(("change", "text"), [
    ({"lanes": 8}, "a vector has 16 elements, not 8"),
    ({"keys": 60}, "blocks of keys are whole tiles"),
    ({"keys": 0}, "blocks of keys are whole tiles"),
    ({"few": -1}, "blocks of keys are whole tiles"),
    ({"rows": 16}, "needs 52 registers of 32"),
])  # fmt: skip
def test_refusals(change: dict[str, Any], text: str) -> None:
    made = default(softmax(), V4)
    assert legal(softmax(), made, V4) is None
    assert legal(softmax(), replace(made, **change), V4) == text


@pytest.mark.parametrize("cpu", [V3, V4], ids=["v3", "v4"])
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_all_that_can_be_tried_is_legal(dtype: DType, cpu: Target) -> None:
    body = softmax(dtype)
    found = list(space(body, cpu))
    assert found[0] == default(body, cpu)
    assert len(set(found)) == len(found) > 3
    assert not any(legal(body, each, cpu) for each in found)
