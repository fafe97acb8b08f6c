"""Index maps: an element is where numpy puts it, and independent axes stay independent."""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np
import pytest

from intaglio.compiler.graph.index import (
    broadcast_index,
    count,
    delinear,
    input_index,
    inverse_index,
    linear,
    reshape_index,
)
from intaglio.compiler.graph.ir import Value, input_value
from intaglio.compiler.scalar import dim
from intaglio.compiler.scalar.dim import Size, Symbol
from intaglio.compiler.scalar.dtype import F32
from intaglio.compiler.scalar.expr import Call, Index

N = Symbol("n")
A, B, C = (Symbol(name, 0, extent) for name, extent in (("a", N), ("b", 6), ("c", 4)))
X = input_value("x", (2, 3, 4), F32)


def test_positions_and_indices_undo_each_other() -> None:
    for shape in ((2, 3, 4), (5,), (), (1, 7, 1)):
        for position, index in enumerate(np.ndindex(*shape)):
            assert linear(index, shape) == position
            assert delinear(position, shape) == index
    assert linear((A, B, C), (N, 6, 4)) == 24 * A + 4 * B + C
    assert delinear(24 * A + 4 * B + C, (N, 6, 4)) == (A, B, C)


def test_where_there_are_no_elements_any_index_will_do() -> None:
    assert len(delinear(0, (2, 0, 3))) == 3
    assert delinear(0, ()) == ()


def test_broadcasts_read_the_same_element_again() -> None:
    assert broadcast_index((A, B, C), (N, 6, 4), (6, 1)) == (B, 0)
    assert broadcast_index((A, B), (N, 6), (N, 6)) == (A, B)


def test_a_size_that_may_be_one_is_clamped() -> None:
    m = Symbol("m")
    (at,) = broadcast_index((A,), (N,), (m,))
    assert [dim.evaluate(at, {A: 3, N: 5, m: size}) for size in (5, 1)] == [3, 0]


@pytest.mark.parametrize(("source", "target"), [
    ((2, 3, 4), (24,)), ((24,), (2, 3, 4)), ((2, 12), (8, 3)), ((1, 6, 4), (6, 1, 4)), ((4, 3, 2), (2, 6, 2)),
    ((), (1, 1)),
])  # fmt: skip
def test_reshapes(source: tuple[int, ...], target: tuple[int, ...]) -> None:
    places = np.arange(prod(target)).reshape(target)
    for position, index in enumerate(np.ndindex(*source)):
        assert places[reshape_index(index, source, target)] == position


def test_axes_that_a_reshape_leaves_alone_stay() -> None:
    """No division: loops over them can stay apart."""
    assert reshape_index((A, B, C), (N, 6, 4), (N, 24)) == (A, 4 * B + C)
    assert reshape_index((A, B, C), (N, 6, 4), (N, 1, 6, 4)) == (A, 0, B, C)
    assert reshape_index((A, B, C), (N, 6, 4), (N, 3, 2, 4)) == (A, B // 2, B % 2, C)


@pytest.mark.parametrize("view", [
    X.reshape(4, 6), X.permute(2, 0, 1), X.broadcast(5, 2, 3, 4), X.slice((1, 0, 3), (1, 2, 2), (1, 2, -2)),
    X.window((2,), (2,), (1,), (2,)), X.ensure_shape(2, N, 4, text=""),
], ids=lambda v: v.op)  # fmt: skip
def test_views_read_what_they_mean(view: Value) -> None:
    data = np.arange(24).reshape(2, 3, 4)
    shape = [3 if d is N else int(d) for d in view.shape]  # type: ignore[call-overload]
    read = np.zeros(shape, np.int64)
    for index in product(*map(range, shape)):
        at, mask = input_index(view.node, 0, index)
        assert mask is None
        read[index] = data[at]
    meant = view.node.op.evaluate([data], view.node.attrs) if view.op != "ensure_shape" else [data]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(read, meant[0])


def test_padding_is_an_index_and_a_condition() -> None:
    padded = X.pad((0, 1, 0), (0, 2, 0))
    at, mask = input_index(padded.node, 0, (A, B, C))
    assert at == (A, B - 1, C)
    assert isinstance(mask, Call) and mask.prim == "and"
    assert [c.prim for c in mask.args if isinstance(c, Call)] == ["le", "lt"]  # 1 <= b and b < 4
    assert mask.args[0].children == (Index(1), Index(B))


@pytest.mark.parametrize("view", [X.reshape(4, 6), X.permute(2, 0, 1)], ids=lambda v: v.op)
def test_one_to_one_views_can_be_followed_back(view: Value) -> None:
    for index in np.ndindex(*(int(d) for d in view.shape)):  # type: ignore[call-overload]
        assert inverse_index(view.node, input_index(view.node, 0, index)[0]) == index


def test_others_cannot() -> None:
    assert inverse_index(X.broadcast(5, 2, 3, 4).node, (0, 0, 0)) is None


def test_count() -> None:
    sizes: tuple[Size, ...] = (N, 6, 4)
    assert count(sizes) == 24 * N and count(()) == 1
