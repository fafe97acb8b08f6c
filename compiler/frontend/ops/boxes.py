"""ONNX NonMaxSuppression: a row of places for each batch and class, and the parts of these rows that are filled.

In: values and attributes of a node. Out: values, one dim of which is a symbol bound when the model runs.
"""

from __future__ import annotations

from ...graph.ir import Value
from ...scalar.dim import LEAST, dim_max, dim_min
from ...scalar.dtype import F32, I64
from ..registry import onnx_op
from ..values import bound, concat, scalar
from .index import iota
from .select import running, scatter


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
    least = [] if score_threshold is None else [score_threshold.reshape()]
    wanted = 0 if limit is None else bound(limit.reshape(1), LEAST, "limit")
    most = dim_min(dim_max(wanted, 0), count)
    places, counts = scores.emit("nms", [concat(corners, 2), scores, overlap, *least], most=most)

    counts = counts.reshape(batch * classes)
    first = running(counts, exclusive=True)  # where the places of each row begin in the result
    total = bound(counts.sum(), upper=batch * classes * most)
    begun = scatter(scalar(0, I64).broadcast(total + 1), scalar(1, I64).broadcast(batch * classes), first, "add")
    row = running(begun, exclusive=False).narrow(0, 0, total) - 1  # of each place of the result
    at = iota((total,), 0, row) - first.take(row, 0)
    place = places.reshape(batch * classes, most).gather([row, at], [0, 1])
    each = row.const_size(classes)
    return concat([v.unsqueeze(1) for v in (row.map("div", each), row.map("mod", each), place)], 1)
