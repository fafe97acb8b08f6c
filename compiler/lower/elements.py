"""The elements of a group's values as expressions, and the stages that compute them.

In: a group of `fuse.py`. Out: expressions, stages and parameters of its kernel. The root is asked for at a symbolic
index; each operation answers with an expression over its inputs at indices of their own. Reductions, and rows that are
worth keeping, become stages on the way.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..graph.conditions import Requirement
from ..graph.index import conjunction, count, input_index, linear
from ..graph.ir import Node, Trait, Value
from ..kernel.ir import FAULTS, Let, Param, Stage, Store
from ..kernel.rebuild import sizes_of
from ..scalar.convert import ROUNDING
from ..scalar.dim import Size, Symbol, known_le, known_lt, symbols
from ..scalar.dtype import BOOL, I64, DType
from ..scalar.expr import Acc, Call, Const, Expr, Load, Local, Require, finds_faults
from ..scalar.expr import Index as IndexExpr
from ..scalar.prims import TABLE
from .build import Buffers
from .fuse import Group, Index, gather_index, merge_axes

Question = tuple[Value, Index, "Expr | None"]  # a value, an index, and a mask: where it is false no memory is read
Answer = Generator[Question, Expr, Expr]


@dataclass(frozen=True, slots=True)
class Weights:
    """How a side reads constant operands.

    packed: whether those of matrix products are packed; narrow: whether weights of convolutions keep a type narrower
    than the accumulator's.
    """

    packed: bool
    narrow: bool


HOST_WEIGHTS = Weights(packed=True, narrow=False)


class Elements:
    """The elements of one group's values as expressions of its kernel.

    params, buffers, stages: of the kernel; they grow while elements are asked for. required: the demands on data.
    accumulator: the anchor's value, which an epilogue reads as `Acc()`; None until the anchor's operands are lowered.
    The rules of operations ask for their inputs by `yield`, and `at` answers: groups are deeper than Python's stack.
    """

    def __init__(self, group: Group, bufs: Buffers, static: set[Node], weights: Weights) -> None:
        self.group = group
        self.bufs = bufs
        self.static = static
        self.weights = weights
        self.inside = set(group.nodes) - ({group.anchor} if group.anchor else set())
        self.params: list[Param] = []
        self.buffers: list[int] = []
        self.stages: list[Stage] = []
        self.lets: dict[Symbol, Expr] = {}
        self.slots: dict[Any, int] = {}
        self.memo: dict[Any, Expr] = {}
        self.symbol_count = 0
        self.accumulator: Value | None = None
        self.required: list[Requirement] = []
        # Lets that find faults and are in no stage yet; some stage must have them, even if no index uses their symbol.
        self.faulting: set[Symbol] = set()

    # -- parameters and names ----------------------------------------------------------------------------------------

    def symbol(self, prefix: str, extent: Size) -> Symbol:
        self.symbol_count += 1
        return Symbol(f"{prefix}{self.symbol_count}", 0, extent)

    def param(self, buffer: int, written: bool = False) -> int:
        """The position of a buffer among the kernel's parameters."""
        for i, b in enumerate(self.buffers):
            if b == buffer and self.params[i].written == written:
                return i
        actual = self.bufs.program.buffers[buffer]
        self.buffers.append(buffer)
        self.params.append(Param(actual.dtype, actual.size, written))
        return len(self.buffers) - 1

    def buffer(self, value: Value) -> int:
        """The position of the parameter that reads a value from memory."""
        return self.param(self.bufs.read(value, self.static))

    # -- expressions -------------------------------------------------------------------------------------------------

    def at(self, value: Value, index: Sequence[Size], mask: Expr | None = None) -> Expr:
        """`value` at `index`, in its computing dtype; where `mask` is false no memory is read."""
        question: Question = (value, tuple(index), mask)
        waiting: list[tuple[Question, Answer]] = []  # a stack; each waits for the answer to the one above it
        while True:
            if question not in self.memo:
                rule = self._at(*question)
                waiting.append((question, rule))
                answer = None
            else:
                if not waiting:
                    return self.memo[question]
                rule, answer = waiting[-1][1], self.memo[question]
            try:
                question = rule.send(answer)  # type: ignore[arg-type]
            except StopIteration as stop:
                question = waiting.pop()[0]
                self.memo[question] = stop.value

    def _at(self, value: Value, index: Index, mask: Expr | None) -> Answer:
        node, name, compute = value.node, value.op, value.dtype.compute
        if value is self.accumulator:
            return rounded(Acc(compute), value.dtype)
        if name == "constant" and count(value.shape) == 1:
            assert value.data is not None
            return Const(value.data.reshape(-1)[0].item(), compute)
        # Views that no kernel writes are index maps; other constant values are computed when the artifact is written.
        view = Trait.VIEW in node.op.traits and (value not in self.bufs.written or value is self.group.root)
        if not view and node not in self.inside:
            load = self.load(value, index, mask)
            return load if value.dtype == compute else Call("cast", (load,), compute)
        if name == "size":
            return IndexExpr(node.attrs["value"])
        if name == "iota":
            e = IndexExpr(index[node.attrs["axis"]])
            return e if value.dtype == I64 else rounded(Call("cast", (e,), compute), value.dtype)
        answer: Expr = yield from getattr(self, f"_{name}")(value, index, mask)
        return answer

    def load(self, value: Value, index: Index, mask: Expr | None) -> Load:
        other = None if mask is None else Const(False if value.dtype == BOOL else 0, value.dtype)
        return Load(self.buffer(value), linear(index, value.shape), value.dtype, mask, other)

    def _map(self, value: Value, index: Index, mask: Expr | None) -> Answer:
        if value in self.group.keep and self.group.outer is not None:
            return (yield from self.kept(value, index))
        return (yield from self.mapped(value.node, index, mask))

    def mapped(self, node: Node, index: Index, mask: Expr | None = None) -> Answer:
        args = []
        for i, v in enumerate(node.inputs):
            args.append((yield v, input_index(node, i, index)[0], mask))
        return self.call(node, tuple(args), mask)

    def require(self, node: Node, ok: Expr, value: Expr, mask: Expr | None) -> Expr:
        """`value`, and a fault if `ok` is false where `mask` is true."""
        requirement = Requirement(node.attrs["text"], node.origin[0] if node.origin else "")
        if requirement not in self.required and len(self.required) < FAULTS:
            self.required.append(requirement)
        known = requirement in self.required
        number = self.required.index(requirement) if known else FAULTS - 1  # further ones share the last number
        holds = _in_range(ok) if mask is None else Call("or", (ok, Call("not", (mask,), BOOL)), BOOL)
        return Require(holds, value, number)

    def call(self, node: Node, args: tuple[Expr, ...], mask: Expr | None = None) -> Expr:
        prim, dtype = node.attrs["prim"], node.outputs[0].dtype
        if prim == "require":
            return self.require(node, args[0], args[1], mask)
        if prim not in ("cast", "cast_unsaturated", "bitcast"):
            taken = args if TABLE[prim].abrupt else self.as_computed(args)
            result = Call(prim, taken, dtype.compute)
            return result if TABLE[prim].exact and taken == args else rounded(result, dtype)
        (arg,) = args  # what a model casts is what it would see as an output
        source = node.inputs[0].dtype
        if dtype == source:
            return arg
        if prim == "bitcast":
            narrow: Expr = Call("bitcast", (stored(arg, source),), dtype)
        else:
            if prim == "cast" and dtype.is_float and arg.dtype == dtype.compute:
                return rounded(arg, dtype)
            narrow = arg if arg.dtype == dtype else Call(prim, (arg,), dtype)
        return narrow if dtype == dtype.compute else Call("cast", (narrow,), dtype.compute)

    def as_computed(self, args: tuple[Expr, ...]) -> tuple[Expr, ...]:
        """The same values before they were rounded to f16 or bf16, if the program may do without that."""
        return args if self.bufs.rounds else tuple(map(unrounded, args))

    def _view(self, value: Value, index: Index, mask: Expr | None) -> Answer:
        inner, condition = input_index(value.node, 0, index)
        if condition is None:
            return (yield value.node.inputs[0], inner, mask)
        e = yield value.node.inputs[0], inner, conjunction([mask, condition])
        fill = Const(value.dtype.to_numpy().type(value.node.attrs["value"]).item(), e.dtype)
        if isinstance(e, Load) and mask is None:
            return Load(e.buffer, e.index, e.dtype, e.mask, fill)
        return Call("select", (condition, e, fill), e.dtype)

    _reshape = _permute = _broadcast = _ensure_shape = _slice = _pad = _window = _view

    def _gather(self, value: Value, index: Index, mask: Expr | None) -> Answer:
        node = value.node
        axes = node.attrs["axes"]
        data, *where = node.inputs
        positions, rest = gather_index(where, axes, index)
        places = []
        for w, p, a in zip(where, positions, axes):
            places.append(self.bind((yield w, p, mask), data.shape[a]))
        return (yield data, merge_axes(rest, axes, places), mask)

    def bind(self, e: Expr, extent: Size) -> Size:
        """A symbol for a data-dependent index, clamped to [0, extent) so that no access can leave the buffer."""
        if isinstance(e, Const):
            return int(e.value)
        if isinstance(e, IndexExpr) and known_le(0, e.size) and known_lt(e.size, extent):
            return e.size
        clamped = _clamped(e if e.dtype == I64 else Call("cast", (e,), I64), IndexExpr(extent))
        for symbol, bound in self.lets.items():
            if bound is clamped:
                return symbol
        symbol = self.symbol("g", extent)
        self.lets[symbol] = clamped
        if finds_faults(clamped):
            self.faulting.add(symbol)
        return symbol

    def _concat(self, value: Value, index: Index, mask: Expr | None) -> Answer:
        axis = value.node.attrs["axis"]
        ends: list[Size] = []
        at: Size = 0
        for piece in value.node.inputs:
            at = at + piece.shape[axis]
            ends.append(at)
        out: Expr | None = None
        for i in reversed(range(len(ends))):
            start = ends[i - 1] if i else 0
            below = Call("lt", (IndexExpr(index[axis]), IndexExpr(ends[i])), BOOL) if i < len(ends) - 1 else None
            above = Call("le", (IndexExpr(start), IndexExpr(index[axis])), BOOL) if i else None
            inner = (*index[:axis], index[axis] - start, *index[axis + 1 :])
            e = yield value.node.inputs[i], inner, conjunction([mask, above, below])
            out = e if out is None else Call("select", (below, e, out), e.dtype)
        assert out is not None
        return out

    # -- stages ------------------------------------------------------------------------------------------------------

    def stage(self, **fields: Any) -> int:
        """Appends a stage with the lets that it needs; returns its slot."""
        stage = Stage(**fields)
        later = self._later(stage)
        ready = {s for s in self.faulting if not self._used(self.lets[s]) & later}
        self.faulting -= ready
        needed = ready | self._used((stage, *(self.lets[s] for s in ready)))
        lets = tuple(Let(s, e) for s, e in self.lets.items() if s in needed)
        self.stages.append(replace(stage, lets=lets))
        return len(self.stages) - 1

    def _used(self, item: Any) -> set[Symbol]:
        """The symbols in an item and in the lets that it needs."""
        used: set[Symbol] = set()
        pending = set().union(*(symbols(s) for s in sizes_of(item)))
        while pending:
            s = pending.pop()
            used.add(s)
            if s in self.lets:
                pending |= set().union(*(symbols(x) for x in sizes_of(self.lets[s]))) - used
        return used

    def _later(self, stage: Stage) -> set[Symbol]:
        """The axes of the group's root that a stage lacks, and the last stage has."""
        outer = self.group.outer
        return set() if outer is None else set(self.group.domain) - outer - set(stage.axes) - set(stage.reduce_axes)

    def _reduce(self, value: Value, index: Index, mask: Expr | None) -> Answer:
        node, kind = value.node, value.node.attrs["kind"]
        total = yield from self._reduced(node, index, kind, node.attrs["axes"], self.bufs.rounds)
        return total if TABLE[kind].exact and self.bufs.rounds else rounded(total, value.dtype)

    def _reduced(self, node: Node, index: Index, kind: str, axes: Sequence[int], rounds: bool = True) -> Answer:
        value = node.outputs[0]
        key = (node, tuple(index))
        dtype = value.dtype.compute
        if key not in self.slots:
            source = node.inputs[0]
            over = tuple(self.symbol("r", source.shape[a]) for a in axes)
            e = yield source, merge_axes(index, axes, over), None
            self.slots[key] = self.stage(value=e if rounds else unrounded(e), store=None, reduce_axes=over, reduce=kind)
        return Local(self.slots[key], 0, dtype)

    def _argreduce(self, value: Value, index: Index, mask: Expr | None) -> Answer:
        """Two reductions: the extreme value, then the first or last position that has it; a NaN is the extreme."""
        node = value.node
        axis, kind, last = node.attrs["axis"], node.attrs["kind"], node.attrs["last"]
        source = node.inputs[0]
        best = yield from self._reduced(node, index, kind, (axis,))
        best = Local(best.slot, 0, source.dtype.compute)  # type: ignore[attr-defined]
        key = (node, tuple(index), "position")
        if key not in self.slots:
            over = self.symbol("r", source.shape[axis])
            e = yield source, merge_axes(index, (axis,), (over,)), None
            hit: Expr = Call("eq", (e, best), BOOL)
            if e.dtype.is_float:
                hit = Call("or", (hit, Call("isnan", (e,), BOOL)), BOOL)
            missed = Const(-1, I64) if last else IndexExpr(source.shape[axis])
            position = Call("select", (hit, IndexExpr(over), missed), I64)
            pick = "max" if last else "min"
            self.slots[key] = self.stage(value=position, store=None, reduce_axes=(over,), reduce=pick)
        return Local(self.slots[key], 0, I64)

    def kept(self, value: Value, index: Index) -> Answer:
        """Reads a value from a row-local buffer, which a stage of its own fills once per row."""
        outer = self.group.outer
        assert outer is not None
        inner = [a for a, i in enumerate(index) if symbols(i) - outer]
        rows = tuple(i for a, i in enumerate(index) if a not in inner)
        key = (value, rows, "kept")
        if key not in self.slots:
            axes = tuple(self.symbol("k", value.shape[a]) for a in inner)
            at = merge_axes(rows, inner, axes)
            e = yield from self.mapped(value.node, at)
            self.slots[key] = self.stage(value=e if self.bufs.rounds else unrounded(e), store=None, axes=axes)
        position = linear([index[a] for a in inner], [value.shape[a] for a in inner])
        kept = Local(self.slots[key], position, value.dtype.compute)
        return kept if self.bufs.rounds else rounded(kept, value.dtype)

    def final(self, index: Index, axes: tuple[Symbol, ...] = ()) -> None:
        """Appends the stage that writes the group's root at `index`."""
        group = self.group
        self.watch(index)
        e = stored(self.at(group.root, index), group.root.dtype)
        target = self.param(self.bufs.of(group.writes), written=True)
        if group.offset is not None:
            axis, start = group.offset
            index = (*index[:axis], index[axis] + start, *index[axis + 1 :])
        self.stage(value=e, store=Store(target, linear(index, group.writes.shape)), axes=axes)

    def watch(self, index: Index) -> None:
        """Appends the stages that write the watched values inside of the group, whose root is written at `index`."""
        group = self.group
        outer = [s for s in group.domain if group.outer is None or s in group.outer]
        around: dict[Size, Size] = dict(zip(group.domain, index)) if group.anchor else {s: s for s in outer}
        inside = dict.fromkeys(v for node in group.nodes for v in node.outputs if v in self.bufs.watched)
        for value in inside:
            at = group.whole(value)
            if value in (group.root, group.writes) or at is None:
                continue
            place, axes = list(at), []
            for axis, i in enumerate(at):
                if i in around:
                    place[axis] = around[i]
                elif i != 0:
                    axes.append(self.symbol("w", value.shape[axis]))
                    place[axis] = axes[-1]
            e = stored(self.at(value, place), value.dtype)
            store = Store(self.param(self.bufs.of(value), written=True), linear(place, value.shape))
            self.stage(value=e, store=store, axes=tuple(axes))


