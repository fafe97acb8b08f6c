"""LoopNest kernels -> Triton: a program is one point of the outer domain, whose stages run over tiles.

In: a Kernel whose body is a LoopNest. Out: Triton source, and the number of programs in the kernel's sizes. If points
are little work, as short reductions, a program is a block of them along one axis instead.

How a stage becomes tiles of rows by columns:
    no reduction           columns are its last axis, rows the others
    reduction              columns are the last reduced axis, rows the others; then both are reduced
    axes and a reduction   columns are the axis, rows the reduced ones; then the rows are reduced
    scan                   columns are the axis, in order, with a carry from tile to tile
    scatter                updates in order; along the last axis in tiles, if these write different elements
A row that a stage keeps for later ones is recomputed by each of them. If the row fits a tile its values are still in
registers, as equal expressions of one tile are computed once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from ...graph.index import delinear
from ...kernel.ir import Kernel, Let, LoopNest, Stage
from ...kernel.rebuild import map_expr, map_sizes, sizes_of
from ...scalar import prims
from ...scalar.dim import Min, Size, Symbol, extent, known_eq, linear_in, prod, substitute, symbols, upper_bound
from ...scalar.dtype import BOOL, I32, DType
from ...scalar.expr import Call, Const, Expr, Index, Load, Local, as_type, rewrite, walk
from ...schedule.device.loopnest import NestSchedule
from ...schedule.device.tile import tile_length, warps_of
from ...schedule.loopnest import demote
from ..render import render
from .expr import NONE, Value, literal
from .tiles import Source, arguments, parameters, printer, tiles

COLUMNS = frozenset((1,))
BOTH = frozenset((0, 1))
_BITS = {"and": "bit_and", "or": "bit_or", "xor": "bit_xor", "min": "bit_and", "max": "bit_or"}


def tasks(body: LoopNest, schedule: NestSchedule) -> Size:
    """The number of programs: points of the outer domain."""
    return prod(extent(s) for s in _blocked(body, schedule).outer)


def refusal(kernel: Kernel, schedule: NestSchedule) -> str | None:
    """Why the kernel cannot be printed, or None: what a stage keeps has to fit a tile, and to be read at its place."""
    body = kernel.body
    assert isinstance(body, LoopNest)
    body = _blocked(body, schedule)
    for stage in body.stages:
        if stage.store is None and stage.axes and stage.scan is not None:
            return "a scan whose result is kept"
        if stage.store is None and stage.axes and stage.reduce is not None:
            width = _shape(stage.reduce_axes, stage.axes[-1:], schedule, schedule.columns)[1]
            if len(stage.axes) > 1 or tile_length(extent(stage.axes[0]), 2 * width) > width:
                return "a reduction that keeps more than one tile"
        inlined = _with_kept_rows(body, stage)
        for e in walk(inlined.value, *(let.value for let in inlined.lets)):
            kept = body.stages[e.slot] if isinstance(e, Local) else None
            if kept and kept.axes and e.index != kept.axes[-1]:  # type: ignore[attr-defined]
                return "a kept column that is read at another place"
    return None


def source(kernel: Kernel, name: str, schedule: NestSchedule) -> Source:
    """The kernel's source."""
    body = kernel.body
    assert isinstance(body, LoopNest)
    nest = _Nest(kernel, _blocked(body, schedule), schedule)
    text = render(
        "triton/loopnest.py.j2",
        name=name,
        parameters=parameters(kernel),
        outer=nest.outer,
        lines=nest.lines(),
        functions=list(nest.out.functions.definitions.values()),
    )
    return Source(text, arguments(kernel), warps_of(nest.widest), 2)


def _blocked(body: LoopNest, schedule: NestSchedule) -> LoopNest:
    """The nest with blocks of points along an axis, if its stages are short reductions, as of windows, and maps.

    The axis is the last one that is not short, or the last one."""
    sizes = [upper_bound(prod(extent(s) for s in stage.reduce_axes)) for stage in body.stages]
    if not body.outer or max((x for x in sizes if x is not None), default=0) > schedule.short or None in sizes:
        return body
    if not any(stage.reduce for stage in body.stages) or any(stage.axes for stage in body.stages):
        return body
    bounds = [upper_bound(extent(s)) for s in body.outer]
    long = [s for s, bound in zip(body.outer, bounds) if bound is None or bound >= schedule.short]
    return demote(body, (long or body.outer)[-1], schedule.columns)


