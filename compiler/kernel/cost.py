"""The cost of a launch: arithmetic operations and bytes moved, as sizes.

It decides about threads and chunks of tasks, and is part of `explain`. Bytes count each buffer once: what must cross
memory, not what the caches see.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..scalar.dim import Size, Symbol, extent, prod, substitute, symbols
from ..scalar.expr import Call, Expr, walk
from ..scalar.prims import TABLE
from .ir import Attention, Body, Conv, Kernel, Launch, LoopNest, Matmul, Nms, Nonzero, Recurrent, Sort, Stage, Trees


@dataclass(frozen=True)
class Cost:
    """flops: arithmetic operations (2 per multiply-add); bytes: read and written."""

    flops: Size
    bytes: Size


def of_launch(launch: Launch) -> Cost:
    """The cost of a launch in the model's symbols."""
    actual = dict(zip(launch.kernel.sizes, launch.sizes))
    cost = of_kernel(launch.kernel)
    return Cost(substitute(cost.flops, actual), substitute(cost.bytes, actual))


def of_kernel(kernel: Kernel) -> Cost:
    """The cost of one call, in the kernel's formal sizes."""
    moved: Size = 0
    for p in kernel.params:
        moved = moved + p.size * p.dtype.itemsize
    return Cost(flops(kernel.body), moved)


def flops(body: Body) -> Size:
    if isinstance(body, LoopNest):
        return _extents(body.outer) * inner_flops(body)
    if isinstance(body, Matmul):
        points = _extents((*body.batch, body.m, body.n))
        return points * (2 * extent(body.k) + _epilogue(body.epilogue))
    if isinstance(body, Conv):
        points = _extents((body.n, *body.out, body.c))
        depth = extent(body.channel) // body.groups * prod(body.taps)
        return points * (2 * depth + _epilogue(body.epilogue))
    if isinstance(body, Attention):
        rows = _extents((*body.batch, body.m))
        columns = extent(body.n)
        return rows * columns * (2 * extent(body.d) + 2 * extent(body.dv) + 20)
    if isinstance(body, Recurrent):
        gates = {"lstm": 4, "gru": 3, "gru_linear_before_reset": 3, "rnn": 1}[body.kind]
        directions = 2 if body.direction == "bidirectional" else 1
        return body.time * body.batch * directions * gates * body.hidden * (2 * body.hidden + 20)
    if isinstance(body, Nonzero):
        return extent(body.i) * 4
    if isinstance(body, Nms):
        return _extents((*body.outer, body.i)) * 40
    if isinstance(body, Trees):
        return extent(body.row) * (body.steps * 8 + extent(body.target) * (1 + _epilogue(body.epilogue)))
    assert isinstance(body, Sort)
    return _extents((*body.outer, body.i, *([body.column] if body.column is not None else []))) * 20


def inner_flops(body: LoopNest) -> Size:
    """Operations of one outer point, one task, with inner extents at their largest."""
    total: Size = 0
    for stage in body.stages:
        per_point = max(1, operations(stage.value) + sum(operations(x.value) for x in stage.lets))
        total = total + prod(_bound(s) for s in (*stage.axes, *stage.reduce_axes)) * per_point
    return total


def operations(e: Expr) -> int:
    """The flops of an expression's primitives, shared nodes counted once."""
    return sum(TABLE[node.prim].flops for node in walk(e) if isinstance(node, Call))


def _epilogue(stages: tuple[Stage, ...]) -> int:
    return sum(operations(s.value) for s in stages)


def _extents(axes: tuple[Symbol, ...]) -> Size:
    return prod(extent(s) for s in axes)


def _bound(s: Symbol) -> Size:
    """The extent of a full block, if that of s mentions outer variables, as in min(block, what remains)."""
    size = extent(s)
    at_first = substitute(size, {v: 0 for v in symbols(size) if v.extent is not None})
    return min((a for a in getattr(size, "args", ()) if isinstance(a, int)), default=at_first)
