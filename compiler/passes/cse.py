"""Common sub-expression elimination: equal operations on the same values become one.

In: any graph. Out: the same graph without repetitions. Small constants are compared by contents, others by address.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..graph.ir import Array, Graph, Node, Value, rewrite

_BY_CONTENTS = 4096  # bytes of a constant up to which it is compared by contents


def run(graph: Graph) -> Graph:
    seen: dict[Any, Sequence[Value]] = {}

    def rule(node: Node) -> Sequence[Value] | None:
        if node.op.name == "input":
            return None
        key = (node.op.name, node.inputs, tuple(sorted((k, _key(v)) for k, v in node.attrs.items())))
        first = seen.setdefault(key, node.outputs)
        return None if first is node.outputs else first

    return rewrite(graph, rule)


def _key(attr: Any) -> Any:
    """A hashable key for an attribute; floats by their text, so that zeros of different signs differ."""
    if isinstance(attr, np.ndarray):
        return _array_key(attr)
    if isinstance(attr, tuple):
        return tuple(_key(a) for a in attr)
    return (type(attr).__name__, repr(attr) if isinstance(attr, float) else attr)


def _array_key(array: Array) -> Any:
    kind = (array.dtype.name, array.shape)
    if array.nbytes <= _BY_CONTENTS and array.dtype != object:
        return (*kind, array.tobytes())
    return (*kind, array.__array_interface__["data"][0], array.strides)
