"""Which convolutions kernels take as they are, and what becomes of the others: the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from intaglio.compiler.graph.ir import Graph, Value, constant, input_value
from intaglio.compiler.passes import legalize
from intaglio.compiler.scalar.dim import Size, Symbol
from intaglio.compiler.scalar.dtype import F16, F32, F64, I8, I32, I64, DType

N = Symbol("n")
RNG = np.random.default_rng(11)


def convolution(x: Value, w: Value, groups: int = 1, acc: DType | None = None, **changes: Any) -> Value:
    rank = len(x.shape) - 2
    given = {"strides": (1,) * rank, "dilations": (1,) * rank, "pads_low": (0,) * rank, "pads_high": (0,) * rank}
    return x.emit("conv", [x, w], **{**given, **changes}, groups=groups, acc=acc or x.dtype)[0]


def image(*shape: Size, dtype: DType = F32) -> Value:
    return input_value("x", shape, dtype)


def weights(*shape: int, dtype: DType = F32) -> Value:
    return constant(RNG.integers(-3, 4, shape).astype(dtype.to_numpy()))


@pytest.mark.parametrize("y", [
    convolution(image(N, 8, 8, 4), weights(3, 3, 4, 6)),
    convolution(image(N, 8, 8, 4), weights(3, 3, 2, 6), groups=2),
    convolution(image(N, 8, 4, dtype=F16), weights(3, 4, 6, dtype=F16), acc=F32),
    convolution(image(N, 8, 8, 4, dtype=I8), weights(3, 3, 4, 6, dtype=I8), acc=I32),
    convolution(image(N, 8, 8, 4), weights(1, 1, 4, 6), strides=(2, 2)),
    convolution(image(N, 8, 8, 4), weights(1, 1, 4, 6), pads_low=(1, 0)),
    convolution(image(N, 8, 8, 4), weights(1, 1, 2, 6), groups=2),
])  # fmt: skip
def test_what_kernels_take(y: Value, check: Callable[..., Graph], ops: Callable[[Graph], list[str]]) -> None:
    assert ops(check(y, legalize.run, sizes={N: 2})) == ["conv"]


def test_one_over_single_points_is_a_product(check: Callable[..., Graph], ops: Callable[[Graph], list[str]]) -> None:
    made = ops(check(convolution(image(N, 8, 8, 4), weights(1, 1, 4, 6)), legalize.run, sizes={N: 2}))
    assert "matmul" in made and "conv" not in made


@pytest.mark.parametrize("y", [
    convolution(image(N, 8, 8, 4), input_value("w", (3, 3, 4, 6), F32)),  # weights that are known later
    convolution(image(N, 8, 8, 4, dtype=F64), weights(3, 3, 4, 6, dtype=F64)),
    convolution(image(N, 8, 8, 4, dtype=I64), weights(3, 3, 2, 6, dtype=I64), groups=2),
    convolution(image(N, 4, 4, 4, 4, 2), weights(2, 2, 2, 2, 2, 3)),  # in four dimensions
    convolution(image(N, 8, 8, 4, dtype=F64), weights(3, 2, 4, 6, dtype=F64), strides=(2, 1), dilations=(1, 2),
                pads_low=(1, 0), pads_high=(2, 1)),
])  # fmt: skip
def test_others_are_sums_over_windows(y: Value, check: Callable[..., Graph], ops: Callable[[Graph], list[str]]) -> None:
    made = ops(check(y, legalize.run, sizes={N: 2}, rtol=1e-4))
    assert "window" in made and "reduce" in made and "conv" not in made
