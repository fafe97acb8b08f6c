"""Axes, shapes and bounds that are known only when the model runs: arithmetic on symbols that stand for data.

The elements of a shape-like input become symbols (`values.shape_arg`). In: such symbols. Out: sizes that are right for
every value, made with min, max, mod and floor division. The membership of an axis is a Size that is 0 or 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import Unsupported
from ..graph.ir import Value
from ..scalar import prims
from ..scalar.dim import LEAST, Size, ceil_div, dim_eq, dim_max, dim_min, known_le, mod, prod, symbols
from ..scalar.dtype import I64
from .values import demanded, scalar

FAR = 1 << 40  # more than any dim
MAX_CASES = 10  # rank of the tensor times the number of given axes


def near(x: Size) -> Size:
    """x clamped to [-FAR, FAR], which changes no slice: sums with it do not overflow."""
    return dim_max(dim_min(x, FAR), -FAR)


def summable(x: Value, *given: Size) -> Value:
    """x, with checks that no difference of two of the given numbers overflows; dims are never so large."""
    most = (1 << 62) - 1
    for v in given:
        if isinstance(v, int) or any(s.lower <= LEAST for s in symbols(v)):
            x = demanded(x, dim_max(dim_min(v, most), -most), v, "a number is so large that differences overflow")
    return x


def negative(x: Size) -> Size:
    """1 where x < 0, else 0."""
    known = known_le(0, x)
    return -dim_max(dim_min(x, 0), -1) if known is None else 0 if known else 1


def bound(index: Size, low: Size, high: Size, dim: Size) -> Size:
    """A start or end of a slice: counted from the end of `dim` when negative, then at least `low`, at most `high`."""
    if isinstance(index, int) and abs(index) >= FAR:
        return high if index > 0 else dim_min(low, high)
    if known_le(0, index) is None:
        index = dim_max(dim_min(index, dim), -dim - 1)
    return dim_min(dim_max(index + dim * negative(index), low), high)


def members(axes: Sequence[Size], rank: int) -> list[Size]:
    """For each axis, how many of `axes` (which may count from the end) name it.

    Raises Unsupported where the formulas would become too large."""
    if rank * len(axes) > MAX_CASES:
        raise Unsupported("so many axes that are known only when the model runs")
    return [sum((dim_eq(mod(a, rank), i) for a in axes), start=0) for i in range(rank)]


def in_range(x: Value, axes: Sequence[Size], rank: int) -> Value:
    """x, with checks that the axes are in range for `rank`."""
    for a in axes:
        x = demanded(x, dim_max(dim_min(a, rank - 1), -rank), a, f"an axis is out of range for rank {rank}")
    return x


def distinct(x: Value, axes: Sequence[Size], rank: int) -> Value:
    """x, with checks that the axes are in range for `rank` and distinct."""
    places = [mod(a, rank) for a in axes]
    for i, a in enumerate(places):
        for b in places[:i]:
            x = demanded(x, dim_eq(a, b), 0, "an axis is given twice")
    return in_range(x, axes, rank)


def dropped(shape: Sequence[Size], gone: Sequence[Size], count: int) -> list[Size]:
    """The shape without the `count` axes whose membership, in `gone`, is 1."""
    out: list[Size] = [0] * (len(shape) - count)
    place: Size = 0
    for d, m in zip(shape, gone):
        for k in range(len(out)):
            out[k] = out[k] + d * (1 - m) * dim_eq(place, k)
        place = place + 1 - m
    return out


def reshaped(x: Value, target: Sequence[Size], allowzero: bool) -> Value:
    """Reshape with 0 (keep the dim) and -1 (infer the dim) resolved for every value of the target's symbols."""
    fixed: list[Size] = []
    free: list[Size] = []
    for i, d in enumerate(target):
        free.append(dim_max(-d, 0))
        kept = dim_eq(d, 0) * x.shape[i] if not allowzero and i < x.rank else 0
        fixed.append(dim_max(d, 0) + kept)
    if not allowzero:
        zeros = sum((dim_eq(d, 0) for d in target[x.rank :]), start=0)
        x = demanded(x, zeros, 0, "a shape that keeps a dim which the input has not")
    many = sum(free, start=0)
    rest = prod(f + u for f, u in zip(fixed, free))
    x = demanded(x, dim_max(many, 1), 1, "a shape with a number below -1, or several that are -1")
    x = demanded(x, many * (1 - dim_min(rest, 1)), 0, "a shape with -1 beside dims without elements")
    left = prod(x.shape) // dim_max(rest, 1)
    return x.reshape(*(f + u * left for f, u in zip(fixed, free)))


def reduced(x: Value, kind: str, gone: Sequence[Size]) -> Value:
    """x reduced over the axes whose membership, in `gone`, is 1; they stay as dims of 1."""
    neutral = prims.TABLE[kind].identity
    assert neutral is not None
    start = scalar(neutral(x.dtype), x.dtype).broadcast(*(d + m * (1 - d) for d, m in zip(x.shape, gone)))
    index = []
    for axis, m in enumerate(gone):
        i = start.emit("iota", [], shape=x.shape, axis=axis, dtype=I64)[0]
        index.append(i * i.const_size(1 - m))
    return start.emit("scatter", [start, x, *index], axes=tuple(range(x.rank)), combine=kind)[0]


def strided(x: Value, axis: int, start: Size, end: Size, step: Size) -> Value:
    """A slice of one axis by a step of unknown size and sign."""
    dim = x.shape[axis]
    x = demanded(x, dim_min(dim_max(step, -step), 1), 1, "'step' value cannot be 0")
    step = dim_max(dim_min(step, dim + 1), -dim - 1)  # larger steps also take one element
    down = negative(step)
    first = (1 - down) * bound(start, 0, dim, dim) + down * bound(start, dim_min(0, dim - 1), dim - 1, dim)
    last = (1 - down) * bound(end, 0, dim, dim) + down * bound(end, -1, dim - 1, dim)
    count = (1 - down) * ceil_div(last - first, dim_max(step, 1)) + down * ceil_div(first - last, dim_max(-step, 1))
    i = x.emit("iota", [], shape=(dim_max(count, 0),), axis=0, dtype=I64)[0]
    return x.take(i * i.const_size(step) + i.const_size(first), axis)
