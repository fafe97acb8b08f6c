"""Fusion: which nodes share a kernel.

In: a graph. Out: `Group`s in launch order; every value that one group makes and another reads is a group's root.
It decides by index maps alone (where is this element read, and how often), never by the names of layers.

Nodes are visited consumers first. Each value has its *demands*: in which group, and at which index of that group's root
domain, it is read. Three questions are kept apart, and each refusal is kept as a printable `Reason`:
legal (`_illegal`: can this node be computed inside that kernel?), better (`_worse`: should it?), chosen
(`Fuser.visit`).

Heavy operations (anchors) have kernels of their own. A pointwise group that reads an anchor's result one-to-one and
is its only reader becomes the anchor's epilogue. What is pointwise and made for the first operand of a product alone
becomes its prologue, where the operand is not evaluated again and again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from ..graph.index import broadcast_index, count, input_index, inverse_index
from ..graph.ir import Graph, Node, Trait, Value, make, static_nodes
from ..graph.tensor import broadcast_shapes
from ..scalar.dim import Size, Symbol, known_le, linear_in, prod, symbols
from ..scalar.prims import TABLE

Index = tuple[Size, ...]

EPILOGUE = frozenset({"matmul", "conv", "attention", "trees"})  # anchors whose template has an epilogue hole
PROLOGUE = frozenset({"matmul", "conv"})  # anchors whose template has a hole for the elements of the first operand
EXPENSIVE = 4  # flops of a primitive from which on recomputing is worse than keeping
CONCAT_INLINE = 4  # pieces up to which a concat is read as a chain of selects
# Bounds that keep what is printed linear in the size of the graph.
NODES = 256  # of a kernel
PLACES = 8  # at which a kernel may read what it computes itself
VIEWED_PLACES = 64  # at which it may read a view
# A product evaluates its first operand once for each block of so many columns; and it may do so again for a few rows,
# since that is little beside reading the other operand.
COLUMNS = 256
FEW_ROWS = 8


@dataclass(frozen=True)
class Reason:
    """Why `value` is not computed inside the kernel that reads it."""

    value: Value
    text: str


@dataclass(eq=False)
class Group:
    """What one kernel computes.

    root: the value it writes; domain: one symbol per axis of root; nodes: the nodes computed inside, consumers first;
    anchor: the heavy node, where there is one; reduces: each reduction inside with the symbols of its reduced axes;
    outer: the symbols of the row domain once a reduction is inside; keep: values stored in a row-local buffer.
    operand: one symbol per axis of what an anchor reads as its first operand, where that is computed inside.
    target, offset: of one piece of a concat that is written in place, the concat and (axis, where the piece begins).
    position: of the root's node among the graph's nodes.
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
    fresh: int = 0

    def symbol(self, prefix: str, extent: Size) -> Symbol:
        self.fresh += 1
        return Symbol(f"{prefix}{self.fresh}", 0, extent)

    @property
    def writes(self) -> Value:
        """The value whose buffer is written: root, or the concat that root is a piece of."""
        return self.target or self.root


def run(graph: Graph) -> list[Group]:
    """Partitions the graph. Graph outputs must be distinct and neither inputs nor constants."""
    return Fuser(graph).run()


def distinct_outputs(graph: Graph) -> Graph:
    """Gives every graph output a value of its own: outputs that repeat, or are inputs or constants, become copies."""
    seen: set[Value] = set()
    outputs: list[Value] = []
    for value in graph.outputs:
        if value in seen or Trait.LEAF in value.node.op.traits:
            copy = make("broadcast", [value], shape=value.shape)[0]
            copy.name, copy.node.origin = value.name, value.node.origin or ("output",)
            value = copy
        seen.add(value)
        outputs.append(value)
    return Graph(graph.inputs, outputs, graph.output_names, graph.bindings)


