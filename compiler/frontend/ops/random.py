"""Random ONNX operators: Random*, Bernoulli (by its function body), Multinomial, Dropout.

In: values and attributes of a node. Out: values. Numbers are hashes of the position and a seed, so that they are the
same for any number of threads. Without a seed attribute the seed is a symbol that the runtime draws in each run.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from ...graph.ir import Value
from ...scalar.dim import Size, prod
from ...scalar.dtype import BOOL, BY_ONNX, F32, F64, I64, U64, DType
from ..registry import onnx_op
from ..values import random_symbol, scalar, scalar_arg

# SplitMix64: G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014), figure 17.
_STEP, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def _mixed(z: Value) -> Value:
    z = z.map("bit_xor", z.map("shr", 30)) * _FIRST
    z = z.map("bit_xor", z.map("shr", 27)) * _SECOND
    return z.map("bit_xor", z.map("shr", 31))


def uniform(shape: Sequence[Size], dtype: DType, seed: float | None, stream: int = 0) -> Value:
    """Random numbers in [0, 1) in f64 for f64, else in f32; different streams of a seed are independent."""
    if seed is None:
        start = scalar(0, I64).const_size(random_symbol()).map("bitcast", dtype=U64)
    else:
        start = scalar(struct.unpack("<I", struct.pack("<f", seed))[0], U64)
    count = prod(shape)
    place = start.emit("iota", [], shape=(count,), axis=0, dtype=I64)[0].map("bitcast", dtype=U64)
    z = _mixed((place + 1) * _STEP + _mixed(start + stream * 2 + 1))
    bits, wide = (53, F64) if dtype == F64 else (24, F32)
    return (z.map("shr", 64 - bits).cast(wide) * 2.0**-bits).reshape(*shape)


def _ranged(shape: Sequence[Size], dtype: DType, low: float, high: float, seed: float | None) -> Value:
    return (uniform(shape, dtype, seed) * (high - low) + low).cast(dtype)


def _normal(shape: Sequence[Size], dtype: DType, mean: float, scale: float, seed: float | None) -> Value:
    """Normally distributed numbers by the Box-Muller transform."""
    if seed is None:
        radius, angle = uniform(shape, dtype, None), uniform(shape, dtype, None)
    else:
        radius, angle = uniform(shape, dtype, seed), uniform(shape, dtype, seed, stream=1)
    length = ((1.0 - radius).log() * -2.0).sqrt()
    return (length * (angle * (2 * math.pi)).map("cos") * scale + mean).cast(dtype)


def _dtype(number: int | None, like: Value) -> DType:
    return like.dtype if number is None else BY_ONNX[number]


@onnx_op("RandomUniform")
def random_uniform(
    *, shape: list[int], dtype: int = 1, high: float = 1.0, low: float = 0.0, seed: float | None = None
) -> Value:
    return _ranged(shape, BY_ONNX[dtype], low, high, seed)


@onnx_op("RandomUniformLike")
def random_uniform_like(
    x: Value, *, dtype: int | None = None, high: float = 1.0, low: float = 0.0, seed: float | None = None
) -> Value:
    return _ranged(x.shape, _dtype(dtype, x), low, high, seed)


@onnx_op("RandomNormal")
def random_normal(
    *, shape: list[int], dtype: int = 1, mean: float = 0.0, scale: float = 1.0, seed: float | None = None
) -> Value:
    return _normal(shape, BY_ONNX[dtype], mean, scale, seed)


@onnx_op("RandomNormalLike")
def random_normal_like(
    x: Value, *, dtype: int | None = None, mean: float = 0.0, scale: float = 1.0, seed: float | None = None
) -> Value:
    return _normal(x.shape, _dtype(dtype, x), mean, scale, seed)


@onnx_op("Multinomial", since=7)
def multinomial(x: Value, *, dtype: int = 6, sample_size: int = 1, seed: float | None = None) -> Value:
    """x [batch, classes]: unnormalised log probabilities. A sample is the number of prefix sums not above a draw."""
    weights = (x - x.max(-1, keepdims=True)).exp().cast(F32)
    ends = weights.emit("scan", [weights], kind="add", axis=1, exclusive=False, reverse=False)[0]
    total = weights.sum(-1, keepdims=True)
    draws = uniform((x.shape[0], sample_size), F32, seed) * total
    beyond = (ends.unsqueeze(1) <= draws.unsqueeze(-1)).cast(I64).sum(-1)
    return beyond.map("min", beyond.const_size(x.shape[1] - 1)).cast(BY_ONNX[dtype])


def _identity(x: Value, dtype: DType) -> tuple[Value, ...]:
    return x, scalar(1, dtype).broadcast(*x.shape)


def _dropped(x: Value, ratio: Value, training: Value, seed: int | None) -> tuple[Value, ...]:
    wide = ratio.cast(F32).reshape()
    kept = (uniform(x.shape, F32, seed) >= wide).map("or", training.map("not"))
    scale = training.select(1.0 / (1.0 - wide), 1.0)
    return kept.select((x.cast(x.dtype.compute) * scale.cast(x.dtype.compute)).cast(x.dtype), 0.0), kept


@onnx_op("Dropout", since=12)
def dropout(
    x: Value, ratio: Value | None = None, training_mode: Value | None = None, *, seed: int | None = None
) -> tuple[Value, ...]:
    if training_mode is None or (training_mode.data is not None and not scalar_arg(training_mode, "training_mode")):
        return _identity(x, BOOL)
    return _dropped(x, scalar(0.5, F32) if ratio is None else ratio, training_mode.reshape(), seed)


@onnx_op("Dropout", since=10)
def dropout_10(x: Value, *, ratio: float = 0.5) -> tuple[Value, ...]:
    return _identity(x, BOOL)


@onnx_op("Dropout", since=7)
def dropout_7(x: Value, *, ratio: float = 0.5) -> tuple[Value, ...]:
    return _identity(x, x.dtype)


@onnx_op("Dropout")
def dropout_legacy(
    x: Value, *, ratio: float = 0.5, is_test: int = 0, consumed_inputs: list[int] | None = None
) -> tuple[Value, ...]:
    if is_test:
        return _identity(x, x.dtype)
    kept, mask = _dropped(x, scalar(ratio, F32), scalar(True, BOOL), None)
    return kept, mask.cast(x.dtype)
