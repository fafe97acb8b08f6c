"""Fusion: which nodes share a kernel.

In: a graph. Out: `Group`s in launch order.
Decisions depend on index maps alone (where, and how often, an element is read), never on the names of layers.

Nodes are visited consumers first. The *demands* of a value say in which groups, and at which indices over their
domains, it is read. Three questions are separate: what is legal (`_illegal`: can this kernel compute the node?), what
is better (`_worse`: should it?), and what is chosen (`Fuser.visit`). Each refusal is recorded as a `Reason`.

Heavy operations (anchors) have kernels of their own. A pointwise group that is the only reader of an anchor's result,
and reads it one-to-one, becomes the anchor's epilogue. Pointwise nodes that compute the first operand of a product and
nothing else become its prologue, unless the kernel would evaluate them too often.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from ..graph.index import broadcast_index, count, input_index, inverse_index
from ..graph.ir import Graph, Node, Trait, Value, make, static_nodes
from ..graph.tensor import broadcast_shapes
from ..scalar.dim import Size, Symbol, known_le, known_lt, linear_in, prod, symbols
from ..scalar.dtype import I8, U8
from ..scalar.prims import TABLE

Index = tuple[Size, ...]

EPILOGUE = frozenset({"matmul", "conv", "attention", "trees"})  # anchors whose template has an epilogue hole
PROLOGUE = frozenset({"matmul", "conv"})  # anchors whose template has a hole for the elements of the first operand
EXPENSIVE = 4  # flops from which recomputing a primitive costs more than storing its result
CONCAT_INLINE = 4  # pieces up to which a concat is read as a chain of selects
# Bounds that keep the generated code linear in the size of the graph.
NODES = 256  # of a kernel
PLACES = 8  # indices at which a kernel may read a value that it computes
VIEWED_PLACES = 64  # indices at which a kernel may read a view
COLUMNS = 256  # of a product: for each block of them its prologue is evaluated again


@dataclass(frozen=True)
class Reason:
    """Why `value` is not computed inside the kernel that reads it."""

    value: Value
    text: str


@dataclass(eq=False)
class Group:
    """What one kernel computes.

    root: the value it writes; domain: one symbol per axis of root; nodes: the nodes computed inside, consumers first;
    anchor: the heavy node, if any; reduces: each reduction inside with the symbols of its reduced axes;
    outer: the symbols of the row domain, if a reduction is inside; keep: values stored in a row-local buffer.
    operand: one symbol per axis of the base of the anchor's first operand, if the group computes it.
    places: the indices at which each node is computed.
    target, offset: for a piece of a concat that is written in place, the concat, and (axis, start of the piece).
    position: of the root's node among the graph's nodes; symbol_count: the number of symbols that `symbol` has made.
    """

    root: Value
    domain: tuple[Symbol, ...]
    nodes: list[Node] = field(default_factory=list)
    anchor: Node | None = None
    reduces: dict[Node, tuple[Symbol, ...]] = field(default_factory=dict)
    outer: frozenset[Symbol] | None = None
    keep: set[Value] = field(default_factory=set)
    reasons: list[Reason] = field(default_factory=list)
    target: Value | None = None
    offset: tuple[int, Size] | None = None
    position: int = 0
    operand: tuple[Symbol, ...] = ()
    places: dict[Node, tuple[Index, ...]] = field(default_factory=dict)
    symbol_count: int = 0

    def symbol(self, prefix: str, extent: Size) -> Symbol:
        self.symbol_count += 1
        return Symbol(f"{prefix}{self.symbol_count}", 0, extent)

    def whole(self, value: Value) -> Index | None:
        """An index over the group's domain, and the axes that it reduces, at which each element of a value that it
        computes is computed; None if there is none."""
        inside = {*self.domain, *(s for reduced in self.reduces.values() for s in reduced)}
        for index in self.places.get(value.node, ()):
            moving = [(i, d) for i, d in zip(index, value.shape) if d != 1]
            full = all(isinstance(i, Symbol) and i in inside and i.extent == d for i, d in moving)
            if full and len({i for i, _ in moving}) == len(moving):
                return tuple(i if d != 1 else 0 for i, d in zip(index, value.shape))
        return None

    @property
    def writes(self) -> Value:
        """The value whose buffer is written: root, or the concat that root is a piece of."""
        return self.target or self.root


def run(graph: Graph) -> list[Group]:
    """Partitions the graph. Graph outputs must be distinct and neither inputs nor constants."""
    return Fuser(graph).run()


def distinct_outputs(graph: Graph) -> Graph:
    """Replaces outputs that repeat, or are inputs or constants, by copies: every output is a value of its own."""
    seen: set[Value] = set()
    outputs: list[Value] = []
    for value in graph.outputs:
        if value in seen or Trait.LEAF in value.node.op.traits:
            copy = make("broadcast", [value], shape=value.shape)[0]
            copy.name, copy.node.origin = value.name, value.node.origin or ("output",)
            value = copy
        seen.add(value)
        outputs.append(value)
    return replace(graph, outputs=outputs)


def stored(group: Group) -> list[Value]:
    """The values that a group's kernel writes to memory."""
    if group.anchor is not None and group.root.node is group.anchor:
        return list(group.anchor.outputs)
    return [group.writes]


