"""Matrix products and convolutions: matmul and conv."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from ...scalar.dim import mod, prod
from ...scalar.dtype import I8, DType
from ..conditions import Condition, at_most, broadcasts, equal, equals
from ..ir import Array, Node, Signature, Trait, Value, dtype_of
from ..tensor import broadcast_shapes
from .common import Attrs, check, check_count, register
from .views import window_size


def _check_types(name: str, a: DType, b: DType, acc: DType) -> None:
    both_integers = a.is_integer and b.is_integer
    check(a == b or both_integers, "{} of {} and {}", name, a, b)
    check(a.kind in "fiu" and acc.kind in "fi" + a.kind, "{} of {} accumulated in {}", name, a, acc)


def _infer_matmul(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """matmul(a[..., M, K], b[..., K, N]; acc) -> [..., M, N] of dtype `acc`; leading axes broadcast."""
    check_count("matmul", inputs, 2)
    a, b = inputs
    check(a.rank >= 2 and b.rank >= 2, "matmul of ranks {} and {}", a.rank, b.rank)
    _check_types("matmul", a.dtype, b.dtype, attrs["acc"])
    return [((*broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]), attrs["acc"])]


def _demand_matmul(node: Node) -> Iterator[Condition]:
    a, b = node.inputs
    yield from equals(a.shape[-1:], b.shape[-2:-1], "MatMul dimension mismatch, {} and {}", a.shape, b.shape)
    for v in node.inputs:
        yield from broadcasts(v.shape[:-2], node.outputs[0].shape[:-2])


def _evaluate_matmul(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    compute, acc = attrs["acc"].compute.to_numpy(), attrs["acc"].to_numpy()
    a, b = (x.astype(compute) for x in arrays)
    return [np.matmul(a, b).astype(acc)]


register("matmul", _infer_matmul, _evaluate_matmul, "acc", demands=_demand_matmul, traits=Trait.HEAVY)


def _infer_conv(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """conv(x[N, *S, C], w[*K, C / groups, OC], [fill]; strides, dilations, pads_low, pads_high, groups, [acc]).

    Channels last, to [N, *O, OC]: out[n, *o, c] = sum over taps t and channels i of
    x[n, *(o * stride + t * dilation - pad_low), g * IC + i] * w[*t, i, c], with zeros, or the scalar `fill` if they
    are bytes, outside of x, and g the group of output channel c. acc: accumulating and result dtype, that of x unless
    given."""
    check_count("conv", inputs, 2, 3)
    x, w, *fill = inputs
    right = all(f.shape == () and f.dtype == x.dtype and x.dtype.bits == 8 and w.dtype == I8 for f in fill)
    check(right, "conv of {} with weights {}, filled with {}", x, w, fill)
    rank, groups, acc = x.rank - 2, attrs["groups"], attrs.get("acc", x.dtype)
    check(rank >= 0 and w.rank == x.rank, "conv of {} with weights {}", x, w)
    lengths = {len(attrs[k]) for k in ("strides", "dilations", "pads_low", "pads_high")}
    check(lengths == {rank}, "conv: strides, dilations and pads are not of length {}", rank)
    check(all(s >= 1 for s in (*attrs["strides"], *attrs["dilations"])), "conv: a stride or dilation below 1")
    check(groups >= 1, "conv in {} groups", groups)
    _check_types("conv", x.dtype, w.dtype, acc)
    spatial = []
    for i in range(rank):
        padded = x.shape[1 + i] + attrs["pads_low"][i] + attrs["pads_high"][i]
        spatial.append(window_size(padded, w.shape[i], attrs["strides"][i], attrs["dilations"][i]))
    return [((x.shape[0], *spatial, w.shape[-1]), acc)]


def _demand_conv(node: Node) -> Iterator[Condition]:
    (x, w), (out,), groups = node.inputs[:2], node.outputs, node.attrs["groups"]
    wrong = "Input channels C is not equal to kernel channels * group. C: {} kernel channels: {} group: {}"
    yield from equal(x.shape[-1], w.shape[-2] * groups, wrong, x.shape[-1], w.shape[-2], groups)
    yield from equal(mod(w.shape[-1], groups), 0, "{} output channels in {} groups", w.shape[-1], groups)
    for d, taps, size in zip(x.shape[1:-1], w.shape, out.shape[1:-1]):
        yield from at_most(0, size, "a filter of {} taps on an axis of {}", taps, d)


def _evaluate_conv(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    x, w, *fill = arrays
    groups, strides, dilations = attrs["groups"], attrs["strides"], attrs["dilations"]
    acc = attrs.get("acc", dtype_of(x))
    compute = acc.compute.to_numpy()
    pads = [(0, 0), *zip(attrs["pads_low"], attrs["pads_high"]), (0, 0)]
    padded = np.pad(x.astype(compute), pads, constant_values=fill[0].astype(compute) if fill else 0)
    return [convolved(padded, w.astype(compute), strides, dilations, groups).astype(acc.to_numpy())]


def convolved(x: Array, w: Array, strides: Sequence[int], dilations: Sequence[int], groups: int) -> Array:
    """The convolution, without padding, of an input, channels last, with weights [taps..., C / groups, N].

    Each tap is a product of its weights with a view of the input."""
    out = [window_size(*args) for args in zip(x.shape[1:-1], w.shape, strides, dilations)]
    total = np.zeros((groups, x.shape[0] * prod(out), w.shape[-1] // groups), x.dtype)
    for tap in itertools.product(*map(range, w.shape[:-2])):
        spatial = tuple(slice(t * d, t * d + o * s, s) for t, d, o, s in zip(tap, dilations, out, strides))
        where = (slice(None), *spatial)
        pixels = x[where].reshape(-1, groups, w.shape[-2])
        weights = w[tap].reshape(w.shape[-2], groups, -1)
        total += np.matmul(pixels.transpose(1, 0, 2), weights.transpose(1, 0, 2))
    result: Array = total.transpose(1, 0, 2).reshape(x.shape[0], *out, w.shape[-1])
    return result


register(
    "conv",
    _infer_conv,
    _evaluate_conv,
    "strides dilations pads_low pads_high groups acc",
    demands=_demand_conv,
    traits=Trait.HEAVY,
)
