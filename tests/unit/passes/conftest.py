"""What a pass must keep: the graph is well formed after it, and means the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from intaglio.compiler.graph.interp import evaluate, random_feeds
from intaglio.compiler.graph.ir import Graph, Value, input_value, reachable
from intaglio.compiler.graph.verify import verify
from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import F32

Rewrite = Callable[[Graph], Graph]


def _graph(outputs: Value | list[Value], sizes: Mapping[Symbol, int]) -> Graph:
    values = outputs if isinstance(outputs, list) else [outputs]
    inputs = [node.outputs[0] for node in reachable(values) if node.op.name == "input"]
    if sizes:
        inputs.append(input_value("sizes", tuple(sizes), F32))
    return Graph(inputs, values, [f"y{i}" for i in range(len(values))])


def _check(
    outputs: Value | list[Value], *rewrites: Rewrite, sizes: Mapping[Symbol, int] | None = None, rtol: float = 1e-5
) -> Graph:
    """The graph of `outputs` after `rewrites`, each verified and compared on random inputs."""
    graph = _graph(outputs, sizes or {})
    verify(graph)
    feeds = random_feeds(graph, sizes or {}, seed=1)
    wanted = evaluate(graph, feeds, sizes)
    for rewrite in rewrites:
        graph = rewrite(graph)
        verify(graph)
        for a, b in zip(evaluate(graph, feeds, sizes), wanted, strict=True):
            assert a.dtype == b.dtype and a.shape == b.shape
            exact = a.dtype.kind in "biu"
            np.testing.assert_allclose(a, b, rtol=0 if exact else rtol, atol=0 if exact else 1e-6)
    return graph


@pytest.fixture
def check() -> Any:
    return _check


@pytest.fixture
def ops() -> Callable[[Graph], list[str]]:
    """The names of a graph's operations, without leaves; maps by their primitive."""

    def names(graph: Graph) -> list[str]:
        return [
            node.attrs["prim"] if node.op.name == "map" else node.op.name
            for node in graph.nodes()
            if node.op.name not in ("input", "constant")
        ]

    return names
