"""Lowering: groups of graph nodes to kernels.

In: a graph. Out: a `Program`: buffers and steps (`steps.py`). A group of `fuse.py` is lowered by asking for its root
at a symbolic index; each operation answers with an expression over its inputs at indices of their own.
Reductions (and rows worth keeping) become stages on the way. Nothing here knows a target, or how a kernel is executed
(`compiler/schedule/`). Where there is an accelerator, a group is lowered for it first, and again for the host where the
accelerator refuses the kernel: each side reads weights in its own way.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ..graph.conditions import Condition, Requirement
from ..graph.index import VIEWS, broadcast_index, conjunction, count, delinear, input_index, linear
from ..graph.ir import Graph, Node, Value
from ..kernel.ir import (
    FAULTS,
    Attention,
    Body,
    Conv,
    Launch,
    Let,
    LoopNest,
    Matmul,
    Nms,
    Nonzero,
    Param,
    Recurrent,
    Sort,
    Stage,
    Store,
    Trees,
)
from ..kernel.packing import PLAIN, Packing
from ..kernel.program import Program, Weight
from ..kernel.rebuild import sizes_of
from ..plan.place import of_shapes
from ..scalar.convert import ROUNDING
from ..scalar.dim import Size, Symbol, dim_max, dim_min, known_le, known_lt, linear_in, number, prod, symbols
from ..scalar.dtype import BOOL, I64, DType
from ..scalar.expr import Acc, Call, Const, Expr, Load, Local, Require, finds_faults, walk
from ..scalar.expr import Index as IndexExpr
from ..scalar.prims import TABLE
from .build import Buffers, make_launch
from .fuse import Group, Index, distinct_outputs, gather_index, merge_axes, operand_base, path_to_root, root_index
from .steps import Walk


@dataclass(frozen=True, slots=True)
class Weights:
    """How a side reads constant operands.

    packed: whether those of matrix products are packed, or read where and as they are. narrow: whether packed ones keep
    their type where sums are computed in a wider one.
    """

    packed: bool
    narrow: bool


HOST_WEIGHTS = Weights(packed=True, narrow=False)


class Accelerator(Protocol):
    """What is asked of one: how it reads weights, what it can run, and how."""

    weights: Weights

    def refusal(self, launch: Launch) -> str | None:
        """Why it cannot run a launch; None where it can."""

    def arranged(self, launch: Launch) -> Launch:
        """The launch as it runs there, closed."""


def lower(graph: Graph, demanded: Sequence[Condition] = (), accelerator: Accelerator | None = None) -> Program:
    """Fuses and lowers a graph. Raises Unlowered, naming the nodes, for operations that no kernel computes.

    demanded: conditions to be checked beside those of the graph itself, as far as they are known before a run.
    accelerator: what launches run on unless it refuses them."""
    graph = distinct_outputs(graph)
    program = Program(graph, placed=accelerator is None)
    bufs = Buffers(program)
    for i, value in enumerate(graph.inputs):
        bufs.add(value, "input", i)
    names = dict(enumerate(graph.output_names))
    for i, value in enumerate(graph.outputs):
        bufs.add(value, "output", i, names.get(i, ""))

    def of_group(group: Group, bufs: Buffers, static: set[Node]) -> Launch:
        if accelerator is None:
            return _Lowering(group, bufs, static, HOST_WEIGHTS).run()
        mark = bufs.mark()
        launch = on_side(_Lowering(group, bufs, static, accelerator.weights).run())
        if launch.device:
            return launch
        bufs.undo(mark)
        return replace(_Lowering(group, bufs, static, HOST_WEIGHTS).run(), refusal=launch.refusal)

    def on_side(launch: Launch) -> Launch:
        if accelerator is None:
            return launch
        refusal = of_shapes(launch) or accelerator.refusal(launch)
        return replace(launch, device=refusal is None, refusal=refusal or "")

    program.steps = Walk(graph, bufs, of_group, on_side).run(program.conditions)
    given, known = set(program.symbols()), set(program.conditions)
    program.conditions += [c for c in demanded if c not in known and c.symbols <= given]
    return program


class Unlowered(Exception):
    """An operation that no kernel computes."""


Question = tuple[Value, Index, "Expr | None"]  # a value at an index; where the mask is false no memory is read
Answer = Generator[Question, Expr, Expr]


class _Lowering:
    """One group's lowering. `stages` grows while expressions are asked for.

    The rules of operations ask for their inputs by `yield`, since groups are deeper than Python's stack: `at` answers.
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
        self.names = 0
        self.accumulator: Value | None = None
        self.required: list[Requirement] = []
        self.checked: set[Symbol] = set()  # lets that find faults, also in an axis of 1, which is read at 0

    def run(self) -> Launch:
        anchor = self.group.anchor
        rule: Callable[[Node], Body] = _ANCHORS[anchor.op.name].__get__(self) if anchor else self.loop_nest
        body = rule(anchor)  # type: ignore[arg-type]
        origin = tuple(dict.fromkeys(o for n in reversed(self.group.nodes) for o in n.origin if o))
        made = make_launch(body, tuple(self.params), tuple(self.buffers), origin, self.bufs.program.indices)
        faults = tuple(self.bufs.program.check(r) for r in self.required)
        return replace(made, kernel=replace(made.kernel, faults=len(faults)), faults=faults)

    # -- parameters and names ----------------------------------------------------------------------------------------

    def symbol(self, prefix: str, extent: Size) -> Symbol:
        self.names += 1
        return Symbol(f"{prefix}{self.names}", 0, extent)

    def param(self, buffer: int, written: bool = False) -> int:
        """The position of a buffer among the kernel's parameters."""
        for i, b in enumerate(self.buffers):
            if b == buffer and self.params[i].written == written:
                return i
        described = self.bufs.program.buffers[buffer]
        self.buffers.append(buffer)
        self.params.append(Param(described.dtype, described.size, written))
        return len(self.buffers) - 1

    def buffer(self, value: Value) -> int:
        """The parameter that reads the buffer of a value made elsewhere."""
        return self.param(self.bufs.read(value, self.static))

    # -- expressions -------------------------------------------------------------------------------------------------

    def at(self, value: Value, index: Sequence[Size], mask: Expr | None = None) -> Expr:
        """`value` at `index`, in its computing dtype; where `mask` is false no memory is read."""
        question: Question = (value, tuple(index), mask)
        waiting: list[tuple[Question, Answer]] = []  # each for the answer to the one above
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
            except StopIteration as answered:
                question = waiting.pop()[0]
                self.memo[question] = answered.value

    def _at(self, value: Value, index: Index, mask: Expr | None) -> Answer:
        node, name, compute = value.node, value.op, value.dtype.compute
        if value is self.accumulator:
            return _rounded(Acc(compute), value.dtype)
        if name == "constant" and count(value.shape) == 1:
            assert value.data is not None
            return Const(value.data.reshape(-1)[0].item(), compute)
        # Views that no kernel writes are index maps; what else is constant is computed when the artifact is written.
        view = node.op.name in VIEWS and (value not in self.bufs.made or value is self.group.root)
        if not view and node not in self.inside:
            load = self.load(value, index, mask)
            return load if value.dtype == compute else Call("cast", (load,), compute)
        if name == "size":
            return IndexExpr(node.attrs["value"])
        if name == "iota":
            e = IndexExpr(index[node.attrs["axis"]])
            return e if value.dtype == I64 else _rounded(Call("cast", (e,), compute), value.dtype)
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
        """A value that must be ok, where it is read at all."""
        found = Requirement(node.attrs["text"], node.origin[0] if node.origin else "")
        if found not in self.required and len(self.required) < FAULTS:
            self.required.append(found)
        number = self.required.index(found) if found in self.required else FAULTS - 1  # that one, or so many others
        read = _in_range(ok) if mask is None else Call("or", (ok, Call("not", (mask,), BOOL)), BOOL)
        return Require(read, value, number)

    def call(self, node: Node, args: tuple[Expr, ...], mask: Expr | None = None) -> Expr:
        prim, dtype = node.attrs["prim"], node.outputs[0].dtype
        if prim == "require":
            return self.require(node, args[0], args[1], mask)
        if prim not in ("cast", "cast_unsaturated", "bitcast"):
            made = Call(prim, args, dtype.compute)
            return made if TABLE[prim].exact else _rounded(made, dtype)
        (arg,) = args
        source = node.inputs[0].dtype
        if dtype == source:
            return arg
        if prim == "bitcast":
            narrowed: Expr = Call("bitcast", (_stored(arg, source),), dtype)
        else:
            if prim == "cast" and dtype.is_float and arg.dtype == dtype.compute:
                return _rounded(arg, dtype)
            narrowed = arg if arg.dtype == dtype else Call(prim, (arg,), dtype)
        return narrowed if dtype == dtype.compute else Call("cast", (narrowed,), dtype.compute)

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
        chosen = []
        for w, p, a in zip(where, positions, axes):
            chosen.append(self.bind((yield w, p, mask), data.shape[a]))
        return (yield data, merge_axes(rest, axes, chosen), mask)

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
            self.checked.add(symbol)
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
        """Appends a stage, with the lets that its expression needs; returns its slot."""
        stage = Stage(**fields)
        later = self._later(stage)
        ready = {s for s in self.checked if not self._used(self.lets[s]) & later}
        self.checked -= ready
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
        """The axes of the group's root that are not known in a stage: those of the last one."""
        outer = self.group.outer
        return set() if outer is None else set(self.group.domain) - outer - set(stage.axes) - set(stage.reduce_axes)

    def _reduce(self, value: Value, index: Index, mask: Expr | None) -> Answer:
        node, kind = value.node, value.node.attrs["kind"]
        total = yield from self._reduced(node, index, kind, node.attrs["axes"])
        return total if TABLE[kind].exact else _rounded(total, value.dtype)

    def _reduced(self, node: Node, index: Index, kind: str, axes: Sequence[int]) -> Answer:
        value = node.outputs[0]
        key = (node, tuple(index))
        dtype = value.dtype.compute
        if key not in self.slots:
            source = node.inputs[0]
            over = tuple(self.symbol("r", source.shape[a]) for a in axes)
            e = yield source, merge_axes(index, axes, over), None
            self.slots[key] = self.stage(value=e, store=None, reduce_axes=over, reduce=kind)
        return Local(self.slots[key], 0, dtype)

    def _argreduce(self, value: Value, index: Index, mask: Expr | None) -> Answer:
        """The extreme value first, then the first (or last) position that has it. A NaN counts as the extreme."""
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
            found = Call("select", (hit, IndexExpr(over), missed), I64)
            self.slots[key] = self.stage(value=found, store=None, reduce_axes=(over,), reduce="max" if last else "min")
        return Local(self.slots[key], 0, I64)

    def kept(self, value: Value, index: Index) -> Answer:
        """A value of the row that several stages read: computed once into a row-local buffer."""
        outer = self.group.outer
        assert outer is not None
        inner = [a for a, i in enumerate(index) if symbols(i) - outer]
        rows = tuple(i for a, i in enumerate(index) if a not in inner)
        key = (value, rows, "kept")
        if key not in self.slots:
            axes = tuple(self.symbol("k", value.shape[a]) for a in inner)
            at = merge_axes(rows, inner, axes)
            e = yield from self.mapped(value.node, at)
            self.slots[key] = self.stage(value=e, store=None, axes=axes)
        position = linear([index[a] for a in inner], [value.shape[a] for a in inner])
        return Local(self.slots[key], position, value.dtype.compute)

    def final(self, index: Index, axes: tuple[Symbol, ...] = ()) -> None:
        """The stage that writes the group's root at `index`."""
        group = self.group
        e = _stored(self.at(group.root, index), group.root.dtype)
        target = self.param(self.bufs.of(group.writes), written=True)
        if group.offset is not None:
            axis, start = group.offset
            index = (*index[:axis], index[axis] + start, *index[axis + 1 :])
        self.stage(value=e, store=Store(target, linear(index, group.writes.shape)), axes=axes)

    # -- loop nests --------------------------------------------------------------------------------------------------

    def loop_nest(self, _: Node | None) -> LoopNest:
        group = self.group
        outer = group.domain if group.outer is None else tuple(s for s in group.domain if s in group.outer)
        inner = tuple(s for s in group.domain if s not in outer)
        self.final(group.domain, inner)
        return LoopNest(outer, tuple(self.stages))

    def scan(self, node: Node) -> LoopNest:
        """Running combinations; exclusive ones start from the identity and leave out the last element."""
        (x,) = node.inputs
        axis, kind = node.attrs["axis"], node.attrs["kind"]
        n = x.shape[axis]
        domain = self.group.domain
        target = self.param(self.bufs.of(node.outputs[0]), written=True)
        outer = tuple(s for i, s in enumerate(domain) if i != axis)

        def place(i: Size) -> Index:
            i = n - 1 - i if node.attrs["reverse"] else i
            return (*domain[:axis], i, *domain[axis + 1 :])

        skip = 1 if node.attrs["exclusive"] else 0
        if skip:
            first = Const(TABLE[kind].identity(x.dtype), x.dtype)  # type: ignore[misc]
            once = self.symbol("k", dim_min(1, n))
            self.stage(value=first, store=Store(target, linear(place(once), x.shape)), axes=(once,))
        i = self.symbol("k", dim_max(n - skip, 0))
        store = Store(target, linear(place(i + skip), x.shape))
        self.stage(value=self.at(x, place(i)), store=store, axes=(i,), scan=kind)
        return LoopNest(outer, tuple(self.stages))

    def scatter(self, node: Node) -> LoopNest:
        """Copies the data, then writes the updates in order; one task, since updates may meet."""
        data, updates, *where = node.inputs
        axes, combine = node.attrs["axes"], node.attrs["combine"]
        target = self.param(self.bufs.of(node.outputs[0]), written=True)
        copy = tuple(self.symbol("k", d) for d in data.shape)
        value = _stored(self.at(data, copy), data.dtype)
        self.stage(value=value, store=Store(target, linear(copy, data.shape)), axes=copy)
        at = tuple(self.symbol("u", d) for d in updates.shape)
        positions, rest = gather_index(where, axes, at)
        chosen = [self.bind(self.at(w, p), data.shape[a]) for w, p, a in zip(where, positions, axes)]
        index = merge_axes(rest, axes, chosen)
        store = Store(target, linear(index, data.shape), combine)
        update = self.at(updates, at)
        if combine is None:
            update = _stored(update, data.dtype)
        self.stage(value=update, store=store, axes=at)
        return LoopNest((), tuple(self.stages))

    # -- template kernels --------------------------------------------------------------------------------------------

    def epilogue(self, anchor: Value, index: Index) -> tuple[Stage, ...]:
        """The stages that turn the accumulator at `index` of the anchor's value into the root's element."""
        path = path_to_root(anchor, self.group)
        assert path is not None
        self.accumulator = anchor
        self.final(root_index(path, index))
        return tuple(self.stages)

    def matmul(self, node: Node) -> Matmul:
        a, b = node.inputs
        out = node.outputs[0]
        acc = node.attrs["acc"].compute
        *batch_dims, rows, n_size = out.shape
        k_size = b.shape[-2] if isinstance(b.shape[-2], int) else a.shape[-1]  # the same, which is demanded
        n, k = Symbol("n", 0, n_size), Symbol("k", 0, k_size)
        shared = all(d == 1 for d in b.shape[:-2])

        def at(operand: Value, index: Index, *last: Size) -> Expr:
            return self.at(operand, (*broadcast_index(index, batch_dims, operand.shape[:-2]), *last))

        merged = Symbol("m", 0, prod(batch_dims) * rows)
        batch: tuple[Symbol, ...] = ()
        m = merged
        lead: Index = delinear(merged, (*batch_dims, rows))
        a_expr = at(a, lead[:-1], lead[-1], k)
        if not shared or not _has_rows(a_expr, k):
            batch = tuple(Symbol(f"b{i}", 0, d) for i, d in enumerate(batch_dims))
            m = Symbol("m", 0, rows)
            lead = (*batch, m)
            a_expr = at(a, batch, m, k)
        packing: Packing | None = None
        widened = acc.is_integer and a.dtype.is_integer and b.dtype.is_integer
        if self.weights.packed and shared and b.node in self.static and (acc == a.dtype == b.dtype or widened):
            packing = PLAIN
            b_expr: Expr = Load(self.param(self.bufs.constant(Weight(b.cast(acc), packing))), 0, acc)
        else:
            b_expr = self.at(b, (*(0,) * (b.rank - 2), k, n)) if shared else at(b, batch, k, n)
        epilogue = self.epilogue(out, (*lead, n))
        return Matmul(batch, m, n, k, a_expr, b_expr, acc, epilogue, packing)

    def conv(self, node: Node) -> Conv:
        x, w = node.inputs
        out = node.outputs[0]
        attrs = node.attrs
        *taps, ic, oc = map(number, w.shape)
        groups, acc = attrs["groups"], attrs["acc"].compute
        if w.dtype != acc and not self.weights.narrow:
            w = w.cast(acc)
        n = Symbol("n", 0, x.shape[0])
        spatial = tuple(Symbol(f"x{i}", 0, d) for i, d in enumerate(x.shape[1:-1]))
        channel = Symbol("ic", 0, ic * groups)
        position = tuple(Symbol(f"y{i}", 0, d) for i, d in enumerate(out.shape[1:-1]))
        c = Symbol("c", 0, oc)
        x_expr = self.at(x, (n, *spatial, channel))
        w_param = self.param(self.bufs.constant(Weight(w, PLAIN)))
        epilogue = self.epilogue(out, (n, *position, c))
        return Conv(
            n, spatial, channel, position, c, tuple(taps), attrs["strides"], attrs["dilations"], attrs["pads_low"],
            groups, x_expr, w_param, acc, epilogue, PLAIN,
        )  # fmt: skip

    def attention(self, node: Node) -> Attention:
        q, k, v = node.inputs[:3]
        out = node.outputs[0]
        batch = tuple(Symbol(f"b{i}", 0, d) for i, d in enumerate(out.shape[:-2]))
        m, n = Symbol("m", 0, out.shape[-2]), Symbol("n", 0, k.shape[-2])
        d, dv = Symbol("d", 0, q.shape[-1]), Symbol("e", 0, v.shape[-1])

        def read(value: Value, *last: Symbol) -> Expr:
            return self.at(value, (*broadcast_index(batch, out.shape[:-2], value.shape[:-2]), *last))

        mask: Expr | None = None
        scores = (*out.shape[:-1], k.shape[-2])
        for value in node.inputs[3:]:
            e = self.at(value, broadcast_index((*batch, m, n), scores, value.shape))
            mask = e if mask is None else Call("add", (mask, e), e.dtype)
        causal = node.attrs.get("causal")
        exprs = read(q, m, d), read(k, n, d), read(v, n, dv)
        epilogue = self.epilogue(out, (*batch, m, dv))
        offset: Size | None = None if causal is None or causal is False else (0 if causal is True else causal)
        return Attention(
            batch, m, n, d, dv, *exprs, mask, float(node.attrs["scale"]), offset, epilogue,
            bool(node.attrs.get("zero_rows", False)),
        )  # fmt: skip

    def recurrent(self, node: Node) -> Recurrent:
        attrs = node.attrs
        given = dict(zip(("xw", "r", *attrs["has"]), node.inputs))
        bases = {name: operand_base(node, i, v) for i, (name, v) in enumerate(given.items())}
        number = {name: self.buffer(v) for name, v in bases.items()}
        outs = {}
        for name, v in zip(("y", "yh", "yc"), node.outputs):
            outs[name] = self.param(self.bufs.of(v), written=True)
        time, batch, _, _, hidden = given["xw"].shape
        number |= {n: -1 for n in _OPTIONAL if n not in number} | {n: outs.get(n, -1) for n in ("y", "yh", "yc")}
        return Recurrent(
            kind=attrs["kind"],
            direction=attrs["direction"],
            time=time,
            batch=batch,
            hidden=hidden,
            activations=attrs["activations"],
            clip=attrs["clip"],
            input_forget=attrs["input_forget"],
            dtype=given["xw"].dtype,
            **number,
        )

    def sort(self, node: Node) -> Sort:
        (x,) = node.inputs
        values, indices = node.outputs
        axis = node.attrs["axis"]
        outer = tuple(Symbol(f"o{i}", 0, d) for i, d in enumerate(x.shape) if i != axis)
        i, j = Symbol("i", 0, x.shape[axis]), Symbol("j", 0, values.shape[axis])
        place = linear(merge_axes(outer, (axis,), (j,)), values.shape)
        e = self.at(x, merge_axes(outer, (axis,), (i,)))
        to_values, to_indices = (Store(self.param(self.bufs.of(v), written=True), place) for v in (values, indices))
        return Sort(outer, i, j, e, node.attrs["descending"], to_values, to_indices, indices.dtype)

    def sort_rows(self, node: Node) -> Sort:
        (x,) = node.inputs
        rows, columns = x.shape
        i, j, column = Symbol("i", 0, rows), Symbol("j", 0, rows), Symbol("column", 0, columns)
        one = columns == 1
        e = self.at(x, (i, 0 if one else column))
        indices, begins = (Store(self.param(self.bufs.of(v), written=True), j) for v in node.outputs)
        return Sort((), i, j, e, False, None, indices, I64, begins, None if one else column)

    def nonzero(self, node: Node) -> Nonzero:
        (mask,) = node.inputs
        i, j = (Symbol(name, 0, mask.shape[0]) for name in "ij")
        places, count = (self.param(self.bufs.of(v), written=True) for v in node.outputs)
        return Nonzero(i, j, self.at(mask, (i,)), Store(places, j), Store(count, 0))

    def nms(self, node: Node) -> Nms:
        boxes, scores, *limits = node.inputs
        batch, row, i = (Symbol(name, 0, d) for name, d in zip(("o0", "o1", "i"), scores.shape))
        j = Symbol("j", 0, node.attrs["most"])
        top, left, bottom, right = (self.at(boxes, (batch, i, corner)) for corner in range(4))
        overlap, least = [*(self.at(limit, ()) for limit in limits), None][:2]
        assert overlap is not None
        to_places, to_counts = (
            Store(self.param(self.bufs.of(v), written=True), linear((batch, row, j)[: v.rank], v.shape))
            for v in node.outputs
        )
        score = self.at(scores, (batch, row, i))
        return Nms((batch, row), i, j, score, top, left, bottom, right, overlap, least, to_places, to_counts)

    def trees(self, node: Node) -> Trees:
        (out,), attrs = node.outputs, node.attrs
        x, roots, *tables = (operand_base(node, i, v) for i, v in enumerate(node.inputs))
        part, row, target = (Symbol(name, 0, d) for name, d in zip(("part", "row", "target"), out.shape))
        place = Symbol("place", 0, count(x.shape))
        load = Load(self.buffer(x), place, x.dtype)
        nodes, weights, owners = [*map(self.buffer, tables), -1, -1][:3]
        return Trees(
            part, row, target, place, node.inputs[0].shape[1], load if x.dtype == x.dtype.compute else
            Call("cast", (load,), x.dtype.compute), self.buffer(roots), nodes, weights, owners, attrs["kind"],
            attrs["relations"], attrs["missing"], roots.shape[0], attrs["steps"],
            self.epilogue(out, (part, row, target)),
        )  # fmt: skip


