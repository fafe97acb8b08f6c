"""ONNX operators whose results are as long as the data says: NonZero, Compress, Unique.

In: values and attributes of a node. Out: values, one dim of which is a symbol bound when the model runs.
"""

from __future__ import annotations

from ...graph.ir import Value
from ...scalar.dim import Size, dim_min, prod
from ...scalar.dtype import BOOL, I64
from ..registry import onnx_op
from ..values import bound, scalar
from .index import iota


def chosen(mask: Value) -> Value:
    """The positions at which a 1-D bool tensor is true, ascending; their number is a symbol of its own.

    Each position is written where a running count puts it; those that are not chosen go to one place behind the end."""
    length = mask.shape[0]
    ones = mask.cast(I64)
    place = ones.emit("scan", [ones], kind="add", axis=0, exclusive=True, reverse=False)[0]
    place = mask.select(place, place.const_size(length))
    room = scalar(0, I64).broadcast(length + 1)
    written = room.emit("scatter", [room, iota(mask.shape, 0, ones), place], axes=(0,), combine=None)[0]
    return written.narrow(0, 0, bound(ones.sum(), upper=length))


def _is_set(x: Value) -> Value:
    return x if x.dtype == BOOL else x.map("ne", x.const(0))


@onnx_op("NonZero", since=9)
def nonzero(x: Value) -> Value:
    """[rank, n]; a scalar counts as a tensor of one element."""
    shape = x.shape or (1,)
    position = chosen(_is_set(x).reshape(prod(shape)))
    rows: list[Value] = []
    inner: Size = 1
    for d in reversed(shape):
        row = position.map("div", position.const_size(inner)).map("mod", position.const_size(d))
        rows.insert(0, row.unsqueeze(0))
        inner = inner * d
    return rows[0].emit("concat", rows, axis=0)[0] if len(rows) > 1 else rows[0]


@onnx_op("Compress", since=9)
def compress(x: Value, condition: Value, *, axis: int | None = None) -> Value:
    """The condition may be shorter than the axis, or longer: the surplus is ignored."""
    if axis is None:
        x, axis = x.reshape(prod(x.shape)), 0
    if condition.rank != 1:
        raise ValueError(f"a condition of rank {condition.rank}")
    given = condition.narrow(0, 0, dim_min(condition.shape[0], x.shape[x.axis(axis)]))
    return x.take(chosen(given), axis)


@onnx_op("Unique", since=11)
def unique(x: Value, *, axis: int | None = None, sorted: int = 1) -> tuple[Value, ...]:
    """The distinct slices along an axis, the first place of each, which one each slice is, and how often it occurs."""
    if axis is None:
        x, axis = x.reshape(prod(x.shape)), 0
    axis, count = x.axis(axis), x.shape[x.axis(axis)]
    first, below = _compared(x.moveaxis(axis, 0).reshape(count, prod(x.shape) // count if x.rank > 1 else 1))
    place = iota((count,), 0, first)
    leads = first.map("eq", place)  # whether a slice is the first of its kind
    order = place.map("lt", place.unsqueeze(1)) if not sorted else below  # [i, j]: j comes before i
    rank = order.map("and", leads.unsqueeze(0)).cast(I64).sum(1)  # of each slice among the distinct ones
    at = chosen(leads)
    many = at.shape[0]
    target = scalar(0, I64).broadcast(many)
    slot = rank.take(at, 0)
    index = target.emit("scatter", [target, at, slot], axes=(0,), combine=None)[0]
    which = rank.take(first, 0)
    counts = target.emit("scatter", [target, scalar(1, I64).broadcast(count), which], axes=(0,), combine="add")[0]
    return x.take(index, axis), index, which, counts


def _compared(rows: Value) -> tuple[Value, Value]:
    """For each row of [n, k] the first row that equals it, and [i, j]: whether row j comes before row i in order.

    As in numpy, NaN equals NaN and comes last. All pairs are compared: n * n * k steps."""
    n, k = rows.shape
    a, b = rows.unsqueeze(1), rows.unsqueeze(0)
    differ, less = a.map("ne", b), b < a
    if rows.dtype.is_float:
        nan, other = a.map("isnan"), b.map("isnan")
        differ = differ.map("and", nan.map("and", other).map("not"))
        less = less.map("or", nan.map("and", other.map("not")))
    place = iota((1, 1, k), 2, scalar(0, I64))
    column = differ.select(place, place.const_size(k)).min(2)  # the first in which two rows differ
    same = column.map("eq", column.const_size(k))
    at_column = place.map("eq", column.unsqueeze(2))
    below = at_column.map("and", less).reduce("or", 2)
    other = iota((1, n), 1, column)
    return same.select(other, other.const_size(n)).min(1), below
