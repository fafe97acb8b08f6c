"""Schedules: what rules choose, what is not possible and why, and that all that can be tried is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from unit.codegen import attentions, convolutions
from unit.codegen.c import test_matmul as matmuls

from intaglio.compiler import schedule
from intaglio.compiler.kernel.ir import Attention, Conv, Matmul
from intaglio.compiler.kernel.packing import Packing
from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import F32, F64
from intaglio.compiler.schedule.attention import AttentionSchedule
from intaglio.compiler.schedule.matmul import MatmulSchedule
from intaglio.compiler.schedule.tile import Tile, choose_nr, refusal, tiles
from intaglio.compiler.target import target

V3, V4 = target("x86-64-v3"), target("x86-64-v4")


def product(packed: int = 64, **how: Any) -> Matmul:
    body = matmuls._kernel(matmuls.Case(100, 200, 30, **how), Packing("panels", packed) if packed else None).body
    assert isinstance(body, Matmul)
    return body


def convolution(packing: Packing, **how: Any) -> Conv:
    case = convolutions.Case((14, 14), 32, 64, (3, 3), **how).filled()
    body = convolutions.kernel(case, packing)[0].body
    assert isinstance(body, Conv)
    return body


def softmax() -> Attention:
    body = attentions.kernel_of(attentions.Case(m=64, n=64, d=32, dv=32))[0].body
    assert isinstance(body, Attention)
    return body


def test_panel_width_wastes_few_columns() -> None:
    assert [choose_nr(n, F32, V4) for n in (10, 32, 48, 64, 96, 768)] == [16, 32, 48, 64, 48, 64]
    assert choose_nr(Symbol("n"), F32, V4) == 64
    assert choose_nr(64, F64, V4) == 32


def test_defaults() -> None:
    assert schedule.default(product(), V4) == MatmulSchedule(Tile((1, 2, 3, 4, 5, 6), 4, 16), 96, 1)
    scaled = schedule.default(product(a="scaled"), V4)
    assert scaled == MatmulSchedule(Tile((1, 2, 3, 4, 5, 6), 4, 16), 48, 4)
    few = schedule.default(product(symbolic=False), V4)
    assert isinstance(few, MatmulSchedule) and few.tile.rows == (1, 2, 3, 4, 5, 6)
    assert schedule.default(softmax(), V3) == AttentionSchedule(6, 2, 8, 60, 1)
    assert schedule.default(softmax(), V4) == AttentionSchedule(8, 3, 16, 64, 2)


@pytest.mark.parametrize("cpu", [V3, V4])
def test_all_tiles_fit_the_registers(cpu: Any) -> None:
    for dtype in (F32, F64):
        made = list(tiles(dtype, cpu))
        assert made and not any(refusal(tile, dtype, cpu) for tile in made)


@pytest.mark.parametrize("change, why", [
    ({"tile": Tile((1, 2), 2, 16)}, "B is packed in panels of 64 columns, not of 32"),
    ({"tile": Tile((1, 2), 8, 8)}, "a vector has 16 elements of f32, not 8"),
    ({"tile": Tile((1, 8), 4, 16)}, "needs 37 registers of 32"),
    ({"tile": Tile((2, 1), 4, 16)}, r"row counts \(2, 1\) by 4 vectors are no tile"),
    ({"block_rows": 0}, "a task has at least a row and a panel"),
    ({"panels_per_task": 0}, "a task has at least a row and a panel"),
])  # fmt: skip
def test_products_that_cannot_be(change: dict[str, Any], why: str) -> None:
    made = schedule.default(product(), V4)
    assert isinstance(made, MatmulSchedule)
    with pytest.raises(AssertionError, match=why):
        assert schedule.matmul.legal(product(), replace(made, **change), V4) is None


DENSE, WINOGRAD = Packing("panels", 64), Packing("winograd", 64)


@pytest.mark.parametrize("packing, how, change, why", [
    (DENSE, {}, {"block_pixels": 0}, "a task has at least a pixel and a panel"),
    (DENSE, {}, {"tile": Tile((1,), 2, 16)}, "the weights are packed in panels of 64 channels, not of 32"),
    (DENSE, {"scaled": True}, {"patch": False}, "an input that is computed needs a patch"),
    (WINOGRAD, {"winograd": True}, {"block_tiles": 0}, "a task has at least a pixel and a panel"),
    (WINOGRAD, {"winograd": True}, {"tile": Tile((1, 8), 4, 16)}, "needs 37 registers of 32"),
])  # fmt: skip
def test_convolutions_that_cannot_be(packing: Packing, how: dict[str, Any], change: dict[str, Any], why: str) -> None:
    body = convolution(packing, **how)
    made: Any = schedule.default(body, V4)
    assert schedule.conv.legal(body, made, V4) is None
    with pytest.raises(AssertionError, match=why):
        assert schedule.conv.legal(body, replace(made, **change), V4) is None


def test_schedules_of_other_packings() -> None:
    dense, transformed = convolution(DENSE), convolution(WINOGRAD, winograd=True)
    made: Any = schedule.default(transformed, V4)
    assert schedule.conv.legal(dense, made, V4) == "the weights are packed for panels"
    depthwise = schedule.conv.DepthwiseSchedule(16, 14, 2, 7, 3, True)
    assert schedule.conv.legal(dense, depthwise, V4) == "the convolution is not depthwise"


@pytest.mark.parametrize("change, why", [
    ({"lanes": 8}, "a vector has 16 elements, not 8"),
    ({"keys": 60}, "blocks of keys are whole tiles"),
    ({"rows": 16, "keys": 64}, "needs 52 registers of 32"),
])  # fmt: skip
def test_attention_that_cannot_be(change: dict[str, Any], why: str) -> None:
    made: Any = schedule.default(softmax(), V4)
    with pytest.raises(AssertionError, match=why):
        assert schedule.attention.legal(softmax(), replace(made, **change), V4) is None


@pytest.mark.parametrize("cpu", [V3, V4])
def test_the_default_is_tried_first(cpu: Any) -> None:
    nr = choose_nr(200, F32, cpu)
    for body, module in (
        (product(nr), schedule.matmul), (product(0, b="rows"), schedule.matmul), (softmax(), schedule.attention),
        (convolution(Packing("panels", choose_nr(64, F32, cpu))), schedule.conv),
    ):  # fmt: skip
        space = list(module.space(body, cpu))  # type: ignore[attr-defined]
        assert space[0] == schedule.default(body, cpu)
        assert len(set(space)) == len(space) > 3
        assert all(module.legal(body, each, cpu) is None for each in space)  # type: ignore[attr-defined]
