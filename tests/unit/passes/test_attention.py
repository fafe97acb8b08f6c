"""Forms of attention that exporters write, and look-alikes that must stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from intaglio.compiler.graph.ir import Graph, Node, Value, constant, input_value, make
from intaglio.compiler.passes import attention, layout, simplify
from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import BOOL, F16, F32, I64

B, M, N = Symbol("b"), Symbol("m", 1), Symbol("n", 1)
SIZES = {B: 2, M: 5, N: 5}
LEAST = float(np.finfo(np.float32).min)


def heads(name: str, length: Any, size: int = 8) -> Value:
    return input_value(name, (B, 2, length, size), F32)


def softmax(x: Value) -> Value:
    e = (x - x.max(-1, keepdims=True)).exp()
    return e / e.sum(-1, keepdims=True)


def qkv(length: Any = N) -> tuple[Value, Value, Value]:
    return heads("q", M), heads("k", length), heads("v", length, 4)


def scores(q: Value, k: Value) -> Value:
    return q.matmul(k.permute(0, 1, 3, 2))


def guarded(p: Value) -> Value:
    return p.map("isnan").select(0.0, p)


def positions(m: Any, n: Any, offset: int = 0) -> Value:
    """bool [m, n]: position n is not after m + offset."""
    columns = make("iota", [], shape=(1, n), axis=1, dtype=I64)[0]
    rows = make("iota", [], shape=(m, 1), axis=0, dtype=I64)[0]
    return columns <= rows + offset


def masked(condition: Value, fill: float) -> Value:
    return condition.select(constant(np.float32(0)), constant(np.float32(fill)))


def found(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes() if node.op.name == "attention"]


def test_scale_on_scores_q_and_k(check: Any) -> None:
    q, k, v = qkv()
    for s in (scores(q, k) * 0.5, scores(q, k) / 2.0, scores(q * 0.25, k * 2.0), 0.5 * scores(q, k)):
        (node,) = found(check(softmax(s).matmul(v), attention.run, sizes=SIZES))
        assert node.attrs["scale"] == 0.5 and not node.attrs["zero_rows"] and len(node.inputs) == 3


def test_masks_and_guard(check: Any) -> None:
    q, k, v = qkv()
    padding = input_value("mask", (B, 1, 1, N), BOOL)
    s = scores(q, k) * 0.5 + masked(padding, LEAST)
    (node,) = found(check(guarded(softmax(s)).matmul(v), attention.run, sizes=SIZES))
    assert node.attrs["zero_rows"] and len(node.inputs) == 4 and node.attrs["causal"] is None


def test_mask_by_where(check: Any) -> None:
    q, k, v = qkv()
    keep = input_value("mask", (M, N), BOOL)
    s = keep.select(scores(q, k), constant(np.float32(-np.inf)))
    (node,) = found(check(guarded(softmax(s)).matmul(v), attention.run, sizes=SIZES))
    assert len(node.inputs) == 4


@pytest.mark.parametrize(
    ("fill", "offset", "expected"), [(LEAST, 0, 0), (-np.inf, 2, 2), (LEAST, -1, None), (-5.0, 0, None)]
)
def test_causal(check: Any, fill: float, offset: int, expected: int | None) -> None:
    """A finite fill means -inf only where no row is excluded as a whole; -5 is a bias like any other."""
    q, k, v = qkv(M)
    s = scores(q, k) + masked(positions(M, M, offset), fill)
    (node,) = found(check(softmax(s).matmul(v), attention.run, sizes=SIZES))
    assert node.attrs["causal"] == expected
    assert len(node.inputs) == (3 if expected is not None else 4)


def test_causal_and_another_mask(check: Any) -> None:
    q, k, v = qkv(M)
    bias = input_value("bias", (2, M, M), F32)
    s = scores(q, k) * 0.5 + masked(positions(M, M), -np.inf) + bias
    (node,) = found(check(softmax(s).matmul(v), attention.run, sizes=SIZES))
    assert node.attrs["causal"] == 0 and len(node.inputs) == 4


def test_repeated_heads_stay_views(check: Any) -> None:
    q, v = heads("q", M), heads("v", N, 4)
    k = input_value("k", (B, N, 8), F32).reshape(B, 1, N, 8).broadcast(B, 2, N, 8) * 0.5
    (node,) = found(check(softmax(scores(q, k)).matmul(v), attention.run, sizes=SIZES))
    assert node.attrs["scale"] == 0.5 and node.inputs[1].op == "broadcast"


def test_softmax_in_f32_of_narrow_floats(check: Any) -> None:
    q, k, v = (x.cast(F16) for x in qkv())
    s = (scores(q, k) * 0.5).cast(F32) + masked(input_value("mask", (M, N), BOOL), -np.inf)
    for weights in (guarded(softmax(s)).cast(F16), guarded(softmax(s).cast(F16)), softmax(s).cast(F16)):
        (node,) = found(check(weights.matmul(v).cast(F32), attention.run, sizes=SIZES, rtol=1e-2))
        assert node.outputs[0].dtype == F16


def test_batches_merged_for_bmm(check: Any) -> None:
    """As older exporters write it: products in three axes, masks in four."""
    q, k, v = (x.reshape(2 * B, x.shape[2], x.shape[3]) for x in qkv())
    mask = input_value("mask", (B, 1, M, N), F32)
    s = q.matmul(k.permute(0, 2, 1)).reshape(B, 2, M, N) + mask
    y = softmax(s.reshape(2 * B, M, N)).matmul(v).reshape(B, 2, M, 4)
    (node,) = found(check(y, simplify.run, layout.run, attention.run, sizes=SIZES))
    assert len(node.inputs) == 4


def test_look_alikes_stay(check: Any) -> None:
    q, k, v = qkv()
    p = softmax(scores(q, k))
    assert not found(check([p.matmul(v), p], attention.run, sizes=SIZES)), "the weights are an output"
    e = scores(q, k).exp()
    other = e / e.sum(-2, keepdims=True)
    assert not found(check(other.matmul(v), attention.run, sizes=SIZES)), "softmax over another axis"
    s = scores(q, k)
    assert not found(check([softmax(s).matmul(v), s], attention.run, sizes=SIZES)), "the scores are an output"
    gated = scores(q, k) * input_value("gate", (M, N), F32)
    assert not found(check(softmax(gated).matmul(v), attention.run, sizes=SIZES)), "a factor that is no constant"
