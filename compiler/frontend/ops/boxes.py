"""ONNX NonMaxSuppression: a loop that takes the best box, and a choice of the rows that it filled.

In: values and attributes of a node. Out: values, one dim of which is a symbol bound when the model runs.
"""

from __future__ import annotations

import math

import numpy as np

from ...graph.ir import Value, constant, input_value
from ...scalar.dim import LEAST, dim_max, dim_min
from ...scalar.dtype import BOOL, F32
from ..registry import Traced, onnx_op
from ..values import bound, collecting, concat, scalar
from .control import loop_index, looped
from .index import iota
from .select import chosen


def _overlap(a: list[Value], b: list[Value]) -> Value:
    """Intersection over union of boxes (y1, x1, y2, x2 with y1 <= y2, x1 <= x2)."""
    height = a[2].map("min", b[2]) - a[0].map("max", b[0])
    width = a[3].map("min", b[3]) - a[1].map("max", b[1])
    common = height.map("max", 0) * width.map("max", 0)
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    union = areas[0] + areas[1] - common
    return (union > 0).select(common / union, 0)


@onnx_op("NonMaxSuppression", since=10)
def non_max_suppression(
    boxes: Value, scores: Value, limit: Value | None = None, iou_threshold: Value | None = None,
    score_threshold: Value | None = None, *, center_point_box: int = 0,
) -> Value:  # fmt: skip
    """Takes the best box, of each batch and class, and drops what overlaps it, again and again."""
    batch, classes, count = scores.shape
    boxes = boxes.ensure_shape(batch, count, 4, text="boxes and scores are of one batch and one number")
    if count == 0:
        return constant(np.zeros((0, 3), np.int64))
    most = 0 if limit is None else bound(limit.reshape(1), LEAST, "limit")
    trips = dim_min(dim_max(most, 0), count)
    a, b, c, d = (boxes.narrow(2, i, 1).squeeze(2) for i in range(4))
    if center_point_box:  # x, y, width, height
        corners = [b - d * 0.5, a - c * 0.5, b + d * 0.5, a + c * 0.5]
    else:
        corners = [a.map("min", c), b.map("min", d), a.map("max", c), b.map("max", d)]
    box = concat([v.unsqueeze(1) for v in corners], 1)  # [B, 4, N]
    threshold = scalar(0.0, F32) if iou_threshold is None else iou_threshold.reshape()
    in_range = (threshold >= 0.0).map("and", threshold <= 1.0)
    threshold = threshold.require(in_range, "iou_threshold must be in range [0, 1]")
    active = scalar(True, BOOL).broadcast(*scores.shape)
    if score_threshold is not None:
        active = scores > score_threshold.reshape()

    captured = [box, scores, threshold]
    formals = [input_value(n, v.shape, v.dtype) for n, v in zip(("box", "scores", "threshold"), captured)]
    state = input_value("active", active.shape, BOOL)
    with collecting(inside=True) as symbols:
        _, index = loop_index(trips)
        outputs = _suppressed(state, *formals)
    traced = Traced([scalar(True, BOOL), *outputs], dict(zip(captured, formals)), symbols.bindings)
    _, (best, valid) = looped(scalar(True, BOOL), trips, [active], index, [state], traced)
    shape = (batch, classes, trips)
    parts = [iota(shape, i, best) for i in (0, 1)] + [best.permute(1, 2, 0)]
    rows = concat([p.reshape(-1, 1) for p in parts], 1)
    return rows.take(chosen(valid.permute(1, 2, 0).reshape(-1)), 0)


def _suppressed(active: Value, box: Value, scores: Value, threshold: Value) -> list[Value]:
    """One step: what stays active [B, C, N], the best box [B, C], and whether there was one."""
    candidates = active.select(scores, scores.const(-math.inf))
    best = candidates.emit("argreduce", [candidates], kind="max", axis=2, last=False)[0]
    batch = iota(best.shape, 0, best)
    taken = box.permute(0, 2, 1).gather([batch, best], [0, 1]).unsqueeze(2)  # [B, C, 1, 4]
    ours = [taken.narrow(3, i, 1).squeeze(3) for i in range(4)]
    theirs = [box.narrow(1, i, 1) for i in range(4)]
    itself = iota((scores.shape[2],), 0, best).map("eq", best.unsqueeze(2))
    drop = (_overlap(ours, theirs) > threshold).map("or", itself)
    return [active.map("and", drop.map("not")), best, active.reduce("or", 2)]