class Fuser:
    def __init__(self, graph: Graph) -> None:
        self.order = graph.nodes()
        self.position = {node: i for i, node in enumerate(self.order)}
        bound = map(through_reshapes, graph.bindings.values())
        # What has to be in memory at the end.
        self.outputs = [*graph.outputs, *(v for v in bound if Trait.LEAF not in v.node.op.traits)]
        self.must: set[Value] = set(self.outputs)
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
        if value in self.must:
            pass
        elif not readers:
            return  # only read as an operand through views that were looked through
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
        self.must.add(value)
        if node.op.name == "concat":
            self.start_pieces(node)
            return
        group = self.start(value)
        self.join(node, group, [group.domain])

    def _is_free(self, node: Node, demands: Sequence[tuple[Group, Index]]) -> bool:
        """Whether a node costs no more than the arithmetic of an index, wherever it is read."""
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
        """A materialised concat: one kernel for each input, which writes its part in place."""
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
        self.must.update(v for v in node.outputs if v in self.demands or v in self.must)
        for position, operand in enumerate(node.inputs):
            base = operand_base(node, position, operand)
            refusal = self._no_prologue(node, position, base)
            if refusal is None:
                group.operand = tuple(group.symbol("a", d) for d in base.shape)
                self.demand(base, group, group.operand)
                continue
            if refusal:
                group.reasons.append(Reason(base, refusal))
            self.need(base)

    def need(self, value: Value) -> None:
        """`value` has to be in a buffer of its own."""
        if Trait.LEAF not in value.node.op.traits:
            self.must.add(value)

    def join(self, node: Node, group: Group, indices: Sequence[Index]) -> None:
        """Computes `node` inside `group`, at each of `indices`, and passes the demands on to its inputs."""
        group.nodes.append(node)
        name = node.op.name
        if name == "map" and len(indices) > 1 and self._keeps(node, group, indices):
            group.keep.add(node.outputs[0])
            indices = indices[:1]
        for index in indices:
            if name in ("reduce", "argreduce"):
                group.outer = frozenset().union(*(symbols(i) for i in index))
                axes = node.attrs["axes"] if name == "reduce" else (node.attrs["axis"],)
                reduced = tuple(group.symbol("r", node.inputs[0].shape[a]) for a in axes)
                group.reduces[node] = reduced
                self.demand(node.inputs[0], group, reduce_index(index, axes, reduced))
            elif name == "gather":
                axes = node.attrs["axes"]
                data, *where = node.inputs
                positions, rest = gather_index(where, axes, index)
                for w, position in zip(where, positions):
                    self.demand(w, group, position)
                picked = [group.symbol("g", data.shape[a]) for a in axes]
                self.demand(data, group, merge_axes(rest, axes, picked))
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
        if group.outer is not None and group.outer != rows:
            return "its rows are not the rows of the kernel's other reductions"
        return None

    # -- better ----------------------------------------------------------------------------------------------------

    def _worse(self, node: Node, group: Group, indices: Sequence[Index]) -> str | None:
        """Why computing `node` inside `group` would be slower than reading it from memory, or None."""
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
        """Whether a value read at several indices fits a row-local buffer and is worth one."""
        value = node.outputs[0]
        if group.outer is None:
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
        """Why an anchor's operand, whose buffer would be that of `value`, cannot be or had better not be computed where
        it is read; "" where there is nothing to compute, None where there is no reason."""
        if position or node.op.name not in PROLOGUE or value.op != "map" or value.node in self.static:
            return ""
        operand, reader = node.inputs[position], node
        repeated = node.op.name == "matmul" and count(operand.shape[:-1]) != count(node.outputs[0].shape[:-1])
        if repeated or count(operand.shape) != count(value.shape):
            return f"{value} is read at several places"
        while self.consumers[operand] == [reader] and operand not in self.must and operand is not value:
            operand, reader = operand.node.inputs[0], operand.node
        if self.consumers[operand] != [reader] or operand in self.must:
            return f"{value} has other readers"
        inside = self.cone(value)
        return self._evaluates_again(node, inside) or self._better_elsewhere(inside)

    def _evaluates_again(self, node: Node, inside: Iterable[Node]) -> str | None:
        """Why an anchor's kernel would compute the nodes of its operand too often, or None."""
        expensive = any(TABLE[n.attrs["prim"]].flops >= EXPENSIVE for n in inside if n.op.name == "map")
        *rows, columns = node.outputs[0].shape
        if node.op.name == "conv":
            *taps, channels, _ = node.inputs[1].shape
            if channels == 1 or (expensive and prod(taps) != 1):
                return "it would be computed again for every tap"
            columns = columns // node.attrs["groups"]
        elif not expensive and known_le(prod(rows), FEW_ROWS):
            return None
        return None if known_le(columns, COLUMNS) else f"it would be computed again for every {COLUMNS} columns"

    def _better_elsewhere(self, inside: Collection[Node]) -> str | None:
        """Why what is computed in the nodes of an operand had better stay with what they read, or None."""
        for each in inside:
            if each.op.name == "map" and each.attrs["prim"] == "require":
                return "what is demanded of its data is checked where it is computed"
            for source in each.inputs:
                made = source.node
                if made in inside or made in self.static or Trait.LEAF in made.op.traits or source in self.must:
                    continue
                pieces = len(made.inputs) if made.op.name == "concat" else 0
                if pieces > CONCAT_INLINE or any(reader not in inside for reader in self.consumers[source]):
                    continue  # it has a buffer in any case
                if made.op.name in EPILOGUE:
                    return f"it is computed where {source} is made"
                if Trait.HEAVY not in made.op.traits:
                    return f"it is computed together with {source}"
        return None

    def cone(self, value: Value) -> dict[Node, None]:
        """The pointwise nodes, and the views between them, on which nothing but `value` depends; `value`'s first."""
        inside: dict[Node, None] = {value.node: None}
        pending = [value.node]
        while pending:
            for source in pending.pop().inputs:
                made = source.node
                pointwise = Trait.VIEW in made.op.traits or made.op.name == "map"
                pointwise = pointwise and made not in self.static and source not in self.must
                if pointwise and made not in inside and all(r in inside for r in self.consumers[source]):
                    inside[made] = None
                    pending.append(made)
        return inside

    # -- epilogues -------------------------------------------------------------------------------------------------

    def attach_epilogues(self) -> None:
        """Merges a pointwise group into the last anchor that it reads one-to-one, where it is the only reader."""
        by_root = {g.root: g for g in self.groups if g.anchor is not None and g.anchor.op.name in EPILOGUE}
        read: dict[Group, list[Value]] = {}  # of these roots, by each group, the last ones first
        for root in sorted(by_root, key=lambda v: -self.position[v.node]):
            for group in dict.fromkeys(g for g, _ in self.demands.get(root, [])):
                read.setdefault(group, []).append(root)
        stay = self.must_stay()
        merged: set[Group] = set()
        for group in self.groups:
            if group.anchor is not None:
                continue
            for root in read.get(group, []):
                refusal = "a row is reduced as a whole" if group.reduces else self._no_epilogue(root, group, stay)
                if refusal:
                    group.reasons.append(Reason(root, refusal))
                    continue
                anchor = by_root[root]
                merged.add(anchor)
                group.anchor, group.operand = root.node, anchor.operand
                group.nodes += anchor.nodes
                group.reasons = anchor.reasons + group.reasons
                break
        self.groups = [g for g in self.groups if g not in merged]

    def must_stay(self) -> set[Value]:
        """Values read as operands of anchors, or as outputs: they need their buffer even if a group reads them too."""
        stay = set(self.outputs)
        for group in self.groups:
            if group.anchor is not None:
                stay.update(operand_base(group.anchor, i, v) for i, v in enumerate(group.anchor.inputs))
        return stay

    def _no_epilogue(self, value: Value, group: Group, stay: set[Value]) -> str | None:
        """Why `group` cannot be the epilogue of the anchor that makes `value`, or None."""
        reads = self.demands[value]
        if any(g is not group for g, _ in reads) or value in stay:
            return f"{value} has other readers"
        if len({i for _, i in reads}) > 1:
            return f"{value} is read at several places"
        if path_to_root(value, group) is None:
            return f"{value} is not read one-to-one"
        return None


