"""The graph IR: an immutable DAG of tensor operations over values with symbolic shapes.

    Graph(inputs, outputs)      its nodes are those that the outputs depend on, so there is no dead code
    Node(op, inputs, attrs)     an operation of `ops.OPS` applied to values; has one or more outputs
    Value(shape, dtype)         an output of a node; `content` is its symbolic content where that is known

Passes do not edit: `rewrite` rebuilds what a rule changes. The `origin` of a node names the ONNX nodes that it was made
from. Shapes and dtypes come from the operation's own rule when a node is made, never from elsewhere.

A dim that depends on data is a symbol, and `Graph.bindings` has the value of the symbol. An operation may have
sub-graphs as attributes (`branch`, `loop`); these share the symbols of the graph around them, but get its values only
as inputs of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Flag, auto
from typing import Any

import numpy as np
import numpy.typing as npt

from ..scalar.convert import as_dtype
from ..scalar.dim import Dim, Size, Symbol, known_lt, prod, symbols
from ..scalar.dtype import STRING, DType, from_numpy
from .conditions import Condition, brief, demands
from .tensor import Tensor

Array = npt.NDArray[Any]
Signature = tuple[tuple[Size, ...], DType]
STATIC_LIMIT = 1 << 27  # elements that a constant operation may always produce: enough for the largest layer of VGG
CONTENT_LIMIT = 1024  # elements of an integer tensor whose symbolic content is tracked
RANDOM = "random"  # symbols `random#number` have no binding: the runtime draws their values in each run


class Trait(Flag):
    """What passes and fusion ask of operations, whatever they compute."""

    NONE = 0
    LEAF = auto()  # its result is in memory before a run
    INDEX = auto()  # an element costs no more than arithmetic of its index
    VIEW = auto()  # an element is one of the input's, or a fill: graph/index.py says which
    BIJECTIVE = auto()  # a view of every element of the input, once
    SAME_ORDER = auto()  # a bijective view that keeps the order in memory
    HEAVY = auto()  # it has a kernel of its own


@dataclass(frozen=True)
class Op:
    """One operation of the closed set.

    infer(inputs, attrs): shapes and dtypes of the outputs; raises ValueError where the inputs do not fit.
    demands(node): the conditions on sizes that its inputs and attributes must meet.
    evaluate(arrays, attrs): its meaning in numpy, with integers for the sizes in attrs. If `symbolic`, it also works on
    object arrays of Size (for symbolic contents). attrs: the names of all its attributes.
    """

    name: str
    infer: Callable[[Sequence[Value], Mapping[str, Any]], list[Signature]]
    evaluate: Callable[[Sequence[Array], Mapping[str, Any]], list[Array]]
    symbolic: bool = False
    attrs: frozenset[str] = frozenset()
    demands: Callable[[Node], Iterable[Condition]] = lambda _: ()
    traits: Trait = Trait.NONE

    def __reduce__(self) -> tuple[Callable[[str], Op], tuple[str]]:
        return _named, (self.name,)


OPS: dict[str, Op] = {}


def _named(name: str) -> Op:
    return OPS[name]


class Value(Tensor):
    """One tensor: output `index` of `node`. `name` is the ONNX name, for people only."""

    __slots__ = ("content", "dtype", "index", "name", "node", "shape")

    def __init__(self, node: Node, index: int, shape: tuple[Size, ...], dtype: DType) -> None:
        self.node = node
        self.index = index
        self.shape = shape
        self.dtype = dtype
        self.name = ""
        self.content: Array | None = None  # object array of Size, of the tensor's shape

    @property
    def me(self) -> Value:
        return self

    def emit(self, op: str, inputs: Sequence[Value], **attrs: Any) -> tuple[Value, ...]:
        return make(op, inputs, **attrs)

    def const(self, data: Any, dtype: DType | None = None) -> Value:
        kind = dtype or self.dtype
        if kind == STRING and not data:  # the zero of strings
            data = ""
        return constant(np.asarray(data, kind.to_numpy()))

    @property
    def op(self) -> str:
        """The name of the operation whose output this is."""
        return self.node.op.name

    @property
    def data(self) -> Array | None:
        """The array of a constant, None for other values."""
        data: Array | None = self.node.attrs["data"] if self.node.op.name == "constant" else None
        return data

    def __repr__(self) -> str:
        return f"<{self.op} {self.dtype}[{', '.join(map(brief, self.shape))}]>"


@dataclass(eq=False, slots=True)
class Node:
    """An operation applied to values. Immutable except for `origin`, which is stamped once.

    fixed: whether it depends on no inputs of the graph, and holds no sub-graph; its attributes may have symbols."""

    op: Op
    inputs: tuple[Value, ...]
    attrs: Mapping[str, Any]
    origin: tuple[str, ...] = ()
    outputs: tuple[Value, ...] = field(default=(), init=False)
    fixed: bool = field(default=False, init=False)
    symbols: frozenset[Symbol] | None = field(default=None, init=False)  # the cached result of `mentioned`

    def with_inputs(self, inputs: Sequence[Value]) -> Node:
        """The same operation on other values; if their shapes differ, those of the outputs are inferred again."""
        if all(a.shape == b.shape and a.dtype == b.dtype for a, b in zip(inputs, self.inputs, strict=True)):
            node = _unchecked(self.op, tuple(inputs), self.attrs, [(v.shape, v.dtype) for v in self.outputs])
            track_content(node)
        else:
            node = make(self.op.name, inputs, **self.attrs)[0].node
        node.origin = self.origin
        for new, old in zip(node.outputs, self.outputs):
            new.name = old.name
        return node


@dataclass(eq=False, slots=True)
class Graph:
    """inputs: `input` values in order; outputs: values; output_names: their ONNX names.

    bindings: symbols that depend on data, each with the i64 scalar that is its value when the graph runs. A node that
    mentions such a symbol comes after the node of that scalar. types: the ONNX types of outputs that hold numbers of
    objects, by name; strings: those that numbers from 0 on stand for.
    """

    inputs: list[Value]
    outputs: list[Value]
    output_names: list[str] = field(default_factory=list)
    bindings: dict[Symbol, Value] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    strings: Sequence[str] = ()
    _known: tuple[tuple[Value, ...], list[Node]] | None = field(default=None, init=False, repr=False)

    def nodes(self) -> list[Node]:
        """All nodes, in a deterministic topological order."""
        roots = (*self.outputs, *self.bindings.values())
        if self._known is None or self._known[0] != roots:
            self._known = roots, list(reachable(self.outputs, self.bindings))
        return self._known[1]

    def uses(self) -> Counter[Value]:
        """How many times each value is used, as a node's input, for a binding or as an output of the graph."""
        count: Counter[Value] = Counter(self.outputs)
        count.update(self.bindings.values())
        for node in self.nodes():
            count.update(node.inputs)
        return count

    def replaced(self, new: Mapping[Value, Value]) -> Graph:
        """The graph with outputs and bound values replaced; bindings that no node mentions any more are dropped."""
        outputs = [new.get(v, v) for v in self.outputs]
        bindings = {s: new.get(v, v) for s, v in self.bindings.items()}
        graph = replace(self, outputs=outputs, bindings=bindings)
        graph.bindings = live_bindings(graph)
        return graph


