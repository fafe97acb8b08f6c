"""LoopNest kernels -> C: loops over scalar expressions, written so that the C compiler vectorises the innermost ones.

In: a Kernel whose body is a LoopNest. Out: C source, and the numbers of tasks and scratch bytes in the kernel's sizes.
One task is one point of the outer domain, so the split into tasks changes no result. Stages keep their order, and
nothing relies on -ffast-math: a reduction is reassociated only by `omp simd reduction`, by accumulators for columns, or
in blocks of long sums.

How a stage becomes loops:
    no reduction             a loop per axis, the last one `omp simd` where memory is walked contiguously
    reduction                a loop per reduced axis, the last one `omp simd reduction` where contiguous; long sums
                             of f32 in blocks
    axes and a reduction     the last axis in blocks of columns with an accumulator each, vectorised across them, the
                             loops of the reduction outside; or the two above, nested, where rows are contiguous
    scan                     a loop per axis; or, where the axis before the scanned one walks memory, a loop over that
                             one inside, vectorised, with an accumulator for each of its points
    scatter                  plain loops, in order
Maxima and minima of floats are taken on integers in the same order, in which NaN comes last: compilers vectorise those,
and no NaN is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from ...kernel import cost
from ...kernel.ir import Kernel, LoopNest, Stage, Store
from ...scalar import prims
from ...scalar.dim import (
    Min,
    Size,
    Symbol,
    ceil_div,
    dim_max,
    dim_min,
    extent,
    known_le,
    prod,
    substitute,
    symbols,
    upper_bound,
)
from ...scalar.dtype import BOOL, F32, I32, I64, DType
from ...scalar.expr import Call, Const, Expr, Load, Local, Var, rewrite, walk
from ...schedule.loopnest import LoopNestSchedule
from ..render import render
from . import access
from .expr import PRIMARY, Scope, Text, ctype, element_at, literal, value_type
from .holes import Holes, narrowed

_ALIGNMENT = 64


@dataclass
class Loop:
    """`for (int64_t variable = start; variable < end; step)` around statements and loops; an empty step is by 1."""

    variable: str
    end: str
    body: list[Item]
    pragma: str = ""
    start: str = "0"
    step: str = ""


Item: TypeAlias = "str | Loop"


@dataclass
class Blocks:
    """Cuts the loop over one reduced axis into blocks of `size` iterations, each between `before` and `after`."""

    axis: int
    size: int
    before: list[Item] = field(default_factory=list)
    after: list[Item] = field(default_factory=list)


def tasks(body: LoopNest, schedule: LoopNestSchedule) -> Size:
    """The number of tasks: points of the outer domain."""
    return prod(extent(s) for s in body.outer)


def scratch_bytes(body: LoopNest, schedule: LoopNestSchedule) -> Size:
    """Bytes of scratch a thread needs, for the rows that stages keep for later ones."""
    return _rows(body)[1]


def grain(body: LoopNest, schedule: LoopNestSchedule) -> Size:
    """The number of neighbouring tasks that are claimed at once."""
    return dim_max(1, schedule.grain // dim_max(1, cost.inner_flops(body)))


def source(kernel: Kernel, name: str, schedule: LoopNestSchedule) -> str:
    """The C source of the kernel, whose one function is called `name`."""
    return render("c/loopnest.c.j2", name=name, **_Printer(kernel, schedule).context())


# ---------------------------------------------------------------------------------------------------------------------
# Rows kept in scratch


def _rows(body: LoopNest) -> tuple[dict[int, Size], Size]:
    """The byte offset in scratch of each row that a stage keeps, by slot, and the bytes of all rows."""
    offsets: dict[int, Size] = {}
    end: Size = 0
    for slot, stage in enumerate(body.stages):
        if stage.store is None and stage.axes:
            offsets[slot] = end
            count = _points(stage, body.outer)
            end = end + ceil_div(count * stage.value.dtype.itemsize, _ALIGNMENT) * _ALIGNMENT
    return offsets, end


def _points(stage: Stage, outer: Sequence[Symbol]) -> Size:
    """The most points that the stage's axes have at any outer point."""
    return prod(_greatest(extent(s), outer) for s in stage.axes)


