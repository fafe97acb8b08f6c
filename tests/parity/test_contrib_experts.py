"""onnxruntime's mixtures of experts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from .nodes import Array, assert_same, model, ours, theirs

RNG = np.random.default_rng(0)
Case = tuple[str, list[Any], dict[str, Any]]
HIDDEN, INNER, EXPERTS, TOKENS = 16, 32, 4, 5


def f(*shape: int, dtype: Any = np.float32) -> Array:
    return RNG.standard_normal(shape).astype(dtype)


def moe(
    activation: str = "relu", bias: bool = True, dtype: Any = np.float32, shape: Any = (TOKENS,), **attrs: Any
) -> Case:
    rows = INNER * (2 if activation == "swiglu" else 1)
    inputs = [
        f(*shape, HIDDEN, dtype=dtype), f(int(np.prod(shape)), EXPERTS, dtype=dtype),
        (f(EXPERTS, rows, HIDDEN) / 4).astype(dtype), f(EXPERTS, rows, dtype=dtype) if bias else None,
        (f(EXPERTS, HIDDEN, INNER) / 4).astype(dtype), f(EXPERTS, HIDDEN, dtype=dtype) if bias else None,
    ]  # fmt: skip
    if activation == "swiglu":
        attrs["swiglu_fusion"] = 1
    return "MoE", inputs if bias else inputs[:5], {"activation_type": activation, **attrs}


def qmoe(
    bits: int, block: int = 0, zeros: bool = False, activation: str = "swiglu", weights: bool = False, **attrs: Any
) -> Case:
    rows = INNER * (2 if activation == "swiglu" else 1)
    inputs: list[Any] = [f(TOKENS, HIDDEN), f(TOKENS, EXPERTS)]
    points: list[Any] = []
    for n, columns in ((rows, HIDDEN), (HIDDEN, INNER)):
        blocks = columns // block if block else 1
        scales = np.float32(RNG.uniform(0.5, 1.0, (EXPERTS, n, blocks)[: 3 if block else 2])) / (1 << (bits + 1))
        inputs += [RNG.integers(0, 256, (EXPERTS, n, columns * bits // 8)).astype(np.uint8), scales, f(EXPERTS, n)]
        shape = (EXPERTS, n, -(-blocks * bits // 8)) if block else (EXPERTS, n * bits // 8)
        points.append(RNG.integers(0, 256, shape).astype(np.uint8) if zeros else None)
    inputs += [None, None, None, *points, None, np.abs(f(TOKENS, EXPERTS)) if weights else None]
    while inputs[-1] is None:
        inputs.pop()
    kind = {"activation_type": activation, "expert_weight_bits": bits, "swiglu_fusion": int(activation == "swiglu")}
    if block:
        attrs["block_size"] = block
    return "QMoE", inputs, {**kind, **attrs}


CASES: list[Case] = [
    *(moe(name, k=k, normalize_routing_weights=k - 1) for name in ("relu", "gelu", "silu", "identity", "swiglu")
      for k in (1, 2)),
    moe("relu", bias=False, k=4), moe("relu", shape=(2, 3), k=2), moe("relu", shape=(0,)),
    moe("swiglu", swiglu_limit=0.5, activation_alpha=1.702, activation_beta=1.0, k=2),
    *(qmoe(bits, block, zeros, k=2, normalize_routing_weights=1)
      for bits, block, zeros in ((4, 0, False), (8, 0, False), (4, 16, False), (8, 16, False), (4, 16, True))),
    qmoe(4, activation="silu", k=2), qmoe(4, activation="gelu"), qmoe(4, weights=True, k=2),
    qmoe(4, weights=True, k=2, normalize_routing_weights=1),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_same_as_onnxruntime(case: Case) -> None:
    op, inputs, attrs = case
    data, feeds = model(op, inputs, attrs, domain="com.microsoft", fixed=range(2, min(len(inputs), 14)))
    wanted = theirs(data, feeds)
    assert isinstance(wanted, list), wanted
    loose = op == "QMoE" or inputs[0].dtype == np.float16  # onnxruntime rounds activations to 8 bits
    assert_same(ours(data, feeds), wanted, *((2e-2, 2e-2) if loose else (1e-4, 1e-4)))


@pytest.mark.parametrize("case", [moe("swiglu", k=2), qmoe(4, 16, k=2)], ids=lambda case: case[0])
def test_compiled_for_any_number_of_tokens(case: Case) -> None:
    op, inputs, attrs = case
    data, feeds = model(op, inputs, attrs, domain="com.microsoft", fixed=range(2, len(inputs)), symbolic=True)
    assert_same(ours(data, feeds, compiled=True), theirs(data, feeds), 2e-2, 2e-2)


def test_half_precision() -> None:
    """onnxruntime's CPU provider multiplies by the weights of f16 as if they were transposed."""
    op, inputs, attrs = moe("silu", dtype=np.float16, k=2)
    data, feeds = model(op, inputs, attrs, domain="com.microsoft")
    wide, fed = model(op, [v.astype(np.float32) for v in inputs], attrs, domain="com.microsoft")
    wanted = theirs(wide, fed)
    assert isinstance(wanted, list), wanted
    assert_same(ours(data, feeds), [wanted[0].astype(np.float16)], 5e-3, 5e-3)


REFUSED: list[Case] = [
    moe(k=5), moe(k=0), moe("other"), ("MoE", [f(5, 16), f(4, 4), *moe()[1][2:]], {}),
    ("MoE", [*moe()[1][:3], f(4, 31), *moe()[1][4:]], {}), ("MoE", [*moe()[1][:2], f(4, 31, 16), *moe()[1][3:]], {}),
    ("QMoE", [*qmoe(4)[1][:3], f(4, 63), *qmoe(4)[1][4:]], {"activation_type": "swiglu", "swiglu_fusion": 1}),
    qmoe(8, expert_weight_bits=4),
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case[0])
def test_refused_as_by_onnxruntime(case: Case) -> None:
    op, inputs, attrs = case
    data, feeds = model(op, inputs, attrs, domain="com.microsoft", fixed=range(2, len(inputs)))
    made, wanted = ours(data, feeds, compiled=True), theirs(data, feeds)
    assert isinstance(made, str), made
    assert isinstance(wanted, str), wanted
