"""Schedules of kernel.ir.LoopNest: which loops are outer (parallel), which are inner, and in which blocks.

In: a `LoopNest`. Out: an equivalent one with other loops. `refine` splits axes so that divisions vanish, `collapse`
merges axes that walk memory as one; then `rows` for nests with reductions, `points` for those without, and `scans`
decide which loop is innermost.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from itertools import pairwise

from ..kernel.ir import LoopNest, Schedule, Stage
from ..kernel.rebuild import expressions, map_sizes, sizes_of
from ..precision import Precision
from ..scalar.dim import (
    Dim,
    FloorDiv,
    Mod,
    Size,
    Symbol,
    ceil_div,
    dim_min,
    exact_div,
    linear_in,
    substitute,
    symbols,
    upper_bound,
)
from ..scalar.dtype import I64
from ..scalar.expr import Const, Expr, Load, Local, rewrite
from ..scalar.expr import Index as IndexExpr
from ..target import Target

_L1_PER_POINT = 16  # bytes of the first-level cache per point: room for some rows of a task
_L1_PER_TILE = 32  # bytes of the first-level cache per element of a tile: eight tiles of f32 fit
_SETS = 4  # a tile is copied if its rows fall into at most so many cache sets


@dataclass(frozen=True, slots=True)
class LoopNestSchedule(Schedule):
    """How loops are cut into blocks.

    points: elements of the innermost loop of a pointwise kernel, which is one task; short: the length up to which an
    innermost axis is inner together with the next one; square: the side of the tiles of a transpose, which stay in the
    first-level cache; columns: accumulated at once by a reduction over rows, in four vectors of 512 bits;
    scanned: columns scanned side by side, runs of memory as long as prefetching takes; 0 if each column is a task;
    sums, sums_of_rows: numbers of a row (in vector lanes) and of a column that are summed without compensation, so that
    rounding errors stay small; apart: steps of a multiple of so many bytes fall into few sets of the first-level cache,
    hence a tile of a transpose is copied; grain: operations from which a claim of tasks repays its atomic operation.
    """

    points: int = 2048
    short: int = 16
    square: int = 32
    columns: int = 64
    scanned: int = 1024
    sums: int = 1024
    sums_of_rows: int = 256
    apart: int = 1024
    grain: int = 16384


def default(body: LoopNest, target: Target, precision: Precision = "exact") -> LoopNestSchedule:
    """The schedule by rules that need no measurement."""
    l1 = target.l1
    points = 1 << (l1.bytes // _L1_PER_POINT).bit_length() - 1
    square = 1 << (math.isqrt(l1.bytes // _L1_PER_TILE)).bit_length() - 1
    return LoopNestSchedule(points, square=square, apart=l1.bytes // l1.ways // _SETS)


def legal(body: LoopNest, schedule: LoopNestSchedule, target: Target, precision: Precision = "exact") -> str | None:
    """Why the schedule cannot compute the body; None if it can."""
    least = min(getattr(schedule, f.name) for f in fields(schedule) if f.name != "scanned")
    return None if least >= 1 and schedule.scanned >= 0 else "all numbers are at least 1"


def space(body: LoopNest, target: Target, precision: Precision = "exact") -> Iterator[LoopNestSchedule]:
    """The default, then schedules that differ from it in one number, a quarter or four times of it."""
    first = default(body, target)
    yield first
    for f in fields(first):
        number = getattr(first, f.name)
        yield from (replace(first, **{f.name: other}) for other in (number // 4, number * 4))


@lru_cache(1 << 10)  # layers are often alike
def arranged(nest: LoopNest, how: LoopNestSchedule) -> LoopNest:
    """A nest as it was lowered, with its loops in the order of the schedule."""
    nest = collapse(refine(_without_dead_loads(nest)))
    if any(s.reduce for s in nest.stages):
        nest = rows(nest, how)
    elif not (any(s.scan for s in nest.stages) or nest.stages[-1].axes):
        nest = points(nest, how)
    return scans(nest, how) if how.scanned else nest


def _without_dead_loads(nest: LoopNest) -> LoopNest:
    """Removes loads from stages that never run, since printers hoist expressions out of loops."""
    stages = []
    for st in nest.stages:
        if any(s.extent == 0 for s in (*nest.outer, *st.axes, *st.reduce_axes)):
            placed = symbols(st.store.index) if st.store is not None else frozenset()
            lets = tuple(replace(let, value=Const(0, I64)) for let in st.lets if let.symbol in placed)
            st = replace(st, value=Const(0, st.value.dtype), lets=lets)
        stages.append(st)
    return replace(nest, stages=tuple(stages))


def replace_symbols(nest: LoopNest, values: dict[Symbol, Size], outer: Sequence[Symbol]) -> LoopNest:
    """`nest` over `outer`, with symbols replaced by `values` everywhere, also in extents of inner symbols."""
    table = dict(values)
    for stage in nest.stages:
        for s in (*stage.axes, *stage.reduce_axes):
            if s.extent is not None and symbols(s.extent) & frozenset(values):
                table[s] = Symbol(s.name, s.lower, substitute(s.extent, values))
    return replace(map_sizes(nest, lambda x: substitute(x, table)), outer=tuple(outer))


# -- refine ----------------------------------------------------------------------------------------------------------


def refine(nest: LoopNest) -> LoopNest:
    """Splits axis s into s1 * c + s0 where some index divides by c, so that s // c is s1 and s % c is s0."""
    for i in range(16):  # a bound in any case
        candidate = next(_splits(nest), None)
        if candidate is None:
            return nest
        axis, size = candidate
        if axis.extent is None:
            return nest
        high = Symbol(f"{axis.name}h{i}", 0, exact_div(axis.extent, size))
        low = Symbol(f"{axis.name}l{i}", 0, size)
        nest = split(nest, axis, (high, low), high * size + low)
    return nest


