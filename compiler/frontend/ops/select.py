"""ONNX operators whose result sizes depend on data: NonZero, Compress, Unique.

In: values and attributes of a node. Out: values, one dim of which is a symbol bound when the model runs.
"""

from __future__ import annotations

from ...graph.ir import Value
from ...scalar.dim import Size, dim_min, prod
from ...scalar.dtype import BOOL, I64, STRING
from ..registry import onnx_op
from ..values import bound, scalar
from .text import ranked


def true_positions(mask: Value) -> Value:
    """The positions at which a 1-D bool tensor is true, ascending; their number is a new symbol."""
    places, count = mask.emit("nonzero", [mask])
    return places.narrow(0, 0, bound(count, upper=mask.shape[0]))


def prefix_sum(x: Value, exclusive: bool) -> Value:
    """The prefix sums (i64) of a vector of integers or bools; an exclusive one leaves out the element itself."""
    wide = x.cast(I64)
    return wide.emit("scan", [wide], kind="add", axis=0, exclusive=exclusive, reverse=False)[0]


def scatter(x: Value, updates: Value, places: Value, combine: str | None = None) -> Value:
    """The vector x with the elements at `places` replaced by `updates`, or combined with them."""
    return x.emit("scatter", [x, updates, places], axes=(0,), combine=combine)[0]


def _is_set(x: Value) -> Value:
    return x if x.dtype == BOOL else x.map("ne", x.const(0))


@onnx_op("NonZero", since=9)
def nonzero(x: Value) -> Value:
    """[rank, n]; a scalar counts as a tensor of one element."""
    shape = x.shape or (1,)
    position = true_positions(_is_set(x).reshape(prod(shape)))
    rows: list[Value] = []
    inner: Size = 1
    for d in reversed(shape):
        row = position.map("div", position.const_size(inner)).map("mod", position.const_size(d))
        rows.insert(0, row.unsqueeze(0))
        inner = inner * d
    return rows[0].emit("concat", rows, axis=0)[0] if len(rows) > 1 else rows[0]


@onnx_op("Compress", since=9)
def compress(x: Value, condition: Value, *, axis: int | None = None) -> Value:
    """A condition shorter than the axis drops the other slices; the surplus of a longer one is ignored."""
    if axis is None:
        x, axis = x.reshape(prod(x.shape)), 0
    if condition.rank != 1:
        raise ValueError(f"a condition of rank {condition.rank}")
    mask = condition.narrow(0, 0, dim_min(condition.shape[0], x.shape[x.axis(axis)]))
    return x.take(true_positions(mask), axis)


@onnx_op("Unique", since=11)
def unique(x: Value, *, axis: int | None = None, sorted: int = 1) -> tuple[Value, ...]:
    """The distinct slices along an axis, the first position of each, the inverse indices, and the counts.

    As in numpy, NaN equals NaN and comes last."""
    if axis is None:
        x, axis = x.reshape(prod(x.shape)), 0
    axis = x.axis(axis)
    count, *rest = x.moveaxis(axis, 0).shape
    rows = x.moveaxis(axis, 0).reshape(count, prod(rest))
    keys = ranked(rows) if x.dtype == STRING else rows
    order, begins = keys.emit("sort_rows", [keys])
    first = order.take(true_positions(begins), 0)  # position of each group of equal slices
    group = prefix_sum(begins, exclusive=False) - 1  # of each slice, sorted
    zeros = scalar(0, I64).broadcast(first.shape[0])
    if not sorted:  # groups are numbered by their first positions
        leads = scatter(scalar(False, BOOL).broadcast(count), scalar(True, BOOL).broadcast(*first.shape), first)
        number = prefix_sum(leads, exclusive=True).take(first, 0)
        first, group = scatter(zeros, first, number), number.take(group, 0)
    which = scatter(scalar(0, I64).broadcast(count), group, order)
    counts = scatter(zeros, scalar(1, I64).broadcast(count), which, "add")
    return x.take(first, axis), first, which, counts
