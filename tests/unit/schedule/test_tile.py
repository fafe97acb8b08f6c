"""Register tiles: which there are, how wide they are, and which do not fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from unit.schedule.bodies import N

from intaglio.compiler.kernel.packing import Packing
from intaglio.compiler.scalar.dtype import F32, F64, I8, I16, U8
from intaglio.compiler.schedule.tile import Tile, choose_nr, refusal, tile_of, tiles, too_many
from intaglio.compiler.target import Target, target

V3, V4 = target("x86-64-v3"), target("x86-64-v4")


def test_panel_width_wastes_few_columns() -> None:
    assert [choose_nr(n, F32, V4) for n in (10, 32, 48, 64, 96, 768)] == [16, 32, 48, 64, 48, 64]
    assert choose_nr(N, F32, V4) == 64
    assert choose_nr(64, F64, V4) == 32
    assert choose_nr(64, F32, V3) == 16


@pytest.mark.parametrize(("name", "unit"), [
    ("x86-64-v2", "bytes"), ("x86-64-v3", "madd"), ("alderlake", "avxvnni"), ("skylake-avx512", "madd"),
    ("znver4", "avx512vnni"), ("znver4+vector_bytes=32", "avx512vnni"), ("znver4+vector_bytes=16", "bytes"),
    ("generic", "bytes"), ("aarch64", "bytes"),
])  # fmt: skip
def test_bytes_are_multiplied_by_the_best_unit(name: str, unit: str) -> None:
    cpu = target(name)
    for element in (U8, I8):
        made = list(tiles(element, cpu))
        assert made and {tile.unit for tile in made} == {unit} and not any(refusal(t, element, cpu) for t in made)
        kr = 2 if unit == "madd" else 4
        assert {tile.kr for tile in made} == {kr} and {tile.lanes for tile in made} == {cpu.vector_bytes // 4}
        assert {tile.element(element) for tile in made} == {I16 if unit == "madd" else element}
        sums = unit.endswith("vnni") and element == I8
        assert made[0].panels(element, 2, 3) == Packing("panels", made[0].nr, 2, kr, 3, sums)


@pytest.mark.parametrize("cpu", [V3, V4])
def test_all_tiles_fit_the_registers(cpu: Target) -> None:
    for dtype in (F32, F64):
        made = list(tiles(dtype, cpu))
        assert made and not any(refusal(tile, dtype, cpu) for tile in made)
        assert [t.nr for t in made] == sorted((t.nr for t in made), reverse=True)
        assert [tile_of(t.nr, dtype, cpu) for t in made] == made


def test_no_row_counts_that_are_never_needed() -> None:
    tile = Tile((1, 2, 4, 8), 2, 8)
    assert [tile.at_most(rows).rows for rows in (1, 2, 3, 8, 100)] == [
        (1,), (1, 2), (1, 2, 4), (1, 2, 4, 8), (1, 2, 4, 8)
    ]  # fmt: skip
    assert (tile.mr, tile.nr) == (8, 16)


GOOD = Tile((1, 2, 6), 4, 16)


@pytest.mark.parametrize(("tile", "text"), [
    (replace(GOOD, lanes=8), "a vector has 16 sums of products of f32, not 8"),
    (replace(GOOD, unit="madd"), "products of f32 are computed by fma, not by madd"),
    (replace(GOOD, rows=()), "row counts () by 4 vectors are no tile"),
    (replace(GOOD, rows=(2, 1)), "row counts (2, 1) by 4 vectors are no tile"),
    (replace(GOOD, rows=(1, 1)), "row counts (1, 1) by 4 vectors are no tile"),
    (replace(GOOD, rows=(0, 1)), "row counts (0, 1) by 4 vectors are no tile"),
    (replace(GOOD, vectors=0), "row counts (1, 2, 6) by 0 vectors are no tile"),
    (replace(GOOD, rows=(1, 8)), "needs 37 registers of 32"),
])  # fmt: skip
def test_refusals(tile: Tile, text: str) -> None:
    assert refusal(GOOD, F32, V4) is None
    assert refusal(tile, F32, V4) == text


def test_all_registers_may_be_used() -> None:
    """27 sums, a row of three and an element."""
    assert too_many(9, 3, V4) is None
    assert too_many(10, 3, V4) == "needs 34 registers of 32"
    assert too_many(9, 3, V3) == "needs 31 registers of 16"
