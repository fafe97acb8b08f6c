"""Checks of input sizes for operators that the standard defines by a function body.

The bodies broadcast, and would accept sizes that the operators do not. In: the inputs of a node. Out: the same values,
with checks that their sizes agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..graph.ir import Value
from .registry import Imported

Check = Callable[..., Sequence[Imported]]


def swiglu(gate: Value, linear: Value) -> Sequence[Imported]:
    return gate, linear.ensure_shape(*gate.shape, text="SwiGLU does not broadcast")


def flex_attention(q: Value, k: Value, v: Value) -> Sequence[Imported]:
    """q [B, QH, S, D], k [B, KH, T, D], v [B, KH, T, DV]."""
    k = k.ensure_shape(q.shape[0], *k.shape[1:3], q.shape[3], text="batches and heads' sizes of queries and keys")
    return q, k, v.ensure_shape(*k.shape[:3], v.shape[3], text="batches, heads and numbers of keys and values")


def linear_attention(
    q: Value, k: Value, v: Value, state: Value | None = None, decay: Value | None = None, beta: Value | None = None
) -> Sequence[Imported]:
    """q, k, v, decay, beta [B, T, ...], state [B, H, DK, DV]."""
    others = [
        None if t is None else t.ensure_shape(*q.shape[:2], *t.shape[2:], text="batches and lengths of the sequences")
        for t in (k, v, decay, beta)
    ]
    return q, *others[:2], state, *others[2:]


CHECKS: Mapping[tuple[str, str], Check] = {
    ("", "SwiGLU"): swiglu,
    ("", "LinearAttention"): linear_attention,
    ("ai.onnx.preview", "FlexAttention"): flex_attention,
}
