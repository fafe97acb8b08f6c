"""map: a scalar primitive at every element."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...scalar import prims
from ..conditions import Condition, broadcasts
from ..ir import Array, Node, Signature, Value
from ..tensor import broadcast_shapes
from .common import Attrs, register


def _infer_map(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """map(*xs; prim, [dtype], [text]): broadcasts as numpy does. dtype: the target of casts. text, of `require`:
    what is wrong where its first argument is false."""
    dtype = prims.infer(attrs["prim"], [v.dtype for v in inputs], attrs.get("dtype"))
    return [(broadcast_shapes(*(v.shape for v in inputs)), dtype)]


def _demand_map(node: Node) -> Iterator[Condition]:
    for v in node.inputs:
        yield from broadcasts(v.shape, node.outputs[0].shape)


def _evaluate_map(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    if "text" in attrs and not np.all(arrays[0]):
        raise ValueError(attrs["text"])
    return [prims.evaluate(attrs["prim"], arrays, attrs.get("dtype"))]


register("map", _infer_map, _evaluate_map, "prim dtype text", symbolic=True, demands=_demand_map)