def _greatest(size: Size, outer: Sequence[Symbol]) -> Size:
    """A bound of an extent over all outer points, without outer symbols. Raises ValueError if none is found."""
    if not symbols(size) & frozenset(outer):
        return size
    bound = upper_bound(size)
    if isinstance(size, Min):
        free = [x for x in size.args if not symbols(x) & frozenset(outer)]
        if free:
            return dim_min(*free)
    if bound is not None:
        return bound
    for s in (s for s in outer if s in symbols(size)):  # at the first or at the last of its points
        ends = (substitute(size, {s: end}) for end in (0, extent(s) - 1))
        largest = next((end for end in ends if known_le(size, end)), None)
        if largest is not None:
            return _greatest(largest, outer)
    raise ValueError(f"the extent {size} of a kept row has no bound over the outer domain")


# ---------------------------------------------------------------------------------------------------------------------
# Stages to loops

# OpenMP's names of simd reductions; other primitives are reduced in plain loops.
_OPENMP = {
    "add": "+", "mul": "*", "max": "max", "min": "min", "and": "&", "or": "|", "xor": "^",
    "bit_and": "&", "bit_or": "|", "bit_xor": "^",
}  # fmt: skip


class _Printer:
    """State of printing one kernel: the names of rows and loop variables."""

    def __init__(self, kernel: Kernel, schedule: LoopNestSchedule):
        body = kernel.body
        assert isinstance(body, LoopNest)
        self.body = body
        self.schedule = schedule
        self.holes = Holes(kernel)
        self.printer = self.holes.printer
        self.printer.local = self._local
        self.offsets, _ = _rows(body)
        self.variables = 0
        self.tiles: dict[int, str] = {}  # copies of transposed tiles, by slots that follow those of the stages

    def context(self) -> dict[str, object]:
        """The holes of the template."""
        outer = [(self._name(s, f"o{i}"), self.holes.size(extent(s))) for i, s in enumerate(self.body.outer)]
        rows = [self._row(slot, offset) for slot, offset in self.offsets.items()]
        stages = [self._stage(slot, stage) for slot, stage in enumerate(self.body.stages)]
        declarations = self.holes.declarations()
        return {
            "prelude": self.holes.prelude, "declarations": declarations, "outer": outer, "rows": rows, "stages": stages,
            "conclusion": self.holes.conclusion(),
        }  # fmt: skip

    def _row(self, slot: int, offset: Size) -> tuple[str, str, str, str]:
        """Type, name, byte offset in scratch and number of elements of a stage's row."""
        stage = self.body.stages[slot]
        count = self.holes.size(_points(stage, self.body.outer))
        return value_type(stage.value.dtype), f"s{slot}", self.printer.size(offset), count

    def _name(self, symbol: Symbol, name: str) -> str:
        self.printer.symbols[symbol] = name
        return name

    def _local(self, e: Local) -> str:
        if e.slot in self.tiles:
            return element_at(self.tiles[e.slot], self.printer.size(e.index))
        return element_at(f"s{e.slot}", self.printer.size(e.index)) if e.slot in self.offsets else f"s{e.slot}"

    def _variable(self, symbol: Symbol) -> str:
        self.variables += 1
        return self._name(symbol, f"i{self.variables - 1}")

    def _scope(self, stage: Stage, loops: Sequence[Symbol]) -> Scope:
        """A scope with one level per loop."""
        for s in loops:
            self._variable(s)
        scope = Scope(self.printer, {s: i + 1 for i, s in enumerate(loops)}, len(loops) + 1, stage.lets)
        if stage.store is not None:
            scope.require(stage.store.index)
        return scope

    def _stage(self, slot: int, stage: Stage) -> list[Item]:
        stage = access.with_reciprocals(stage)
        if stage.reduce is None:
            return self._pointwise(slot, stage)
        return self._columns(slot, stage) if access.is_columns(stage) else self._reduction(slot, stage)

    # -- kinds of stages ---------------------------------------------------------------------------------------------

    def _pointwise(self, slot: int, stage: Stage) -> list[Item]:
        """A loop per axis; the last one of a scan carries the accumulator."""
        if stage.scan is not None and _has_columns(stage, self.schedule.scanned):
            return self._scanned_columns(slot, stage)
        stage, tiles = self._tiled(stage)
        scope = self._scope(stage, stage.axes)
        if stage.scan is None:
            stored = stage.store is not None and stage.store.combine is None
            value = narrowed(stage.value, self.holes.stored(stage)) if stored else stage.value
            (text,) = scope.add([value])
            inner: list[Item] = [self._assign(slot, stage, text if stored else self._narrowed(text, stage))]
            before: list[str] = []
            pragma = "omp simd" if stage.axes and access.is_contiguous(stage, stage.axes[-1]) else ""
        else:
            acc, declaration = self._accumulator(stage.scan, stage.value.dtype)
            (text,) = scope.add([stage.value])
            step = self._combine(stage.scan, acc, text, stage.value.dtype)
            inner = [step, self._assign(slot, stage, self._narrowed((acc, PRIMARY), stage))]
            before, pragma = [declaration], ""
        return [*tiles, *scope.lines[0], *self._nest(stage.axes, scope, inner, pragma, before)]

    def _scanned_columns(self, slot: int, stage: Stage) -> list[Item]:
        """Scans the columns of a block side by side."""
        assert stage.scan is not None
        *slow, across, along = stage.axes
        scope = self._scope(stage, (*slow, along, across))
        dtype, acc, column = stage.value.dtype, self.printer.temporary(), self.printer.symbols[across]
        element = element_at(acc, column)
        (text,) = scope.add([stage.value])
        step = self._combine(stage.scan, element, text, dtype)
        inner: list[Item] = [step, self._assign(slot, stage, self._narrowed((element, PRIMARY), stage))]
        first = f"{element} = {literal(_identity(stage.scan, dtype), dtype)[0]};"
        block: list[Item] = [
            _array(dtype, acc, upper_bound(extent(across)) or 1),
            Loop(column, self.printer.size(extent(across)), [first], "omp simd"),
            *self._nest((along, across), scope, inner, "omp simd", depth=len(slow)),
        ]
        return [*scope.lines[0], *self._nest(slow, scope, block)]

    def _tiled(self, stage: Stage) -> tuple[Stage, list[Item]]:
        """Replaces loads of a transposed tile by a copy, if the tile's rows fall into few cache sets.

        The copy reads along the rows; its own rows are one element longer, so that its columns are in different sets.
        """
        if len(stage.axes) != 2 or stage.scan is not None:
            return stage, []
        most = self.schedule.columns
        rows, columns = (upper_bound(extent(s)) or most + 1 for s in stage.axes)
        if rows > most or columns > most:
            return stage, []
        along, across = stage.axes
        items: list[Item] = []
        copies: dict[Expr, Expr] = {}
        for load in walk(stage.value):
            if not isinstance(load, Load) or not access.is_transposed(stage, load, along, across, self.schedule.apart):
                continue
            slot = len(self.body.stages) + len(self.tiles)
            self.tiles[slot] = self.printer.temporary()
            copies[load] = Local(slot, across * (rows + 1) + along, load.dtype)
            copy = Stage(load, None, (across, along), lets=stage.lets)
            scope = self._scope(copy, copy.axes)
            (text,) = scope.add([load])
            inner: list[Item] = [f"{self.printer.node(copies[load], [])[0]} = {text[0]};"]
            declaration = _array(load.dtype, self.tiles[slot], columns * (rows + 1))
            items += [declaration, *scope.lines[0], *self._nest(copy.axes, scope, inner, "omp simd")]
        return (replace(stage, value=rewrite(stage.value, copies.get)) if copies else stage), items

    def _reduction(self, slot: int, stage: Stage) -> list[Item]:
        """A loop per axis and per reduced axis, with one accumulator."""
        assert stage.reduce is not None
        dtype, kind, value = stage.value.dtype, stage.reduce, stage.value
        contiguous = access.is_contiguous(stage, stage.reduce_axes[-1]) and kind in _OPENMP
        ordered = contiguous and dtype.kind == "f" and kind in ("max", "min")
        if ordered:
            value = order_key(value if kind == "max" else -value)
            kind = "max"
        scope = self._scope(stage, (*stage.axes, *stage.reduce_axes))
        (text,) = scope.add([value])
        depth = len(stage.axes)
        if ordered:
            acc = self.printer.temporary()
            declaration = f"{ctype(value.dtype)} {acc} = {literal(_least_key(dtype), value.dtype)[0]};"
        else:
            acc, declaration = self._accumulator(kind, dtype)
        pragma = f"omp simd reduction({_OPENMP[kind]}:{acc})" if contiguous else ""
        combine = self._combine(kind, acc, text, value.dtype)
        at_once = self.schedule.sums if contiguous else self.schedule.sums_of_rows
        result, blocks, last = (acc, PRIMARY), _blocks(stage, at_once), []
        before: list[Item] = [declaration]
        if blocks is not None:
            total = self.printer.temporary(), self.printer.temporary()
            before = [f"{value_type(dtype)} {total[0]} = 0, {total[1]} = 0;"]
            blocks = replace(blocks, before=[declaration], after=_added(total, acc, dtype))
            name = self.printer.temporary()
            result, last = (name, PRIMARY), [f"const {value_type(dtype)} {name} = {_sum_of(total)};"]
        loops = self._nest(stage.reduce_axes, scope, [combine], pragma, depth=depth, blocks=blocks)
        if ordered:
            result = self._text(from_order_key(Var(acc, value.dtype), dtype, negate=stage.reduce == "min"))
        stored = self._assign(slot, stage, self._narrowed(result, stage))
        return [*scope.lines[0], *self._nest(stage.axes, scope, [*before, *loops, *last, stored])]

    def _columns(self, slot: int, stage: Stage) -> list[Item]:
        """Blocks of the last axis, with an accumulator for each of their columns, around the reduction's loops."""
        assert stage.reduce is not None
        kind, dtype, last, depth = stage.reduce, stage.value.dtype, stage.axes[-1], len(stage.axes) - 1
        scope = self._scope(stage, (*stage.axes[:-1], *stage.reduce_axes, last))
        column = self.printer.symbols[last]
        most = upper_bound(extent(last))
        width = self.schedule.columns
        blocked = most is None or most > width
        whole = self.printer.size(extent(last))
        acc, start, end = self.printer.temporary(), f"{column}b" if blocked else "0", f"{column}e"
        place = f"{column} - {start}" if blocked else column
        element = element_at(acc, place)
        (text,) = scope.add([stage.value])
        simd = "omp simd" if all(access.is_unit(stage, load.index, last) for load in access.loads(stage)) else ""

        def over_columns(body: list[Item], pragma: str) -> Loop:
            return Loop(column, end, body, pragma, start)

        combine = over_columns([*scope.lines[-1], self._combine(kind, element, text, dtype)], simd)
        cleared = over_columns([f"{element} = {literal(_identity(kind, dtype), dtype)[0]};"], "omp simd")
        result, before = element, list[Item]([cleared])
        count = width if blocked else max(most or 1, 1)
        sums = _blocks(stage, self.schedule.sums_of_rows)
        if sums is not None:
            names = self.printer.temporary(), self.printer.temporary()
            total = element_at(names[0], place), element_at(names[1], place)
            before = [_array(dtype, name, count) for name in names]
            before.append(over_columns([f"{t} = 0;" for t in total], "omp simd"))
            added = over_columns(_added(total, element, dtype), "omp simd")
            sums, result = replace(sums, before=[cleared], after=[added]), f"({_sum_of(total)})"
        stored = self._assign(slot, stage, self._narrowed((result, PRIMARY), stage))
        least = self.holes.functions.integer("min") if blocked else ""
        block: list[Item] = [
            f"const int64_t {end} = " + (f"{least}({start} + {width}, {whole});" if blocked else f"{whole};"),
            _array(dtype, acc, count),
            *before,
            *self._nest(stage.reduce_axes, scope, [combine], depth=depth, blocks=sums),
            over_columns([stored], "omp simd" if access.is_contiguous_store(stage, last) else ""),
        ]
        if blocked:
            block = [Loop(start, whole, block, step=f"{start} += {width}")]
        return [*scope.lines[0], *self._nest(stage.axes[:-1], scope, block)]

    # -- parts -------------------------------------------------------------------------------------------------------

    def _nest(
        self,
        axes: Sequence[Symbol],
        scope: Scope,
        inner: list[Item],
        pragma: str = "",
        before: Sequence[str] = (),
        depth: int = 0,
        blocks: Blocks | None = None,
    ) -> list[Item]:
        """Loops over `axes` around `inner`; each starts with what the scope computes at its level.

        depth: the loops around, so that these have levels from depth + 1. pragma: of the innermost loop; before: stands
        in front of it. blocks: cuts one of the loops.
        """
        items = inner
        if scope.faults and pragma:
            pragma += f" reduction(|:{','.join(f'fault{i}' for i in sorted(scope.faults))})"
        for i in reversed(range(len(axes))):
            innermost = i == len(axes) - 1
            variable, end = self.printer.symbols[axes[i]], self.printer.size(extent(axes[i]))
            bound: list[Item] = []
            if not end.isalnum():
                bound = [f"const int64_t {variable}e = {end};"]
                end = f"{variable}e"
            loop = Loop(variable, end, [*scope.lines[depth + i + 1], *items], pragma if innermost else "")
            if blocks is not None and i == blocks.axis:
                least, start, stop = self.holes.functions.integer("min"), f"{variable}b", f"{variable}t"
                stopped = f"const int64_t {stop} = {least}({start} + {blocks.size}, {end});"
                block = [*blocks.before, stopped, replace(loop, start=start, end=stop), *blocks.after]
                loop = Loop(start, end, block, step=f"{start} += {blocks.size}")
            items = [*(before if innermost else ()), *bound, loop]
        return items

    def _accumulator(self, kind: str, dtype: DType) -> tuple[str, str]:
        """The name and the declaration of a new accumulator."""
        name = self.printer.temporary()
        return name, f"{value_type(dtype)} {name} = {literal(_identity(kind, dtype), dtype)[0]};"

    def _combine(self, kind: str, acc: str, value: Text, dtype: DType) -> str:
        """The statement that combines an accumulator with one more value of that dtype."""
        node = Call(kind, (Var("a", dtype), Var("b", dtype)), dtype)
        return f"{acc} = {self.holes.functions.apply(node, [(acc, PRIMARY), value])[0]};"

    def _text(self, value: Expr) -> Text:
        scope = Scope(self.printer, {}, 1)
        (text,) = scope.add([value])
        assert not scope.lines[0]
        return text

    def _narrowed(self, text: Text, stage: Stage) -> Text:
        """The text of the stage's result as it is stored: combined with the old element, and converted."""
        if stage.store is None:
            return text
        dtype, stored = stage.value.dtype, self.holes.stored(stage)
        if stage.store.combine is not None:
            old = self._converted((self._element(stage.store), PRIMARY), stored, dtype)
            combination = Call(stage.store.combine, (Var("a", dtype), Var("b", dtype)), dtype)
            text = self.holes.functions.apply(combination, [old, text])
        return self._converted(text, dtype, stored)

    def _converted(self, text: Text, source: DType, target: DType) -> Text:
        if source == target:
            return text
        return self.holes.functions.apply(Call("cast", (Var("a", source),), target), [text])

    def _element(self, store: Store) -> str:
        return element_at(self.printer.buffers[store.buffer], self.printer.size(store.index))

    def _assign(self, slot: int, stage: Stage, text: Text) -> str:
        """The statement that writes a stage's result."""
        if stage.store is not None:
            return f"{self._element(stage.store)} = {text[0]};"
        if not stage.axes:
            return f"const {value_type(stage.value.dtype)} s{slot} = {text[0]};"
        position: Size = 0
        for s in stage.axes:
            position = position * extent(s) + s
        return f"{element_at(f's{slot}', self.printer.size(position))} = {text[0]};"


