"""Views, which are pure index maps: reshape, permute, broadcast, ensure_shape, slice, pad, window; and concat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce

import numpy as np

from ...scalar.dim import Size, floor_div, prod
from ..conditions import Condition, at_most, broadcasts, equal, equals
from ..ir import Array, Node, Signature, Trait, Value
from .common import Attrs, agreed, check, check_axes, check_count, register


def _infer_reshape(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """reshape(x; shape): the same elements in row-major order."""
    check_count("reshape", inputs, 1)
    return [(tuple(attrs["shape"]), inputs[0].dtype)]


def _demand_reshape(node: Node) -> Iterator[Condition]:
    (x,), shape = node.inputs, node.attrs["shape"]
    before, after = prod(x.shape), prod(shape)
    if before != after:
        wrong = "The input tensor of shape {} has no shape {}: another number of elements"
        yield from equal(before, after, wrong, x.shape, shape)


def _evaluate_reshape(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    return [arrays[0].reshape(attrs["shape"])]


register(
    "reshape",
    _infer_reshape,
    _evaluate_reshape,
    "shape",
    symbolic=True,
    demands=_demand_reshape,
    traits=Trait.VIEW | Trait.BIJECTIVE | Trait.SAME_ORDER,
)


def _infer_permute(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """permute(x; axes): axis i of the result is axis axes[i] of x."""
    check_count("permute", inputs, 1)
    x, axes = inputs[0], attrs["axes"]
    check(sorted(axes) == list(range(x.rank)), "permute: {} is no permutation of {} axes", axes, x.rank)
    return [(tuple(x.shape[a] for a in axes), x.dtype)]


def _evaluate_permute(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    return [arrays[0].transpose(attrs["axes"])]


register("permute", _infer_permute, _evaluate_permute, "axes", symbolic=True, traits=Trait.VIEW | Trait.BIJECTIVE)


def _infer_broadcast(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """broadcast(x; shape): numpy's broadcast_to."""
    check_count("broadcast", inputs, 1)
    x, shape = inputs[0], tuple(attrs["shape"])
    check(x.rank <= len(shape), "broadcast from rank {} to rank {}", x.rank, len(shape))
    return [(shape, x.dtype)]


def _demand_broadcast(node: Node) -> Iterator[Condition]:
    yield from broadcasts(node.inputs[0].shape, node.attrs["shape"])


