"""Scale folding: a constant per-channel factor after a convolution or matmul is multiplied into its weights.

Needs: channels-last convolutions (`layout`). Ensures: conv(x, w) * c is conv(x, w * c), also with a bias between, for
constant w and c, so that batch normalisation costs nothing. Rounding changes, as in every engine that does this;
infinities and NaN do not: a factor is not folded if it is 0, infinite, NaN or so large or small that it could make or
prevent an overflow of sums, or if a weight would become 0 or overflow. The new weights are operations on constants;
they are computed when the artifact is written.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from ..graph.interp import sizes_in
from ..graph.ir import Array, Graph, Node, Value, rewrite
from .views import reshape

_LEAST, _GREATEST = 2.0**-32, 2.0**32  # magnitudes of factors that are folded


def run(graph: Graph) -> Graph:
    scales = _Scales()
    return rewrite(graph, scales.rule, scales.uses)


class _Scales:
    def __init__(self) -> None:
        self.uses: Counter[Value] = Counter()
        self.constant: set[Node] = set()  # nodes over constants alone

    def rule(self, node: Node) -> list[Value] | None:
        self.note(node)
        if node.op.name != "map" or node.attrs["prim"] not in ("mul", "div") or node in self.constant:
            return None
        x, factor = node.inputs
        if node.attrs["prim"] == "mul" and x.node in self.constant:
            x, factor = factor, x
        if factor.node not in self.constant or not x.dtype.is_float or x.shape != node.outputs[0].shape:
            return None
        if not _is_moderate(_array(factor)):
            return None
        scaled = self.scaled(x, node.attrs["prim"], factor)
        return None if scaled is None else [scaled]

    def note(self, node: Node) -> None:
        derived = node.op.name in ("map", "reshape", "permute", "broadcast") and not sizes_in(node.attrs)
        if node.op.name == "constant" or (derived and all(v.node in self.constant for v in node.inputs)):
            self.constant.add(node)

    def scaled(self, x: Value, prim: str, factor: Value) -> Value | None:
        """x * factor or x / factor (`prim`) with the factor folded; x is a conv, a matmul, or one plus a constant."""
        if self.uses[x] > 1:
            return None
        if x.op == "map" and x.node.attrs["prim"] in ("add", "sub"):
            terms = [self.term(v, x, prim, factor) for v in x.node.inputs]
            scaled_terms = [v for v in terms if v is not None]
            return x.node.with_inputs(scaled_terms).outputs[0] if len(scaled_terms) == 2 else None
        if x.op not in ("conv", "matmul") or x.node.attrs.get("acc", x.dtype) != x.node.inputs[0].dtype:
            return None
        weights = x.node.inputs[1]
        per_channel = _per_channel(factor, x)
        if per_channel is None or weights.node not in self.constant or weights.dtype != x.dtype:
            return None
        scaled = self.product(weights, prim, per_channel)
        return None if scaled is None else x.node.with_inputs([x.node.inputs[0], scaled]).outputs[0]

    def term(self, v: Value, total: Value, prim: str, factor: Value) -> Value | None:
        if v.node in self.constant:
            return self.product(v, prim, factor)
        return self.scaled(v, prim, factor) if v.shape == total.shape else None

    def product(self, v: Value, prim: str, factor: Value) -> Value | None:
        """A constant times (or divided by) a factor; None if an element would become 0 or overflow."""
        result = v.map(prim, factor)
        old, new = _array(v), _array(result)
        if not (np.isfinite(new).all() and ((new == 0) == (old == 0)).all()):
            return None
        self.constant.add(result.node)
        return result


def _array(v: Value) -> Array:
    """The data of a value over constants alone."""
    return v.data if v.data is not None else v.node.op.evaluate([_array(u) for u in v.node.inputs], v.node.attrs)[0]


def _is_moderate(factor: Array) -> bool:
    magnitude = np.abs(factor.astype(np.float64))
    return bool(((magnitude >= _LEAST) & (magnitude <= _GREATEST)).all())


def _per_channel(factor: Value, x: Value) -> Value | None:
    """The factor as a vector over the last axis of x, if it varies along that alone."""
    if all(d == 1 for d in factor.shape):
        return reshape(factor, ())
    if any(d != 1 for d in factor.shape[:-1]) or factor.shape[-1] != x.shape[-1]:
        return None
    return reshape(factor, factor.shape[-1:])