def live_bindings(graph: Graph) -> dict[Symbol, Value]:
    """The bindings of symbols that some node mentions, in the order in which they are computed."""
    if not graph.bindings:
        return {}
    nodes = graph.nodes()
    used = frozenset().union(*map(mentioned, nodes)) & graph.bindings.keys()
    position = {node: i for i, node in enumerate(nodes)}
    return {s: graph.bindings[s] for s in sorted(used, key=lambda s: (position[graph.bindings[s].node], s.key))}


def subgraphs(node: Node) -> list[Graph]:
    """The sub-graphs among a node's attributes."""
    return [a for a in node.attrs.values() if isinstance(a, Graph)]


def mentioned(node: Node) -> frozenset[Symbol]:
    """The symbols in a node's attributes and shapes, and in those of its sub-graphs."""
    if node.symbols is not None:
        return node.symbols
    found: set[Symbol] = set()
    pending = [node]
    while pending:
        current = pending.pop()
        _note_symbols(tuple(current.attrs.values()), found)
        for v in current.outputs:
            _note_symbols(v.shape, found)
        for graph in subgraphs(current):
            pending.extend(graph.nodes())
            pending.extend(v.node for v in graph.inputs)
    node.symbols = frozenset(found)
    return node.symbols


def _note_symbols(attr: Any, found: set[Symbol]) -> None:
    if isinstance(attr, Dim):
        found |= symbols(attr)
    elif isinstance(attr, tuple):
        for a in attr:
            _note_symbols(a, found)


def reachable(
    roots: Iterable[Value],
    bindings: Mapping[Symbol, Value] | None = None,
    within: Callable[[Value], bool] = lambda _: True,
) -> Iterator[Node]:
    """The nodes that `roots` depend on, inputs first. Iterative: graphs are deeper than Python's stack.

    bindings: the values of symbols, which come before the nodes that mention these. within: a predicate of inputs; an
    input that does not meet it is not followed."""
    seen: set[int] = set()
    for root in roots:
        stack: list[tuple[Node, bool]] = [(root.node, False)]
        while stack:
            node, expanded = stack.pop()
            if expanded:
                yield node
            elif id(node) not in seen:
                seen.add(id(node))
                stack.append((node, True))
                before = list(node.inputs)
                if bindings:
                    bound = (s for s in mentioned(node) if s in bindings)
                    before += [bindings[s] for s in sorted(bound, key=lambda s: s.key)]
                stack.extend((v.node, False) for v in reversed(before) if id(v.node) not in seen and within(v))


def static_nodes(order: Sequence[Node]) -> set[Node]:
    """Nodes that depend on constants alone, and on no symbols: they are computed when the artifact is written.

    A node whose outputs are large and much larger than its inputs is left to run time, as a model may ask for any
    size."""
    static: set[Node] = set()
    for node in order:
        leaf = not node.inputs and node.op.name != "constant"
        if leaf or any(v.node not in static for v in node.inputs):
            continue
        if node.op.name == "host" or node.attrs.get("prim") == "require":  # its failure is one of the run
            continue
        if not subgraphs(node) and not mentioned(node) and (node.op.name == "constant" or _is_bounded(node)):
            static.add(node)
    return static


