"""Running graphs in numpy: symbols are bound by the inputs, and misfits are told."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.compiler.graph.interp import bind, evaluate, random_feeds, sizes_in
from intaglio.compiler.graph.ir import Graph, input_value, size_value
from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import BOOL, F32, I64

B, S = Symbol("b"), Symbol("s")


def test_softmax_of_symbolic_rows() -> None:
    x = input_value("x", (B, S), F32)
    e = (x - x.max(1, keepdims=True)).exp()
    graph = Graph([x], [e / e.sum(1, keepdims=True), size_value(B * S)], ["y", "n"])
    for b, s in ((2, 3), (0, 3), (1, 1)):
        feed = np.arange(b * s, dtype=np.float32).reshape(b, s)
        y, n = evaluate(graph, [feed])
        assert y.shape == (b, s) and n == b * s
        np.testing.assert_allclose(y.sum(1), np.ones(b), rtol=1e-6)


def test_misfits() -> None:
    x, y = input_value("x", (B, S), F32), input_value("y", (2 * B,), F32)
    with pytest.raises(ValueError, match="'y' has shape"):
        bind([x, y], [(2, 3), (5,)])
    with pytest.raises(ValueError, match="rank 2"):
        bind([x], [(2,)])
    with pytest.raises(ValueError, match="2 inputs, but 1"):
        bind([x, y], [(2, 3)])
    with pytest.raises(ValueError, match="given float64"):
        evaluate(Graph([x], [x], ["x"]), [np.zeros((1, 1))])
    assert bind([x, y], [(2, 3), (4,)]) == {B: 2, S: 3}
    assert bind([y], [(4,)], {B: 2}) == {B: 2}


def test_helpers() -> None:
    inputs = [input_value("f", (B,), F32), input_value("i", (3,), I64), input_value("c", (B, S), BOOL)]
    feeds = random_feeds(Graph(inputs, [], []), {B: 2, S: 4}, seed=0)
    assert [(f.shape, f.dtype.kind) for f in feeds] == [((2,), "f"), ((3,), "i"), ((2, 4), "b")]
    assert sizes_in({"shape": (B, 3, (S,)), "axis": 1}) == [B, S]
