"""Sizes, amounts and positions that a run is given, at the limits of int64: what the standard says comes of them, or an
error; never memory that is not there, and never another result.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import pytest

import intaglio
from intaglio.runtime.errors import Status
from parity.cases import CONSTANT, FIXED, SYMBOLIC, Array, Case, difference

LIMIT = 1 << 63
FAR = [v + d for v in (LIMIT, LIMIT // 2, LIMIT // 4, -LIMIT // 4, -LIMIT // 2, -LIMIT) for d in (-1, 0, 1)]
FAR = [v for v in FAR if -LIMIT <= v < LIMIT]
NEAR = [-2, -1, 0, 1, 2, 3]
LARGEST = 1 << 40  # of dims that are


def numbers(*shape: int) -> Array:
    return np.arange(1, 1 + prod(shape), dtype=np.float32).reshape(shape)


def possible(*dims: int) -> tuple[int, ...]:
    if not all(0 <= d < LARGEST for d in dims):
        raise ValueError(f"{dims} is no shape")
    return dims


def sliced(x: Array, start: int, end: int, axis: int, step: int) -> Array:
    """By the formula of the standard."""
    dim, (low, high) = x.shape[axis], (0, x.shape[axis]) if step > 0 else (-1, x.shape[axis] - 1)
    first, last = (v + dim if v < 0 else v for v in (start, end))
    return np.take(x, range(min(max(first, 0), high), min(max(last, low), high), step), axis)


def padded(x: Array, low: int, high: int, axis: int) -> Array:
    """With zeros, or cropped."""
    dim = x.shape[axis]
    (size,) = possible(low + dim + high)
    at = np.array([i - low if 0 <= i - low < min(dim, dim + high) else dim for i in range(size)], np.int64)
    return np.take(np.concatenate([x, np.zeros_like(np.take(x, [0], axis))], axis), at, axis)


def centered(x: Array, size: int, axis: int) -> Array:
    """Nothing for a negative size: that is what the function of the standard makes of it."""
    spare = size - x.shape[axis]
    if spare < 0:
        return np.take(x, range(-spare // 2, -spare // 2 + size), axis)
    return padded(x, spare // 2, spare - spare // 2, axis)


def counted(start: int, limit: int, delta: int) -> Array:
    (count,) = possible(max(-((start - limit) // delta), 0))
    return np.array([start + i * delta for i in range(count)], np.int64)


def reshaped(x: Array, *dims: int) -> Array:
    if min(dims) < -1:
        raise ValueError("a negative dim")
    return x.reshape([x.shape[i] if d == 0 else d for i, d in enumerate(dims)])


def parts(x: Array, *sizes: int) -> list[Array]:
    assert sum(possible(*sizes)) == len(x)
    return np.split(x, np.cumsum(sizes[:-1]))


def greatest(x: Array, k: int) -> list[Array]:
    assert possible(k)[0] <= x.shape[-1]
    order = np.argsort(-x, -1)[..., :k]
    return [np.take_along_axis(x, order, -1), order]


def hot(depth: int) -> Array:
    return (np.arange(possible(depth)[0]) == [[0], [1], [depth - 1]]).astype(np.float32)


def triangle(x: Array, k: int) -> Array:
    """The upper one."""
    row, column = np.indices(x.shape)
    return np.where(np.array(column, object) - row >= k, x, np.float32(0))


def resized(x: Array, *sizes: int) -> Array:
    at = [np.arange(n) * d // max(n, 1) for d, n in zip(x.shape, possible(*sizes))]
    return x[np.ix_(*at)]


def window(size: int) -> Array:
    n = np.arange(possible(size)[0])
    return (0.5 - 0.5 * np.cos(2 * np.pi * n / max(size, 1))).astype(np.float32)


def spectrum(x: Array, length: int) -> Array:
    assert possible(length) > (0,)
    made = np.fft.fft(x[..., 0], length, 1)
    return np.stack([made.real, made.imag], -1).astype(np.float32)


def frames(x: Array, step: int, length: int) -> Array:
    assert step > 0 and possible(length) > (0,)
    starts = range(0, x.shape[1] - length + 1, step)
    made = np.array([np.fft.rfft(x[0, s : s + length, 0]) for s in starts]).reshape(1, len(starts), length // 2 + 1)
    return np.stack([made.real, made.imag], -1).astype(np.float32)


@dataclass
class Of:
    """An operator, what its first input is, the shapes of those that are drawn, and what it makes of their elements."""

    op: str
    data: Array | None
    drawn: Sequence[tuple[int, ...] | Array | None]  # an array: given as it is
    wanted: Callable[..., Any]
    attrs: dict[str, Any] = field(default_factory=dict)
    opset: int = 20
    always: bool = False  # whether there is no number for which it may fail and the standard not
    outputs: int = 1


X = numbers(2, 3)
ONE = (1,)
OPS = [
    Of("Slice", X, [ONE, ONE, np.array([1]), ONE], lambda s, e, t: sliced(X, s, e, 1, t), always=True),
    Of("Slice", X, [ONE, ONE, np.array([-2])], lambda s, e: sliced(X, s, e, 0, 1), always=True),
    Of("Pad", X, [(4,)], lambda a, b, c, d: padded(padded(X, a, c, 0), b, d, 1), always=True),
    Of("Pad", X, [(2,), None, np.array([-1])], lambda a, b: padded(X, a, b, 1), always=True),
    Of("CenterCropPad", X, [(2,)], lambda a, b: centered(centered(X, a, 0), b, 1)),
    Of("Trilu", X, [()], lambda k: triangle(X, k), always=True),
    Of("Range", None, [(), (), ()], counted),
    Of("ConstantOfShape", None, [(2,)], lambda *d: np.zeros(possible(*d), np.float32)),
    Of("Expand", X[:, :1], [(2,)], lambda *d: np.broadcast_to(X[:, :1], np.broadcast_shapes((2, 1), possible(*d)))),
    Of("Tile", X, [(2,)], lambda *d: np.tile(X, possible(*d))),
    Of("Reshape", X, [(2,)], lambda *d: reshaped(X, *d)),
    Of("Reshape", X, [(3,)], lambda *d: reshaped(X, *d), {"allowzero": 1}),
    Of("Split", X, [(2,)], lambda *d: parts(X, *d), outputs=2),
    Of("TopK", X, [ONE], lambda k: greatest(X, k), outputs=2),
    Of("OneHot", np.array([0, 1, -1]), [(), np.array([0, 1], np.float32)], hot),
    Of("Resize", X, [None, None, (2,)], lambda *d: resized(X, *d), {"coordinate_transformation_mode": "asymmetric",
                                                                   "mode": "nearest", "nearest_mode": "floor"}),
    Of("CumSum", X, [()], lambda a: np.cumsum(X, a)),
    Of("Unsqueeze", X, [ONE], lambda a: np.expand_dims(X, a)),
    Of("Squeeze", X[None], [ONE], lambda a: np.squeeze(X[None], a)),
    Of("ReduceSum", X, [ONE], lambda a: np.sum(X, a, keepdims=True)),
    Of("HannWindow", None, [()], window),
    Of("DFT", X[..., None], [(), np.array(1)], lambda n: spectrum(X[..., None], n)),
    Of("STFT", numbers(1, 8, 1), [(), None, ()], lambda s, n: frames(numbers(1, 8, 1), s, n)),
]  # fmt: skip


@pytest.mark.sample(23)
@pytest.mark.parametrize("kind", [FIXED, SYMBOLIC])
@pytest.mark.parametrize("of", OPS, ids=lambda of: of.op)
def test_numbers_at_the_limits(of: Of, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTAGLIO_VERIFY", "2")
    rng = random.Random(0)
    given: list[Any] = [np.zeros(d, np.int64) if isinstance(d, tuple) else d for d in of.drawn]
    drawn = [i for i, d in enumerate(of.drawn) if isinstance(d, tuple)]
    kinds = [CONSTANT if isinstance(d, np.ndarray) else FIXED for d in of.drawn]
    first = [] if of.data is None else [of.data]
    if of.op in ("DFT", "STFT"):  # whether numbers are complex must be known
        kind = FIXED
    case = Case(of.op, [*first, *given], of.attrs, of.opset, [kind] * len(first) + kinds, of.outputs)
    session = intaglio.InferenceSession(case.model().SerializeToString())
    for _ in range(150):
        for i in drawn:
            shape = given[i].shape  # type: ignore[union-attr]
            given[i] = np.array([rng.choice(rng.choice([FAR, NEAR])) for _ in range(prod(shape))]).reshape(shape)
        case.inputs = [*first, *given]
        elements = [int(v) for i in drawn for v in given[i].reshape(-1)]  # type: ignore[union-attr]
        try:
            wanted = of.wanted(*elements)
        except Exception as error:
            wanted = str(error)
        try:
            made = session.run(None, case.feeds())
        except Status as error:
            made = str(error)
            assert "Out of bounds" not in made, f"{case}: {made}"
        if isinstance(made, str) and not of.always and max(map(abs, elements)) >= LARGEST:
            continue
        if isinstance(wanted, str) and not isinstance(made, str) and max(made[0].shape, default=0) >= LARGEST:
            assert made[0].size == 0
            continue
        different = difference(made, wanted if isinstance(wanted, (str, list)) else [wanted])
        assert not different, f"{case}: {elements}: {different}"