def _evaluate_broadcast(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    return [np.broadcast_to(arrays[0], attrs["shape"])]


register(
    "broadcast",
    _infer_broadcast,
    _evaluate_broadcast,
    "shape",
    symbolic=True,
    demands=_demand_broadcast,
    traits=Trait.VIEW,
)


def _infer_ensure_shape(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """ensure_shape(x; shape, [sizes], text): x, with the demands that it has this shape, and that the two sizes of each
    pair in `sizes` are equal; `text` is the error where they are not met."""
    check_count("ensure_shape", inputs, 1)
    x, shape = inputs[0], tuple(attrs["shape"])
    check(x.rank == len(shape), "{}: {} where {} is wanted", attrs["text"], x.shape, shape)
    return [(shape, x.dtype)]


def _demand_ensure_shape(node: Node) -> Iterator[Condition]:
    actual, expected = zip(*zip(node.inputs[0].shape, node.attrs["shape"]), *node.attrs.get("sizes", ()))
    yield from equals(actual, expected, "{}", node.attrs["text"])


def _evaluate_ensure_shape(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    return [arrays[0]]


register(
    "ensure_shape",
    _infer_ensure_shape,
    _evaluate_ensure_shape,
    "shape sizes text",
    symbolic=True,
    demands=_demand_ensure_shape,
    traits=Trait.VIEW | Trait.BIJECTIVE | Trait.SAME_ORDER,
)


def _infer_slice(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """slice(x; starts, sizes, steps): element i of an axis is start + i * step of x."""
    check_count("slice", inputs, 1)
    x, starts, sizes, steps = inputs[0], attrs["starts"], attrs["sizes"], attrs["steps"]
    lengths = {len(starts), len(sizes), len(steps)}
    check(lengths == {x.rank}, "slice: not one start, size and step per axis of {}", x)
    for d, start, size, step in zip(x.shape, starts, sizes, steps):
        if (start, size, step) == (0, d, 1):
            continue
        check(isinstance(step, int) and step != 0, "slice: the step {} is not a constant other than 0", step)
    return [(tuple(sizes), x.dtype)]


def _demand_slice(node: Node) -> Iterator[Condition]:
    attrs = node.attrs
    for start, size, step, d in zip(attrs["starts"], attrs["sizes"], attrs["steps"], node.inputs[0].shape):
        if (start, size, step) != (0, d, 1):
            last = start + (size - 1) * step
            least, most = (start, last) if step > 0 else (last, start)
            yield from at_most(0, size, "the size {} of a slice is negative", size)
            yield from at_most(0, least, "a slice begins at {}, outside of [0, {})", least, d, of=size)
            yield from at_most(most, d - 1, "a slice ends at {}, outside of [0, {})", most, d, of=size)


def _evaluate_slice(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    where = []
    for start, size, step in zip(attrs["starts"], attrs["sizes"], attrs["steps"]):
        stop = start + size * step
        where.append(slice(0, 0) if size == 0 else slice(start, None if stop < 0 else stop, step))
    return [arrays[0][tuple(where)]]


register(
    "slice",
    _infer_slice,
    _evaluate_slice,
    "starts sizes steps",
    symbolic=True,
    demands=_demand_slice,
    traits=Trait.VIEW,
)


def _infer_pad(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """pad(x; low, high, value): x surrounded by `value`; amounts are not negative."""
    check_count("pad", inputs, 1)
    x, low, high = inputs[0], attrs["low"], attrs["high"]
    check(len(low) == len(high) == x.rank, "pad: not one amount per axis of {}", x)
    return [(tuple(lo + d + hi for lo, d, hi in zip(low, x.shape, high)), x.dtype)]


def _demand_pad(node: Node) -> Iterator[Condition]:
    for amount in (*node.attrs["low"], *node.attrs["high"]):
        yield from at_most(0, amount, "the amount {} of a pad is negative", amount)


def _evaluate_pad(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    x, low, high = arrays[0], attrs["low"], attrs["high"]
    shape = [lo + d + hi for lo, d, hi in zip(low, x.shape, high)]
    out = np.full(shape, attrs["value"], x.dtype)
    out[tuple(slice(lo, lo + d) for lo, d in zip(low, x.shape))] = x
    return [out]


register("pad", _infer_pad, _evaluate_pad, "low high value", symbolic=True, demands=_demand_pad, traits=Trait.VIEW)


def window_size(size: Size, window: Size, stride: int, dilation: int) -> Size:
    """The number of positions of a window along an axis."""
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


def _demand_window(node: Node) -> Iterator[Condition]:
    (x,), (out,), attrs = node.inputs, node.outputs, node.attrs
    for axis, size in zip(attrs["axes"], attrs["sizes"]):
        yield from at_most(0, out.shape[axis], "a window of {} on an axis of {}", size, x.shape[axis])


register(
    "window",
    _infer_window,
    _evaluate_window,
    "axes sizes strides dilations",
    symbolic=True,
    demands=_demand_window,
    traits=Trait.VIEW,
)


def _infer_concat(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """concat(*xs; axis): the inputs joined along an axis."""
    check(len(inputs) > 0, "concat of nothing")
    axis, first = attrs["axis"], inputs[0]
    check_axes("concat", [axis], first.rank)
    for v in inputs:
        check(v.rank == first.rank and v.dtype == first.dtype, "concat of {} and {}", first, v)
    shape = [
        sum((v.shape[i] for v in inputs[1:]), first.shape[i])
        if i == axis
        else reduce(agreed, (v.shape[i] for v in inputs))
        for i in range(first.rank)
    ]
    return [(tuple(shape), first.dtype)]


def _demand_concat(node: Node) -> Iterator[Condition]:
    axis, first = node.attrs["axis"], node.inputs[0]
    for v in node.inputs[1:]:
        for i, (d, expected) in enumerate(zip(v.shape, first.shape)):
            if i != axis:
                yield from equal(expected, d, "parts of a Concat: sizes {} and {} differ", expected, d)


def _evaluate_concat(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    return [np.concatenate(arrays, attrs["axis"])]


register("concat", _infer_concat, _evaluate_concat, "axis", symbolic=True, demands=_demand_concat)
