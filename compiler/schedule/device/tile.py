"""Tiles on an accelerator: their lengths, which are powers of two, and the warps that work on them."""

from __future__ import annotations

from ...scalar.dim import Size, upper_bound

MIN_DOT = 16  # the shortest axis of a product on matrix units
PROGRAMS = 128  # which fill an accelerator
_ELEMENTS_OF_A_WARP = 512  # 16 for each thread
_WARPS = 8  # at most


def power_of_two(size: int) -> int:
    """The least power of two that is not below `size`."""
    return 1 << max(size - 1, 0).bit_length()


def tile_length(size: Size, most: int) -> int:
    """The length of a tile for a loop of `size`: that of the whole loop if it is known to fit, else `most`."""
    bound = upper_bound(size)
    return most if bound is None else min(most, power_of_two(max(bound, 1)))


def warps_of(elements: int) -> int:
    """The number of warps for tiles of that many elements."""
    return max(1, min(_WARPS, power_of_two(elements) // _ELEMENTS_OF_A_WARP))
