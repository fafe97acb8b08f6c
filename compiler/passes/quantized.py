"""Quantised products: a product of dequantised operands is a product of their bytes, times the scales.

In: any graph. Out: the same graph, where matmul(s (a - z), t (b - y)) is s t matmul(a - z, b - y) in i32, if a and b
are bytes, and scales and zero points do not vary along the sum; likewise conv. What quantises or dequantises elsewhere
is arithmetic, which fuses with what is around it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..graph import quantized
from ..graph.ir import Graph, Node, Value, rewrite
from ..scalar.dim import Size, prod
from ..scalar.dtype import BF16, F16, F32, I8, I32, U8
from .views import broadcast, permute, reshape

_LONGEST = (1 << 31) // (255 * 255)  # sum of products that i32 has in any case
_VIEWS = 8  # between a dequantisation and the product


@dataclass(frozen=True)
class _Operand:
    """(data - zero) * scale; zero and scale are scalars, or of the data's rank with axes of 1."""

    data: Value
    zero: Value | None
    scale: Value

    def viewed(self, data: Callable[[Value], Value], factor: Callable[[Value], Value]) -> _Operand:
        """The operand in another view; factor: the same view of a zero point or scale that is no scalar."""
        zero, scale = (v if v is None or v.rank == 0 else factor(v) for v in (self.zero, self.scale))
        assert scale is not None
        return _Operand(data(self.data), zero, scale)


def run(graph: Graph) -> Graph:
    return rewrite(graph, _rule)


def _rule(node: Node) -> list[Value] | None:
    if node.op.name not in ("matmul", "conv") or node.outputs[0].dtype not in (F32, F16, BF16):
        return None
    a, b = (_operand(v) for v in node.inputs[:2])
    if a is None or b is None:
        return None
    total = _product(a, b) if node.op.name == "matmul" else _convolution(a, b, node)
    if total is None:
        return None
    real = total.cast(F32) * (a.scale.cast(F32) * b.scale.cast(F32))
    return [real.cast(node.outputs[0].dtype)]


def _product(a: _Operand, b: _Operand) -> Value | None:
    depth = a.data.shape[-1]
    if isinstance(depth, int) and depth > _LONGEST:
        return None
    if not (_is_constant_along(a, [-1]) and _is_constant_along(b, [-2])):
        return None
    return quantized.product(a.data, b.data, a.zero, b.zero)


def _convolution(x: _Operand, w: _Operand, node: Node) -> Value | None:
    depth = prod(w.data.shape[:-1])
    if not isinstance(depth, int) or depth > _LONGEST or x.scale.rank or (x.zero is not None and x.zero.rank):
        return None
    if not _is_constant_along(w, range(-w.data.rank, -1)):
        return None
    attrs = {name: value for name, value in node.attrs.items() if name != "acc"}
    zero = w.zero if w.zero is None or w.zero.rank == 0 else reshape(w.zero, w.zero.shape[-1:])
    return quantized.convolution(x.data, w.data, x.zero, zero, **attrs)


def _is_constant_along(operand: _Operand, axes: range | list[int]) -> bool:
    factors = [v for v in (operand.zero, operand.scale) if v is not None and v.rank]
    return all(v.shape[axis] == 1 for v in factors for axis in axes)


def _operand(v: Value, fuel: int = _VIEWS) -> _Operand | None:
    """The operand as scaled bytes; None if it is something else."""
    if v.op in ("permute", "reshape", "broadcast", "ensure_shape") and fuel:
        below, attrs = _operand(v.node.inputs[0], fuel - 1), v.node.attrs
        if below is None:
            return None
        factors = [f for f in (below.zero, below.scale) if f is not None and f.rank]
        if v.op == "permute":
            return below.viewed(lambda x: permute(x, attrs["axes"]), lambda x: permute(x, attrs["axes"]))
        if v.op == "broadcast":
            return below.viewed(lambda x: broadcast(x, attrs["shape"]), lambda x: _lifted(x, v.rank))
        if v.op == "reshape":
            return None if factors else below.viewed(lambda x: reshape(x, attrs["shape"]), lambda x: x)
        return below.viewed(lambda x: v.node.with_inputs([x]).outputs[0], lambda x: x)
    if v.op != "map" or v.node.attrs["prim"] != "mul":
        return None
    for x, scale in (v.node.inputs, v.node.inputs[::-1]):
        if x.shape == v.shape and x.op == "map" and x.node.attrs["prim"] == "cast":
            found = _difference(x.node.inputs[0], scale)
            if found is not None:
                return found
    return None


def _difference(v: Value, scale: Value) -> _Operand | None:
    """An operand of integers v, which are bytes, or bytes less a zero point."""
    data, zero = v, None
    if v.dtype == I32 and v.op == "map" and v.node.attrs["prim"] == "sub":
        data, zero = v.node.inputs
        if data.shape != v.shape or data.op != "map" or data.node.attrs["prim"] != "cast":
            return None
        data = data.node.inputs[0]
    if data.dtype not in (U8, I8):
        return None
    return _Operand(data, zero if zero is None else _factor(zero, v.rank), _factor(scale, v.rank))


def _factor(v: Value, rank: int) -> Value:
    """A zero point or scale: a scalar if it has one element, else of that rank."""
    return reshape(v, ()) if all(d == 1 for d in v.shape) else _lifted(v, rank)


def _lifted(v: Value, rank: int) -> Value:
    shape: list[Size] = [1] * (rank - v.rank)
    return reshape(v, [*shape, *v.shape])