def inside(group: Group) -> list[Value]:
    """The values inside of a group's kernel that it can write as well, if they are watched."""
    values = (v for node in group.nodes for v in node.outputs if v not in (group.root, *stored(group)))
    return [v for v in values if _is_new(v.node) and group.whole(v) is not None]


def _is_new(node: Node) -> bool:
    """Whether the elements of a node's result are none of a leaf or of another value, and no arithmetic of indices."""
    return not node.op.traits & (Trait.LEAF | Trait.VIEW | Trait.INDEX)


class Fuser:
    def __init__(self, graph: Graph) -> None:
        self.order = graph.nodes()
        self.position = {node: i for i, node in enumerate(self.order)}
        bound = map(through_reshapes, graph.bindings.values())
        self.outputs = [*graph.outputs, *(v for v in bound if Trait.LEAF not in v.node.op.traits)]
        self.materialized: set[Value] = set(self.outputs)  # values that get a buffer
        self.demands: dict[Value, list[tuple[Group, Index]]] = {}
        self.groups: list[Group] = []
        self.static = static_nodes(self.order)
        self.consumers: dict[Value, list[Node]] = {}
        for node in self.order:
            for source in node.inputs:
                self.consumers.setdefault(source, []).append(node)

    def run(self) -> list[Group]:
        for node in reversed(self.order):
            if node not in self.static and Trait.LEAF not in node.op.traits:
                self.visit(node)
        self.attach_epilogues()
        for group in self.groups:
            group.position = self.position[group.root.node]
        self.groups.sort(key=lambda g: g.position)
        return self.groups

    # -- chosen ----------------------------------------------------------------------------------------------------

    def visit(self, node: Node) -> None:
        if Trait.HEAVY in node.op.traits:
            self.start_anchor(node)
            return
        value = node.outputs[0]
        demands = self.demands.get(value, [])
        readers = list(dict.fromkeys(group for group, _ in demands))
        if value in self.materialized:
            pass
        elif not readers:
            return  # an anchor reads past it, as its operand is a view of another value
        elif self._is_free(node, demands):
            for group in readers:
                self.join(node, group, [i for g, i in demands if g is group])
            return
        elif len(readers) > 1:
            for group in readers:
                group.reasons.append(Reason(value, f"{value} is read by {len(readers)} kernels"))
        else:
            group = readers[0]
            indices = list(dict.fromkeys(i for _, i in demands))
            refusal = self._illegal(node, group, indices) or self._worse(node, group, indices)
            if refusal is None:
                self.join(node, group, indices)
                return
            group.reasons.append(Reason(value, refusal))
        self.materialized.add(value)
        if node.op.name == "concat":
            self.start_pieces(node)
            return
        group = self.start(value)
        self.join(node, group, [group.domain])

    def _is_free(self, node: Node, demands: Sequence[tuple[Group, Index]]) -> bool:
        """Whether reading a node at these indices costs index arithmetic alone."""
        return (
            Trait.INDEX in node.op.traits
            or not node.inputs
            or (Trait.VIEW in node.op.traits and len(set(demands)) <= VIEWED_PLACES)
        )

    def start(self, root: Value) -> Group:
        domain = tuple(Symbol(f"o{i}", 0, d) for i, d in enumerate(root.shape))
        group = Group(root, domain)
        self.groups.append(group)
        return group

    def start_pieces(self, node: Node) -> None:
        """Starts a kernel for each input of a materialized concat, which writes its part in place."""
        axis, at = node.attrs["axis"], 0
        for piece in node.inputs:
            copy = make("broadcast", [piece], shape=piece.shape)[0]
            copy.node.origin = node.origin
            self.position[copy.node] = self.position[node]
            group = self.start(copy)
            group.target, group.offset = node.outputs[0], (axis, at)
            self.join(copy.node, group, [group.domain])
            at = at + piece.shape[axis]

    def start_anchor(self, node: Node) -> None:
        group = self.start(node.outputs[0])
        group.anchor = node
        group.nodes.append(node)
        self.materialized.update(v for v in node.outputs if v in self.demands or v in self.materialized)
        for position, operand in enumerate(node.inputs):
            base = operand_base(node, position, operand)
            if position == 0 and node.op.name in PROLOGUE:
                source = self.bytes_below(base)
                if source is not None and self._evaluates_again(node, [], of_bytes=True) is None:
                    self.need(source)  # where bytes are made, they are stored as such: a quarter of what is read here
            refusal = self._no_prologue(node, position, base)
            if refusal is None:
                group.operand = tuple(group.symbol("a", d) for d in base.shape)
                self.demand(base, group, group.operand)
                continue
            if refusal:
                group.reasons.append(Reason(base, refusal))
            self.need(base)

    def need(self, value: Value) -> None:
        """Marks `value` as materialized, unless it is a leaf."""
        if Trait.LEAF not in value.node.op.traits:
            self.materialized.add(value)

    def join(self, node: Node, group: Group, indices: Sequence[Index]) -> None:
        """Computes `node` inside `group` at each of `indices`, and adds the demands on its inputs."""
        group.nodes.append(node)
        name = node.op.name
        if name == "map" and len(indices) > 1 and self._keeps(node, group, indices):
            group.keep.add(node.outputs[0])
            indices = indices[:1]
        group.places[node] = tuple(indices)
        for index in indices:
            if name in ("reduce", "argreduce"):
                group.outer = frozenset().union(*(symbols(i) for i in index))
                axes = node.attrs["axes"] if name == "reduce" else (node.attrs["axis"],)
                reduced = tuple(group.symbol("r", node.inputs[0].shape[a]) for a in axes)
                group.reduces[node] = reduced
                self.demand(node.inputs[0], group, merge_axes(index, axes, reduced))
            elif name == "gather":
                axes = node.attrs["axes"]
                data, *where = node.inputs
                positions, rest = gather_index(where, axes, index)
                for w, position in zip(where, positions):
                    self.demand(w, group, position)
                gathered = [group.symbol("g", data.shape[a]) for a in axes]
                self.demand(data, group, merge_axes(rest, axes, gathered))
            elif name == "concat":
                axis, at = node.attrs["axis"], 0
                for piece in node.inputs:
                    self.demand(piece, group, (*index[:axis], index[axis] - at, *index[axis + 1 :]))
                    at = at + piece.shape[axis]
            else:
                for i, source in enumerate(node.inputs):
                    self.demand(source, group, input_index(node, i, index)[0])

    def demand(self, value: Value, group: Group, index: Index) -> None:
        self.demands.setdefault(value, []).append((group, index))

    # -- legal -----------------------------------------------------------------------------------------------------

    def _illegal(self, node: Node, group: Group, indices: Sequence[Index]) -> str | None:
        """Why `node` cannot be computed inside `group` at `indices`, or None."""
        if node.op.name not in ("reduce", "argreduce"):
            return None
        domain = frozenset(group.domain)
        if len(indices) > 1:
            return "the reduction is read at different places of one row"
        rows = frozenset().union(*(symbols(i) for i in indices[0])) if indices[0] else frozenset()
        if not rows <= domain:
            return "the reduction is read inside another reduction"
        if not all(isinstance(i, (int, Symbol)) for i in indices[0]):
            return "the reduction is read through an index that is not a plain loop variable"
        if not _is_inside(indices[0], node.outputs[0].shape):
            return "it is a part of what is read, and would be computed beyond its end"
        if group.outer is not None and group.outer != rows:
            return "its rows are not the rows of the kernel's other reductions"
        return None

    # -- better ----------------------------------------------------------------------------------------------------

    def _worse(self, node: Node, group: Group, indices: Sequence[Index]) -> str | None:
        """Why computing `node` inside `group` is slower than reading it from memory, or None."""
        name = node.op.name
        if len(group.nodes) >= NODES:
            return f"the kernel computes {NODES} nodes already"
        if len(indices) > PLACES:
            return f"it would be computed {len(indices)} times for each element"
        if name in ("reduce", "argreduce"):
            if not any(symbols(i) for i in indices[0]):
                return "one row alone would make the kernel serial"
            return None
        if name == "concat":
            return None if len(node.inputs) <= CONCAT_INLINE else f"a concat of {len(node.inputs)} pieces"
        if name == "gather":
            return None
        cost = TABLE[node.attrs["prim"]].flops if name == "map" else 1
        if len(indices) > 1 and cost >= EXPENSIVE and not self._keeps(node, group, indices):
            return f"it would be computed {len(indices)} times for each element"
        if cost >= EXPENSIVE:
            times = repetition(node.outputs[0], group, indices[0])
            if times:
                return f"it would be computed again along {times}"
        return None

    def _keeps(self, node: Node, group: Group, indices: Sequence[Index]) -> bool:
        """Whether a map that is read at several indices fits a row-local buffer and is worth one."""
        value = node.outputs[0]
        if group.outer is None or not all(_is_inside(index, value.shape) for index in indices):
            return False
        for index in indices:
            for i, d in zip(index, value.shape):
                inner = symbols(i) - group.outer
                if inner and not (isinstance(i, Symbol) and i.extent == d):
                    return False
        shapes = {tuple(bool(symbols(i) - (group.outer or frozenset())) for i in index) for index in indices}
        outers = {tuple(i for i in index if not symbols(i) - (group.outer or frozenset())) for index in indices}
        if len(shapes) > 1 or len(outers) > 1 or not any(next(iter(shapes))):
            return False
        full = sum(1 for v in node.inputs if count(v.shape) == count(value.shape))
        return TABLE[node.attrs["prim"]].flops >= EXPENSIVE or full >= 2

    # -- prologues -------------------------------------------------------------------------------------------------

    def _no_prologue(self, node: Node, position: int, value: Value) -> str | None:
        """Why an anchor does not compute its operand with base `value`: "" if there is no prologue; None if it does."""
        if position or node.op.name not in PROLOGUE or value.op != "map" or value.node in self.static:
            return ""
        operand, reader = node.inputs[position], node
        repeated = node.op.name == "matmul" and count(operand.shape[:-1]) != count(node.outputs[0].shape[:-1])
        if repeated or count(operand.shape) != count(value.shape):
            return f"{value} is read at several places"
        while self.consumers[operand] == [reader] and operand not in self.materialized and operand is not value:
            operand, reader = operand.node.inputs[0], operand.node
        if self.consumers[operand] != [reader] or operand in self.materialized:
            return f"{value} has other readers"
        inside, source = self.cone(value), self.bytes_below(value)
        of_bytes = source is not None and source in self.materialized
        return self._evaluates_again(node, inside, of_bytes) or self._better_elsewhere(inside)

    def bytes_below(self, value: Value) -> Value | None:
        """The bytes of which a wider value is cheap arithmetic, with numbers that are the same everywhere; or None."""
        while value.op == "map" and value.dtype.itemsize > 1 and len(self.consumers[value]) == 1:
            varying = [v for v in value.node.inputs if v.node not in self.static and count(v.shape) != 1]
            cheap = TABLE[value.node.attrs["prim"]].flops < EXPENSIVE and value.node.attrs["prim"] != "require"
            if len(varying) != 1 or varying[0].shape != value.shape or not cheap:
                return None
            (value,) = varying
            if value.dtype in (U8, I8):
                return value
        return None

    def _evaluates_again(self, node: Node, inside: Iterable[Node], of_bytes: bool) -> str | None:
        """Why an anchor's kernel would evaluate the nodes of its operand too often, or None. of_bytes: whether they are
        cheap arithmetic on bytes."""
        expensive = any(TABLE[n.attrs["prim"]].flops >= EXPENSIVE for n in inside if n.op.name == "map")
        columns = node.outputs[0].shape[-1]
        if node.op.name == "conv":
            *taps, channels, _ = node.inputs[1].shape
            if (channels == 1 and not of_bytes) or (expensive and prod(taps) != 1):
                return "it would be computed again for every tap"
            columns = columns // node.attrs["groups"]
        return None if known_le(columns, COLUMNS) else f"it would be computed again for every {COLUMNS} columns"

    def _better_elsewhere(self, inside: Collection[Node]) -> str | None:
        """Why the nodes of an operand are better computed in another kernel than the anchor's, or None."""
        for each in inside:
            if each.op.name == "map" and each.attrs["prim"] == "require":
                return "what is demanded of its data is checked where it is computed"
            for source in each.inputs:
                producer = source.node
                if producer in inside or producer in self.static or Trait.LEAF in producer.op.traits:
                    continue
                pieces = len(producer.inputs) if producer.op.name == "concat" else 0
                has_buffer = source in self.materialized or pieces > CONCAT_INLINE
                if has_buffer or any(reader not in inside for reader in self.consumers[source]):
                    continue
                if producer.op.name in EPILOGUE:
                    return f"it is computed where {source} is made"
                if Trait.HEAVY not in producer.op.traits:
                    return f"it is computed together with {source}"
        return None

    def cone(self, value: Value) -> dict[Node, None]:
        """The pointwise nodes and views on which `value` alone depends; `value`'s node comes first."""
        inside: dict[Node, None] = {value.node: None}
        pending = [value.node]
        while pending:
            for source in pending.pop().inputs:
                producer = source.node
                pointwise = Trait.VIEW in producer.op.traits or producer.op.name == "map"
                pointwise = pointwise and producer not in self.static and source not in self.materialized
                if pointwise and producer not in inside and all(r in inside for r in self.consumers[source]):
                    inside[producer] = None
                    pending.append(producer)
        return inside

    # -- epilogues -------------------------------------------------------------------------------------------------

    def attach_epilogues(self) -> None:
        """Merges each pointwise group with the last anchor that it alone reads, one-to-one."""
        by_root = {g.root: g for g in self.groups if g.anchor is not None and g.anchor.op.name in EPILOGUE}
        roots_read: dict[Group, list[Value]] = {}  # by each group, the last ones first
        for root in sorted(by_root, key=lambda v: -self.position[v.node]):
            for group in dict.fromkeys(g for g, _ in self.demands.get(root, [])):
                roots_read.setdefault(group, []).append(root)
        pinned = self.pinned_values()
        merged: set[Group] = set()
        for group in self.groups:
            if group.anchor is not None:
                continue
            for root in roots_read.get(group, []):
                refusal = "a row is reduced as a whole" if group.reduces else self._no_epilogue(root, group, pinned)
                if refusal:
                    group.reasons.append(Reason(root, refusal))
                    continue
                anchor = by_root[root]
                merged.add(anchor)
                group.anchor, group.operand = root.node, anchor.operand
                group.nodes += anchor.nodes
                group.places[root.node] = tuple(dict.fromkeys(i for _, i in self.demands[root]))
                group.reasons = anchor.reasons + group.reasons
                break
        self.groups = [g for g in self.groups if g not in merged]

    def pinned_values(self) -> set[Value]:
        """Outputs and operands of anchors, which need their buffers even if a pointwise group reads them too."""
        pinned = set(self.outputs)
        for group in self.groups:
            if group.anchor is not None:
                pinned.update(operand_base(group.anchor, i, v) for i, v in enumerate(group.anchor.inputs))
        return pinned

    def _no_epilogue(self, value: Value, group: Group, pinned: set[Value]) -> str | None:
        """Why `group` cannot be the epilogue of the anchor that computes `value`, or None."""
        reads = self.demands[value]
        if any(g is not group for g, _ in reads) or value in pinned:
            return f"{value} has other readers"
        if len({i for _, i in reads}) > 1:
            return f"{value} is read at several places"
        if path_to_root(value, group) is None:
            return f"{value} is not read one-to-one"
        return None


