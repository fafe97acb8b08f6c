"""Views of views are one view, and what moves nothing is none."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.compiler.graph.interp import evaluate
from intaglio.compiler.graph.ir import Graph, Value, constant, input_value
from intaglio.compiler.passes import views
from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import F32

N = Symbol("n")
X = input_value("x", (2, 1, 6, 4), F32)
WHOLE = (0, 0, 0, 0)


def depth(value: Value) -> int:
    """Nodes on the way to X."""
    return 0 if value is X else 1 + depth(value.node.inputs[0])


@pytest.mark.parametrize(("made", "op", "plain"), [
    (views.reshape(X.reshape(12, 4), (48,)), "reshape", X.reshape(48)),
    (views.permute(X.permute(3, 2, 1, 0), (1, 0, 2, 3)), "permute", X.permute(2, 3, 1, 0)),
    (views.permute(X, (1, 0, 2, 3)), "reshape", X.permute(1, 0, 2, 3)),
    (views.broadcast(X.broadcast(2, 5, 6, 4), (3, 2, 5, 6, 4)), "broadcast", X.broadcast(3, 2, 5, 6, 4)),
    (views.broadcast(X, (1, 2, 1, 6, 4)), "reshape", X.reshape(1, 2, 1, 6, 4)),
    (views.slice_of(X.slice((0, 0, 1, 0), (2, 1, 5, 4)), (0, 0, 1, 0), (2, 1, 2, 4), (1, 1, 2, 1)), "slice",
     X.slice((0, 0, 2, 0), (2, 1, 2, 4), (1, 1, 2, 1))),
    (views.slice_of(X.flip(3), (0, 0, 0, 3), (2, 1, 6, 2), (1, 1, 1, -1)), "slice",
     X.slice(WHOLE, (2, 1, 6, 2), (1, 1, 1, 1))),
], ids=lambda x: x if isinstance(x, str) else "")  # fmt: skip
def test_one_view(made: Value, op: str, plain: Value) -> None:
    """The same elements as by views of views."""
    assert (made.op, depth(made), made.shape) == (op, 1, plain.shape)
    feed = np.arange(48, dtype=np.float32).reshape(2, 1, 6, 4)
    np.testing.assert_array_equal(*evaluate(Graph([X], [made, plain], ["made", "plain"]), [feed]))


def test_none_at_all() -> None:
    assert views.permute(X.permute(3, 2, 1, 0), (3, 2, 1, 0)) is X
    assert views.slice_of(X, WHOLE, (2, 1, 6, 4), (1, 1, 1, 1)) is X
    assert views.broadcast(X, (2, 1, 6, 4)) is X
    assert views.reshape(X.reshape(48), (2, 1, 6, 4)) is X


def test_a_step_means_nothing_where_there_is_one_element() -> None:
    made = views.slice_of(X, (0, 0, 5, 0), (2, 1, 1, 4), (1, 1, -3, 1))
    assert made.node.attrs["steps"] == (1, 1, 1, 1)


def test_views_of_constants_are_constants() -> None:
    data = np.arange(6, dtype=np.float32).reshape(2, 3)
    for made, wanted in (
        (views.reshape(constant(data), (3, 2)), data.reshape(3, 2)),
        (views.permute(constant(data), (1, 0)), data.T),
    ):
        np.testing.assert_array_equal(made.data, wanted)  # type: ignore[arg-type]


def test_inverse() -> None:
    assert views.inverse((2, 0, 1)) == (1, 2, 0)


@pytest.mark.parametrize(("value", "wanted"), [
    (constant(np.full((2, 3), 4, np.float32)), 4.0),
    (constant(np.full((2, 3), True)), True),
    (constant(np.float32(4)).broadcast(N, 3).reshape(3, N), 4.0),
    (constant(np.array([4, 5], np.float32)), None),
    (constant(np.full(2, np.nan, np.float32)), None),
    (constant(np.full(5000, 4, np.float32)), None),  # not small
    (constant(np.zeros(0, np.float32)), None),
    (X, None),
], ids=str)  # fmt: skip
def test_uniform(value: Value, wanted: object) -> None:
    assert views.uniform(value) == wanted