# -- index arithmetic of the operations that are no views ------------------------------------------------------------


def reduce_index(index: Index, axes: Sequence[int], reduced: Sequence[Size]) -> Index:
    """The index of a reduction's input: `reduced` at `axes`, the others in order."""
    return merge_axes(index, axes, reduced)


def merge_axes(rest: Sequence[Size], axes: Sequence[int], chosen: Sequence[Size]) -> Index:
    """`chosen` stands at `axes`, the others follow in order."""
    picked = dict(zip(axes, chosen))
    others = iter(rest)
    return tuple(picked[a] if a in picked else next(others) for a in range(len(rest) + len(axes)))


def gather_index(indices: Sequence[Value], axes: Sequence[int], index: Index) -> tuple[list[Index], Index]:
    """Of the index of a gather's output (or of a scatter's updates): where each of the tensors of indices is read, and
    the rest."""
    first, common = min(axes), broadcast_shapes(*(v.shape for v in indices))
    behind = first + len(common)
    position = index[first:behind]
    return [broadcast_index(position, common, v.shape) for v in indices], index[:first] + index[behind:]


def repetition(value: Value, group: Group, index: Index) -> str:
    """The loops of `group` along which `value`, read at `index`, would be computed again; "" if none."""
    used = frozenset().union(*(symbols(i) for i in index)) if index else frozenset()
    evaluated = prod(s.extent for s in used if s.extent is not None)
    if not known_le(evaluated, count(value.shape)) and evaluated != count(value.shape):
        return "a window"
    domain = group.operand if group.anchor is not None else group.domain
    inner = [s for s in domain if s in used]
    loops = [s for s in domain if s not in used and s.extent != 1]
    if group.outer is not None:
        # What depends on the row alone is computed once a row.
        loops = [s for s in loops if s in group.outer] if not used <= group.outer else []
    elif inner and domain and loops and all(domain.index(s) > domain.index(inner[-1]) for s in loops):
        return ""  # hoisted out of the inner loops
    return ", ".join(f"axis {domain.index(s)}" for s in loops) if used or count(value.shape) == 1 else ""