# -- index arithmetic of operations other than views -----------------------------------------------------------------


def merge_axes(rest: Sequence[Size], axes: Sequence[int], sizes: Sequence[Size]) -> Index:
    """The index with `sizes` at `axes`, and `rest` at the other axes in order."""
    at_axis = dict(zip(axes, sizes))
    others = iter(rest)
    return tuple(at_axis[a] if a in at_axis else next(others) for a in range(len(rest) + len(axes)))


def gather_index(indices: Sequence[Value], axes: Sequence[int], index: Index) -> tuple[list[Index], Index]:
    """Splits an index of a gather's output or a scatter's updates: where each index tensor is read, and the rest."""
    first, common = min(axes), broadcast_shapes(*(v.shape for v in indices))
    behind = first + len(common)
    position = index[first:behind]
    return [broadcast_index(position, common, v.shape) for v in indices], index[:first] + index[behind:]


def _is_inside(index: Index, shape: Sequence[Size]) -> bool:
    """Whether an index surely is inside a value. Parts of a concatenation, and what is padded, are read beyond their
    ends, where a condition guards each load; a stage of its own, which runs for all rows, has no such condition."""
    return all(known_le(0, i) and known_lt(i, d) for i, d in zip(index, shape))


def repetition(value: Value, group: Group, index: Index) -> str:
    """The loops of `group` along which `value`, which is read at `index`, would be computed again; "" if none."""
    used = frozenset().union(*(symbols(i) for i in index)) if index else frozenset()
    evaluated = prod(s.extent for s in used if s.extent is not None)
    if not known_le(evaluated, count(value.shape)) and evaluated != count(value.shape):
        return "a window"
    domain = group.operand if group.anchor is not None else group.domain
    inner = [s for s in domain if s in used]
    loops = [s for s in domain if s not in used and s.extent != 1]
    if group.outer is not None:
        # A value that depends on the row alone is computed once per row.
        loops = [s for s in loops if s in group.outer] if not used <= group.outer else []
    elif inner and domain and loops and all(domain.index(s) > domain.index(inner[-1]) for s in loops):
        return ""  # hoisted out of the inner loops
    return ", ".join(f"axis {domain.index(s)}" for s in loops) if used or count(value.shape) == 1 else ""


