"""ONNX NonMaxSuppression: a row of box indices for each batch and class, then the filled parts of these rows joined.

In: values and attributes of a node. Out: values, one dim of which is a symbol bound when the model runs.
"""

from __future__ import annotations

from ...graph.ir import Value
from ...scalar.dim import LEAST, dim_max, dim_min
from ...scalar.dtype import F32, I64
from ..registry import onnx_op
from ..values import bound, concat, scalar
from .index import iota
from .select import prefix_sum, scatter


@onnx_op("NonMaxSuppression", since=10)
def non_max_suppression(
    boxes: Value, scores: Value, limit: Value | None = None, iou_threshold: Value | None = None,
    score_threshold: Value | None = None, *, center_point_box: int = 0,
) -> Value:  # fmt: skip
    batch, classes, count = scores.shape
    boxes = boxes.ensure_shape(batch, count, 4, text="boxes and scores are of one batch and one number")
    a, b, c, d = (boxes.narrow(2, i, 1) for i in range(4))
    if center_point_box:  # x, y, width, height
        corners = [b - d * 0.5, a - c * 0.5, b + d * 0.5, a + c * 0.5]
    else:
        corners = [a.map("min", c), b.map("min", d), a.map("max", c), b.map("max", d)]
    overlap = scalar(0.0, F32) if iou_threshold is None else iou_threshold.reshape()
    in_range = (overlap >= 0.0).map("and", overlap <= 1.0)
    overlap = overlap.require(in_range, "iou_threshold must be in range [0, 1]")
    threshold = [] if score_threshold is None else [score_threshold.reshape()]
    per_class = 0 if limit is None else bound(limit.reshape(1), LEAST, "limit")
    most = dim_min(dim_max(per_class, 0), count)
    places, counts = scores.emit("nms", [concat(corners, 2), scores, overlap, *threshold], most=most)

    counts = counts.reshape(batch * classes)
    first = prefix_sum(counts, exclusive=True)  # where each row begins in the result
    total = bound(counts.sum(), upper=batch * classes * most)
    starts = scatter(scalar(0, I64).broadcast(total + 1), scalar(1, I64).broadcast(batch * classes), first, "add")
    row = prefix_sum(starts, exclusive=False).narrow(0, 0, total) - 1  # of each element of the result
    at = iota((total,), 0, row) - first.take(row, 0)
    place = places.reshape(batch * classes, most).gather([row, at], [0, 1])
    each = row.const_size(classes)
    return concat([v.unsqueeze(1) for v in (row.map("div", each), row.map("mod", each), place)], 1)
