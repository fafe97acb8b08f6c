"""Approximations that no primitive's own test walks."""

from __future__ import annotations

import numpy as np

from intaglio.compiler.kernel.interp import evaluate
from intaglio.compiler.scalar.approx import exp_nonpositive
from intaglio.compiler.scalar.dtype import F32
from intaglio.compiler.scalar.expr import Var


def test_exponentials_of_what_is_not_positive() -> None:
    x = np.concatenate([-np.linspace(0, 87.3, 100_001), -np.geomspace(1e-30, 87.3, 10_001)]).astype(np.float32)
    y = evaluate(exp_nonpositive(Var("x", F32)), {}, variables={"x": x})
    wanted = np.exp(x.astype(np.float64))
    assert y.dtype == np.float32 and np.all(np.abs(y / wanted - 1) <= (3 + 2 * np.abs(x)) * 2.0**-24)
    far = np.array([-np.inf, -1e30, -88, 0.0, -0.0, np.nan], np.float32)
    np.testing.assert_array_equal(
        evaluate(exp_nonpositive(Var("x", F32)), {}, variables={"x": far}),
        np.array([0, 0, 0, 1, 1, np.nan], np.float32),
    )
