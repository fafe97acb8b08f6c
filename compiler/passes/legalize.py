"""Legalisation: convolutions in the form that kernels accept.

Needs: channels-last `conv`. Ensures: a `conv` has constant weights and is of f32, f16, bf16 or narrow integers; a
pointwise one is a matmul; every other one is written out as a sum over windows, which the general kernels compute.
"""

from __future__ import annotations

from ..graph.ir import Graph, Node, Value, is_static, rewrite
from ..scalar.dim import prod
from ..scalar.dtype import BF16, F16, F32, I32, DType


def run(graph: Graph) -> Graph:
    def rule(node: Node) -> list[Value] | None:
        if node.op.name != "conv":
            return None
        x, w, *fill = node.inputs
        attrs = node.attrs
        if _is_pointwise(node):
            return [x.matmul(w.reshape(*w.shape[-2:]), acc=node.outputs[0].dtype)]
        fixed = all(isinstance(d, int) for d in (*w.shape, *attrs["strides"]))
        if _is_supported(x.dtype, w.dtype, attrs["acc"]) and is_static(w) and fixed and len(w.shape) <= 5:
            return None
        if fill:  # the difference is padded with zeros, and what it lacks is added
            whole = _windows(x.cast(I32) - fill[0].cast(I32), w, node)
            return [whole + fill[0].cast(I32) * w.cast(I32).sum(tuple(range(w.rank - 1)))]
        return [_windows(x, w, node)]

    return rewrite(graph, rule)


def _is_supported(x: DType, w: DType, acc: DType) -> bool:
    """Whether convolution kernels support these dtypes: floats of at most 32 bits, or narrow integers summed in i32."""
    if acc == I32:
        return all(t.is_integer and t.bits <= 16 for t in (x, w))
    return x == w and x in (F32, F16, BF16)


def _is_pointwise(node: Node) -> bool:
    attrs = node.attrs
    taps = node.inputs[1].shape[:-2]
    return (
        attrs["groups"] == 1
        and all(t == 1 for t in taps)
        and all(s == 1 for s in attrs["strides"])
        and all(p == 0 for p in (*attrs["pads_low"], *attrs["pads_high"]))
    )


def _windows(x: Value, w: Value, node: Node) -> Value:
    """The convolution as windows [N, *O, G, 1, ICg, *K] times weights [G, OCg, ICg, *K], summed over the last axes."""
    attrs = node.attrs
    *taps, ic, oc = w.shape
    groups, rank = attrs["groups"], len(taps)
    out, dtype = node.outputs[0].shape, node.outputs[0].dtype.compute
    x = x.cast(dtype).pad((0, *attrs["pads_low"], 0), (0, *attrs["pads_high"], 0))
    x = x.window(range(1, 1 + rank), taps, attrs["strides"], attrs["dilations"])  # type: ignore[arg-type]
    x = x.reshape(*out[:-1], groups, 1, ic, *taps)
    w = w.cast(dtype).reshape(*taps, ic, groups, oc // groups)
    w = w.permute(rank + 1, rank + 2, rank, *range(rank))
    total = (x * w).sum(tuple(range(-1 - rank, 0))).reshape(*out[:-1], prod((groups, oc // groups)))
    return total.cast(node.outputs[0].dtype)
