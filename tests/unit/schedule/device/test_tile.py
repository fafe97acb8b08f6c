"""Lengths of tiles: powers of two, no longer than what is known."""

from __future__ import annotations

from intaglio.compiler.scalar.dim import Symbol, dim_min
from intaglio.compiler.schedule.device.tile import power_of_two, tile_length, warps_of

N = Symbol("n")


def test_powers_of_two() -> None:
    assert [power_of_two(n) for n in (0, 1, 2, 3, 4, 5, 1000)] == [1, 1, 2, 4, 4, 8, 1024]


def test_all_of_a_loop_where_it_is_known_to_fit() -> None:
    assert [tile_length(n, 64) for n in (0, 1, 5, 64, 65)] == [1, 1, 8, 64, 64]
    assert tile_length(N, 64) == 64
    assert tile_length(dim_min(N, 5), 64) == 8


def test_warps() -> None:
    assert [warps_of(n) for n in (1, 512, 1024, 2048, 10**6)] == [1, 1, 2, 4, 8]