def _is_bounded(node: Node) -> bool:
    written, read = (sum(prod(v.shape) for v in values) for values in (node.outputs, node.inputs))
    return isinstance(written, int) and isinstance(read, int) and written <= max(STATIC_LIMIT, 2 * read)


def is_static(value: Value) -> bool:
    """Whether a value depends on constants alone."""
    return value.node.fixed and value.node in static_nodes(list(reachable([value])))


def make(op: str, inputs: Sequence[Value], **attrs: Any) -> tuple[Value, ...]:
    """Makes a node; returns its outputs.

    Raises ValueError where the inputs do not fit the operation, or fit it for no values of the symbols."""
    rule = OPS[op]
    node = _unchecked(rule, tuple(inputs), attrs, rule.infer(inputs, attrs))
    for condition in demands(node):
        if condition.holds is False:
            raise ValueError(f"{op}: {condition.text}")
    track_content(node)
    return node.outputs


def _unchecked(op: Op, inputs: tuple[Value, ...], attrs: Mapping[str, Any], signatures: Sequence[Signature]) -> Node:
    """A node whose outputs have the given shapes and dtypes."""
    node = Node(op, inputs, attrs)
    node.fixed = op.name not in ("input", "host") and all(v.node.fixed for v in inputs) and not subgraphs(node)
    node.outputs = tuple(Value(node, i, shape, dtype) for i, (shape, dtype) in enumerate(signatures))
    return node


def constant(data: Array) -> Value:
    """A constant; the array is not copied (it may be memory-mapped) and must not change."""
    return make("constant", [], data=data)[0]


def size_value(size: Size) -> Value:
    """A Size as an i64 scalar."""
    return make("size", [], value=size)[0]


def input_value(name: str, shape: Sequence[Size], dtype: DType) -> Value:
    value = make("input", [], name=name, shape=tuple(shape), dtype=dtype)[0]
    value.name = name
    return value


def track_content(node: Node) -> None:
    """Sets the symbolic content of a small integer output if all of its elements are known."""
    content = known_content(node, [v.content for v in node.inputs])
    if content is not None and all(value is not None for value in content.flat):
        node.outputs[0].content = content


def known_content(node: Node, contents: list[Array | None]) -> Array | None:
    """The elements of a small integer output from those of the inputs, if the operation is `symbolic`; else None.

    An element is None if it depends on such an element, or may leave the range of the dtype."""
    if not node.op.symbolic:
        return None
    out = node.outputs[0]
    if not (out.dtype.is_integer or out.dtype.kind == "b") or not all(isinstance(d, int) for d in out.shape):
        return None
    if known_lt(CONTENT_LIMIT, prod(out.shape)):
        return None
    if node.attrs.get("prim") == "require":  # a check does not change the value
        contents[0] = np.array(True, object)
    if any(c is None for c in contents):
        return None
    try:
        result = node.op.evaluate(contents, node.attrs)[0]  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):  # e.g. a comparison of sizes that is not decidable
        return None
    to_dtype = np.frompyfunc(lambda value: None if value is None else as_dtype(value, out.dtype), 1, 1)
    content = np.asarray(to_dtype(result), object)
    return content.reshape(out.shape)


Rule = Callable[[Node], "Sequence[Value] | None"]


def rewrite(graph: Graph, rule: Rule, uses: Counter[Value] | None = None) -> Graph:
    """Rebuilds the graph, inputs first. `rule` sees each node on its rebuilt inputs and returns replacements
    of its outputs, or None to keep it. New nodes get the origin of the node that they replace.

    uses: a counter that is filled on the way: how often the old values that a new value replaces are used."""
    new: dict[Value, Value] = {}
    old_uses = Counter() if uses is None else graph.uses()
    for node in graph.nodes():
        inputs = [new.get(v, v) for v in node.inputs]
        current = node if all(a is b for a, b in zip(inputs, node.inputs)) else node.with_inputs(inputs)
        replacement = rule(current)
        if replacement is None:
            replacement = current.outputs
        else:
            stamp(replacement, current.origin)
        for old, value in zip(node.outputs, replacement, strict=True):
            if old is not value:
                if old.dtype != value.dtype or len(old.shape) != len(value.shape):
                    raise AssertionError(f"a rule turned {old} into {value}")
                value.name = value.name or old.name
                new[old] = value
            if uses is not None:
                uses[value] += old_uses[old]
    return graph.replaced(new)


def stamp(values: Iterable[Value], origin: tuple[str, ...]) -> None:
    """Sets the origin of those nodes that `values` depend on which have none yet, as they are new."""
    stack = [v.node for v in values]
    while stack:
        node = stack.pop()
        if not node.origin and Trait.LEAF not in node.op.traits:
            node.origin = origin or ("",)
            stack.extend(v.node for v in node.inputs)


def dtype_of(array: Array) -> DType:
    """The DType of an array. Raises KeyError for types that ONNX lacks."""
    return from_numpy(array.dtype)
