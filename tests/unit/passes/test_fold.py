"""Folding: constants, sizes, formulas of index tensors, gathers that are views; and what must not be folded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from intaglio.compiler.graph.ir import Graph, Value, constant, input_value, make, size_value
from intaglio.compiler.graph.narrow import narrowed
from intaglio.compiler.passes import fold, simplify
from intaglio.compiler.passes.indices import Formulas, axis_symbol
from intaglio.compiler.scalar.dim import Symbol, dim_min
from intaglio.compiler.scalar.dtype import BOOL, F32, I64

B, S = Symbol("b"), Symbol("s")
SIZES = {B: 2, S: 5}


def arange(n: Any) -> Value:
    return make("iota", [], shape=(n,), axis=0, dtype=I64)[0]


def test_constants(check: Any, ops: Any) -> None:
    w = constant(np.ones((4, 3), np.float32))
    x = input_value("x", (B, 4), F32)
    assert ops(check(x.matmul((w * 2).exp().permute(0, 1)), fold.run, sizes=SIZES)) == ["matmul"]


def test_weights_of_few_bits_stay(check: Any, ops: Any) -> None:
    """Where a product reads them; other readers have their elements."""
    x, q = input_value("x", (B, 32), F32), constant((np.arange(96) % 16).astype(np.uint8).reshape(3, 2, 16))
    scale = constant(np.float32([[[0.5], [0.25]]]))
    real = ((q.cast(F32) - 8.0) * scale).reshape(3, 32)
    kept = check(x.matmul(real.permute(1, 0)), fold.run, sizes=SIZES)
    (product,) = (node for node in kept.nodes() if node.op.name == "matmul")
    parts = narrowed(product.inputs[1])
    assert parts is not None and (parts.bits, parts.block) == (4, 16)
    assert ops(check(x + real.narrow(0, 0, 1), fold.run, sizes=SIZES)) == ["add"]


def test_shape_chains_vanish(check: Any, ops: Any) -> None:
    x = input_value("x", (B, S, 4), F32)
    count = (size_value(B) * size_value(S) + 3).cast(F32)
    assert ops(check(x * count, fold.run, sizes=SIZES)) == ["size", "cast", "mul"]


def test_large_things_stay_small(check: Any, ops: Any) -> None:
    x = input_value("x", (2048, 2048), F32)
    mask = (arange(2048).reshape(1, 2048) <= arange(2048).reshape(2048, 1)).select(
        constant(np.float32(0)), constant(np.float32(-np.inf))
    )
    big = constant(np.zeros((2048, 1), np.float32)).broadcast(2048, 2048)
    graph = fold.run(Graph([x], [x + mask + big], ["y"]))
    assert all(v.data is None or v.data.size <= 2048 for node in graph.nodes() for v in node.outputs)
    small = (arange(8).reshape(1, 8) <= arange(8).reshape(8, 1)).select(constant(np.float32(0)), 1.0)
    kept = ops(check(input_value("y", (8, 8), F32) + small, fold.run))
    assert "iota" in kept and "le" in kept, "cheap arithmetic on the index stays recognisable"


def test_expensive_functions_of_the_index_are_tables(check: Any, ops: Any) -> None:
    angles = arange(16).cast(F32).unsqueeze(1) * constant(np.array([1.0, 0.1], np.float32))
    x = input_value("x", (16, 2), F32)
    assert ops(check(x * angles.map("cos"), fold.run)) == ["mul"]


def test_gather_at_meshgrid_is_a_view(check: Any, ops: Any) -> None:
    """How transformers builds masks: a GatherND at all pairs of positions."""
    x = input_value("x", (B, S), BOOL)
    rows, columns = arange(B).reshape(B, 1, 1, 1), arange(S).reshape(1, 1, 1, S)
    grid = make("concat", [v.broadcast(B, 1, 1, S).unsqueeze(-1) for v in (rows, columns)], axis=4)[0]
    at = [grid.narrow(4, i, 1).squeeze(4).wrap_index(d) for i, d in enumerate((B, S))]
    assert ops(check(x.gather(at, [0, 1]), simplify.run, fold.run, simplify.run, sizes=SIZES)) == ["reshape"]


def test_gather_of_last_token(check: Any, ops: Any) -> None:
    x = input_value("x", (B, S, 4), F32)
    last = x.take((size_value(S) - 1).reshape(1), 1)
    assert ops(check(last, fold.run, sizes=SIZES)) == ["slice"]


def test_transposing_gather(check: Any, ops: Any) -> None:
    x = input_value("x", (3, 4, 5), F32)
    i, j = arange(4).reshape(1, 4), (3 - arange(3) - 1).reshape(3, 1)
    assert ops(check(x.gather([j.permute(1, 0), i.permute(1, 0)], [0, 1]), fold.run)) == ["slice", "permute"]


def test_diagonal_stays_a_gather(check: Any, ops: Any) -> None:
    x = input_value("x", (4, 4), F32)
    assert "gather" in ops(check(x.gather([arange(4), arange(4)], [0, 1]), fold.run))


def test_positions_prove_the_mask_of_packed_sequences(check: Any) -> None:
    """Positions that grow by one everywhere: no sequence starts inside of the row, as an exported llama asks."""
    positions = arange(S).unsqueeze(0).broadcast(B, S)
    first = positions.narrow(1, 0, dim_min(S, 1)) - 1
    longer = make("concat", [first, positions], axis=1)[0]
    steps = longer.narrow(1, 1, S) - longer.narrow(1, 0, S)
    starts = (steps.map("eq", 1)).map("not").cast(I64)
    segment = make("scan", [starts], kind="add", axis=1, exclusive=False, reverse=False)[0]
    same = segment.reshape(B, S, 1).map("eq", segment.reshape(B, 1, S))
    graph = Graph([input_value("x", (B, S), F32)], [same], ["y"])
    assert Formulas(graph).of(same) is True
    assert Formulas(graph).of(longer.narrow(1, 0, S)) == axis_symbol(positions, 1) - 1


def test_formulas_do_not_guess() -> None:
    """That S >= 1 may not be concluded for a tensor that exists for S = 0."""
    graph = Graph([input_value("x", (B, S), F32)], [], [])
    at_least_one = size_value(dim_min(S, 1)).broadcast(B)
    assert Formulas(graph).of(at_least_one) is None
    assert Formulas(graph).of(size_value(dim_min(S, 1)).broadcast(S)) == 1
    assert Formulas(graph).of(arange(S) < 3) is None
    assert Formulas(graph).of(arange(S) < size_value(S)) is True


@pytest.mark.parametrize("data", [[[5, 7], [6, 8]], [[1, 1], [1, 1]], [[0, 1], [1, 3]]])
def test_formulas_of_constants(data: list[list[int]]) -> None:
    value = constant(np.array(data))
    formula = Formulas(Graph([], [], [])).of(value)
    if data[1][1] == 3:
        assert formula is None
    else:
        i, j = axis_symbol(value, 0), axis_symbol(value, 1)
        start, down, right = data[0][0], data[1][0] - data[0][0], data[0][1] - data[0][0]
        assert formula == start + down * i + right * j
