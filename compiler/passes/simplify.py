"""Algebraic simplification: each rule replaces a node by an equivalent expression that costs less.

In: any graph. Out: a graph in which no rule applies (or the fuel is spent). A rule never changes how a float result is
rounded, except for the sign of zeros. It sees a node and its direct inputs; rules that need more are passes of their
own.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..graph.ir import Graph, Node, Value, make, rewrite
from ..graph.tensor import broadcast_shapes
from ..scalar.dim import Size, known_le, known_lt
from ..scalar.dtype import DType
from .views import broadcast, permute, reshape, slice_of, uniform

Rule = Callable[[Node], "Value | None"]
_NODE_FUEL = 8  # rules applied to one node in one sweep
_SWEEPS = 8
_PARTS = 256  # of a merged concatenation: each part is another case in every kernel that reads it


def run(graph: Graph) -> Graph:
    """Sweeps over the graph until nothing changes."""
    for _ in range(_SWEEPS):
        new = rewrite(graph, _simplified)
        if new.outputs == graph.outputs and new.bindings == graph.bindings:
            break
        graph = new
    return graph


def _simplified(node: Node) -> list[Value] | None:
    result: Value | None = None
    for _ in range(_NODE_FUEL):
        new = next((v for rule in RULES.get(node.op.name, ()) if (v := rule(node)) is not None), None)
        if new is None:
            break
        result, node = new, new.node
        if len(node.outputs) != 1:
            break
    return None if result is None else [result]


# -- pointwise -----------------------------------------------------------------------------------------------------


def _is(node: Node, *prims: str) -> bool:
    return node.op.name == "map" and node.attrs["prim"] in prims


def _full(x: Value, like: Value) -> Value:
    """x broadcast to the shape of `like`."""
    return broadcast(x, like.shape)


def neutral_operand(node: Node) -> Value | None:
    """x + 0, x - 0, x * 1, x / 1, x and true, x or false."""
    neutral = {"add": 0, "sub": 0, "mul": 1, "div": 1, "and": True, "or": False, "xor": False}
    identity = neutral.get(node.attrs["prim"])
    if identity is None:
        return None
    a, b = node.inputs
    if uniform(b) == identity:
        return _full(a, node.outputs[0])
    if uniform(a) == identity and not _is(node, "sub", "div"):
        return _full(b, node.outputs[0])
    return None


def decisive_operand(node: Node) -> Value | None:
    """x and false, x or true."""
    for v in node.inputs:
        if _is(node, "and", "or") and uniform(v) is _is(node, "or"):
            return _full(v, node.outputs[0])
    return None


def double_inverse(node: Node) -> Value | None:
    """neg(neg(x)), not(not(x))."""
    if _is(node, "neg", "not") and _is(node.inputs[0].node, node.attrs["prim"]):
        return node.inputs[0].node.inputs[0]
    return None


def add_of_negated(node: Node) -> Value | None:
    """x + (-y) is x - y; x - (-y) is x + y."""
    if not _is(node, "add", "sub"):
        return None
    a, b = node.inputs
    if _is(b.node, "neg"):
        return a.map("sub" if _is(node, "add") else "add", b.node.inputs[0])
    if _is(node, "add") and _is(a.node, "neg"):
        return b - a.node.inputs[0]
    return None


def power(node: Node) -> Value | None:
    """x ** 2, x ** 3, x ** 0.5, x ** 1, x ** -1 by multiplication, square root and division, for floats."""
    if not _is(node, "pow") or not node.outputs[0].dtype.is_float:
        return None
    x, exponent = _full(node.inputs[0], node.outputs[0]), uniform(node.inputs[1])
    if exponent == 2:
        return x * x
    if exponent == 3:
        return x * x * x
    if exponent == 0.5:  # pow gives +0 for -0, and inf for -inf
        return x.map("eq", -math.inf).select(math.inf, x.sqrt().map("abs"))
    if exponent == -1:
        return 1.0 / x
    return x if exponent == 1 else None


def division_by_power_of_two(node: Node) -> Value | None:
    """x / c is x * (1 / c) if 1 / c is exact."""
    if not _is(node, "div") or not node.outputs[0].dtype.is_float:
        return None
    c = uniform(node.inputs[1])
    if c is None or not 2.0**-14 <= abs(c) <= 2.0**14 or math.frexp(c)[0] not in (0.5, -0.5):
        return None
    return _full(node.inputs[0] * (1 / c), node.outputs[0])


def cast_chain(node: Node) -> Value | None:
    """cast(x) to its own dtype; cast(cast(x)) if the inner cast is lossless."""
    if not _is(node, "cast"):
        return None
    x, target = node.inputs[0], node.attrs["dtype"]
    if x.dtype == target:
        return x
    if not _is(x.node, "cast") or not _contains(x.dtype, x.node.inputs[0].dtype):
        return None
    source = x.node.inputs[0].dtype
    if source.is_integer and x.dtype.is_float and target.is_integer:  # float to integer saturates, the other wraps
        return None
    return x.node.inputs[0].cast(target)


def _contains(wide: DType, narrow: DType) -> bool:
    """Whether every value of `narrow` is one of `wide`."""
    if narrow.kind == "b":
        return wide.kind in "fiu"
    if wide.kind == "f":
        digits = {"f64": 53, "f32": 24}.get(wide.name, 0)
        return digits >= narrow.bits if narrow.is_integer else wide.bits >= 32 and narrow.bits < wide.bits
    if narrow.kind == "u":
        return wide.is_integer and wide.bits > narrow.bits
    return wide.kind == narrow.kind == "i" and wide.bits > narrow.bits


def known_select(node: Node) -> Value | None:
    """select with a constant condition, equal branches, or a negated condition."""
    if not _is(node, "select"):
        return None
    c, yes, no = node.inputs
    value = uniform(c)
    if value is not None:
        return _full(yes if value else no, node.outputs[0])
    if yes is no:
        return _full(yes, node.outputs[0])
    return c.node.inputs[0].select(no, yes) if _is(c.node, "not") else None


def idempotent(node: Node) -> Value | None:
    """max, min, and, or of a value with itself."""
    same = _is(node, "max", "min", "and", "or") and node.inputs[0] is node.inputs[1]
    return node.inputs[0] if same else None


def map_of_broadcast(node: Node) -> Value | None:
    """map(broadcast(x)) is map(x), or broadcast(map(x)) if the map does not broadcast x to the same shape."""
    inputs = [v.node.inputs[0] if v.op == "broadcast" else v for v in node.inputs]
    if inputs == list(node.inputs):
        return None
    try:
        if len(broadcast_shapes(*(v.shape for v in inputs))) > node.outputs[0].rank:
            return None
    except ValueError:
        return None
    return _full(node.with_inputs(inputs).outputs[0], node.outputs[0])


# -- views ---------------------------------------------------------------------------------------------------------


def view_of_view(node: Node) -> Value | None:
    """Composes two views of a kind; removes views that do nothing; permutes that only move axes of 1 are reshapes."""
    x, attrs = node.inputs[0], node.attrs
    if node.op.name == "reshape":
        new = reshape(x, attrs["shape"])
    elif node.op.name == "permute":
        new = permute(x, attrs["axes"])
    elif node.op.name == "broadcast":
        new = broadcast(x, attrs["shape"])
    else:
        new = slice_of(x, attrs["starts"], attrs["sizes"], attrs["steps"])
    return None if _same(new, node) else new


def _same(value: Value, node: Node) -> bool:
    return value.op == node.op.name and value.node.inputs == node.inputs and value.node.attrs == node.attrs


def broadcast_below_reshape(node: Node) -> Value | None:
    """reshape(broadcast(x)) is broadcast(reshape(x)) if the reshape only adds and removes axes of size 1."""
    x = node.inputs[0]
    if x.op != "broadcast":
        return None
    source = x.node.inputs[0]
    shape = [1] * (x.rank - source.rank) + list(source.shape)
    kept: list[Size] = []  # the dims of the source, on the axes of the reshape's result
    axes = iter([(d, s) for d, s in zip(x.shape, shape) if d != 1])
    for d in node.attrs["shape"]:
        if d == 1:
            kept.append(1)
            continue
        full, own = next(axes, (None, 1))
        if full != d:
            return None
        kept.append(own)
    return None if next(axes, None) else broadcast(reshape(source, kept), node.attrs["shape"])


def permute_of_broadcast(node: Node) -> Value | None:
    """permute(broadcast(x)) is broadcast(permute(x))."""
    x = node.inputs[0]
    if x.op != "broadcast":
        return None
    source = x.node.inputs[0]
    aligned = reshape(source, [1] * (x.rank - source.rank) + list(source.shape))
    return broadcast(permute(aligned, node.attrs["axes"]), node.outputs[0].shape)


def permute_of_iota(node: Node) -> Value | None:
    x = node.inputs[0]
    if x.op != "iota":
        return None
    axis = node.attrs["axes"].index(x.node.attrs["axis"])
    return make("iota", [], shape=node.outputs[0].shape, axis=axis, dtype=x.dtype)[0]


def slice_of_concat(node: Node) -> Value | None:
    """A slice of a concatenation that lies within one part is a slice of that part."""
    x = node.inputs[0]
    if x.op != "concat":
        return None
    axis = x.node.attrs["axis"]
    start, size, step = (node.attrs[k][axis] for k in ("starts", "sizes", "steps"))
    first, last = (start, start + (size - 1) * step) if step > 0 else (start + (size - 1) * step, start)
    offset: Size = 0
    for part in x.node.inputs:
        end = offset + part.shape[axis]
        if known_le(offset, first) and known_lt(last, end):
            starts = list(node.attrs["starts"])
            starts[axis] = start - offset
            return slice_of(part, starts, node.attrs["sizes"], node.attrs["steps"])
        offset = end
    return None


def slice_of_broadcast(node: Node) -> Value | None:
    """slice(broadcast(x)) is broadcast(slice(x)), without slicing the repeated axes of x."""
    x = node.inputs[0]
    if x.op != "broadcast":
        return None
    source = x.node.inputs[0]
    starts, sizes, steps = [], [], []
    for i, d in enumerate(source.shape, x.rank - source.rank):
        if d not in (1, x.shape[i]):  # it is either, as is known only when the model runs
            return None
        repeated = d == 1 and x.shape[i] != 1
        starts.append(0 if repeated else node.attrs["starts"][i])
        sizes.append(1 if repeated else node.attrs["sizes"][i])
        steps.append(1 if repeated else node.attrs["steps"][i])
    return broadcast(slice_of(source, starts, sizes, steps), node.outputs[0].shape)


def merged_pad(node: Node) -> Value | None:
    """Removes empty padding; merges two paddings with one value."""
    x, attrs = node.inputs[0], node.attrs
    if all(isinstance(p, int) and p == 0 for p in (*attrs["low"], *attrs["high"])):
        return x
    if x.op != "pad" or repr(x.node.attrs["value"]) != repr(attrs["value"]):
        return None
    low = tuple(a + b for a, b in zip(attrs["low"], x.node.attrs["low"]))
    high = tuple(a + b for a, b in zip(attrs["high"], x.node.attrs["high"]))
    return x.node.inputs[0].pad(low, high, attrs["value"])


def flat_concat(node: Node) -> Value | None:
    """Flattens nested concatenations along one axis; drops empty parts; the concatenation of one part is that part."""
    axis = node.attrs["axis"]
    parts: list[Value] = []
    for v in node.inputs:
        if v.op == "concat" and v.node.attrs["axis"] == axis:
            parts.extend(v.node.inputs)
        elif v.shape[axis] != 0:
            parts.append(v)
    if len(parts) == 1:
        return parts[0]
    if not parts or parts == list(node.inputs) or len(parts) > _PARTS:
        return None
    return make("concat", parts, axis=axis)[0]


# -- others --------------------------------------------------------------------------------------------------------


def reduce_of_ones(node: Node) -> Value | None:
    """A reduction of axes of size 1 is a reshape; two reductions of a kind are one."""
    x, axes = node.inputs[0], node.attrs["axes"]
    kept = tuple(a for a in axes if x.shape[a] != 1)
    if len(kept) < len(axes):
        gone = [a for a in axes if a not in kept]
        smaller = reshape(x, [d for i, d in enumerate(x.shape) if i not in gone])
        return smaller.reduce(node.attrs["kind"], [a - sum(g < a for g in gone) for a in kept]) if kept else smaller
    if x.op == "reduce" and x.node.attrs["kind"] == node.attrs["kind"]:
        below = x.node.attrs["axes"]
        left = [i for i in range(x.node.inputs[0].rank) if i not in below]
        return x.node.inputs[0].reduce(node.attrs["kind"], [*below, *(left[a] for a in axes)])
    return None


def scatter_over_all(node: Node) -> Value | None:
    """A scatter of constant consecutive rows that covers the whole axis is its updates."""
    x, updates, *indices = node.inputs
    if len(indices) != 1 or node.attrs["combine"] is not None or indices[0].content is None:
        return None
    index, axis = indices[0], node.attrs["axes"][0]
    whole = index.rank == 1 and isinstance(x.shape[axis], int) and updates.shape == x.shape
    return updates if whole and list(index.content.flat) == list(range(x.shape[axis])) else None  # type: ignore[union-attr]


RULES: dict[str, list[Rule]] = {
    "map": [
        neutral_operand,
        decisive_operand,
        double_inverse,
        add_of_negated,
        power,
        division_by_power_of_two,
        cast_chain,
        known_select,
        idempotent,
        map_of_broadcast,
    ],
    "reshape": [view_of_view, broadcast_below_reshape],
    "permute": [view_of_view, permute_of_broadcast, permute_of_iota],
    "broadcast": [view_of_view],
    "slice": [view_of_view, slice_of_concat, slice_of_broadcast],
    "pad": [merged_pad],
    "concat": [flat_concat],
    "reduce": [reduce_of_ones],
    "scatter": [scatter_over_all],
}
