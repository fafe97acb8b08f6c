"""ONNX optimizer steps (domain ai.onnx.preview.training): one update of weights and their statistics.

In: values and attributes of a node: learning rate, update count, n weights, n gradients, then n of each statistic.
Out: the new weights, then the new statistics. Formulas are those of the ONNX operator specification.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...graph.ir import Value
from ..registry import onnx_op

DOMAIN = "ai.onnx.preview.training"


def _groups(values: Sequence[Value], kinds: int) -> list[tuple[Value, ...]]:
    """For each weight, a tuple of itself, its gradient, and its statistics."""
    count, rest = divmod(len(values), kinds)
    if rest:
        raise ValueError(f"{len(values)} tensors are not {kinds} of each kind")
    return [tuple(values[k * count + i] for k in range(kinds)) for i in range(count)]


def _by_kind(updates: Sequence[tuple[Value, ...]]) -> tuple[Value, ...]:
    return tuple(v for kind in zip(*updates) for v in kind)


@onnx_op("Adagrad", domain=DOMAIN)
def adagrad(
    r: Value, t: Value, *values: Value, decay_factor: float = 0.0, epsilon: float = 1e-6, norm_coefficient: float = 0.0
) -> tuple[Value, ...]:
    def step(x: Value, g: Value, h: Value) -> tuple[Value, ...]:
        rate = r.cast(x.dtype) / (t.cast(x.dtype) * decay_factor + 1.0)
        g = x * norm_coefficient + g
        h = h + g.square()
        return x - rate * g / (h.sqrt() + epsilon), h

    return _by_kind([step(*group) for group in _groups(values, 3)])


@onnx_op("Adam", domain=DOMAIN)
def adam(
    r: Value, t: Value, *values: Value, alpha: float = 0.9, beta: float = 0.999, epsilon: float = 1e-6,
    norm_coefficient: float = 0.0, norm_coefficient_post: float = 0.0,
) -> tuple[Value, ...]:  # fmt: skip
    def step(x: Value, g: Value, v: Value, h: Value) -> tuple[Value, ...]:
        rate, count = r.cast(x.dtype), t.cast(x.dtype)
        corrected = (1.0 - x.const(beta).map("pow", count)).sqrt() / (1.0 - x.const(alpha).map("pow", count))
        rate = (t > 0).select(rate * corrected, rate)
        g = x * norm_coefficient + g
        v = v * alpha + g * (1 - alpha)
        h = h * beta + g.square() * (1 - beta)
        return (x - rate * v / (h.sqrt() + epsilon)) * (1 - norm_coefficient_post), v, h

    return _by_kind([step(*group) for group in _groups(values, 4)])


@onnx_op("Momentum", domain=DOMAIN)
def momentum(
    r: Value, t: Value, *values: Value, alpha: float, beta: float, mode: str, norm_coefficient: float
) -> tuple[Value, ...]:
    if mode not in ("standard", "nesterov"):
        raise ValueError(f"there is no mode '{mode}'")

    def step(x: Value, g: Value, v: Value) -> tuple[Value, ...]:
        g = x * norm_coefficient + g
        v = v * alpha + g * (t > 0).select(x.const(beta), x.const(1.0))
        move = v if mode == "standard" else g + v * alpha
        return x - r.cast(x.dtype) * move, v

    return _by_kind([step(*group) for group in _groups(values, 3)])
