"""Constructors of views that simplify, which passes use instead of the methods of `Value`.

In: values. Out: values of the requested shape; a view of a view of the same kind is composed, and one that does nothing
is left out. Reshapes and permutes of constants are constants.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph.ir import Value, constant
from ..scalar.dim import Size

Shape = tuple[Size, ...]


def reshape(x: Value, shape: Sequence[Size]) -> Value:
    """The same elements in row-major order."""
    while x.op == "reshape":
        x = x.node.inputs[0]
    shape = tuple(shape)
    if x.data is not None and all(isinstance(d, int) for d in shape):
        return constant(x.data.reshape(shape))
    return x.reshape(*shape)


def permute(x: Value, axes: Sequence[int]) -> Value:
    """Axis i of the result is axis axes[i] of x; a reshape where only axes of size 1 move."""
    axes = tuple(axes)
    if x.op == "permute":
        below = x.node.attrs["axes"]
        x, axes = x.node.inputs[0], tuple(below[a] for a in axes)
    if axes == tuple(range(x.rank)):
        return x
    moving = [a for a in axes if x.shape[a] != 1]
    if moving == sorted(moving):
        return reshape(x, [x.shape[a] for a in axes])
    return constant(np.transpose(x.data, axes)) if x.data is not None else x.permute(*axes)


def inverse(axes: Sequence[int]) -> tuple[int, ...]:
    """The permutation that undoes `axes`."""
    out = [0] * len(axes)
    for i, a in enumerate(axes):
        out[a] = i
    return tuple(out)


def broadcast(x: Value, shape: Sequence[Size]) -> Value:
    """numpy's broadcast_to; a reshape where it only adds axes of size 1."""
    while x.op == "broadcast":
        x = x.node.inputs[0]
    shape = tuple(shape)
    if shape == (1,) * (len(shape) - x.rank) + x.shape:
        return reshape(x, shape)
    return x.broadcast(*shape)


def slice_of(x: Value, starts: Sequence[Size], sizes: Sequence[Size], steps: Sequence[int]) -> Value:
    """Element i of an axis is start + i * step of x."""
    if x.op == "slice":
        below = x.node.attrs
        starts = [s + k * i for s, k, i in zip(below["starts"], below["steps"], starts)]
        steps = [k * j for k, j in zip(below["steps"], steps)]
        x = x.node.inputs[0]
    # The step of at most one element does not matter.
    steps = tuple(1 if isinstance(n, int) and n <= 1 else k for n, k in zip(sizes, steps))
    return x.slice(starts, sizes, steps)


def uniform(v: Value) -> float | bool | None:
    """The value of all elements if v is a (view of a) small constant whose elements are equal; never NaN."""
    while v.op in ("broadcast", "reshape", "permute"):
        v = v.node.inputs[0]
    data = v.data
    if data is None or data.dtype == object or not 1 <= data.size <= 4096:
        return None
    first = data.reshape(-1)[0]
    return first.item() if bool((data == first).all()) else None