def _clamped(e: Expr, extent: Expr) -> Expr:
    """The integer in [0, extent) nearest to `e`, an i64; -1 if extent is 0."""
    assert isinstance(extent, (Const, IndexExpr))
    last = Const(int(extent.value) - 1, I64) if isinstance(extent, Const) else IndexExpr(extent.size - 1)
    return Call("min", (Call("max", (e, Const(0, I64)), I64), last), I64)


def _in_range(ok: Expr) -> Expr:
    """`0 <= x and x < extent` as `x == clamped x`, which is computed anyway; other conditions as they are."""
    if isinstance(ok, Call) and ok.prim == "and":
        low, high = ok.args
        if isinstance(low, Call) and isinstance(high, Call) and (low.prim, high.prim) == ("le", "lt"):
            zero, x = low.args
            if zero == Const(0, I64) and high.args[0] == x and isinstance(high.args[1], (Const, IndexExpr)):
                return Call("eq", (x, _clamped(x, high.args[1])), BOOL)
    return ok


def stored(e: Expr, dtype: DType) -> Expr:
    """Converts a value from its computing dtype to `dtype` to store it; a value that was only loaded keeps its bits."""
    if e.dtype == dtype:
        return e
    if isinstance(e, Call) and e.prim == ROUNDING.get(dtype.name):  # storing rounds
        (e,) = e.args
    if isinstance(e, Call) and e.prim == "cast" and e.args[0].dtype == dtype:
        return e.args[0]
    return Call("cast", (e,), dtype)


def unrounded(e: Expr) -> Expr:
    """A value in its computing dtype before it was rounded to f16 or bf16."""
    return e.args[0] if isinstance(e, Call) and e.prim in ROUNDING.values() else e


def rounded(e: Expr, dtype: DType) -> Expr:
    """Rounds a value to the precision of `dtype`, but leaves it in its computing dtype."""
    if dtype == dtype.compute or dtype.is_integer:
        return e
    name = ROUNDING.get(dtype.name)
    if name is not None:
        return e if isinstance(e, Call) and e.prim == name else Call(name, (e,), e.dtype)
    return Call("cast", (Call("cast", (e,), dtype),), e.dtype)
