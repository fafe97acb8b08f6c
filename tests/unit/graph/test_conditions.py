"""What is demanded of sizes: what is proven, what is refuted, what is left to be checked, and its text."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from intaglio.compiler.graph.conditions import Condition, at_most, brief, broadcasts, conditions, equal, equals
from intaglio.compiler.graph.ir import Graph, input_value
from intaglio.compiler.scalar.dim import Symbol, dim_max
from intaglio.compiler.scalar.dtype import F32

M, N = Symbol("m"), Symbol("n")


def one(found: Iterable[Condition]) -> Condition:
    (condition,) = found
    return condition


@pytest.mark.parametrize(("condition", "holds"), [
    (Condition(N + M, M + N, ""), True),
    (Condition(N, N + 1, ""), False),
    (Condition(N, M, ""), None),
    (Condition(N, 1, "", or_one=True), None),
    (Condition(1, N, "", or_one=True), True),
    (Condition(2, 3, "", or_one=True), False),
    (Condition(N, N + M, "", at_most=True), True),
    (Condition(N + 1, N, "", at_most=True), False),
    (Condition(N, 5, "", at_most=True), None),
    (Condition(N + 1, N, "", at_most=True, of=M), None),  # nothing is demanded where m is 0
    (Condition(5, 3, "", at_most=True, of=0), True),
], ids=str)  # fmt: skip
def test_what_is_proven(condition: Condition, holds: bool | None) -> None:
    assert condition.holds is holds


@pytest.mark.parametrize(("condition", "text"), [
    (Condition(N, M, ""), "n == m"),
    (Condition(N, M, "", or_one=True), "n == 1 or == m"),
    (Condition(N, 5, "", at_most=True, of=M), "n <= 5 unless m <= 0"),
])  # fmt: skip
def test_as_text(condition: Condition, text: str) -> None:
    assert str(condition) == text


def test_demands() -> None:
    assert not list(equal(N, N, "")) and not list(at_most(3, 5, "")) and not list(broadcasts((N, 1), (M, N, M)))
    assert one(equal(N, 3, "{} is not {}", N, 3)).text == "n is not 3"
    assert one(equals((2, N), (2, M), "shapes {} and {}", (2, N), (2, M))).text == (
        "shapes (2, n) and (2, m): sizes n and m differ"
    )
    assert one(broadcasts((N,), (M,))).text == "dimensions (n, m) do not broadcast"
    assert one(at_most(N, 5, "too long")).symbols == {N}


def test_a_refuted_demand_is_an_error_where_the_node_is_made() -> None:
    x, y = input_value("x", (2, 3), F32), input_value("y", (4, 5), F32)
    with pytest.raises(ValueError):
        x.matmul(y)


def test_of_a_graph_what_is_not_proven_each_once() -> None:
    x, y = input_value("x", (N,), F32), input_value("y", (M,), F32)
    graph = Graph([x, y], [x.ensure_shape(5, text="no five") + 1.0, (x + y).exp(), x - y], ["a", "b", "c"])
    found = conditions(graph)
    assert [c.text for c in found if not c.or_one] == ["no five: sizes n and 5 differ"]
    assert len({(c.left, c.right) for c in found}) == len(found)
    assert all(c.holds is None for c in found)


def test_sizes_in_messages_are_short() -> None:
    assert brief(N) == "n" and brief(N, 3) == "(n, 3)"
    long = sum((Symbol(f"a_rather_long_name_{i}") for i in range(8)), start=dim_max(N, M))
    assert brief(long, 3) == "(..., 3)"
