"""The reference interpreter of the graph IR: runs a graph in numpy, node by node.

In: a graph and arrays for its inputs. Out: arrays for its outputs. It is for tests and bounded constant folding, not
for running models: nothing here is meant to be fast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..scalar import dim
from ..scalar.dim import Dim, Size, Symbol
from .ir import Array, Graph, Node, Value

# What a node's outputs are, for arrays of its inputs and resolved attributes.
Compute = Callable[[Node, Sequence[Array], Mapping[str, Any]], "list[Array]"]


def as_it_means(node: Node, arrays: Sequence[Array], attrs: Mapping[str, Any]) -> list[Array]:
    """The operation's meaning. Raises AssertionError where it breaks its own rule of types."""
    results = node.op.evaluate(arrays, attrs)
    for value, result in zip(node.outputs, results, strict=True):
        if result.dtype != value.dtype.to_numpy():
            raise AssertionError(f"{node.op.name} made {result.dtype} for {value}")
    return results


def evaluate(
    graph: Graph, feeds: Sequence[Array], sizes: Mapping[Symbol, int] | None = None, compute: Compute = as_it_means
) -> list[Array]:
    """The outputs for inputs `feeds`, in order. `sizes`: values of symbols that do not occur in input shapes.

    compute: another arithmetic than that of the graph's types.
    Raises ValueError where feeds do not fit the inputs, AssertionError where an operation breaks its rule."""
    known = bind(graph.inputs, [f.shape for f in feeds], sizes)
    for value, feed in zip(graph.inputs, feeds):
        if value.content is not None:  # symbols that stand for the elements
            known.update(zip(value.content.reshape(-1), map(int, feed.reshape(-1))))
    values: dict[Value, Array] = {}
    for value, feed in zip(graph.inputs, feeds, strict=True):
        if compute is as_it_means and feed.dtype != value.dtype.to_numpy():
            raise ValueError(f"input '{value.name}' is {value.dtype}, but was given {feed.dtype}")
        values[value] = feed
    remaining = graph.uses()
    bound = {value: symbol for symbol, value in graph.bindings.items()}
    known.update((bound[v], int(values[v])) for v in graph.inputs if v in bound)
    for node in graph.nodes():
        if node.op.name == "input":
            continue
        results = compute(node, [values[v] for v in node.inputs], resolve(node.attrs, known, compute))
        for value, result in zip(node.outputs, results, strict=True):
            if value in bound:
                known[bound[value]] = int(result)
            shape = tuple(dim.evaluate(d, known) for d in value.shape)
            if result.shape != shape:
                raise AssertionError(f"{node.op.name} made {result.dtype}{result.shape} for {value}, {shape}")
            values[value] = result
        for value in node.inputs:
            remaining[value] -= 1
            if remaining[value] == 0:
                del values[value]
    return [values[v] for v in graph.outputs]


@dataclass(frozen=True)
class Function:
    """A sub-graph as a function of its inputs. sizes: the values of the symbols around it."""

    graph: Graph
    sizes: Mapping[Symbol, int]
    compute: Compute = as_it_means

    def __call__(self, feeds: Sequence[Array]) -> list[Array]:
        return evaluate(self.graph, feeds, self.sizes, self.compute)


def bind(
    inputs: Sequence[Value], shapes: Sequence[tuple[int, ...]], sizes: Mapping[Symbol, int] | None = None
) -> dict[Symbol, int]:
    """The values of the symbols in the inputs' shapes. Raises ValueError where `shapes` do not fit these."""
    known = dict(sizes or {})
    if len(inputs) != len(shapes):
        raise ValueError(f"{len(inputs)} inputs, but {len(shapes)} were given")
    for value, shape in zip(inputs, shapes):
        if len(shape) != value.rank:
            raise ValueError(f"input '{value.name}' has rank {value.rank}, but was given {len(shape)}")
        for d, actual in zip(value.shape, shape):
            if isinstance(d, Symbol):
                known.setdefault(d, actual)
    for value, shape in zip(inputs, shapes):
        if tuple(dim.evaluate(d, known) for d in value.shape) != tuple(shape):
            raise ValueError(f"input '{value.name}' has shape {value.shape}, but was given {tuple(shape)}")
    return known


def resolve(attrs: Any, known: Mapping[Symbol, int], compute: Compute = as_it_means) -> Any:
    """Attributes with every symbolic size replaced by its value, and every graph by a function of its inputs."""
    if isinstance(attrs, Dim):
        return dim.evaluate(attrs, known)
    if isinstance(attrs, tuple):
        return tuple(resolve(a, known, compute) for a in attrs)
    if isinstance(attrs, Mapping):
        return {k: resolve(v, known, compute) for k, v in attrs.items()}
    if isinstance(attrs, Graph):
        return Function(attrs, known, compute)
    return attrs


def sizes_in(attrs: Any) -> list[Size]:
    """Every symbolic size in attributes."""
    if isinstance(attrs, Dim):
        return [attrs]
    if isinstance(attrs, Mapping):
        attrs = tuple(attrs.values())
    return [s for a in attrs for s in sizes_in(a)] if isinstance(attrs, tuple) else []


def random_feeds(graph: Graph, known: Mapping[Symbol, int], seed: int, high: int = 4) -> list[Array]:
    """Inputs for a test: normal floats, integers in [0, high), bools."""
    rng = np.random.default_rng(seed)
    feeds = []
    for value in graph.inputs:
        shape = tuple(dim.evaluate(d, known) for d in value.shape)
        if value.dtype.is_float:
            feeds.append(rng.standard_normal(shape).astype(value.dtype.to_numpy()))
        elif value.dtype.kind == "b":
            feeds.append(rng.random(shape) < 0.5)
        else:
            feeds.append(rng.integers(0, high, shape).astype(value.dtype.to_numpy()))
    return feeds


def constant_array(value: Value) -> Array:
    """The array of a value that depends on constants alone."""
    data = value.data if value.data is not None else evaluate(Graph([], [value], [""]), [])[0]
    return np.asarray(data)