class _Nest:
    """State of printing one kernel; kept: the results of stages, by slot."""

    def __init__(self, kernel: Kernel, body: LoopNest, schedule: NestSchedule) -> None:
        self.kernel = kernel
        self.schedule = schedule
        self.body = body
        self.out = printer(kernel)
        self.out.local = self._local
        self.kept: dict[int, Value] = {}
        self.widest = 1
        for i, s in enumerate(body.outer):
            self.out.names[s] = Value(f"o{i}")
        self.outer = [(f"o{i}", self.out.size(extent(s))) for i, s in enumerate(body.outer)]

    def lines(self) -> list[str]:
        written: set[int] = set()
        for slot, stage in enumerate(self.body.stages):
            stage = _with_kept_rows(self.body, stage)
            accessed = {e.buffer for e in _loads(stage)} | ({stage.store.buffer} if stage.store else set())
            if written & accessed:
                self.out.line("tl.debug_barrier()")
                self.out.forget()
            if stage.store is None and stage.reduce is None and stage.axes:
                continue  # its readers recompute it
            if stage.reduce is not None:
                self._reduce(slot, stage)
            elif stage.scan is not None:
                self._scan(stage)
            elif stage.store is not None and (stage.store.combine or _may_collide(stage)):
                self._scatter(stage)
            else:
                self._points(slot, stage)
            if stage.store is not None:
                written.add(stage.store.buffer)
        return self.out.lines

    def _dtype(self, stage: Stage) -> DType:
        assert stage.store is not None
        return self.kernel.params[stage.store.buffer].dtype

    # -- values of earlier stages ------------------------------------------------------------------------------------

    def _local(self, e: Local) -> Value:
        return self.kept[e.slot]

    # -- kinds of stages ---------------------------------------------------------------------------------------------

    def _shape(self, rows: Sequence[Symbol], columns: Sequence[Symbol], most: int | None = None) -> tuple[int, int]:
        """The rows and columns of a tile, with at most `most` columns."""
        height, width = _shape(rows, columns, self.schedule, most)
        self.widest = max(self.widest, width * height)
        return height, width

    @contextmanager
    def _tile(self, rows: Sequence[Symbol], columns: Sequence[Symbol], shape: tuple[int, int]) -> Iterator[None]:
        """Loops over rows and columns, in tiles of that shape."""
        with tiles(self.out, 0, rows, shape[0]), tiles(self.out, 1, columns, shape[1]):
            yield

    def _points(self, slot: int, stage: Stage) -> None:
        """Prints a block that may overhang twice: without masks for whole blocks, so that they access memory in vectors
        whatever the length of the axis is, and with masks."""
        whole = _whole_block(stage, self.schedule)
        if whole is None:
            self._tile_of_points(slot, stage)
            return
        with self.out.block(f"if {self.out.size(extent(stage.axes[-1]))} >= {extent(whole.axes[-1])}:"):
            self._tile_of_points(slot, whole)
        with self.out.block("else:"):
            self._tile_of_points(slot, stage)

    def _tile_of_points(self, slot: int, stage: Stage) -> None:
        with ExitStack() as stack:
            if stage.axes:
                rows, columns = stage.axes[:-1], stage.axes[-1:]
                stack.enter_context(self._tile(rows, columns, self._shape(rows, columns)))
            self.out.bind(stage.lets)
            value = self.out.value(stage.value)
            if stage.store is None:
                self.kept[slot] = value
            else:
                value = self._converted(value, stage)
                self.out.store(stage.store.buffer, stage.store.index, value, self._dtype(stage))

    def _reduce(self, slot: int, stage: Stage) -> None:
        assert stage.reduce is not None
        kind, dtype = _accumulation(stage.reduce, stage.value.dtype)
        identity = _identity(kind, dtype)
        slow, over, columns = stage.axes[:-1], stage.reduce_axes, stage.axes[-1:]
        shape = self._shape(over, columns, self.schedule.columns) if columns else self._shape(over[:-1], over[-1:])
        with ExitStack() as stack:
            self._loops(stack, slow)
            if columns:
                stack.enter_context(tiles(self.out, 1, columns, shape[1]))
            total = self.out.fresh()
            self.out.line(f"{total} = tl.broadcast_to({identity}, {shape})")
            with ExitStack() as inner:
                if columns:
                    inner.enter_context(tiles(self.out, 0, over, shape[0]))
                else:
                    inner.enter_context(self._tile(over[:-1], over[-1:], shape))
                self.out.bind(stage.lets)
                value = self.out.value(stage.value)
                text = self.out.cast(stage.value.dtype, dtype, value).text
                masks = [self.out.masks[a] for a in (0, 1) if a in self.out.masks]
                if masks:
                    text = f"tl.where({' & '.join(masks)}, {text}, {identity})"
                elif value.axes != BOTH:
                    text = f"tl.broadcast_to({text}, {shape})"
                self.out.line(f"{total} = {_combine(kind, dtype, total, text)}")
            folded = Value(self._reduced_tile(kind, dtype, total, 0 if columns else None), COLUMNS if columns else NONE)
            result = self.out.cast(dtype, stage.value.dtype, folded)
            if stage.store is None:
                self.kept[slot] = result
            else:
                result = self._converted(result, stage)
                self.out.store(stage.store.buffer, stage.store.index, result, self._dtype(stage))

    def _loops(self, stack: ExitStack, axes: Sequence[Symbol]) -> None:
        """Opens loops over single points."""
        for s in axes:
            variable = self.out.fresh()
            self.out.names[s] = Value(variable)
            stack.enter_context(self.out.block(f"for {variable} in range(0, {self.out.size(extent(s))}):"))

    def _converted(self, value: Value, stage: Stage) -> Value:
        """The value of a stage, converted to the type of its buffer."""
        return self.out.cast(stage.value.dtype, self._dtype(stage), value)

    def _reduced_tile(self, kind: str, dtype: DType, text: str, axis: int | None) -> str:
        """The name of a tile with one axis reduced to length 1, or of the scalar that all of it is reduced to."""
        name = self.out.fresh()
        combine = self.out.functions.combine(kind, dtype)
        self.out.line(f"{name} = tl.reduce({text}, {axis}, {combine}{'' if axis is None else ', keep_dims=True'})")
        return name

    def _scan(self, stage: Stage) -> None:
        assert stage.scan is not None and stage.store is not None
        kind, dtype = _accumulation(stage.scan, stage.value.dtype)
        identity = _identity(kind, dtype)
        carried = self.out.fresh()
        last = stage.axes[-1:]
        shape = (1, self._shape((), last, self.schedule.scanned)[1])
        with ExitStack() as stack:
            self._loops(stack, stage.axes[:-1])
            self.out.line(f"{carried} = tl.broadcast_to({identity}, (1, 1))")
            with self._tile((), last, shape):
                self.out.bind(stage.lets)
                value = self.out.cast(stage.value.dtype, dtype, self.out.value(stage.value))
                mask = self.out.masks.get(1)
                text = f"tl.where({mask}, {value.text}, {identity})" if mask else value.text
                tile = self.out.name(f"tl.broadcast_to({text}, {shape})", COLUMNS)
                combine = self.out.functions.combine(kind, dtype)
                running = self.out.name(f"tl.associative_scan({tile.text}, 1, {combine})", COLUMNS)
                result = self.out.name(_combine(kind, dtype, carried, running.text), COLUMNS)
                result = self._converted(self.out.cast(dtype, stage.value.dtype, result), stage)
                self.out.store(stage.store.buffer, stage.store.index, result, self._dtype(stage))
                whole = self._reduced_tile(kind, dtype, tile.text, 1)
                self.out.line(f"{carried} = {_combine(kind, dtype, carried, whole)}")

    def _scatter(self, stage: Stage) -> None:
        """Updates in order; those along the last axis at once, if they write different elements."""
        assert stage.store is not None
        slow, last = stage.axes[:-1], stage.axes[-1:]
        vectorised = bool(last) and _is_injective(stage, last[0])
        with ExitStack() as stack:
            self._loops(stack, slow if vectorised else stage.axes)
            if vectorised:
                stack.enter_context(self._tile((), last, self._shape((), last)))
            self.out.bind(stage.lets)
            dtype = self._dtype(stage)
            value: Expr = stage.value
            if stage.store.combine is not None:
                self.out.forget()
                old = as_type(Load(stage.store.buffer, stage.store.index, dtype), value.dtype)
                value = as_type(Call(stage.store.combine, (old, value), value.dtype), dtype)
            self.out.store(stage.store.buffer, stage.store.index, self.out.value(value), dtype)
            self.out.line("tl.debug_barrier()")


