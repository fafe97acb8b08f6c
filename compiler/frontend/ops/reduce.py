"""ONNX operators that reduce or accumulate along axes, and the softmax family.

In: values and attributes of a node. Out: values. Axes are attributes in older opsets, inputs in newer ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...graph.ir import Value
from ...scalar.dim import Size, known_lt, prod
from ...scalar.dtype import BOOL, F64, I64
from .. import dynamic
from ..registry import in_compute_type, onnx_op
from ..values import fold, shape_arg


@dataclass(frozen=True, slots=True)
class _Axes:
    """The axes of a reduction: constant, or, if known only when the model runs, by the membership (0 or 1) of each."""

    axes: tuple[int, ...]
    gone: tuple[Size, ...] | None = None

    def fold(self, x: Value, kind: str, keepdims: bool = True) -> Value:
        """x reduced over the axes; axes that are not constant are always kept."""
        return x.reduce(kind, self.axes, keepdims) if self.gone is None else dynamic.reduced(x, kind, self.gone)

    def count(self, x: Value) -> Value:
        """The number of elements reduced to one, in the dtype of x."""
        gone = self.gone or [1 if a in self.axes else 0 for a in range(x.rank)]
        return x.const_size(prod(1 + m * (d - 1) for d, m in zip(x.shape, gone)))

    def drop(self, y: Value, count: int) -> Value:
        """y without the reduced axes, which `fold` kept if they are not constant. count: their number."""
        return y if self.gone is None else y.reshape(*dynamic.dropped(y.shape, self.gone, count))


Reduce = Callable[[Value, _Axes, bool], Value]


def _extremum(kind: str) -> Reduce:
    def reduce(x: Value, axes: _Axes, keep: bool) -> Value:
        if x.dtype == BOOL:
            return axes.fold(x, "or" if kind == "max" else "and", keep)
        return axes.fold(x, kind, keep)

    return reduce


def _log_sum_exp(x: Value, axes: _Axes, keep: bool) -> Value:
    """log(sum(exp(x - max))) + max; an infinite maximum is not subtracted, as inf - inf is NaN."""
    top = axes.fold(x, "max")
    top = top.map("isinf").select(0, top)
    total = axes.fold((x - top).exp(), "add").log() + top
    return total if keep or axes.gone is not None else total.squeeze(*axes.axes)


def _mean(x: Value, axes: _Axes, keep: bool) -> Value:
    """Sum over count; for integers it is exact, rounded toward zero."""
    if not x.dtype.is_integer or x.dtype.bits < 64:
        wide = x.cast(I64) if x.dtype.is_integer else x
        return (axes.fold(wide, "add", keep) / axes.count(wide)).cast(x.dtype)
    # The sum may overflow: quotients and remainders by the count are summed instead.
    count = axes.count(x)
    quotient = x.map("floordiv", count)
    rest = axes.fold(x - quotient * count, "add", keep)
    floor = axes.fold(quotient, "add", keep) + rest.map("floordiv", count)
    inexact = rest.map("mod", count).map("ne", 0)
    return (floor < 0).map("and", inexact).select(floor + 1, floor)


def _real(reduce: Reduce) -> Reduce:
    """A reduction with a real result: for integers it is computed in f64 and rounded toward zero."""

    def through_f64(x: Value, axes: _Axes, keep: bool) -> Value:
        return reduce(x.cast(F64) if x.dtype.is_integer else x, axes, keep).cast(x.dtype)

    return through_f64


_REDUCTIONS: dict[str, Reduce] = {
    "ReduceSum": lambda x, axes, keep: axes.fold(x, "add", keep),
    "ReduceProd": lambda x, axes, keep: axes.fold(x, "mul", keep),
    "ReduceMax": _extremum("max"),
    "ReduceMin": _extremum("min"),
    "ReduceMean": _mean,
    "ReduceL1": lambda x, axes, keep: axes.fold(x.map("abs"), "add", keep),
    "ReduceL2": _real(lambda x, axes, keep: axes.fold(x.square(), "add", keep).sqrt()),
    "ReduceSumSquare": lambda x, axes, keep: axes.fold(x.square(), "add", keep),
    "ReduceLogSum": _real(lambda x, axes, keep: axes.fold(x, "add", keep).log()),
    "ReduceLogSumExp": _real(_log_sum_exp),
}


def _register(op: str, reduce: Reduce, axes_input_since: int) -> None:
    reduce = reduce if op in ("ReduceMax", "ReduceMin") else in_compute_type(reduce)

    def constant(x: Value, axes: Sequence[int], keepdims: int) -> Value:
        return reduce(x, _Axes(tuple(x.axis(a) for a in axes)), bool(keepdims))

    @onnx_op(op)
    def by_attribute(x: Value, *, axes: list[int] | None = None, keepdims: int = 1) -> Value:
        return constant(x, axes or range(x.rank), keepdims)

    @onnx_op(op, since=axes_input_since)
    def by_input(x: Value, axes: Value | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Value:
        if axes is not None and axes.rank != 1:
            raise ValueError("An axes tensor must be a vector tensor.")
        input_axes = () if axes is None else shape_arg(axes, "axes")
        if not all(isinstance(a, int) for a in input_axes):
            where = _Axes((), tuple(dynamic.members(input_axes, x.rank)))
            y = reduce(dynamic.distinct(x, input_axes, x.rank), where, True)
            return y if keepdims else where.drop(y, len(input_axes))
        if not input_axes and noop_with_empty_axes:  # reduces over no axes; the rest of the operator still applies
            return constant(x, (), 1)
        return constant(x, input_axes or range(x.rank), keepdims)  # type: ignore[arg-type]


for _op, _reduce in _REDUCTIONS.items():
    _register(_op, _reduce, 13 if _op == "ReduceSum" else 18)


def _arg_extremum(x: Value, kind: str, axis: int, keepdims: int, last: int) -> Value:
    axis = x.axis(axis)
    index = x.emit("argreduce", [x], kind=kind, axis=axis, last=bool(last))[0]
    return index.unsqueeze(axis) if keepdims else index


@onnx_op("ArgMax")
def arg_max(x: Value, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Value:
    return _arg_extremum(x, "max", axis, keepdims, select_last_index)


@onnx_op("ArgMin")
def arg_min(x: Value, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Value:
    return _arg_extremum(x, "min", axis, keepdims, select_last_index)


def _scan(x: Value, kind: str, axis: Value, exclusive: int, reverse: int) -> Value:
    def along(a: int) -> Value:
        attrs = {"axis": a, "exclusive": bool(exclusive), "reverse": bool(reverse)}
        return x.emit("scan", [x], kind=kind, **attrs)[0]

    constant = fold(axis)
    if constant is not None:
        return along(x.axis(int(constant.reshape(-1)[0])))
    x = dynamic.in_range(x, shape_arg(axis.reshape(1), "axis"), x.rank)
    where = axis.reshape().wrap_index(x.rank)  # known only when the model runs: scans along all axes, and selects
    y = along(0)
    for a in range(1, x.rank):
        y = where.map("eq", a).select(along(a), y)
    return y


@onnx_op("CumSum", since=11)
def cum_sum(x: Value, axis: Value, *, exclusive: int = 0, reverse: int = 0) -> Value:
    return _scan(x, "add", axis, exclusive, reverse)


@onnx_op("CumProd", since=26)
def cum_prod(x: Value, axis: Value, *, exclusive: int = 0, reverse: int = 0) -> Value:
    return _scan(x, "mul", axis, exclusive, reverse)


# -- softmax ---------------------------------------------------------------------------------------------------------


@onnx_op("Softmax", since=13)
@in_compute_type
def softmax(x: Value, *, axis: int = -1) -> Value:
    e = (x - x.max(axis, keepdims=True)).exp()
    return e / e.sum(axis, keepdims=True)


@onnx_op("LogSoftmax", since=13)
@in_compute_type
def log_softmax(x: Value, *, axis: int = -1) -> Value:
    shifted = x - x.max(axis, keepdims=True)
    return shifted - shifted.exp().sum(axis, keepdims=True).log()


@onnx_op("Hardmax", since=13)
def hardmax(x: Value, *, axis: int = -1) -> Value:
    axis = x.axis(axis)
    some = x
    if not known_lt(0, x.shape[axis]):  # argreduce needs an element
        some = x.pad([0] * x.rank, [int(i == axis) for i in range(x.rank)], -math.inf)
    first = _arg_extremum(some, "max", axis, keepdims=1, last=0)
    index = x.emit("iota", [], shape=x.shape, axis=axis, dtype=first.dtype)[0]
    return index.map("eq", first).cast(x.dtype)


def flattened(build: Callable[..., Value]) -> Callable[..., Value]:
    """The form of opsets below 13, over all axes from `axis` on, flattened."""

    def legacy(x: Value, *, axis: int = 1) -> Value:
        flat = x.flatten(x.axis(axis)) if x.rank else x.reshape(1, 1)
        return build(flat, axis=1).reshape(*x.shape)

    return legacy


onnx_op("Softmax")(flattened(softmax))
onnx_op("LogSoftmax")(flattened(log_softmax))
onnx_op("Hardmax")(flattened(hardmax))


@onnx_op("LpNormalization")
@in_compute_type
def lp_normalization(x: Value, *, axis: int = -1, p: int = 2) -> Value:
    norm = x.map("abs").sum(axis, keepdims=True) if p == 1 else x.square().sum(axis, keepdims=True).sqrt()
    return norm.map("eq", 0).select(0, x / norm)
