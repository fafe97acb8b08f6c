"""map: a scalar primitive applied to every element."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...scalar import prims
from ...scalar.dtype import DType
from ..conditions import Condition, broadcasts
from ..ir import Array, Node, Signature, Value
from ..tensor import broadcast_shapes
from .common import Attrs, register


def _infer_map(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """map(*xs; prim, [dtype], [text]): broadcasts as numpy does. dtype: the target of casts. text: the error of
    `require`, where its first argument is false."""
    dtype = prims.infer(attrs["prim"], [v.dtype for v in inputs], attrs.get("dtype"))
    return [(broadcast_shapes(*(v.shape for v in inputs)), dtype)]


def _demand_map(node: Node) -> Iterator[Condition]:
    for v in node.inputs:
        yield from broadcasts(v.shape, node.outputs[0].shape)


def _evaluate_map(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    if "text" in attrs and not np.all(arrays[0]):
        raise ValueError(attrs["text"])
    if any(a.dtype == object for a in arrays):
        return [_of_sizes(attrs["prim"], arrays, attrs.get("dtype"))]
    return [prims.evaluate(attrs["prim"], arrays, attrs.get("dtype"))]


def _of_sizes(prim: str, arrays: Sequence[Array], dtype: DType | None) -> Array:
    """A primitive on object arrays of Size; an element is None if an argument is, or if the result is undecidable.

    Raises TypeError for primitives that are not defined for sizes, and if the result has one element, undecidable."""
    if not any(x is None for a in arrays for x in a.flat):
        try:
            return prims.evaluate(prim, arrays, dtype)
        except TypeError:
            if not prims.TABLE[prim].symbolic or all(a.size == 1 for a in arrays):
                raise

    def of_one(*args: Any) -> Any:
        if prim == "select" and isinstance(args[0], (bool, int)):
            return args[1] if args[0] else args[2]
        if any(x is None for x in args):
            return None
        try:
            return prims.evaluate(prim, [np.array(x, object) for x in args], dtype).item()
        except TypeError:
            return None

    return np.asarray(np.frompyfunc(of_one, len(arrays), 1)(*arrays), object)


register("map", _infer_map, _evaluate_map, "prim dtype text", symbolic=True, demands=_demand_map)
