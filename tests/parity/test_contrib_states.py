"""onnxruntime's operators of models that keep a state in place of a cache of keys, and of gates and mixtures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from .nodes import Array, assert_same, model, ours, theirs

RNG = np.random.default_rng(0)
Case = tuple[str, list[Any], dict[str, Any], int]
HALF = np.float16


def f(*shape: int, dtype: Any = np.float32) -> Array:
    return RNG.standard_normal(shape).astype(dtype)


def linear(
    rule: str, heads: tuple[int, int, int] = (2, 2, 2), length: int = 3, past: bool = False, wide: bool = False,
    shared: bool = False, dtype: Any = np.float32, **attrs: Any,
) -> Case:  # fmt: skip
    """LinearAttention of `heads` of queries, of keys, and of values, of which each element has 4 and 3 numbers."""
    batch, size, of_value = 2, 4, 3
    queries, keys, values = heads
    state = (batch, values, size, of_value)
    inputs = [
        f(batch, length, queries * size, dtype=dtype), f(batch, length, keys * size, dtype=dtype),
        f(batch, length, values * of_value, dtype=dtype),
        f(*state, dtype=dtype) if past else None,
        -np.abs(f(batch, length, values * (size if wide else 1), dtype=dtype)) if "gated" in rule else None,
        np.abs(f(batch, length, 1 if shared else values, dtype=dtype)) / 2 if "delta" in rule else None,
    ]  # fmt: skip
    while inputs[-1] is None:
        inputs.pop()
    sizes = {"q_num_heads": queries, "kv_num_heads": values}
    return "LinearAttention", inputs, {"update_rule": rule, **sizes, **attrs}, 2


def causal(*more: Any, length: int = 5, taps: int = 3, dtype: Any = np.float32, **attrs: Any) -> Case:
    """CausalConvWithState of 4 channels."""
    x = f(2, length, 2, 2, dtype=dtype) if attrs.get("channels_last") else f(2, 4, length, dtype=dtype)
    return "CausalConvWithState", [x, f(4, 1, taps, dtype=dtype), *more], attrs, 2


CASES: list[Case] = [
    *(linear(rule, past=past) for rule in ("linear", "gated", "delta", "gated_delta") for past in (False, True)),
    linear("gated_delta", wide=True, shared=True, past=True), linear("gated", wide=True, length=1),
    linear("gated_delta", (4, 2, 2), past=True), linear("gated_delta", (2, 2, 4), past=True),
    linear("delta", (4, 2, 4)), linear("linear", scale=0.3), linear("gated_delta", past=True, dtype=HALF),
    causal(), causal(f(4)), causal(f(4), f(2, 4, 2)), causal(None, f(2, 4, 2), length=1), causal(taps=1),
    causal(f(4), f(2, 4, 2), activation="silu"), causal(activation="swish"),
    causal(f(4), f(2, 4, 4), dilation=2), causal(f(4), f(2, 2, 2, 2), channels_last=1),
    causal(f(4, dtype=HALF), f(2, 4, 2, dtype=HALF), dtype=HALF, activation="silu"),
    *(("LinearAttentionGate", [f(2, 3, 4, dtype=t), f(4), f(4), *b], {}, 1 + len(b))
      for t in (np.float32, HALF) for b in ([], [f(2, 3, 4, dtype=t)])),
    *(("GatedAdd", [f(2, 3, 4, dtype=t), f(2, 3, 4, dtype=t), f(2, 3, 1, dtype=t)], {}, 1) for t in (np.float32, HALF)),
    *(("GatedRMSNorm", [f(2, 3, 8, dtype=t), f(4, dtype=t), f(2, 3, 8, dtype=t)], {"activation": name}, 1)
      for t in (np.float32, HALF) for name in ("silu", "swish", "sigmoid")),
    ("GatedRMSNorm", [f(0, 8), f(8), f(0, 8)], {"epsilon": 0.1}, 1),
    *(("ScaledSiLU", [f(2, 3, dtype=t), *scale], {"alpha": 1.7}, 1)
      for t in (np.float32, HALF) for scale in ([], [np.array(0.6, np.float32)])),
    *(("BranchwiseRMSNorm", [x, *scale], attrs, 1)
      for x, attrs in ((f(2, 3, 4), {}), (f(2, 12), {"num_branches": 3}), (f(2, 12, dtype=HALF), {"num_branches": 3}))
      for scale in ([], [f(4)], [f(3, 4)], [f(12)])),
    *(("HyperConnectionPreMix", [x, mix], {"reduction_scale": 0.5, **attrs}, 1)
      for x, attrs in ((f(2, 3, 4), {}), (f(2, 12), {"num_branches": 3})) for mix in (f(2, 3), f(2, 3, 1), f(2, 3, 4))),
    ("HyperConnectionPreMix", [f(2, 12), f(2, 12)], {"num_branches": 3}, 1),
    *(("HyperConnectionPostMix", [x, f(2, 4), post, *mix], attrs, 1)
      for x, attrs in ((f(2, 3, 4), {}), (f(2, 12), {"num_branches": 3}))
      for post in (f(2, 3), f(2, 3, 1), f(2, 3, 4)) for mix in ([], [f(2, 3, 3)])),
    *(("EngramGate",
       [f(2, 3, 2, 4, dtype=t), f(2, 3, 2, 4, dtype=t), f(2, 3, 4, dtype=t), f(2, 4, dtype=t), f(2, 4, dtype=t), *out],
       {}, 1 + len(out)) for t in (np.float32, HALF) for out in ([], [f(2, 4, dtype=t)])),
]  # fmt: skip


def check(case: Case, symbolic: bool = False, compiled: bool = False) -> None:
    op, inputs, attrs, outputs = case
    fixed = (1,) if op == "CausalConvWithState" else ()
    data, feeds = model(op, inputs, attrs, outputs, domain="com.microsoft", fixed=fixed, symbolic=symbolic)
    narrow = inputs[0].dtype == HALF
    wanted = theirs(data, feeds)
    assert isinstance(wanted, list), wanted
    assert_same(ours(data, feeds, compiled), wanted, *((5e-3, 5e-3) if narrow else (1e-4, 1e-5)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_same_as_onnxruntime(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("case", CASES[::8], ids=lambda case: case[0])
def test_compiled(case: Case) -> None:
    check(case, compiled=True)


@pytest.mark.parametrize("case", [linear("gated_delta", past=True, scale=0.5), causal(f(4), f(2, 4, 2))])
def test_sizes_that_are_known_when_the_model_runs(case: Case) -> None:
    op, inputs, attrs, outputs = case
    data, feeds = model(op, inputs, attrs, outputs, domain="com.microsoft", fixed=(1,), symbolic=True)
    assert_same(ours(data, feeds, compiled=True), theirs(data, feeds), 1e-4, 1e-5)


REFUSED: list[Case] = [
    ("LinearAttention", [f(2, 3, 8)] * 3, {"q_num_heads": 2, "kv_num_heads": 2, "update_rule": "gated"}, 2),
    ("LinearAttention", [f(2, 3, 8)] * 3, {"q_num_heads": 2, "kv_num_heads": 2, "update_rule": "other"}, 2),
    ("LinearAttention", [f(2, 3, 12), f(2, 3, 8), f(2, 3, 8)],
     {"q_num_heads": 3, "kv_num_heads": 2, "update_rule": "linear"}, 2),
    ("LinearAttention", [f(2, 3, 8), f(2, 2, 8), f(2, 3, 8)],
     {"q_num_heads": 2, "kv_num_heads": 2, "update_rule": "linear"}, 2),
    ("LinearAttention", [*[f(2, 3, 8)] * 3, f(2, 2, 4, 3)],
     {"q_num_heads": 2, "kv_num_heads": 2, "update_rule": "linear"}, 2),
    causal(f(3)), causal(None, f(2, 4, 3)), causal(activation="relu"), causal(dilation=0), causal(state_window=1),
    ("CausalConvWithState", [f(2, 4, 5), f(3, 1, 2)], {}, 2),
    ("GatedAdd", [f(2, 3), f(2, 3), f(2, 3)], {}, 1), ("GatedAdd", [f(2, 3), f(1, 3), f(2, 1)], {}, 1),
    ("GatedRMSNorm", [f(2, 8), f(3), f(2, 8)], {}, 1), ("GatedRMSNorm", [f(2, 8), f(4), f(2, 4)], {}, 1),
    ("LinearAttentionGate", [f(2, 4), f(3), f(4)], {}, 1), ("LinearAttentionGate", [f(2, 4), f(4), f(4)], {}, 2),
    ("BranchwiseRMSNorm", [f(2, 12), f(5)], {"num_branches": 3}, 1),
    ("HyperConnectionPreMix", [f(2, 3, 4), f(2, 4, 1)], {}, 1),
    ("HyperConnectionPostMix", [f(2, 3, 4), f(2, 3), f(2, 3)], {}, 1),
    ("EngramGate", [f(2, 3, 2, 4), f(2, 3, 2, 4), f(2, 3, 4), f(2, 3), f(2, 4)], {}, 1),
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case[0])
def test_refused_as_by_onnxruntime(case: Case) -> None:
    op, inputs, attrs, outputs = case
    data, feeds = model(op, inputs, attrs, outputs, domain="com.microsoft", fixed=(1,))
    made, wanted = ours(data, feeds, compiled=True), theirs(data, feeds)
    assert isinstance(made, str), made
    assert isinstance(wanted, str), wanted
