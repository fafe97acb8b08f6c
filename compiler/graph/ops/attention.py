"""attention: scaled dot products, softmax and weighted sum, as one operation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...scalar.dtype import F32
from ..conditions import Condition, broadcasts, equals
from ..ir import Array, Node, Signature, Trait, Value
from ..tensor import broadcast_shapes
from .common import Attrs, check, check_count, register


def _infer_attention(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """attention(q[..., M, D], k[..., N, D], v[..., N, DV], [mask]; scale, causal, zero_rows) -> [..., M, DV].

    softmax over n of (scale * q . k + mask), times v; leading axes broadcast. mask: f32, broadcast to
    [..., M, N], with -inf where a position is excluded. causal: None, or a Size `offset`: positions
    n > m + offset are excluded. zero_rows: a row whose softmax is NaN (all positions are excluded) gives zeros."""
    check_count("attention", inputs, 3, 4)
    q, k, v = inputs[:3]
    check(min(q.rank, k.rank, v.rank) >= 2, "attention of less than two axes")
    same = q.dtype == k.dtype == v.dtype
    check(same and q.dtype.is_float, "attention of {}, {} and {}", q.dtype, k.dtype, v.dtype)
    batch = broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    if len(inputs) == 4:
        mask = inputs[3]
        check(mask.dtype == F32, "attention: a mask of {}", mask.dtype)
        check(mask.rank <= len(batch) + 2, "attention: mask {} of more axes than the scores", mask.shape)
    return [((*batch, q.shape[-2], v.shape[-1]), q.dtype)]


def _demand_attention(node: Node) -> Iterator[Condition]:
    q, k, v, *mask = node.inputs
    batch = node.outputs[0].shape[:-2]
    yield from equals(q.shape[-1:], k.shape[-1:], "attention, a query and a key")
    yield from equals(k.shape[-2:-1], v.shape[-2:-1], "attention, keys and values")
    for each in (q, k, v):
        yield from broadcasts(each.shape[:-2], batch)
    for each in mask:
        yield from broadcasts(each.shape, (*batch, q.shape[-2], k.shape[-2]))


def scores_of(q: Array, k: Array, mask: Array | None, scale: float, causal: int | None) -> Array:
    """The scores of each query for each key; -inf where a position is excluded."""
    scores: Array = np.matmul(q, k.swapaxes(-1, -2)) * q.dtype.type(scale)
    if mask is not None:
        scores = scores + mask
    if causal is not None:
        m, n = np.ogrid[: q.shape[-2], : k.shape[-2]]
        scores = np.where(n > m + causal, -np.inf, scores)
    return scores


def softmax(scores: Array) -> Array:
    """The softmax along the last axis; NaN where all positions are excluded."""
    exponentials = np.exp(scores - scores.max(-1, keepdims=True, initial=-np.inf))
    weights: Array = exponentials / exponentials.sum(-1, keepdims=True)
    return weights


def _evaluate_attention(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    dtype = arrays[0].dtype
    q, k, v = (x.astype(np.float32) if x.dtype.itemsize < 4 else x for x in arrays[:3])
    mask = arrays[3] if len(arrays) == 4 else None
    with np.errstate(all="ignore"):
        weights = softmax(scores_of(q, k, mask, attrs["scale"], attrs["causal"]))
    if attrs["zero_rows"]:
        weights = np.where(np.isnan(weights), 0, weights)
    return [np.matmul(weights.astype(q.dtype), v).astype(dtype)]


register(
    "attention",
    _infer_attention,
    _evaluate_attention,
    "scale causal zero_rows",
    demands=_demand_attention,
    traits=Trait.HEAVY,
)
