"""Layout: permutes sink towards the outputs, meet others and cancel, so that convolutional networks run channels-last.

Needs: channels-last `conv` between permutes, as the frontend emits them. Ensures: permutes remain only at the entry, at
the exit, and where values in two orders meet in one operation.

One walk, inputs first. An operation that reads permute(x) is rebuilt on x and followed by the permute, if that adds no
work: its other inputs must be free to reorder (constants, values whose permute only moves axes of size 1, values that
are permuted in the same way). A permute passes a reshape that splits or merges axes which stay adjacent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..graph.ir import Graph, Node, Value, make, rewrite
from ..scalar.dim import Size, exact_div, known_eq
from .views import broadcast, inverse, permute, reshape, slice_of

Axes = tuple[int, ...]


def run(graph: Graph) -> Graph:
    return rewrite(graph, _sink)


def permutes(graph: Graph) -> Counter[str]:
    """The remaining permutes of a graph, counted by the operation that reads them."""
    readers: Counter[str] = Counter(f"{v.op} -> output" for v in graph.outputs if v.op == "permute")
    for node in graph.nodes():
        readers.update(f"permute -> {node.op.name}" for v in node.inputs if v.op == "permute")
    return readers


def _sink(node: Node) -> list[Value] | None:
    if node.op.name == "permute":
        new = permute(node.inputs[0], node.attrs["axes"])
        return None if new.op == "permute" and new.node.inputs == node.inputs else [new]
    rule = _RULES.get(node.op.name)
    if rule is None:
        return None
    for v in node.inputs:
        if v.op == "permute" and (sunk := rule(node, v.node.attrs["axes"])) is not None:
            return sunk
    return None


def _reordered(v: Value, axes: Axes, fuel: int = 4) -> Value | None:
    """permute(v, axes) if that costs nothing, else None. If v has fewer axes, it lacks the leading ones."""
    if v.rank == 0:
        return v
    if v.rank < len(axes):
        lifted = reshape(v, [1] * (len(axes) - v.rank) + list(v.shape))
        # A permute of a reshape that remains would not cancel: it must only move axes of size 1.
        new = permute(lifted, axes)
        return None if new.op == "permute" else new
    if v.op == "broadcast" and fuel:
        source = v.node.inputs[0]
        below = _reordered(source, axes, fuel - 1)
        return None if below is None else broadcast(below, [v.shape[a] for a in axes])
    if v.op == "iota":
        shape = tuple(v.shape[a] for a in axes)
        return make("iota", [], shape=shape, axis=axes.index(v.node.attrs["axis"]), dtype=v.dtype)[0]
    new = permute(v, axes)
    return None if new.op == "permute" and new.node.inputs[0] is v else new


def _unpermuted(values: Sequence[Value], axes: Axes) -> list[Value] | None:
    """Values whose permute(.., axes) are the given ones; None if that costs anything."""
    back = inverse(axes)
    sources = [_reordered(v, back) for v in values]
    # A permute that is only composed with another order gains nothing.
    if any(n is None or (n.op == "permute" and v.op == "permute") for n, v in zip(sources, values)):
        return None
    return [n for n in sources if n is not None]


def _map(node: Node, axes: Axes) -> list[Value] | None:
    if len(axes) != node.outputs[0].rank:
        return None
    inputs = _unpermuted(node.inputs, axes)
    return None if inputs is None else [permute(node.with_inputs(inputs).outputs[0], axes)]


def _concat(node: Node, axes: Axes) -> list[Value] | None:
    inputs = _unpermuted(node.inputs, axes)
    if inputs is None:
        return None
    return [permute(make("concat", inputs, axis=axes[node.attrs["axis"]])[0], axes)]


def _only(node: Node) -> Value:
    return node.inputs[0].node.inputs[0]


def _ordered(per_axis: Sequence[Size], axes: Axes) -> list[Size]:
    """Per-axis attributes of permute(x, axes), for x."""
    return [per_axis[i] for i in inverse(axes)]


def _slice(node: Node, axes: Axes) -> list[Value] | None:
    starts, sizes, steps = (_ordered(node.attrs[k], axes) for k in ("starts", "sizes", "steps"))
    return [permute(slice_of(_only(node), starts, sizes, steps), axes)]  # type: ignore[arg-type]


def _pad(node: Node, axes: Axes) -> list[Value] | None:
    low, high = (_ordered(node.attrs[k], axes) for k in ("low", "high"))
    return [permute(_only(node).pad(low, high, node.attrs["value"]), axes)]


def _window(node: Node, axes: Axes) -> list[Value] | None:
    attrs = {**node.attrs, "axes": tuple(axes[a] for a in node.attrs["axes"])}
    new = make("window", [_only(node)], **attrs)[0]
    return [permute(new, (*axes, *range(len(axes), new.rank)))]


def _broadcast(node: Node, axes: Axes) -> list[Value] | None:
    shape, added = node.attrs["shape"], node.outputs[0].rank - len(axes)
    full = (*range(added), *(added + a for a in axes))
    return [permute(broadcast(_only(node), _ordered(shape, full)), full)]


def _ensure_shape(node: Node, axes: Axes) -> list[Value] | None:
    attrs = {**node.attrs, "shape": tuple(_ordered(node.attrs["shape"], axes))}
    return [permute(make("ensure_shape", [_only(node)], **attrs)[0], axes)]


def _dropped(axes: Axes, gone: Sequence[int]) -> Axes:
    """The permute `axes` without the axes `gone` of its result."""
    kept = [a for i, a in enumerate(axes) if i not in gone]
    return tuple(sorted(kept).index(a) for a in kept)


def _reduce(node: Node, axes: Axes) -> list[Value] | None:
    gone = node.attrs["axes"]
    new = _only(node).reduce(node.attrs["kind"], [axes[a] for a in gone])
    return [permute(new, _dropped(axes, gone))]


def _argreduce(node: Node, axes: Axes) -> list[Value] | None:
    axis = node.attrs["axis"]
    new = make("argreduce", [_only(node)], **{**node.attrs, "axis": axes[axis]})[0]
    return [permute(new, _dropped(axes, [axis]))]


def _along_axis(node: Node, axes: Axes) -> list[Value] | None:
    results = make(node.op.name, [_only(node)], **{**node.attrs, "axis": axes[node.attrs["axis"]]})
    return [permute(v, axes) for v in results]


def _gather(node: Node, axes: Axes) -> list[Value] | None:
    """A gather along one axis of a permuted value."""
    x, *indices = node.inputs
    if len(indices) != 1 or x.op != "permute":
        return None
    at, rank = node.attrs["axes"][0], indices[0].rank
    new = make("gather", [x.node.inputs[0], *indices], axes=(axes[at],))[0]

    def place(axis: int) -> list[int]:
        """The axes of the gather's result that an axis of its source becomes."""
        if axis == axes[at]:
            return list(range(axis, axis + rank))
        return [axis if axis < axes[at] else axis + rank - 1]

    return [permute(new, [p for a in axes for p in place(a)])]


