"""What a graph demands of its symbolic dims: checked once for each new set of input shapes, before anything runs.

In: a graph. Out: conditions on sizes, each with the operation that needs it. What is provable is left out; a graph
without symbols has none. Kernels rely on these: an index map is in bounds only where they hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..scalar.dim import Dim, Size, known_eq, known_le
from .index import count
from .ir import Graph, Node


@dataclass(frozen=True)
class Condition:
    """left == right, or left == 1 where `or_one`; at_most: left <= right instead. text: what is wrong if not.

    origin: the ONNX node that asks for it, "" where that is unknown."""

    left: Size
    right: Size
    text: str
    or_one: bool = False
    at_most: bool = False
    origin: str = ""


def _brief(*sizes: Size) -> str:
    """Sizes for a message; formulas that fill more than a line are left out."""
    texts = [str(s) if len(str(s)) <= 60 else "..." for s in sizes]
    return f"({', '.join(texts)})"


def conditions(graph: Graph) -> list[Condition]:
    """All conditions of the graph, each once."""
    found: dict[tuple[Size, Size, bool, bool], Condition] = {}
    for node in graph.nodes():
        for c in _of_node(node):
            if not _holds(c):
                c = replace(c, origin=node.origin[0] if node.origin else "")
                found.setdefault((c.left, c.right, c.or_one, c.at_most), c)
    return list(found.values())


def _holds(c: Condition) -> bool:
    if c.at_most:
        return known_le(c.left, c.right) is True
    return known_eq(c.left, c.right) is True or (c.or_one and known_eq(c.left, 1) is True)


def _broadcast(dims: Sequence[Size], target: Sequence[Size]) -> Iterator[Condition]:
    for d, t in zip(reversed(dims), reversed(target)):
        if d != t and d != 1:
            yield Condition(d, t, f"dimensions {_brief(d, t)} do not broadcast", or_one=True)


def _of_node(node: Node) -> Iterator[Condition]:
    name = node.op.name
    out = node.outputs[0]
    if name in ("map", "broadcast", "matmul", "attention"):
        fixed = 2 if name in ("matmul", "attention") else 0
        for v in node.inputs[:3] if name == "attention" else node.inputs:
            yield from _broadcast(v.shape[: len(v.shape) - fixed], out.shape[: len(out.shape) - fixed])
    if name == "attention":
        q, k, v, *mask = node.inputs
        yield Condition(q.shape[-1], k.shape[-1], f"queries and keys of the sizes {_brief(q.shape[-1], k.shape[-1])}")
        yield Condition(k.shape[-2], v.shape[-2], f"{_brief(k.shape[-2], v.shape[-2])} keys and values")
        for each in mask:
            yield from _broadcast(each.shape, (*out.shape[:-2], q.shape[-2], k.shape[-2]))
    if name == "matmul":
        a, b = node.inputs
        yield Condition(a.shape[-1], b.shape[-2], "MatMul dimension mismatch")
    elif name == "reshape":
        (x,) = node.inputs
        text = f"The input tensor of shape {_brief(*x.shape)} has no shape {_brief(*out.shape)}"
        yield Condition(count(x.shape), count(out.shape), text)
    elif name == "concat":
        axis = node.attrs["axis"]
        for v in node.inputs[1:]:
            for i, (d, first) in enumerate(zip(v.shape, node.inputs[0].shape)):
                if i != axis:
                    yield Condition(d, first, f"dimensions {_brief(d, first)} of a Concat differ")
    elif name == "slice":
        (x,) = node.inputs
        for start, size, step, dim in zip(node.attrs["starts"], node.attrs["sizes"], node.attrs["steps"], x.shape):
            if size != dim:
                first, last = (start, start + (size - 1) * step) if step > 0 else (start + (size - 1) * step, start)
                yield Condition(0, first, "a slice begins before its axis", at_most=True)
                yield Condition(last, dim - 1, "a slice ends behind its axis", at_most=True)
    for d in (d for v in node.outputs for d in v.shape if isinstance(d, Dim)):
        yield Condition(0, d, f"a dimension {_brief(d)} is negative", at_most=True)
