"""Of what is required of data nothing is left, and all else is."""

from __future__ import annotations

from collections.abc import Callable

from intaglio.compiler.graph.ir import Graph, input_value
from intaglio.compiler.passes import trust
from intaglio.compiler.scalar.dtype import F32


def test_values_stay_without_what_is_required_of_them(
    check: Callable[..., Graph], ops: Callable[[Graph], list[str]]
) -> None:
    x = input_value("x", (5,), F32)
    y = x.square().require(x.square() >= 0.0, "no square is negative").sqrt()
    assert ops(check(y, trust.run)) == ["mul", "sqrt"]
