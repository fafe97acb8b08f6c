"""onnxruntime's mixtures of experts (domain com.microsoft): MoE, and QMoE with quantised weights.

In: values and attributes of a node. Out: values. Defined by onnxruntime's docs/ContribOperators.md. A loop over the
experts computes each for the tokens that are routed to it; products and sums are in f32.
"""

from __future__ import annotations

from collections.abc import Callable

from ...errors import Unsupported
from ...graph.ir import Value
from ...scalar.dim import Size, Symbol, ceil_div, dim_max, prod
from ...scalar.dtype import F32
from ..registry import Capture, onnx_op
from ..values import demanded, scalar
from . import math as pointwise
from .contrib import DOMAIN
from .contrib_weights import check_block_size, unpacked, zero_points
from .control import repeated
from .index import iota
from .reduce import softmax
from .select import true_positions

Layer = Callable[[Symbol, Capture, Value], Value]  # of an expert: its number, how to capture, its input [n, K]


class _Activation:
    """What is between the two layers of an expert."""

    def __init__(self, kind: str, alpha: float, beta: float, limit: float | None, fusion: int) -> None:
        plain: dict[str, Callable[[Value], Value]] = {
            "relu": pointwise.relu, "silu": pointwise.swish, "identity": lambda x: x,
            "gelu": lambda x: pointwise.gelu(x, approximate="tanh"),
        }  # fmt: skip
        if kind not in (*plain, "swiglu"):
            raise ValueError(f"there is no activation '{kind}'")
        if kind == "swiglu" and fusion != 1:
            raise Unsupported(f"swiglu_fusion={fusion}")
        self.plain, self.alpha, self.beta, self.limit = plain.get(kind), alpha, beta, limit
        self.inputs = 1 if self.plain else 2  # outputs of the first layer for each input of the second

    def __call__(self, x: Value) -> Value:
        if self.plain is not None:
            return self.plain(x)
        pairs = x.reshape(x.shape[0], x.shape[1] // 2, 2)
        gate, linear = (pairs.narrow(2, i, 1).squeeze(2) for i in (0, 1))
        if self.limit is not None:
            gate, linear = gate.map("min", self.limit), linear.map("max", -self.limit).map("min", self.limit)
        return gate * (gate * self.alpha).map("sigmoid") * (linear + self.beta)


def _mixed(
    x: Value, logits: Value, weights: Value | None, k: int, normalize: bool, first: Layer, second: Layer,
    activation: _Activation,
) -> Value:  # fmt: skip
    """The sum of the `k` experts of the largest logits [T, E], times their softmax, or `weights`; x [..., H]."""
    hidden = x.shape[-1]
    count = prod(x.shape[:-1])
    experts = logits.shape[1]
    logits = logits.ensure_shape(count, experts, text="a probability of each token and expert").cast(F32)
    logits = demanded(logits, dim_max(experts, k), experts, "'k' must be <= num_experts")
    if k < 1:
        raise ValueError(f"k={k}")
    shares = softmax(logits, axis=1)
    top, place = shares.flip(1).emit("sort", [shares.flip(1)], axis=1, descending=True, k=k)
    chosen = place.const_size(experts - 1) - place  # of equal ones the last
    if weights is not None:
        weights = weights.ensure_shape(count, experts, text="a weight of each token and expert").cast(F32)
        top = weights.gather([iota(chosen.shape, 0, chosen), chosen], [0, 1])
    if normalize:
        top = top / top.sum(1, keepdims=True)
    flat, routes, factors = x.reshape(count, hidden).cast(F32), chosen.reshape(-1), top.reshape(-1)

    def step(i: Symbol, index: Value, capture: Capture, *states: Value) -> tuple[list[Value], list[Value]]:
        (total,) = states
        mine = true_positions(capture(routes).map("eq", index))
        token = mine.map("div", k)
        y = second(i, capture, activation(first(i, capture, capture(flat).take(token, 0))))
        y = y * capture(factors).take(mine, 0).unsqueeze(1)
        return [total.emit("scatter", [total, y, token], axes=(0,), combine="add")[0]], []

    (total,), _ = repeated(experts, [scalar(0.0, F32).broadcast(count, hidden)], step)
    return total.reshape(*x.shape).cast(x.dtype)


def _of_expert(v: Value, i: Symbol, capture: Capture) -> Value:
    return capture(v).narrow(0, i, 1).squeeze(0)


def _plus_bias(y: Value, bias: Value | None, i: Symbol, capture: Capture) -> Value:
    return y if bias is None else y + _of_expert(bias, i, capture).cast(F32)


def _bias_of(bias: Value | None, experts: Size, width: Size) -> Value | None:
    return None if bias is None else bias.ensure_shape(experts, width, text="a bias of each expert")


def _layer(w: Value, bias: Value | None, experts: Size, rows: Size, columns: Size) -> Layer:
    """The product with w [experts, rows, columns], whose dims may also be named in another order."""
    w = w.reshape(experts, rows, columns)
    bias = _bias_of(bias, experts, rows)
    return lambda i, capture, x: _plus_bias(
        x.matmul(_of_expert(w, i, capture).cast(F32).permute(1, 0)), bias, i, capture
    )


@onnx_op("MoE", domain=DOMAIN)
def moe(
    x: Value, logits: Value, w1: Value, bias1: Value | None, w2: Value, bias2: Value | None = None,
    w3: Value | None = None, bias3: Value | None = None, *, activation_alpha: float = 1.0,
    activation_beta: float = 0.0, activation_type: str = "relu", k: int = 1, normalize_routing_weights: int = 0,
    swiglu_fusion: int = 0, swiglu_limit: float | None = None, use_sparse_mixer: int = 0,
) -> Value:  # fmt: skip
    """x [T, H] or [B, S, H], logits [T, E], w1 [E, I, H], w2 [E, H, I]; twice as many rows in w1 for swiglu."""
    if w3 is not None or bias3 is not None or use_sparse_mixer:
        raise Unsupported("a third layer, or use_sparse_mixer")
    activation = _Activation(activation_type, activation_alpha, activation_beta, swiglu_limit, swiglu_fusion)
    experts, hidden = logits.shape[1], x.shape[-1]
    inner = w2.shape[1] * w2.shape[2] // hidden
    first = _layer(w1, bias1, experts, inner * activation.inputs, hidden)
    second = _layer(w2, bias2, experts, hidden, inner)
    return _mixed(x, logits, None, k, bool(normalize_routing_weights), first, second, activation)


def _quantized_layer(
    w: Value, scales: Value | None, zeros: Value | None, bias: Value | None, rows: Size, columns: Size, bits: int,
    block_size: int,
) -> Layer:  # fmt: skip
    """The product with w [E, rows, columns * bits / 8], whose scales [E, rows] are of rows, or of blocks of them."""
    if scales is None or bits not in (2, 4, 8):
        raise Unsupported(f"weights of {bits} bits, or without scales")
    experts = w.shape[0]
    blocks = ceil_div(columns, block_size) if block_size else 1
    w = w.ensure_shape(experts, rows, columns * bits // 8, text="weights of each expert")
    scales = scales.ensure_shape(*(experts, rows, blocks)[: 3 if block_size else 2], text="scales of each expert")
    if zeros is not None:
        shape = (experts, rows, ceil_div(blocks * bits, 8)) if block_size else (experts, ceil_div(rows * bits, 8))
        zeros = zeros.ensure_shape(*shape, text="zero points of each expert")
    bias = _bias_of(bias, experts, rows)

    def layer(i: Symbol, capture: Capture, x: Value) -> Value:
        scale = _of_expert(scales, i, capture).cast(F32)
        zero = zero_points(None if zeros is None else _of_expert(zeros, i, capture), scale, bits)
        whole = unpacked(_of_expert(w, i, capture), bits).reshape(rows, blocks, columns // blocks).cast(F32)
        zero = zero.reshape(rows, blocks, 1) if zero.rank else zero
        real = (whole - zero) * scale.reshape(rows, blocks, 1)
        return _plus_bias(x.matmul(real.reshape(rows, columns).permute(1, 0)), bias, i, capture)

    return layer


@onnx_op("QMoE", domain=DOMAIN)
def qmoe(
    x: Value, logits: Value, w1: Value, scales1: Value | None, bias1: Value | None, w2: Value, scales2: Value | None,
    bias2: Value | None = None, w3: Value | None = None, scales3: Value | None = None, bias3: Value | None = None,
    zeros1: Value | None = None, zeros2: Value | None = None, zeros3: Value | None = None,
    router_weights: Value | None = None, *, accuracy_level: int = 0, activation_alpha: float = 1.0,
    activation_beta: float = 0.0, activation_type: str = "relu", block_size: int = 0, expert_weight_bits: int = 4,
    fc1_expert_weight_bits: int | None = None, fc2_expert_weight_bits: int | None = None, k: int = 1,
    normalize_routing_weights: int = 0, quant_type: str = "int", swiglu_fusion: int = 0,
    swiglu_limit: float | None = None, use_sparse_mixer: int = 0, weights_prepacked: int = -1,
) -> Value:  # fmt: skip
    """MoE with weights of 2, 4 or 8 bits; onnxruntime rounds activations to 8 bits in some of these products.

    The softmax is over the chosen experts alone, in place of which there may be `router_weights`."""
    if any(v is not None for v in (w3, scales3, bias3, zeros3)) or use_sparse_mixer:
        raise Unsupported("a third layer, or use_sparse_mixer")
    if quant_type != "int" or weights_prepacked == 1:
        raise Unsupported(f"quant_type '{quant_type}', or prepacked weights")
    if block_size:
        check_block_size(block_size)
    activation = _Activation(activation_type, activation_alpha, activation_beta, swiglu_limit, swiglu_fusion)
    bits1, bits2 = fc1_expert_weight_bits or expert_weight_bits, fc2_expert_weight_bits or expert_weight_bits
    hidden, inner = x.shape[-1], w1.shape[1] // activation.inputs
    experts = logits.shape[1]
    w1, w2 = (w.ensure_shape(experts, *w.shape[1:], text="weights of each expert") for w in (w1, w2))
    first = _quantized_layer(w1, scales1, zeros1, bias1, inner * activation.inputs, hidden, bits1, block_size)
    second = _quantized_layer(w2, scales2, zeros2, bias2, hidden, inner, bits2, block_size)
    normalize = router_weights is None or bool(normalize_routing_weights)
    return _mixed(x, logits, router_weights, k, normalize, first, second, activation)
