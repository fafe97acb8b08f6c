"""Lengths of tiles on an accelerator, which are powers of two, and how many threads work on them."""

from __future__ import annotations

from ...scalar.dim import Size, upper_bound

LEAST = 16  # length of the axes of a product on matrix units
PROGRAMS = 128  # that fill an accelerator
_ELEMENTS_OF_A_WARP = 512  # 16 for each thread
_WARPS = 8


def power_of_two(size: int) -> int:
    """The least one that is not below `size`."""
    return 1 << max(size - 1, 0).bit_length()


def tile_length(size: Size, most: int) -> int:
    """The length of a tile for a loop of `size`: all of it where it is known to fit."""
    bound = upper_bound(size)
    return most if bound is None else min(most, power_of_two(max(bound, 1)))


def warps_of(elements: int) -> int:
    """Warps for tiles of that many elements."""
    return max(1, min(_WARPS, power_of_two(elements) // _ELEMENTS_OF_A_WARP))