def operand_base(node: Node, position: int, operand: Value) -> Value:
    """The value whose buffer an anchor reads for an operand.

    Matmul and attention read through views as long as positions are affine in the operand's index, others through
    reshapes alone."""
    value, index = operand, tuple(Symbol(f"i{a}", 0, d) for a, d in enumerate(operand.shape))
    if node.op.name not in ("matmul", "attention"):
        return through_reshapes(operand)
    at: Index = index
    best = operand
    while Trait.BIJECTIVE in value.node.op.traits or value.op in ("broadcast", "slice"):
        at, mask = input_index(value.node, 0, at)
        value = value.node.inputs[0]
        if mask is not None or not affine(at, value.shape, index):
            continue
        best = value
    return best


def through_reshapes(value: Value) -> Value:
    """The value whose buffer holds the elements of `value` in the same order."""
    while Trait.SAME_ORDER in value.node.op.traits:
        value = value.node.inputs[0]
    return value


def affine(at: Index, shape: Sequence[Size], index: Sequence[Symbol]) -> bool:
    """Whether the row-major position of `at` in a tensor of this shape is affine in the symbols of `index`."""
    rest: Size = 0
    for i, d in zip(at, shape):
        rest = rest * d + i
    for symbol in index:
        split = linear_in(rest, symbol)
        if split is None or symbols(split[0]) & frozenset(index):
            return False
        rest = split[1]
    return not symbols(rest) & frozenset(index)


def path_to_root(value: Value, group: Group) -> list[Node] | None:
    """The nodes of `group` from a reader of `value` to its root, if each keeps elements one-to-one; else None."""
    if value is group.root:
        return []
    members = set(group.nodes)
    path: list[Node] = []
    consumers: dict[Value, list[Node]] = {}
    for node in group.nodes:
        for v in node.inputs:
            consumers.setdefault(v, []).append(node)
    current = value
    while current is not group.root:
        readers = [n for n in consumers.get(current, []) if n in members]
        if not readers or not all(_one_to_one(n, current) for n in readers):
            return None
        path.append(readers[0])
        current = readers[0].outputs[0]
    return path


def _one_to_one(node: Node, source: Value) -> bool:
    if node.op.name in ("map", "broadcast"):
        return source.shape == node.outputs[0].shape
    return Trait.BIJECTIVE in node.op.traits


def root_index(path: Sequence[Node], index: Index) -> Index:
    """The index at the end of a `path_to_root` of the element that has `index` at its start."""
    for node in path:
        inverse = inverse_index(node, index)
        index = index if inverse is None else inverse
    return index
