"""Helpers of the printers of products. In: dtypes, vector lengths. Out: C types, the steps of transpositions."""

from __future__ import annotations

from ...scalar.dtype import I8, I16, DType


def element_type(dtype: DType) -> str:
    """C type of operands and accumulators: integers are unsigned, so that overflow wraps, but for narrow operands."""
    if dtype.is_float:
        return {32: "float", 64: "double"}[dtype.bits]
    return f"int{dtype.bits}_t" if dtype in (I8, I16) else f"uint{dtype.bits}_t"


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
