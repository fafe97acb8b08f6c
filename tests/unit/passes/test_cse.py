"""Equal operations become one; different ones stay."""

from __future__ import annotations

from typing import Any

import numpy as np

from intaglio.compiler.graph.ir import constant, input_value
from intaglio.compiler.passes import cse
from intaglio.compiler.scalar.dtype import F32


def test_equal_operations_become_one(check: Any, ops: Any) -> None:
    x = input_value("x", (4,), F32)
    weights = np.arange(4, dtype=np.float32)
    a, b = (x * constant(weights.copy())).exp(), (x * constant(weights.copy())).exp()
    assert ops(check(a + b, cse.run)) == ["mul", "exp", "add"]


def test_signs_of_zero_and_attributes_count(check: Any, ops: Any) -> None:
    x = input_value("x", (4,), F32)
    assert len(ops(check([x + 0.0, x + -0.0], cse.run))) == 2
    assert len(ops(check([x.pad([1], [0], 0.0), x.pad([1], [0], -0.0)], cse.run))) == 2
