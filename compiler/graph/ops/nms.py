"""nms: non-maximum suppression, which keeps the box of the greatest score among boxes that overlap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...scalar.dtype import I64
from ..conditions import Condition, at_most, equals
from ..ir import Array, Node, Signature, Trait, Value
from .common import Attrs, check, check_count, register


def _infer_nms(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """nms(boxes, scores, overlap, [least]; most) -> places [B, C, most], counts [B, C], both i64.

    For each row of scores [B, C, N], takes its boxes, of [B, N, 4], by descending score, equal ones in order, except
    for boxes whose intersection over union with a box taken before exceeds `overlap`, a scalar; at most `most` boxes.
    Boxes are y1, x1, y2, x2 with y1 <= y2, x1 <= x2. least: a scalar that scores have to exceed. The places of a row
    after the first `counts` are undefined."""
    check_count("nms", inputs, 3, 4)
    boxes, scores, *limits = inputs
    check(boxes.rank == scores.rank == 3, "nms of boxes {} and scores {}", boxes.shape, scores.shape)
    check(boxes.dtype.is_float and boxes.dtype == boxes.dtype.compute, "nms of boxes of {}", boxes.dtype)
    for each in (scores, *limits):
        check(each.dtype == boxes.dtype, "nms of boxes of {} with {}", boxes.dtype, each.dtype)
    for limit in limits:
        check(limit.rank == 0, "nms: a limit of shape {}", limit.shape)
    rows = scores.shape[:2]
    return [((*rows, attrs["most"]), I64), (rows, I64)]


def _demand_nms(node: Node) -> Iterator[Condition]:
    boxes, scores = node.inputs[:2]
    batch, _, count = scores.shape
    yield from equals(boxes.shape, (batch, count, 4), "boxes, and what their scores want")
    yield from at_most(node.attrs["most"], count, "{} of {} boxes", node.attrs["most"], count)


def _evaluate_nms(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    boxes, scores, overlap, *least = arrays
    places, counts = np.zeros((*scores.shape[:2], attrs["most"]), np.int64), np.zeros(scores.shape[:2], np.int64)
    for batch, row in np.ndindex(*counts.shape):
        taken = apart(boxes[batch], scores[batch, row], overlap, *least, most=attrs["most"])
        places[batch, row, : len(taken)], counts[batch, row] = taken, len(taken)
    return [places, counts]


def apart(boxes: Array, scores: Array, overlap: Array, least: Array | None = None, *, most: int) -> list[int]:
    """The indices that are taken of boxes [n, 4] with scores [n]: see `_infer_nms`."""
    n = len(scores)
    order = np.flip(n - 1 - np.argsort(np.flip(scores), kind="stable"))
    left = [int(i) for i in order if least is None or scores[i] > least]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    taken: list[int] = []
    while left and len(taken) < most:
        best = left.pop(0)
        taken.append(best)
        low, high = np.maximum(boxes[best, :2], boxes[left, :2]), np.minimum(boxes[best, 2:], boxes[left, 2:])
        intersection = np.prod(np.maximum(high - low, 0), -1)
        union = areas[best] + areas[left] - intersection
        ratios = np.divide(intersection, union, out=np.zeros_like(intersection), where=intersection > 0)
        left = [i for i, ratio in zip(left, ratios) if not ratio > overlap]
    return taken


register("nms", _infer_nms, _evaluate_nms, "most", demands=_demand_nms, traits=Trait.HEAVY)