def operand_base(node: Node, position: int, operand: Value) -> Value:
    """The value whose buffer an anchor reads for an operand: views are looked through where the operand stays
    affine.
    """
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
    """The value whose buffer holds the elements of `value` as they are."""
    while Trait.SAME_ORDER in value.node.op.traits:
        value = value.node.inputs[0]
    return value


def affine(at: Index, shape: Sequence[Size], index: Sequence[Symbol]) -> bool:
    """Whether the position of `at` is affine in each of `index`."""
    from_linear: Size = 0
    for i, d in zip(at, shape):
        from_linear = from_linear * d + i
    rest: Size = from_linear
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
        nexts = [n for n in consumers.get(current, []) if n in members]
        chosen = next((n for n in nexts if _one_to_one(n, current)), None)
        if chosen is None or any(not _one_to_one(n, current) for n in nexts):
            return None
        path.append(chosen)
        current = chosen.outputs[0]
    return path


def _one_to_one(node: Node, source: Value) -> bool:
    if node.op.name in ("map", "broadcast"):
        return source.shape == node.outputs[0].shape
    return Trait.BIJECTIVE in node.op.traits


def root_index(path: Sequence[Node], index: Index) -> Index:
    """The index of the root of a `path_to_root`, for the element `index` of the value where the path starts."""
    for node in path:
        moved = inverse_index(node, index)
        index = index if moved is None else moved
    return index