def _shape(
    rows: Sequence[Symbol], columns: Sequence[Symbol], schedule: NestSchedule, most: int | None = None
) -> tuple[int, int]:
    """The rows and columns of a tile, with at most `most` columns."""
    width = tile_length(prod(extent(s) for s in columns), schedule.elements if most is None else most)
    return tile_length(prod(extent(s) for s in rows), max(schedule.elements // width, 1)), width


def _with_kept_rows(body: LoopNest, stage: Stage) -> Stage:
    """The stage, in which reads of rows that earlier stages keep are replaced by their expressions."""
    lets: list[Let] = []

    def rule(e: Expr) -> Expr | None:
        if not isinstance(e, Local):
            return None
        kept = body.stages[e.slot]
        if kept.reduce is not None or not kept.axes:
            return None
        index = delinear(e.index, [extent(s) for s in kept.axes])
        values: dict[Symbol, Size] = dict(zip(kept.axes, index))

        def at_index(value: Expr) -> Expr:
            return rewrite(map_expr(value, lambda x: substitute(x, values)), rule)

        for let in kept.lets:
            symbol = Symbol(f"{let.symbol.name}s{len(lets)}", let.symbol.lower, let.symbol.extent)
            lets.append(Let(symbol, at_index(let.value)))
            values[let.symbol] = symbol
        return at_index(kept.value)

    own = tuple(replace(let, value=rewrite(let.value, rule)) for let in stage.lets)
    value = rewrite(stage.value, rule)
    return replace(stage, value=value, lets=_in_order([*lets, *own]))


def _in_order(lets: Sequence[Let]) -> tuple[Let, ...]:
    """Sorts lets so that each follows those that its value mentions."""
    ordered: list[Let] = []
    waiting = list(lets)
    while waiting:
        unknown = {let.symbol for let in waiting}
        ready = [x for x in waiting if not any(symbols(size) & unknown for size in sizes_of(x.value))]
        assert ready, "symbols that depend on each other"
        ordered += ready
        waiting = [x for x in waiting if x not in ready]
    return tuple(ordered)


def _whole_block(stage: Stage, schedule: NestSchedule) -> Stage | None:
    """The stage at a whole block, if its last axis is a block that may overhang; else None.

    None also if blocks are short, or end at multiples of a vector anyway."""
    end = extent(stage.axes[-1]) if stage.axes else 1
    block = upper_bound(end)
    if stage.store is None or not isinstance(end, Min) or block is None or block < schedule.long:
        return None
    if all(known_eq(x % schedule.vector, 0) for x in end.args):
        return None
    axis = stage.axes[-1]
    full = Symbol(axis.name, axis.lower, block)
    whole: Stage = map_sizes(stage, lambda x: substitute(x, {axis: full}))
    return replace(whole, axes=(*stage.axes[:-1], full))


def _loads(stage: Stage) -> list[Load]:
    return [e for e in walk(stage.value, *(let.value for let in stage.lets)) if isinstance(e, Load)]


def _may_collide(stage: Stage) -> bool:
    """Whether several points may write to one element, since its index depends on data."""
    assert stage.store is not None
    return bool(symbols(stage.store.index) & {let.symbol for let in stage.lets})


def _is_injective(stage: Stage, axis: Symbol) -> bool:
    """Whether the points along `axis` provably write to different elements."""
    assert stage.store is not None
    changing = {axis}
    for let in stage.lets:
        if any(symbols(x) & changing for e in walk(let.value) for x in _indices(e)):
            changing.add(let.symbol)
    if symbols(stage.store.index) & (changing - {axis}):
        return False
    parts = linear_in(stage.store.index, axis)
    return parts is not None and isinstance(parts[0], int) and parts[0] != 0


def _indices(e: Expr) -> list[Size]:
    return [e.size] if isinstance(e, Index) else [e.index] if isinstance(e, (Load, Local)) else []


def _accumulation(kind: str, dtype: DType) -> tuple[str, DType]:
    """The primitive and the type in which a reduction or scan is computed: bools are integers, 0 and 1."""
    return (_BITS[kind], I32) if dtype == BOOL else (kind, dtype)


def _combine(kind: str, dtype: DType, a: str, b: str) -> str:
    spelling = prims.TABLE[kind].triton_spelling(dtype)
    assert spelling is not None, f"{kind} does not combine {dtype}"
    return spelling.format(a, b)


def _identity(kind: str, dtype: DType) -> str:
    identity = prims.TABLE[kind].identity
    assert identity is not None, f"{kind} does not combine"
    return literal(Const(identity(dtype), dtype))
