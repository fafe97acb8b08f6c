"""Helpers of the printers of products. In: dtypes, vector lengths. Out: C types, the steps of transpositions."""

from __future__ import annotations

from ...scalar.dtype import DType


def element_type(acc: DType) -> str:
    """C type of panels and accumulators: integers are unsigned, so that overflow wraps."""
    if acc.is_float:
        return {32: "float", 64: "double"}[acc.bits]
    return f"uint{acc.bits}_t"


def transpose_steps(lanes: int) -> list[dict[str, int | str]]:
    """For each block size of a transposition, the lanes of (a, b) that form the new a and b (transpose.h.j2)."""
    steps: list[dict[str, int | str]] = []
    size = 1
    while size < lanes:
        low = [lanes + lane - size if lane & size else lane for lane in range(lanes)]
        high = [lanes + lane if lane & size else lane + size for lane in range(lanes)]
        steps.append({"size": size, "low": ", ".join(map(str, low)), "high": ", ".join(map(str, high))})
        size *= 2
    return steps
