"""Factors move into constant weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from intaglio.compiler.graph.ir import Graph, Value, constant, input_value
from intaglio.compiler.passes import affine, fold
from intaglio.compiler.scalar.dtype import F32

RNG = np.random.default_rng(5)


def weights(*shape: int) -> Value:
    return constant(RNG.standard_normal(shape).astype(np.float32))


def conv(x: Value) -> Value:
    attrs = {"strides": (1,), "dilations": (1,), "pads_low": (1,), "pads_high": (1,), "groups": 2}
    return x.emit("conv", [x, weights(3, 2, 6)], **attrs)[0]


def test_batch_normalisation(check: Any, ops: Any) -> None:
    x = input_value("x", (2, 8, 4), F32)
    y = (conv(x) + weights(6)) * weights(1, 1, 6) + weights(1, 6)
    assert ops(check(y, affine.run, fold.run, rtol=1e-4)) == ["conv", "add", "add"]
    assert ops(check(conv(x) / 3.0, affine.run, fold.run, rtol=1e-4)) == ["conv"]
    matmul = (x.matmul(weights(4, 5)) - weights(5)) * weights(5)
    assert ops(check(matmul, affine.run, fold.run, rtol=1e-4)) == ["matmul", "sub"]


def test_what_must_stay(check: Any, ops: Any) -> None:
    x = input_value("x", (2, 8, 4), F32)
    shared = conv(x)
    assert ops(check([shared * 2.0, shared], affine.run)) == ["conv", "mul"]
    assert ops(check(conv(x) * weights(8, 1), affine.run)) == ["conv", "mul"], "a factor along positions"
    assert ops(check(x.matmul(input_value("w", (4, 5), F32)) * 2.0, affine.run)) == ["matmul", "mul"]


@pytest.mark.parametrize("prim", ["mul", "div"])
@pytest.mark.parametrize("factor", [0.0, -0.0, np.inf, -np.inf, np.nan, 1e30, 1e-30, 1e-44])
def test_factors_that_would_change_infinities(prim: str, factor: float, check: Any, ops: Any) -> None:
    """Also where it is that of one channel alone."""
    x = input_value("x", (2, 8, 4), F32)
    one = np.ones(6, np.float32)
    one[3] = factor
    for y, of in ((conv(x), "conv"), (x.matmul(weights(4, 6)), "matmul")):
        for by in (constant(one), y.const(factor)):
            assert ops(affine.run(Graph([x], [y.map(prim, by)], ["y"]))) == [of, prim]
            assert ops(affine.run(Graph([x], [(y + weights(6)).map(prim, by)], ["y"]))) == [of, "add", prim]


def test_weights_that_would_vanish_or_overflow(check: Any, ops: Any) -> None:
    x = input_value("x", (2, 8, 4), F32)
    for scale, factor in ((1e30, 1e9), (1e-40, 1e-9), (1e-38, 1e-9)):
        large = constant((RNG.standard_normal((4, 5)) * scale).astype(np.float32))
        assert ops(affine.run(Graph([x], [x.matmul(large) * factor], ["y"]))) == ["matmul", "mul"]
        bias = constant(np.full(5, scale, np.float32))
        biased = (x.matmul(weights(4, 5)) + bias) * factor
        assert ops(affine.run(Graph([x], [biased], ["y"]))) == ["matmul", "add", "mul"]