def _clamped(e: Expr, extent: Expr) -> Expr:
    """The integer in [0, extent) that is next to another one of 64 bits; -1 where there is none."""
    assert isinstance(extent, (Const, IndexExpr))
    last = Const(int(extent.value) - 1, I64) if isinstance(extent, Const) else IndexExpr(extent.size - 1)
    return Call("min", (Call("max", (e, Const(0, I64)), I64), last), I64)


def _in_range(ok: Expr) -> Expr:
    """0 <= x and x < extent, of integers of 64 bits, as an equality: of x, and of what it is clamped to anyway."""
    if isinstance(ok, Call) and ok.prim == "and":
        low, high = ok.args
        if isinstance(low, Call) and isinstance(high, Call) and (low.prim, high.prim) == ("le", "lt"):
            zero, x = low.args
            if zero == Const(0, I64) and high.args[0] == x and isinstance(high.args[1], (Const, IndexExpr)):
                return Call("eq", (x, _clamped(x, high.args[1])), BOOL)
    return ok


_OPTIONAL = ("rb", "peephole", "h0", "c0", "lengths")  # operands that a recurrent layer may lack

_ANCHORS: dict[str, Any] = {
    "matmul": _Lowering.matmul,
    "conv": _Lowering.conv,
    "attention": _Lowering.attention,
    "recurrent": _Lowering.recurrent,
    "sort": _Lowering.sort,
    "sort_rows": _Lowering.sort_rows,
    "nonzero": _Lowering.nonzero,
    "nms": _Lowering.nms,
    "trees": _Lowering.trees,
    "scan": _Lowering.scan,
    "scatter": _Lowering.scatter,
}


def _stored(e: Expr, dtype: DType) -> Expr:
    """A value in its computing dtype as it is stored: bit for bit what was loaded, where it was just that."""
    if e.dtype == dtype:
        return e
    if isinstance(e, Call) and e.prim == ROUNDING.get(dtype.name):  # storing rounds
        (e,) = e.args
    if isinstance(e, Call) and e.prim == "cast" and e.args[0].dtype == dtype:
        return e.args[0]
    return Call("cast", (e,), dtype)


def _rounded(e: Expr, dtype: DType) -> Expr:
    """A value in its computing dtype as one of `dtype`, which it has been computed for."""
    if dtype == dtype.compute or dtype.is_integer:
        return e
    name = ROUNDING.get(dtype.name)
    if name is not None:
        return e if isinstance(e, Call) and e.prim == name else Call(name, (e,), e.dtype)
    return Call("cast", (Call("cast", (e,), dtype),), e.dtype)


def _has_rows(e: Expr, k: Symbol) -> bool:
    """Whether all that an operand loads are plain rows along k, wherever each of them starts."""
    loads = [each for each in walk(e) if isinstance(each, Load)]
    return all(load.mask is None and linear_in(load.index, k) is not None for load in loads)
