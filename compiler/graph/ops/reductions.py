"""Operations that combine elements along axes: reduce, argreduce, scan.

They combine by any primitive with a neutral element. For floats, the order of combination is unspecified.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...scalar import prims
from ...scalar.dim import prod
from ...scalar.dtype import I64, DType
from ..conditions import Condition, at_most
from ..ir import Array, Node, Signature, Trait, Value, dtype_of
from .common import Attrs, check, check_axes, check_count, register, without


def _check_kind(name: str, kind: str, dtype: DType) -> None:
    prim = prims.TABLE.get(kind)
    check(prim is not None and prim.identity is not None, "{}: '{}' does not combine values", name, kind)
    prims.infer(kind, [dtype, dtype])


def _infer_reduce(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """reduce(x; kind, axes): combines along axes, which are dropped; the neutral element if there are no elements."""
    check_count("reduce", inputs, 1)
    x, axes = inputs[0], attrs["axes"]
    check_axes("reduce", axes, x.rank)
    _check_kind("reduce", attrs["kind"], x.dtype)
    return [(without(x.shape, axes), x.dtype)]


def _identity(kind: str, dtype: DType) -> Array:
    neutral = prims.TABLE[kind].identity
    assert neutral is not None
    return np.asarray(neutral(dtype), dtype.to_numpy())


def _evaluate_reduce(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    x, kind = arrays[0], attrs["kind"]
    dtype = I64 if x.dtype == object else dtype_of(x)
    kept = [i for i in range(x.ndim) if i not in attrs["axes"]]
    shape = [x.shape[i] for i in kept]
    # Elements are combined pairwise, halving the rows: exact enough for f32, and fast in numpy.
    if not x.size:
        return [np.broadcast_to(_identity(kind, dtype), shape)]
    rows = x.transpose(*attrs["axes"], *kept).reshape(-1, *shape)
    if x.dtype != object:
        rows = rows.astype(dtype.compute.to_numpy())
    while len(rows) > 1:
        half = len(rows) // 2
        combined = prims.evaluate(kind, [rows[:half], rows[half : 2 * half]])
        rows = np.concatenate([combined, rows[2 * half :]])
    return [np.asarray(rows[0], x.dtype)]


register("reduce", _infer_reduce, _evaluate_reduce, "kind axes", symbolic=True)


def _infer_argreduce(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """argreduce(x; kind, axis, last): i64 position of the "max" or "min" along an axis, which is dropped.

    The first of equal elements, or the last; a NaN wins over everything."""
    check_count("argreduce", inputs, 1)
    x = inputs[0]
    check_axes("argreduce", [attrs["axis"]], x.rank)
    check(attrs["kind"] in ("max", "min"), "argreduce: unknown kind '{}'", attrs["kind"])
    return [(without(x.shape, [attrs["axis"]]), I64)]


def _demand_argreduce(node: Node) -> Iterator[Condition]:
    size = node.inputs[0].shape[node.attrs["axis"]]
    yield from at_most(1, size, "the position of an extreme value of nothing", of=prod(node.outputs[0].shape))


def _evaluate_argreduce(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    x, axis = arrays[0], attrs["axis"]
    x = x.astype(dtype_of(x).compute.to_numpy())
    best = np.argmax if attrs["kind"] == "max" else np.argmin
    if attrs["last"]:
        return [np.asarray(x.shape[axis] - 1 - best(np.flip(x, axis), axis), np.int64)]
    return [np.asarray(best(x, axis), np.int64)]


register("argreduce", _infer_argreduce, _evaluate_argreduce, "kind axis last", demands=_demand_argreduce)


def _infer_scan(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """scan(x; kind, axis, exclusive, reverse): the prefix scan along an axis.

    exclusive: without the element itself (the first one gets the neutral element); reverse: from the end."""
    check_count("scan", inputs, 1)
    x = inputs[0]
    check_axes("scan", [attrs["axis"]], x.rank)
    _check_kind("scan", attrs["kind"], x.dtype)
    return [(x.shape, x.dtype)]


def _evaluate_scan(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    dtype = dtype_of(arrays[0])
    x = np.moveaxis(arrays[0], attrs["axis"], 0).astype(dtype.compute.to_numpy())
    if attrs["reverse"]:
        x = np.flip(x, 0)
    if attrs["exclusive"] and len(x):
        first = np.broadcast_to(_identity(attrs["kind"], dtype).astype(x.dtype), (1, *x.shape[1:]))
        x = np.concatenate([first, x[:-1]])
    step = 1
    while step < len(x):  # Hillis and Steele, "Data parallel algorithms", 1986
        x = np.concatenate([x[:step], prims.evaluate(attrs["kind"], [x[:-step], x[step:]])])
        step *= 2
    if attrs["reverse"]:
        x = np.flip(x, 0)
    return [np.moveaxis(x, 0, attrs["axis"]).astype(dtype.to_numpy())]


register("scan", _infer_scan, _evaluate_scan, "kind axis exclusive reverse", traits=Trait.HEAVY)