def split(nest: LoopNest, axis: Symbol, parts: tuple[Symbol, ...], value: Size) -> LoopNest:
    """Replaces the loops over `axis` by loops over `parts`, and `axis` by `value`."""

    def swap(axes: tuple[Symbol, ...]) -> tuple[Symbol, ...]:
        return tuple(p for s in axes for p in (parts if s is axis or s == axis else (s,)))

    stages = tuple(replace(s, axes=swap(s.axes), reduce_axes=swap(s.reduce_axes)) for s in nest.stages)
    return replace_symbols(replace(nest, stages=stages), {axis: value}, swap(nest.outer))


def _splits(nest: LoopNest) -> Iterator[tuple[Symbol, Size]]:
    """Axes that some index divides, each with a divisor that divides its extent."""
    loops = {s: s for s in (*nest.outer, *(a for st in nest.stages for a in (*st.axes, *st.reduce_axes)))}
    for size in sizes_of(nest):
        for atom in atoms(size):
            if isinstance(atom, (FloorDiv, Mod)):
                axis = next((s for s in loops if linear_in_atom(atom.a, s)), None)
                if axis is not None and axis.extent is not None and atom.a == axis:
                    whole = exact_div(axis.extent, atom.b)
                    if whole is not None and whole != 1 and atom.b != 1:
                        yield axis, atom.b


def linear_in_atom(x: Size, s: Symbol) -> bool:
    return isinstance(x, Dim) and s in symbols(x)


def atoms(size: Size) -> Iterator[Dim]:
    """Every floordiv and mod atom inside `size`, inner ones first."""
    if isinstance(size, int):
        return
    for _, factors in size.terms:
        for atom in factors:
            if isinstance(atom, (FloorDiv, Mod)):
                yield from atoms(atom.a)
                yield from atoms(atom.b)
                yield atom


# -- collapse --------------------------------------------------------------------------------------------------------