def _reshape(node: Node, axes: Axes) -> list[Value] | None:
    """The reshape decomposes into blocks of axes; each block must be adjacent and in order before the permute, too."""
    x = _only(node)
    pieces = blocks(node.inputs[0].shape, node.attrs["shape"])
    if pieces is None:
        return None
    starts: list[tuple[int, int]] = []  # for each block, its first axis before the permute, and its number
    for number, (source, _) in enumerate(pieces):
        below = [axes[a] for a in source]
        if below != list(range(below[0], below[0] + len(below))):
            return None
        starts.append((below[0], number))
    order = [number for _, number in sorted(starts)]
    shape = [node.attrs["shape"][t] for number in order for t in pieces[number][1]]
    position: dict[int, int] = {}
    for t in (t for number in order for t in pieces[number][1]):
        position[t] = len(position)
    return [permute(reshape(x, shape), [position[t] for t in range(len(shape))])]


def blocks(source: Sequence[Size], target: Sequence[Size]) -> list[tuple[list[int], list[int]]] | None:
    """The smallest blocks of adjacent axes that a reshape maps onto one another: (source axes, target axes).

    Axes of size 1 belong to the block on their left, or to the first block. None if it is not known which axes belong
    together."""
    pairs: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(source) or j < len(target):
        left: list[int] = []
        right: list[int] = []
        a: Size = 1
        b: Size = 1
        while True:
            if not left and i < len(source):
                left.append(i)
                a, i = source[i], i + 1
            elif not right and j < len(target):
                right.append(j)
                b, j = target[j], j + 1
            elif left and right and known_eq(a, b):
                break
            elif i < len(source) and (j == len(target) or _factor(a, b)):
                left.append(i)
                a, i = a * source[i], i + 1
            elif j < len(target):
                right.append(j)
                b, j = b * target[j], j + 1
            else:
                break
        # A block takes the ones that follow it on one side; ones that follow on both sides form a block of their own.
        while i < len(source) and source[i] == 1 and not (j < len(target) and target[j] == 1):
            left.append(i)
            i += 1
        while j < len(target) and target[j] == 1 and not (i < len(source) and source[i] == 1):
            right.append(j)
            j += 1
        if not left or not right or known_eq(a, b) is not True:
            return None
        pairs.append((left, right))
    return pairs


def _factor(a: Size, b: Size) -> bool:
    """Whether a is a factor of b, so that the block needs another source axis."""
    if isinstance(a, int) and isinstance(b, int):
        return a != 0 and b % a == 0 and a < b
    return a != 0 and exact_div(b, a) is not None


_RULES = {
    "map": _map,
    "concat": _concat,
    "slice": _slice,
    "pad": _pad,
    "window": _window,
    "broadcast": _broadcast,
    "ensure_shape": _ensure_shape,
    "reduce": _reduce,
    "argreduce": _argreduce,
    "scan": _along_axis,
    "sort": _along_axis,
    "gather": _gather,
    "reshape": _reshape,
}
