"""Views, which are pure index maps: reshape, permute, broadcast, slice, pad, window; and concat."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from ...scalar.dim import Size, floor_div, known_eq, known_lt, prod
from ..ir import Array, Signature, Value
from .common import Attrs, check, check_axes, check_count, register, same_size


def _infer_reshape(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """reshape(x; shape): the same elements in row-major order."""
    check_count("reshape", inputs, 1)
    x, shape = inputs[0], tuple(attrs["shape"])
    before, after = prod(x.shape), prod(shape)
    fits = before == after or known_eq(before, after) is not False
    check(fits, f"reshape from {x.shape} to {shape} changes the number of elements")
    return [(shape, x.dtype)]


def _evaluate_reshape(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    return [arrays[0].reshape(attrs["shape"])]


register("reshape", _infer_reshape, _evaluate_reshape, "shape", symbolic=True)


def _infer_permute(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """permute(x; axes): axis i of the result is axis axes[i] of x."""
    check_count("permute", inputs, 1)
    x, axes = inputs[0], attrs["axes"]
    check(sorted(axes) == list(range(x.rank)), f"permute: {axes} is no permutation of {x.rank} axes")
    return [(tuple(x.shape[a] for a in axes), x.dtype)]


def _evaluate_permute(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    return [arrays[0].transpose(attrs["axes"])]


register("permute", _infer_permute, _evaluate_permute, "axes", symbolic=True)


def _infer_broadcast(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """broadcast(x; shape): numpy's broadcast_to."""
    check_count("broadcast", inputs, 1)
    x, shape = inputs[0], tuple(attrs["shape"])
    check(x.rank <= len(shape), f"broadcast from rank {x.rank} to rank {len(shape)}")
    for d, t in zip(x.shape, shape[len(shape) - x.rank :]):
        fits = d in (1, t) or known_eq(d, 1) is not False or known_eq(d, t) is not False
        check(fits, f"{x.shape} does not broadcast to {shape}")
    return [(shape, x.dtype)]


def _evaluate_broadcast(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    return [np.broadcast_to(arrays[0], attrs["shape"])]


register("broadcast", _infer_broadcast, _evaluate_broadcast, "shape", symbolic=True)


def _infer_slice(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """slice(x; starts, sizes, steps): element i of an axis is start + i * step of x."""
    check_count("slice", inputs, 1)
    x, starts, sizes, steps = inputs[0], attrs["starts"], attrs["sizes"], attrs["steps"]
    lengths = {len(starts), len(sizes), len(steps)}
    check(lengths == {x.rank}, f"slice: not one start, size and step per axis of {x}")
    for d, start, size, step in zip(x.shape, starts, sizes, steps):
        if (start, size, step) == (0, d, 1):
            continue
        check(isinstance(step, int) and step != 0, f"slice: the step {step} is not a constant other than 0")
        check(known_lt(size, 0) is not True, f"slice: the size {size} is negative")
        if known_lt(0, size):
            last = start + (size - 1) * step
            outside = any(known_lt(i, 0) or known_lt(i, d) is False for i in (start, last))
            check(not outside, f"slice: [{start}, {last}] is outside of [0, {d})")
    return [(tuple(sizes), x.dtype)]


def _evaluate_slice(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    where = []
    for start, size, step in zip(attrs["starts"], attrs["sizes"], attrs["steps"]):
        stop = start + size * step
        where.append(slice(0, 0) if size == 0 else slice(start, None if stop < 0 else stop, step))
    return [arrays[0][tuple(where)]]


register("slice", _infer_slice, _evaluate_slice, "starts sizes steps", symbolic=True)


def _infer_pad(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """pad(x; low, high, value): `value` around x; amounts are not negative."""
    check_count("pad", inputs, 1)
    x, low, high = inputs[0], attrs["low"], attrs["high"]
    check(len(low) == len(high) == x.rank, f"pad: not one amount per axis of {x}")
    for amount in (*low, *high):
        check(amount == 0 or known_lt(amount, 0) is not True, f"pad: the amount {amount} is negative")
    return [(tuple(lo + d + hi for lo, d, hi in zip(low, x.shape, high)), x.dtype)]


def _evaluate_pad(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    x, low, high = arrays[0], attrs["low"], attrs["high"]
    shape = [lo + d + hi for lo, d, hi in zip(low, x.shape, high)]
    out = np.full(shape, attrs["value"], x.dtype)
    out[tuple(slice(lo, lo + d) for lo, d in zip(low, x.shape))] = x
    return [out]


register("pad", _infer_pad, _evaluate_pad, "low high value", symbolic=True)


def window_size(size: Size, window: Size, stride: int, dilation: int) -> Size:
    """Number of positions of a window along an axis."""
    return floor_div(size - (window - 1) * dilation - 1, stride) + 1


def _infer_window(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """window(x; axes, sizes, strides, dilations): axes become positions, an axis per window size is appended.

    Element [.., p, .., k] is x[.., p * stride + k * dilation, ..]."""
    check_count("window", inputs, 1)
    x, axes, sizes = inputs[0], attrs["axes"], attrs["sizes"]
    strides, dilations = attrs["strides"], attrs["dilations"]
    check_axes("window", axes, x.rank, ascending=False)
    check(len(axes) == len(sizes) == len(strides) == len(dilations), "window: lengths of attrs differ")
    shape = list(x.shape)
    for axis, size, stride, dilation in zip(axes, sizes, strides, dilations):
        check(min(size, stride, dilation) >= 1, "window: sizes, strides and dilations must be positive")
        shape[axis] = window_size(x.shape[axis], size, stride, dilation)
        check(known_lt(shape[axis], 0) is not True, f"window of {size} on an axis of {x.shape[axis]}")
    return [((*shape, *sizes), x.dtype)]


def _evaluate_window(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    x = arrays[0]
    shape, strides = list(x.shape), list(x.strides)
    windows = zip(attrs["axes"], attrs["sizes"], attrs["strides"], attrs["dilations"])
    for axis, size, stride, dilation in windows:
        shape[axis] = window_size(x.shape[axis], size, stride, dilation)
        strides[axis] = x.strides[axis] * stride
        shape.append(size)
        strides.append(x.strides[axis] * dilation)
    return [np.lib.stride_tricks.as_strided(x, shape, strides, writeable=False)]


register("window", _infer_window, _evaluate_window, "axes sizes strides dilations", symbolic=True)


def _infer_concat(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """concat(*xs; axis)."""
    check(len(inputs) > 0, "concat of nothing")
    axis, first = attrs["axis"], inputs[0]
    check_axes("concat", [axis], first.rank)
    for v in inputs:
        check(v.rank == first.rank and v.dtype == first.dtype, f"concat of {first} and {v}")
    shape = [
        sum((v.shape[i] for v in inputs[1:]), first.shape[i])
        if i == axis
        else reduce(lambda a, b: same_size("concat", a, b), (v.shape[i] for v in inputs))
        for i in range(first.rank)
    ]
    return [(tuple(shape), first.dtype)]


def _evaluate_concat(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    return [np.concatenate(arrays, attrs["axis"])]


register("concat", _infer_concat, _evaluate_concat, "axis", symbolic=True)