def _has_columns(stage: Stage, most: int) -> bool:
    """Whether the axis before the scanned one is a block of at most `most` neighbours in memory."""
    if len(stage.axes) < 2:
        return False
    bound = upper_bound(extent(stage.axes[-2]))
    return bound is not None and bound <= most and access.is_contiguous(stage, stage.axes[-2])


def _array(dtype: DType, name: str, count: int) -> str:
    """The declaration of a local array."""
    # gcc 12 accesses small arrays by instructions for aligned vectors, but does not align them by itself.
    return f"{value_type(dtype)} {name}[{count}] __attribute__((aligned({_ALIGNMENT}))); EXTENT({name}, {count});"


# ---------------------------------------------------------------------------------------------------------------------
# Long sums of f32: blocks, whose sums are added with compensation


def _blocks(stage: Stage, most: int) -> Blocks | None:
    """The blocks of a sum of more than `most` numbers, of at most so many each; None for other reductions."""
    if stage.reduce != "add" or stage.value.dtype != F32:
        return None
    count = 1
    for axis in reversed(range(len(stage.reduce_axes))):
        bound = upper_bound(extent(stage.reduce_axes[axis]))
        if bound is None or count * bound > most:
            return Blocks(axis, max(most // count, 1))
        count *= bound
    return None


def _added(total: tuple[str, str], block: str, dtype: DType) -> list[Item]:
    """Statements that add a block's sum to a total, and the rounding error to its second part (Knuth's TwoSum)."""
    sum_, loss = total
    kind = value_type(dtype)
    return [
        f"const {kind} next = {sum_} + {block}, part = next - {sum_};",
        f"{loss} += ({sum_} - (next - part)) + ({block} - part);",
        f"{sum_} = next;",
    ]


def _sum_of(total: tuple[str, str]) -> str:
    """The text of the sum of both parts; of the first alone if the second is not finite."""
    sum_, loss = total
    return f"{loss} - {loss} == 0 ? {sum_} + {loss} : {sum_}"


def _identity(kind: str, dtype: DType) -> bool | int | float:
    identity = prims.TABLE[kind].identity
    assert identity is not None, f"{kind} does not combine"
    return identity(dtype)


# ---------------------------------------------------------------------------------------------------------------------
# Maxima through integers


def order_key(x: Expr) -> Expr:
    """An integer in the order of floats: the bits, inverted except for the sign if it is set; NaN is the greatest."""
    integer = I32 if x.dtype.bits == 32 else I64
    number = Call("select", (Call("isnan", (x,), BOOL), Const(float("nan"), x.dtype), x), x.dtype)
    return _inverted_if_negative(Call("bitcast", (number,), integer))


def from_order_key(key: Expr, dtype: DType, negate: bool) -> Expr:
    """The float of an order_key; its negative if `negate`, for minima."""
    x = Call("bitcast", (_inverted_if_negative(key),), dtype)
    return -x if negate else x


def _inverted_if_negative(bits: Expr) -> Expr:
    top = bits.dtype.bits - 1
    sign = Call("shr", (bits, Const(top, bits.dtype)), bits.dtype)
    flips = Call("bit_and", (sign, Const((1 << top) - 1, bits.dtype)), bits.dtype)
    return Call("bit_xor", (bits, flips), bits.dtype)


def _least_key(dtype: DType) -> int:
    """The key of -inf."""
    return -(0x7F800000) - 1 if dtype.bits == 32 else -(0x7FF0000000000000) - 1
