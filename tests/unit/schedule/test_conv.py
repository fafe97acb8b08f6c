"""Schedules of convolutions: which algorithm, what is not possible and why, and that all that can be tried is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from unit.schedule.bodies import N, convolution

from intaglio.compiler.kernel.ir import Conv
from intaglio.compiler.kernel.packing import Packing
from intaglio.compiler.scalar.dtype import F16
from intaglio.compiler.schedule.conv import (
    ConvSchedule,
    DenseSchedule,
    DepthwiseSchedule,
    WinogradSchedule,
    default,
    is_depthwise,
    legal,
    packing,
    space,
)
from intaglio.compiler.schedule.tile import Tile
from intaglio.compiler.target import Target, target

V3, V4 = target("x86-64-v3"), target("x86-64-v4")
WIDE = Tile((1, 2, 3, 4, 5, 6), 4, 16)

DENSE, DEPTHWISE = convolution(strides=(2, 2)), convolution(64, 64, groups=64)
TRANSFORMED, HALVES = convolution(), convolution(dtype=F16, strides=(2, 2))
BODIES = {
    "dense": DENSE,
    "1x1": convolution(taps=1),
    "first layer": convolution(3, taps=7, strides=(2, 2)),
    "grouped": convolution(groups=4),
    "depthwise": DEPTHWISE,
    "winograd": TRANSFORMED,
    "halves": HALVES,
    "packed": convolution(packing=Packing("panels", 16)),
    "packed for winograd": convolution(packing=Packing("winograd", 16)),
    "packed in taps": convolution(64, 64, groups=64, packing=Packing("taps", 1)),
}


@pytest.mark.parametrize(("body", "kind", "form"), [
    (DENSE, DenseSchedule, "panels"),
    (DEPTHWISE, DepthwiseSchedule, "taps"),
    (TRANSFORMED, WinogradSchedule, "winograd"),
    (convolution(size=(N, N)), WinogradSchedule, "winograd"),
    (convolution(16), DenseSchedule, "panels"),  # too few channels
    (convolution(size=(6, 6)), DenseSchedule, "panels"),  # too few pixels
    (convolution(size=(1, 60)), DenseSchedule, "panels"),  # tiles would cover twice as much
    (convolution(groups=2), DenseSchedule, "panels"),
    (convolution(taps=5), DenseSchedule, "panels"),
], ids=lambda x: "" if isinstance(x, Conv) else str(x))  # fmt: skip
def test_algorithms(body: Conv, kind: type, form: str) -> None:
    made = default(body, V4)
    assert isinstance(made, kind)
    assert packing(body, made).form == form


def test_exact_ones_alone() -> None:
    assert isinstance(default(TRANSFORMED, V4, precision="strict"), DenseSchedule)
    assert not any(isinstance(each, WinogradSchedule) for each in space(TRANSFORMED, V4, precision="strict"))


def test_defaults() -> None:
    assert default(DENSE, V4) == DenseSchedule(WIDE, patch=False, block_pixels=96, panels_per_task=1)
    assert default(HALVES, V4) == DenseSchedule(WIDE, patch=True, block_pixels=224, panels_per_task=4)
    assert default(TRANSFORMED, V4) == WinogradSchedule(WIDE, block_tiles=24, panels_per_task=2)
    assert default(DEPTHWISE, V4) == DepthwiseSchedule(16, 1, 14, 2, 7, 3, unrolled=True, far_bytes=1 << 19)


def test_what_is_depthwise() -> None:
    """One channel in, one out."""
    assert is_depthwise(DEPTHWISE)
    assert not is_depthwise(convolution(64, 128, groups=64))
    assert not is_depthwise(DENSE)


@pytest.mark.parametrize(("body", "change", "text"), [
    (DENSE, {"block_pixels": 0}, "a task has at least a pixel and a panel"),
    (DENSE, {"panels_per_task": 0}, "a task has at least a pixel and a panel"),
    (DENSE, {"tile": Tile((1, 8), 4, 16)}, "needs 37 registers of 32"),
    (HALVES, {"patch": False}, "an input that is computed needs a patch"),
    (TRANSFORMED, {"block_tiles": 0}, "a task has at least a pixel and a panel"),
    (TRANSFORMED, {"tile": Tile((2, 1), 4, 16)}, "row counts (2, 1) by 4 vectors are no tile"),
    (DEPTHWISE, {"pixels": 32}, "32 sums need more than 32 registers"),
    (DEPTHWISE, {"block_rows": 0}, "all numbers are at least 1"),
    (DEPTHWISE, {"few_pixels": 8}, "all numbers are at least 1"),
    (convolution(packing=Packing("panels", 64)), {"tile": Tile((1,), 2, 16)},
     "the weights are packed as panels of 64, not as panels of 32"),
], ids=lambda x: "" if isinstance(x, Conv) else str(x))  # fmt: skip
def test_refusals_of_numbers(body: Conv, change: dict[str, Any], text: str) -> None:
    made: Any = default(body, V4)
    assert legal(body, made, V4) is None
    assert legal(body, replace(made, **change), V4) == text


@pytest.mark.parametrize(("body", "of", "text"), [
    (DENSE, DEPTHWISE, "the convolution is not depthwise"),
    (DEPTHWISE, DENSE, "the convolution is depthwise"),
    (DENSE, TRANSFORMED, "no algorithm of Winograd's"),
    (BODIES["packed"], DEPTHWISE, "the convolution is not depthwise"),
    (BODIES["packed"], TRANSFORMED, "the weights are packed for panels"),
    (BODIES["packed for winograd"], DENSE, "the weights are packed for winograd"),
    (BODIES["packed in taps"], DENSE, "the weights are packed for taps"),
], ids=lambda x: "" if isinstance(x, Conv) else str(x))  # fmt: skip
def test_refusals_of_algorithms(body: Conv, of: Conv, text: str) -> None:
    """The schedule of another convolution."""
    assert legal(body, default(of, V4), V4) == text


@pytest.mark.parametrize("cpu", [V3, V4], ids=["v3", "v4"])
@pytest.mark.parametrize("name", BODIES)
def test_all_that_can_be_tried_is_legal(name: str, cpu: Target) -> None:
    body = BODIES[name]
    found: list[ConvSchedule] = list(space(body, cpu))
    assert found[0] == default(body, cpu)
    assert len(set(found)) == len(found) > 3
    assert not any(legal(body, each, cpu) for each in found)
