"""Constants that are dequantised integers of few bits, in whichever way they are written, and those that are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from intaglio.compiler.graph.interp import constant_array
from intaglio.compiler.graph.ir import Value, constant, input_value
from intaglio.compiler.graph.narrow import Narrow, is_narrow, narrowed, way
from intaglio.compiler.scalar.dtype import F16, F32, I32

RNG = np.random.default_rng(0)
K, N = 48, 5


def numbers(*shape: int, low: int = 0, high: int = 16, dtype: Any = np.uint8) -> Value:
    drawn = RNG.integers(low, high, shape).astype(dtype)
    drawn.reshape(-1)[:2] = low, high - 1  # so that all bits are needed
    return constant(drawn)


def reals(*shape: int) -> Value:
    return constant(RNG.random(shape).astype(np.float32))


def by_columns(w: Value, block: int = 16) -> Value:
    """[N, K] -> [K, N]: scaled in blocks of K."""
    scale = reals(N, K // block, 1)
    return (w.reshape(N, K // block, block) * scale).reshape(N, K).permute(1, 0)


def joined(x: Value) -> Value:
    """Two numbers in a byte, as models have them."""
    parts = [x.map("shr", shift).map("bit_and", 15).unsqueeze(-1) for shift in (0, 4)]
    return x.emit("concat", parts, axis=2)[0].reshape(x.shape[0], 2 * int(x.shape[1]))


Q = numbers(N, K)
ZERO = numbers(N, 3, 1)
# Name: the constant, the size of a block, bits of an integer, bits of a zero point.
FORMS: dict[str, tuple[Value, int, int, int]] = {
    "zero points": (by_columns((Q.reshape(N, 3, 16).cast(F32) - ZERO.cast(F32)).reshape(N, K)), 16, 4, 4),
    "zero points of integers": (
        by_columns((Q.reshape(N, 3, 16).cast(I32) - ZERO.cast(I32)).cast(F32).reshape(N, K)), 16, 4, 4,
    ),
    "half the range": (by_columns(Q.cast(F32) - 8), 16, 4, 4),
    "added": (by_columns(Q.cast(F32) + -8.0), 16, 4, 4),
    "no zero points": (by_columns(Q.cast(F32)), 16, 4, 2),
    "broken zero points": (by_columns(Q.cast(F32) - 7.5), 16, 4, 32),
    "far zero points": (by_columns(Q.cast(F32) - 200), 16, 4, 8),
    "signed": (by_columns(numbers(N, K, low=-8, high=8, dtype=np.int8).cast(F32)), 16, 4, 4),
    "bytes": (by_columns(numbers(N, K, high=256).cast(F32) - 128), 16, 8, 8),
    "signed bytes": (by_columns(numbers(N, K, low=-128, high=128, dtype=np.int8).cast(F32)), 16, 8, 8),
    "two bits": (by_columns(numbers(N, K, high=4).cast(F32)), 16, 2, 2),
    "joined": (by_columns(joined(numbers(N, K // 2, high=256)).cast(F32)), 16, 4, 2),
    "scaled twice": (by_columns(Q.cast(F32)) * reals(1, N), 16, 4, 2),
    "of another type": (by_columns(Q.cast(F32)).cast(F16).cast(F32), 16, 4, 2),
    "a part": (by_columns(Q.cast(F32)).narrow(0, 0, 38), 16, 4, 2),
    "rows": (Q.permute(1, 0).cast(F32) * reals(3, 1, N).broadcast(3, 16, N).reshape(K, N), 16, 4, 2),
    "one scale": (Q.permute(1, 0).cast(F32) * 0.5, 48, 4, 2),
    "a scale for each column": (Q.permute(1, 0).cast(F32) * reals(N), 48, 4, 2),
}  # fmt: skip
OTHERS: dict[str, Value] = {
    "not constant": input_value("x", (K, N), F32),
    "floats": reals(K, N),
    "a scale for each row": Q.permute(1, 0).cast(F32) * reals(K, 1),
    "blocks of 8": by_columns(Q.cast(F32), 8),
    "a vector": Q.cast(F32).reshape(N * K),
    "scaled, then moved": by_columns(Q.cast(F32)) - 1.0,
    "a function": Q.permute(1, 0).cast(F32).exp(),
    "no elements": constant(np.zeros((0, N), np.uint8)).cast(F32) * 2.0,
}


def real(parts: Narrow) -> Any:
    data, zero, scale = map(constant_array, (parts.data, parts.zero, parts.scale))
    block = np.arange(data.shape[0]) // parts.block
    return (data.astype(np.float64) - zero[block]) * scale[block]


@pytest.mark.parametrize("name", FORMS)
def test_the_parts_are_those_of_the_constant(name: str) -> None:
    value, block, bits, zero_bits = FORMS[name]
    parts = narrowed(value)
    assert is_narrow(value) and parts is not None
    assert (parts.block, parts.bits, parts.zero_bits) == (block, bits, zero_bits)
    assert constant_array(parts.data).max() < 1 << bits and parts.data.shape == value.shape
    rounding = 1e-3 if name == "of another type" else 1e-6
    np.testing.assert_allclose(real(parts), constant_array(value), rtol=rounding, atol=rounding)


@pytest.mark.parametrize("name", OTHERS)
def test_other_values_have_no_parts(name: str) -> None:
    assert narrowed(OTHERS[name]) is None


@pytest.mark.parametrize("name", FORMS)
def test_the_way_ends_above_the_integers(name: str) -> None:
    values = list(way(FORMS[name][0]))
    assert values[0] is FORMS[name][0] and all(v.dtype.bits > 8 for v in values)


@pytest.mark.parametrize("first", [reals(K, N), numbers(K, N).cast(F32)], ids=["reals", "integers"])
def test_deep_constants_are_looked_at_briefly(first: Value) -> None:
    """A sum of a value with itself, 2,000 times: neither deeper than Python's stack, nor exponential."""
    v = first
    for _ in range(2000):
        v = v + v
    assert not is_narrow(v) and narrowed(v) is None
