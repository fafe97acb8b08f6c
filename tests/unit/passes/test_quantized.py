"""Products of dequantised operands become products of bytes, where scales allow that, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from intaglio.compiler.graph.ir import Value, constant, input_value
from intaglio.compiler.passes import quantized, simplify
from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import F16, F32, I8, I32, U8, DType

RNG = np.random.default_rng(3)
ROWS = Symbol("rows")


def dequantised(x: Value, scale: Value | float, zero: Value | int | None = None, dtype: DType = F32) -> Value:
    whole = x if zero is None else x.cast(I32) - (zero.cast(I32) if isinstance(zero, Value) else zero)
    return whole.cast(dtype) * (scale if isinstance(scale, Value) else x.const(scale, dtype))


def factors(*shape: int) -> Value:
    return constant(RNG.uniform(0.01, 0.05, shape).astype(np.float32))


def weights(*shape: int, dtype: DType = I8) -> Value:
    low, high = (0, 256) if dtype == U8 else (-128, 128)
    return constant(RNG.integers(low, high, shape).astype(dtype.to_numpy()))


X = input_value("x", (2, ROWS, 8), U8)
IMAGE = input_value("image", (2, 9, 9, 4), I8)
GOOD: dict[str, Callable[[], Value]] = {
    "one scale": lambda: dequantised(X, 0.02, 120).matmul(dequantised(weights(8, 6), 0.03)),
    "by column": lambda: dequantised(X, 0.02, 7).matmul(dequantised(weights(8, 6), factors(6), weights(6))),
    "by row": lambda: dequantised(X, factors(2, 1, 1), 7).matmul(dequantised(weights(8, 6), 0.1)),
    "unsigned weights": lambda: dequantised(X, 0.02).matmul(dequantised(weights(8, 6, dtype=U8), 0.1, 128)),
    "transposed weights": lambda: dequantised(X, 0.02).matmul(
        dequantised(weights(6, 8), factors(6, 1), weights(6, 1)).permute(1, 0)
    ),
    "heads": lambda: (
        dequantised(input_value("q", (2, 5, 24), U8), 0.02, 9)
        .reshape(2, 5, 3, 8)
        .permute(0, 2, 1, 3)
        .matmul(dequantised(input_value("k", (2, 5, 24), U8), 0.1, 1).reshape(2, 5, 3, 8).permute(0, 2, 3, 1))
    ),
    "scales at run time": lambda: dequantised(X, input_value("s", (), F32), input_value("z", (), U8)).matmul(
        dequantised(weights(8, 6), 0.1)
    ),
    "half": lambda: dequantised(X, 0.02, 3, F16).matmul(dequantised(weights(8, 6), 0.1, dtype=F16), acc=F16),
    "convolution": lambda: conv(dequantised(IMAGE, 0.02, -3), dequantised(weights(3, 3, 4, 6), factors(6))),
    "convolution, filters first": lambda: conv(
        dequantised(IMAGE, 0.02, -3), dequantised(weights(6, 4, 3, 3), factors(6, 1, 1, 1)).permute(2, 3, 1, 0)
    ),
    "depthwise": lambda: conv(dequantised(IMAGE, 0.02, 5), dequantised(weights(3, 3, 1, 4), factors(4)), groups=4),
}
LEFT: dict[str, Callable[[], Value]] = {
    "scales along the sum": lambda: dequantised(X, 0.02).matmul(dequantised(weights(8, 6), factors(8, 1))),
    "zero points along the sum": lambda: dequantised(X, 0.02).matmul(dequantised(weights(8, 6), 0.1, weights(8, 1))),
    "scales of columns of a": lambda: dequantised(X, factors(8)).matmul(dequantised(weights(8, 6), 0.1)),
    "only weights": lambda: input_value("f", (3, 8), F32).matmul(dequantised(weights(8, 6), 0.1)),
    "more than bytes": lambda: dequantised(input_value("i", (3, 8), I32), 0.1).matmul(dequantised(weights(8, 6), 0.1)),
    "sums beyond i32": lambda: dequantised(input_value("l", (1, 34000), U8), 1e-6).matmul(
        dequantised(weights(34000, 1), 1e-6)
    ),
    "scales of image channels": lambda: conv(dequantised(IMAGE, factors(4)), dequantised(weights(3, 3, 4, 6), 0.1)),
    "scales of filter channels": lambda: conv(dequantised(IMAGE, 0.1), dequantised(weights(3, 3, 4, 6), factors(4, 1))),
}


def conv(x: Value, w: Value, groups: int = 1) -> Value:
    attrs: dict[str, Any] = {"strides": (2, 1), "dilations": (1, 1), "pads_low": (1, 1), "pads_high": (1, 1)}
    return x.emit("conv", [x, w], groups=groups, acc=F32, **attrs)[0]


def products(graph: Any) -> list[Value]:
    return [v for node in graph.nodes() if node.op.name in ("matmul", "conv") for v in node.inputs]


@pytest.mark.parametrize("form", GOOD)
def test_products_of_bytes(form: str, check: Any) -> None:
    rtol = 2e-2 if form == "half" else 1e-4
    graph = check(GOOD[form](), simplify.run, quantized.run, sizes={ROWS: 5}, rtol=rtol)
    wanted = {F32} if form == "depthwise" else {U8, I8}
    assert {v.dtype for v in products(graph)} <= wanted


@pytest.mark.parametrize("form", LEFT)
def test_others_stay(form: str, check: Any) -> None:
    graph = check(LEFT[form](), simplify.run, quantized.run, sizes={ROWS: 5}, rtol=1e-4)
    assert {v.dtype for v in products(graph)} == {F32}
