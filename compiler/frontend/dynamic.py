"""Axes, shapes and bounds that are known only when the model runs: arithmetic on symbols that stand for data.

Where a shape-like input is a graph input, its elements become symbols (`registry.shape_arg`). In: such symbols. Out:
sizes that are right for every value, made with min, max, mod and floor division; membership is a Size that is 0 or 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import Unsupported
from ..graph.ir import Value
from ..scalar import prims
from ..scalar.dim import Size, ceil_div, dim_max, dim_min, known_le, mod, prod
from ..scalar.dtype import I64
from .values import scalar

FAR = 1 << 40  # more than any dim
MAX_CASES = 10  # axes of the tensor times axes given


def negative(x: Size) -> Size:
    """1 where x < 0, else 0; |x| must be below FAR."""
    known = known_le(0, x)
    return -(x // FAR) if known is None else 0 if known else 1


def equal(a: Size, b: Size) -> Size:
    """1 where a == b, else 0."""
    return 1 - dim_min(dim_max(a - b, b - a), 1)


def bound(index: Size, low: Size, high: Size, dim: Size) -> Size:
    """A start or end of a slice: counted from the end of `dim` when negative, then clamped to [low, high]."""
    if known_le(0, index) is None:
        index = dim_max(dim_min(index, dim), -dim - 1)
    return dim_max(low, dim_min(index + dim * negative(index), high))


def members(axes: Sequence[Size], rank: int) -> list[Size]:
    """For each axis: 1 if it is one of `axes` (which may be negative, and must be distinct).

    Raises Unsupported for more than the formulas below can be worked out for in reasonable time."""
    if rank * len(axes) > MAX_CASES:
        raise Unsupported("so many axes that are known only when the model runs")
    return [sum((equal(mod(a, rank), i) for a in axes), start=0) for i in range(rank)]


def chosen(at: Size, sizes: Sequence[Size]) -> Size:
    """sizes[at]; 0 where there is none."""
    return sum((equal(at, i) * d for i, d in enumerate(sizes)), start=0)


def dropped(shape: Sequence[Size], gone: Sequence[Size], count: int) -> list[Size]:
    """The shape without the `count` axes whose membership in `gone` is 1."""
    out: list[Size] = [0] * (len(shape) - count)
    place: Size = 0
    for d, m in zip(shape, gone):
        for k in range(len(out)):
            out[k] = out[k] + d * (1 - m) * equal(place, k)
        place = place + 1 - m
    return out


def inserted(shape: Sequence[Size], new: Sequence[Size]) -> list[Size]:
    """The shape with axes of 1 where the membership in `new` is 1."""
    out: list[Size] = []
    place: Size = 0
    for m in new:
        out.append(m + (1 - m) * chosen(place, shape))
        place = place + 1 - m
    return out


def reshaped(shape: Sequence[Size], target: Sequence[Size], allowzero: bool) -> list[Size]:
    """Reshape's target with its 0 (keep the dim) and -1 (what is left) resolved, whatever the symbols are."""
    fixed: list[Size] = []
    free: list[Size] = []
    for i, d in enumerate(target):
        free.append(dim_max(-d, 0))  # nothing below -1 is legal
        kept = equal(d, 0) * shape[i] if not allowzero and i < len(shape) else 0
        fixed.append(dim_max(d, 0) + kept)
    left = prod(shape) // dim_max(prod(f + u for f, u in zip(fixed, free)), 1)
    return [f + u * left for f, u in zip(fixed, free)]


def reduced(x: Value, kind: str, gone: Sequence[Size]) -> Value:
    """x combined over the axes whose membership is 1, which stay as dims of 1."""
    neutral = prims.TABLE[kind].identity
    assert neutral is not None
    start = scalar(neutral(x.dtype), x.dtype).broadcast(*(d + m * (1 - d) for d, m in zip(x.shape, gone)))
    index = []
    for axis, m in enumerate(gone):
        i = start.emit("iota", [], shape=x.shape, axis=axis, dtype=I64)[0]
        index.append(i * i.const_size(1 - m))
    return start.emit("scatter", [start, x, *index], axes=tuple(range(x.rank)), combine=kind)[0]


def strided(x: Value, axis: int, start: Size, end: Size, step: Size) -> Value:
    """A slice of one axis whose step is not known: neither its size nor its sign."""
    dim = x.shape[axis]
    down = negative(step)
    first = (1 - down) * bound(start, 0, dim, dim) + down * bound(start, dim_min(0, dim - 1), dim - 1, dim)
    last = (1 - down) * bound(end, 0, dim, dim) + down * bound(end, -1, dim - 1, dim)
    count = (1 - down) * ceil_div(last - first, dim_max(step, 1)) + down * ceil_div(first - last, dim_max(-step, 1))
    i = x.emit("iota", [], shape=(dim_max(count, 0),), axis=0, dtype=I64)[0]
    return x.take(i * i.const_size(step) + i.const_size(first), axis)