def collapse(nest: LoopNest) -> LoopNest:
    """Merges neighbouring loops that every access walks as one."""
    nest = _drop_ones(nest)
    changed = True
    while changed:
        changed = False
        lists = [nest.outer, *(st.axes for st in nest.stages), *(st.reduce_axes for st in nest.stages)]
        for axes in lists:
            for s, t in pairwise(axes):
                merged = _merge(nest, s, t)
                if merged is not None:
                    nest, changed = merged, True
                    break
            if changed:
                break
    return nest


def _drop_ones(nest: LoopNest) -> LoopNest:
    """Removes loops of one iteration; a reduction over such axes alone becomes its value."""
    ones: dict[Symbol, Size] = {s: 0 for s in _loops(nest) if s.extent == 1}
    stages = []
    for st in nest.stages:
        reduce_axes = tuple(s for s in st.reduce_axes if s not in ones)
        if st.reduce and not reduce_axes:
            stages.append(replace(st, axes=tuple(s for s in st.axes if s not in ones), reduce_axes=(), reduce=None))
        elif st.scan:
            stages.append(st)
            ones = {s: v for s, v in ones.items() if s not in st.axes}
        else:
            stages.append(replace(st, axes=tuple(s for s in st.axes if s not in ones), reduce_axes=reduce_axes))
    outer = tuple(s for s in nest.outer if s not in ones)
    return replace_symbols(replace(nest, stages=tuple(stages)), ones, outer)


def _loops(nest: LoopNest) -> tuple[Symbol, ...]:
    return (*nest.outer, *(s for st in nest.stages for s in (*st.axes, *st.reduce_axes)))


def _accesses(nest: LoopNest) -> Iterator[Size]:
    """Every index and every extent in the nest."""
    for e in expressions(nest.stages):
        if isinstance(e, IndexExpr):
            yield e.size
        elif isinstance(e, (Load, Local)):
            yield e.index
    for stage in nest.stages:
        if stage.store is not None:
            yield stage.store.index
    for s in _loops(nest):
        if s.extent is not None:
            yield s.extent


def _merge(nest: LoopNest, s: Symbol, t: Symbol) -> LoopNest | None:
    """s and t as one loop, if each index is rest + c * (s * extent(t) + t); None otherwise."""
    if t.extent is None or s.extent is None:
        return None
    if any(st.scan and (s in st.axes or t in st.axes) for st in nest.stages):
        return None
    merged = Symbol(f"{s.name}{t.name}", 0, s.extent * t.extent)
    table: dict[Size, Size] = {}
    for size in _accesses(nest):
        if isinstance(size, int) or not symbols(size) & {s, t}:
            continue
        in_t = linear_in(size, t)
        in_s = linear_in(size, s)
        if in_t is None or in_s is None or in_s[0] != in_t[0] * t.extent or symbols(in_t[0]) & {s, t}:
            return None
        rest = linear_in(in_s[1], t)
        if rest is None:
            return None
        table[size] = rest[1] + in_t[0] * merged

    def join(axes: tuple[Symbol, ...]) -> tuple[Symbol, ...]:
        out: list[Symbol] = []
        for a in axes:
            if a == t and out and out[-1] is merged:
                continue
            out.append(merged if a == s else a)
        return tuple(out)

    for axes in (nest.outer, *(st.axes for st in nest.stages), *(st.reduce_axes for st in nest.stages)):
        if (s in axes or t in axes) and not any((a, b) == (s, t) for a, b in pairwise(axes)):
            return None
    stages = tuple(replace(st, axes=join(st.axes), reduce_axes=join(st.reduce_axes)) for st in nest.stages)
    joined = LoopNest(join(nest.outer), stages)
    return map_sizes(joined, lambda x: table.get(x, x))


# -- which loop is innermost -----------------------------------------------------------------------------------------


