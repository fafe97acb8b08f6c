"""Helpers of the printers of products. In: dtypes, tiles. Out: C types, steps of transpositions, sizes of scratch."""

from __future__ import annotations

from dataclasses import dataclass

from ...scalar.dim import Size, ceil_div
from ...scalar.dtype import I8, I16, DType
from ...schedule.tile import Tile
from .holes import Holes

_STEP, _PART = 32, 2  # elements of K that tiles take at once; bytes of a part


def element_type(dtype: DType) -> str:
    """C type of operands and accumulators: integers are unsigned, so that overflow wraps, but for narrow operands."""
    if dtype.is_float:
        return {32: "float", 64: "double"}[dtype.bits]
    return f"int{dtype.bits}_t" if dtype in (I8, I16) else f"uint{dtype.bits}_t"


@dataclass(frozen=True, slots=True)
class Scratch:
    """The scratch of a product: `copied` bytes, then, for a tile that cuts panels, a panel of B of `runs` runs of
    `depth` elements of K, cut into those (templates/c/micro/parts.h.j2)."""

    tile: Tile
    copied: Size
    runs: Size
    depth: Size

    @property
    def _start(self) -> Size:
        return ceil_div(self.copied, 64) * 64

    @property
    def _cut(self) -> Size:
        return self.runs * ceil_div(self.depth, _STEP) * (_STEP * self.tile.nr * _PART * self.tile.parts[1])

    @property
    def bytes(self) -> Size:
        return self._start + self._cut if self.tile.cut else self.copied

    def parts(self, holes: Holes) -> dict[str, str] | None:
        """Where the cut panel lies, in bytes, for templates; None if there is none."""
        return {"start": holes.size(self._start), "bytes": holes.size(self._cut)} if self.tile.cut else None


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
