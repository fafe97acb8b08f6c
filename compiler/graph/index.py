"""Operations as index maps: which element of an input an element of the output comes from.

In: a node and the index of an element of its output. Out: the index of the element of an input, and for padding the
condition under which that element exists. Pure arithmetic on `Size`; it makes no code and no nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..scalar.dim import Size, dim_min, exact_div, known_eq, prod
from ..scalar.dtype import BOOL
from ..scalar.expr import Call, Expr, Index
from .ir import Node


def linear(index: Sequence[Size], shape: Sequence[Size]) -> Size:
    """The row-major position of `index` in `shape`."""
    out: Size = 0
    for i, d in zip(index, shape, strict=True):
        out = out * d + i
    return out


def delinear(position: Size, shape: Sequence[Size]) -> tuple[Size, ...]:
    """The index at row-major `position` of `shape`; any index if the shape has no elements."""
    out: list[Size] = []
    for axis in range(len(shape) - 1, 0, -1):
        size = shape[axis] if shape[axis] != 0 else 1
        out.append(position % size)
        position = position // size
    return (*([position] if shape else []), *reversed(out))


def broadcast_index(index: Sequence[Size], target: Sequence[Size], shape: Sequence[Size]) -> tuple[Size, ...]:
    """The index into `shape` of element `index` of its broadcast to `target`.

    A dim that may be 1 or the target's at run time is clamped: min(i, dim - 1) is i in one case and 0 in the other."""
    skip = len(target) - len(shape)
    out: list[Size] = []
    for i, t, d in zip(index[skip:], target[skip:], shape):
        if d == 1:
            out.append(0)
        else:
            out.append(i if known_eq(d, t) else dim_min(i, d - 1))
    return tuple(out)


def reshape_index(index: Sequence[Size], source: Sequence[Size], target: Sequence[Size]) -> tuple[Size, ...]:
    """Element `index` of a tensor of shape `source`, as an index of the same elements in shape `target`.

    Axes are matched in blocks of equal products, so that independent axes stay independent; axes of 1 are skipped."""
    s_axes = [i for i, d in enumerate(source) if d != 1]
    t_axes = [j for j, d in enumerate(target) if d != 1]
    out: list[Size] = [0] * len(target)
    while s_axes and t_axes:
        s_block, t_block = [s_axes.pop(0)], [t_axes.pop(0)]
        a, b = source[s_block[0]], target[t_block[0]]
        while a != b and (s_axes or t_axes):
            if s_axes and (not t_axes or _divides(a, b)):
                s_block.append(s_axes.pop(0))
                a = a * source[s_block[-1]]
            else:
                t_block.append(t_axes.pop(0))
                b = b * target[t_block[-1]]
        if len(s_block) == len(t_block) == 1:
            out[t_block[0]] = index[s_block[0]]
        else:
            position = linear([index[i] for i in s_block], [source[i] for i in s_block])
            for j, x in zip(t_block, delinear(position, [target[j] for j in t_block])):
                out[j] = x
    return tuple(out)


def _divides(a: Size, b: Size) -> bool:
    if isinstance(a, int) and isinstance(b, int):
        return a != 0 and b % a == 0 and a < b
    return a != 0 and exact_div(b, a) is not None


def bounds_mask(index: Sequence[Size], low: Sequence[Size], shape: Sequence[Size]) -> Expr | None:
    """Whether low <= index < low + shape on all axes, without comparisons with 0; None if there are no axes."""
    comparisons: list[Expr] = []
    for i, lo, d in zip(index, low, shape):
        if lo != 0:
            comparisons.append(Call("le", (Index(lo), Index(i)), BOOL))
        comparisons.append(Call("lt", (Index(i), Index(lo + d)), BOOL))
    return conjunction(comparisons)


def conjunction(conditions: Sequence[Expr | None]) -> Expr | None:
    out: Expr | None = None
    for c in conditions:
        if c is not None:
            out = c if out is None or out is c else Call("and", (out, c), BOOL)
    return out


def input_index(node: Node, position: int, index: Sequence[Size]) -> tuple[tuple[Size, ...], Expr | None]:
    """For a `map` or a view: the index into input `position` at output `index`, and the condition that it exists."""
    op, attrs = node.op.name, node.attrs
    source = node.inputs[position].shape
    target = node.outputs[0].shape
    if op in ("map", "broadcast"):
        return broadcast_index(index, target, source), None
    if op == "reshape":
        return reshape_index(index, target, source), None
    if op == "ensure_shape":
        return tuple(index), None
    if op == "permute":
        out: list[Any] = [0] * len(index)
        for i, axis in zip(index, attrs["axes"]):
            out[axis] = i
        return tuple(out), None
    if op == "slice":
        return tuple(s + k * i for i, s, k in zip(index, attrs["starts"], attrs["steps"])), None
    if op == "pad":
        low, high = attrs["low"], attrs["high"]
        padded = [a for a in range(len(index)) if not (low[a] == 0 and high[a] == 0)]
        mask = bounds_mask([index[a] for a in padded], [low[a] for a in padded], [source[a] for a in padded])
        return tuple(i - lo for i, lo in zip(index, low)), mask
    if op == "window":
        at = list(index[: len(source)])
        for n, axis in enumerate(attrs["axes"]):
            at[axis] = at[axis] * attrs["strides"][n] + index[len(source) + n] * attrs["dilations"][n]
        return tuple(at), None
    raise AssertionError(f"{op} is not an index map")


def inverse_index(node: Node, index: Sequence[Size]) -> tuple[Size, ...] | None:
    """For a one-to-one view: the output index of input element `index`. None for views that are not."""
    if node.op.name == "reshape":
        return reshape_index(index, node.inputs[0].shape, node.outputs[0].shape)
    if node.op.name == "permute":
        return tuple(index[axis] for axis in node.attrs["axes"])
    return None


def count(shape: Sequence[Size]) -> Size:
    """Number of elements."""
    return prod(shape)