def demote(nest: LoopNest, axis: Symbol, block: int) -> LoopNest:
    """Splits an outer axis: blocks stay outer, the positions in a block become the last inner axis of every stage."""
    assert axis.extent is not None
    most = upper_bound(axis.extent)
    small = most is not None and most <= block
    whole = exact_div(axis.extent, block)
    if small:
        inner = Symbol(f"{axis.name}i", 0, axis.extent)
        value: Size = inner
        parts: tuple[Symbol, ...] = ()
    else:
        outer = Symbol(f"{axis.name}b", 0, ceil_div(axis.extent, block))
        extent = block if whole is not None else dim_min(block, axis.extent - outer * block)
        inner = Symbol(f"{axis.name}i", 0, extent)
        value = outer * block + inner
        parts = (outer,)
    domain = tuple(p for s in nest.outer for p in (parts if s == axis else (s,)))
    stages = tuple(replace(st, axes=(*st.axes, inner)) for st in nest.stages)
    nest = replace_symbols(replace(nest, stages=stages), {axis: value}, domain)

    def spread(e: Expr) -> Expr | None:
        if isinstance(e, Local):
            return Local(e.slot, e.index * inner.extent + inner, e.dtype)  # type: ignore[operator]
        return None

    stages = tuple(
        replace(
            st, value=rewrite(st.value, spread), lets=tuple(replace(x, value=rewrite(x.value, spread)) for x in st.lets)
        )
        for st in nest.stages
    )
    return LoopNest(nest.outer, stages)


def rows(nest: LoopNest, how: LoopNestSchedule) -> LoopNest:
    """For nests with reductions: the axis along which most loads are contiguous becomes inner, if it is outer."""
    along: dict[Symbol, int] = {}
    for stage in nest.stages:
        if stage.reduce:
            for load in _loads(stage):
                for s in (*stage.reduce_axes, *nest.outer):
                    if stride(load.index, s) == 1:
                        along[s] = along.get(s, 0) + 1
    if not along:
        return nest
    best = max(along, key=lambda s: along[s])
    return demote(nest, best, how.columns) if best in nest.outer else nest


def scans(nest: LoopNest, how: LoopNestSchedule) -> LoopNest:
    """For nests whose scans go across the rows of memory: neighbours in a row are scanned side by side, in blocks.

    The axis of a block precedes the scanned one. Other nests stay as they are."""
    stores = {st.store for st in nest.stages if st.scan}
    store = stores.pop() if len(stores) == 1 else None
    across = next((s for s in nest.outer if store is not None and stride(store.index, s) == 1), None)
    if across is None:
        return nest
    nest = demote(nest, across, how.scanned)
    swapped = (replace(st, axes=(*st.axes[:-2], st.axes[-1], st.axes[-2])) if st.scan else st for st in nest.stages)
    return replace(nest, stages=tuple(swapped))


def points(nest: LoopNest, how: LoopNestSchedule) -> LoopNest:
    """For nests without reductions: blocks of the last axis become inner; for transposes, square tiles."""
    if not nest.outer:
        return nest
    last = nest.outer[-1]
    across = [
        s
        for load in (load for st in nest.stages for load in _loads(st))
        for s in nest.outer[:-1]
        if stride(load.index, s) == 1 and stride(load.index, last) != 0 and not _at_most(s.extent, 4)
    ]
    if across and not _at_most(last.extent, 4):
        return demote(demote(nest, across[0], how.square), last, how.square)
    if _at_most(last.extent, how.short) and len(nest.outer) > 1:
        nest = demote(nest, nest.outer[-2], max(1, how.points // how.short))
    return demote(nest, last, how.points)


def stride(index: Size, s: Symbol) -> Size | None:
    """The step of `index` along s; None if it is not linear in s."""
    parts = linear_in(index, s)
    return None if parts is None else parts[0]


def _loads(stage: Stage) -> Iterator[Load]:
    for e in expressions(stage):
        if isinstance(e, Load):
            yield e


def _at_most(extent: Size | None, bound: int) -> bool:
    return isinstance(extent, int) and extent <= bound
