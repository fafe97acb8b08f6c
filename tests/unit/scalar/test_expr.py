"""Expressions: equal ones are one object, and rules rebuild what they change alone."""

from __future__ import annotations

import math
import pickle

import pytest

from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import BOOL, F32, F64
from intaglio.compiler.scalar.expr import (
    Call,
    Const,
    Expr,
    Index,
    Load,
    Require,
    as_type,
    finds_faults,
    rewrite,
    walk,
)

N = Symbol("n")
X, Y = Load(0, N, F32), Load(1, N, F32)


def test_equal_ones_are_the_same() -> None:
    assert X + Y is Load(0, N, F32) + Load(1, N, F32)
    assert X + Y is not Y + X
    assert Index(N + 1) is Index(1 + N)


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (1, True), (0.0, -0.0), (1.0, 2.0)])
def test_constants_that_only_compare_equal_are_not(one: float, other: float) -> None:
    assert Const(one, F32) is not Const(other, F32)
    assert Const(one, F32) is not Const(one, F64)
    assert Const(math.nan, F32) is Const(math.nan, F32)


def test_they_do_not_change() -> None:
    with pytest.raises(AttributeError, match="expressions are immutable"):
        X.index = 0


def test_other_processes_get_the_same() -> None:
    assert pickle.loads(pickle.dumps((X + 1.0, Y))) == (X + 1.0, Y)


def test_operators() -> None:
    assert (2.0 - X) is Call("sub", (Const(2.0, F32), X), F32)
    assert (X > 0.0) is Call("lt", (Const(0.0, F32), X), BOOL)
    assert (-X) is Call("neg", (X,), F32)
    assert as_type(X, F32) is X and as_type(X, F64) is Call("cast", (X,), F64)


def test_each_node_once_children_first() -> None:
    shared = X * Y
    root = shared + shared
    assert list(walk(root)) == [X, Y, shared, root]
    assert list(walk(X, root)) == [X, Y, shared, root]


def test_deep_ones() -> None:
    """Python's stack is not."""
    e: Expr = X
    for _ in range(5000):
        e = e + 1.0
    assert sum(1 for _ in walk(e)) == 5002
    assert next(walk(rewrite(e, lambda n: Y if n is X else None))) is Y


def test_rules_see_rebuilt_children_in_all_kinds_of_nodes() -> None:
    mask = Y > 0.0
    masked = Load(2, N, F32, mask, Const(0.0, F32))
    root = Require(X > 0.0, masked + X, 3)
    made = rewrite(root, lambda e: Y if e is X else X if e is Y else None)
    assert made is Require(Y > 0.0, Load(2, N, F32, X > 0.0, Const(0.0, F32)) + Y, 3)
    assert rewrite(root, lambda e: None) is root


def test_faults() -> None:
    assert finds_faults(Require(X > 0.0, X, 0) + 1.0) and not finds_faults(X + 1.0)
