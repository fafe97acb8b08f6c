"""Checks that a graph is well formed, between passes.

In: a graph. Out: nothing, or an AssertionError that names the node. It changes nothing.
"""

from __future__ import annotations

from ..scalar.dim import Size, Symbol, symbols
from ..scalar.dtype import I64
from .conditions import brief
from .interp import sizes_in
from .ir import RANDOM, Graph, Node, Value, make, subgraphs


def verify(graph: Graph, outer: frozenset[Symbol] = frozenset()) -> None:
    """Raises AssertionError unless the graph is well formed:

    every node comes after its inputs, and its outputs belong to it; nodes have no unknown attributes; shapes, dtypes
    and contents are those that the operation's rule infers; symbols come from the graph's inputs, from bindings
    computed before, or from the graph around a sub-graph (`outer`), or are random numbers; every reachable input is
    one of the graph's; bindings are i64 scalars; sub-graphs are well formed."""
    known = {s for v in graph.inputs for d in v.shape for s in symbols(d)} | outer
    elements = {s for v in graph.inputs for d in contents(v) for s in symbols(d)}
    known |= elements - graph.bindings.keys()  # an input of a sub-graph may be what a symbol is bound to
    for symbol, value in graph.bindings.items():
        _check((value.dtype, value.shape) == (I64, ()), "the graph", f"{symbol} is bound to {value}, no i64 scalar")
        _check(symbol not in known, "the graph", f"{symbol} is bound twice")
    inputs = set(graph.inputs)
    done: set[Node] = set()
    for number, node in enumerate(graph.nodes()):
        where = f"node {number}, {node.op.name} from {', '.join(node.origin) or 'nowhere'}"
        for value in node.inputs:
            _check(value.node in done, where, f"{value} is used before it is made")
            _check(_belongs(value), where, f"{value} is not an output of its node")
        done.add(node)
        if node.op.name == "input":
            _check(node.outputs[0] in inputs, where, "is not an input of the graph")
        bound = {s for s, v in graph.bindings.items() if v.node in done}
        _check_node(node, known | bound, where)
        for inner in subgraphs(node):
            verify(inner, frozenset(known | bound))
    _check(len(graph.outputs) == len(graph.output_names), "the graph", "has not one name for each output")
    for value in graph.outputs:
        _check(_belongs(value), "the graph", f"{value} is not an output of its node")


def contents(v: Value) -> list[Size]:
    """The symbolic elements of an input; none if it has no symbolic content."""
    return [] if v.content is None else list(v.content.flat)


def _check(condition: bool, where: str, text: str) -> None:
    if not condition:
        raise AssertionError(f"{where}: {text}")


def _belongs(value: Value) -> bool:
    return value.index < len(value.node.outputs) and value.node.outputs[value.index] is value


def _check_node(node: Node, known: set[Symbol], where: str) -> None:
    extra = set(node.attrs) - node.op.attrs
    _check(not extra, where, f"unknown attributes {sorted(extra)}")
    for size in sizes_in(node.attrs):
        unknown = {s for s in symbols(size) - known if s.name.partition("#")[0] != RANDOM}
        _check(not unknown, where, f"{brief(size)} has symbols that no input gives: {sorted(map(str, unknown))}")
    try:
        inferred = make(node.op.name, node.inputs, **node.attrs)
    except (ValueError, KeyError) as error:
        raise AssertionError(f"{where}: {error}") from error
    _check(len(inferred) == len(node.outputs), where, f"makes {len(inferred)} values and has {len(node.outputs)}")
    for value, rule in zip(node.outputs, inferred):
        missing = {s for d in value.shape for s in symbols(d)} - known
        shape, expected = brief(*value.shape), brief(*rule.shape)
        _check(not missing, where, f"shape {shape} has symbols that nothing gives: {sorted(map(str, missing))}")
        _check(value.shape == rule.shape, where, f"shape {shape} where the rule gives {expected}")
        _check(value.dtype == rule.dtype, where, f"dtype {value.dtype} where the rule gives {rule.dtype}")
        if value.content is not None and rule.content is not None:
            same = list(value.content.flat) == list(rule.content.flat)
            _check(same, where, "content differs from its rule's")
        _check(value.content is None or value.content.shape == value.shape, where, "content of another shape")
