"""The cost of a launch: arithmetic operations and bytes moved, as sizes.

It decides about threads and chunks of tasks, and is part of `explain`. Bytes count each element once that is accessed:
what must cross memory, not what the caches see. Of a table of which a few rows are gathered, those rows count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..scalar.dim import Size, Symbol, dim_min, extent, prod, substitute, symbols
from ..scalar.expr import Call, Expr, Load, walk
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
    return Cost(flops(kernel.body), sum(touched(kernel), start=0))


def touched(kernel: Kernel) -> list[Size]:
    """The bytes of each parameter that one call accesses, at the most: no more elements than points at which a load or
    a store is evaluated."""
    counts: dict[int, Size] = {}
    for buffer, index, loops in _accesses(kernel.body):
        counts[buffer] = counts.get(buffer, 0) + prod(_bound(s) for s in loops if s in index)
    sizes = [dim_min(p.size, counts.get(i, p.size)) for i, p in enumerate(kernel.params)]
    return [size * p.dtype.itemsize for size, p in zip(sizes, kernel.params)]


def _accesses(body: Body) -> Iterator[tuple[int, frozenset[Symbol], tuple[Symbol, ...]]]:
    """The accesses of a loop nest: buffer, the loops that the index depends on, all loops around. Of other bodies none,
    as they access all."""
    if not isinstance(body, LoopNest):
        return
    for stage in body.stages:
        loops = (*body.outer, *stage.axes, *stage.reduce_axes)
        computed = {let.symbol for let in stage.lets}  # an index that depends on data depends on all loops
        loads = [e for e in walk(stage.value, *(let.value for let in stage.lets)) if isinstance(e, Load)]
        indices = [(e.buffer, e.index) for e in loads]
        for buffer, index in [*indices, *([(stage.store.buffer, stage.store.index)] if stage.store else [])]:
            named = symbols(index)
            yield buffer, frozenset(loops) if named & computed else named, loops


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
