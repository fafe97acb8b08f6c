"""Factors move into constant weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from intaglio.compiler.graph.ir import Value, constant, input_value
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
