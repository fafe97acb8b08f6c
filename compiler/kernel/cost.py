"""What a launch costs: floating-point operations and bytes moved, as sizes.

For the program's choice of threads and chunks, and for `explain`. Bytes count each buffer once: what must cross memory,
not what the caches see.
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
    """Operations of one outer point (one task), with inner extents at their largest."""
    total: Size = 0
    for stage in body.stages:
        per_point = max(1, operations(stage.value) + sum(operations(x.value) for x in stage.lets))
        total = total + prod(_bound(s) for s in (*stage.axes, *stage.reduce_axes)) * per_point
    return total


def operations(e: Expr) -> int:
    """Primitive operations in an expression, each shared node once."""
    return sum(TABLE[node.prim].flops for node in walk(e) if isinstance(node, Call))


def _epilogue(stages: tuple[Stage, ...]) -> int:
    return sum(operations(s.value) for s in stages)


def _extents(axes: tuple[Symbol, ...]) -> Size:
    return prod(extent(s) for s in axes)


def _bound(s: Symbol) -> Size:
    """An extent that mentions outer variables is what they leave of a block: the block bounds it, or the first one."""
    from_extent = extent(s)
    args = getattr(from_extent, "args", None)
    if args:
        return min((a for a in args if isinstance(a, int)), default=_at_first(from_extent))
    return _at_first(from_extent)


def _at_first(size: Size) -> Size:
    return substitute(size, {s: 0 for s in symbols(size) if s.extent is not None})
