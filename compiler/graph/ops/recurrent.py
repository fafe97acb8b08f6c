"""recurrent: an LSTM, GRU or RNN layer over time, given its input projections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...scalar import prims
from ...scalar.dim import Size
from ...scalar.dtype import I64
from ...scalar.expr import Call, Const, Expr, Var
from ..conditions import Condition, equals
from ..ir import Array, Node, Signature, Trait, Value
from .common import Attrs, Shape, check, register

GATES = {"lstm": 4, "gru": 3, "gru_linear_before_reset": 3, "rnn": 1}
OPTIONAL = ("rb", "peephole", "h0", "c0", "lengths")
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}


def _infer_recurrent(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """recurrent(xw, r, *optional; kind, direction, activations, clip, input_forget, has) -> y, yh[, yc].

    xw [T, B, D, G, H] = x W + Wb + Rb (for gru_linear_before_reset without the Rb of gate h); r [D, H, G, H]:
    R transposed; `has` names the optional inputs given, in the order of OPTIONAL: rb [D, H] (that Rb of gate
    h), peephole [D, 3, H] (i, o, f), h0 and c0 [D, B, H], lengths [B] i64. y [T, B, D, H]; yh and (lstm) yc
    [D, B, H]. Gates in ONNX's order: iofc, zrh. activations: per direction (f, g[, h]), each an expression of
    Var("x"). Beyond the length of a sequence y is 0."""
    kind, direction, has = attrs["kind"], attrs["direction"], attrs["has"]
    check(kind in GATES, "recurrent: unknown kind '{}'", kind)
    check(direction in DIRECTIONS, "recurrent: unknown direction '{}'", direction)
    check(has == tuple(o for o in OPTIONAL if o in has), "recurrent: {} is not in the order {}", has, OPTIONAL)
    check(len(inputs) == 2 + len(has), "recurrent takes {} inputs, not {}", 2 + len(has), len(inputs))
    xw, r = inputs[:2]
    check(xw.rank == 5 and r.rank == 4, "recurrent: xw {} and r {} are not of rank 5 and 4", xw.shape, r.shape)
    for name, value, shape in _operands(inputs, attrs):
        check(value.rank == len(shape), "recurrent: {} is {} where {} is wanted", name, value.shape, shape)
        dtype = I64 if name == "lengths" else xw.dtype
        check(value.dtype == dtype, "recurrent: {} is {} where {} is wanted", name, value.dtype, dtype)
    time, batch, _, _, hidden = xw.shape
    directions = DIRECTIONS[direction]
    check(len(attrs["activations"]) == directions, "recurrent: not one tuple of activations per direction")
    state = (directions, batch, hidden)
    outputs = [((time, batch, directions, hidden), xw.dtype), (state, xw.dtype)]
    return [*outputs, (state, xw.dtype)] if kind == "lstm" else outputs


def _operands(inputs: Sequence[Value], attrs: Attrs) -> Iterator[tuple[str, Value, Shape]]:
    """Each input with its name and its expected shape."""
    time, batch, _, _, hidden = inputs[0].shape
    shapes = operand_shapes(attrs["kind"], attrs["direction"], time, batch, hidden)
    for name, value in zip(("xw", "r", *attrs["has"]), inputs):
        yield name, value, shapes[name]


def operand_shapes(kind: str, direction: str, time: Size, batch: Size, hidden: Size) -> dict[str, Shape]:
    """The shape of each possible input of a layer."""
    directions, gates = DIRECTIONS[direction], GATES[kind]
    state = (directions, batch, hidden)
    return {
        "xw": (time, batch, directions, gates, hidden),
        "r": (directions, hidden, gates, hidden),
        "rb": (directions, hidden),
        "peephole": (directions, 3, hidden),
        "h0": state,
        "c0": state,
        "lengths": (batch,),
    }


def _demand_recurrent(node: Node) -> Iterator[Condition]:
    for name, value, shape in _operands(node.inputs, node.attrs):
        yield from equals(value.shape, shape, "{} of a recurrent layer", name)


def apply(expression: Expr, x: Array) -> Array:
    """The value of an expression of Var("x") at every element of x."""
    if isinstance(expression, Var):
        return x
    if isinstance(expression, Const):
        return np.asarray(expression.value, expression.dtype.to_numpy())
    assert isinstance(expression, Call)
    dtype = expression.dtype if prims.TABLE[expression.prim].result == "given" else None
    return prims.evaluate(expression.prim, [apply(a, x) for a in expression.args], dtype)


def layer(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    """The outputs y, yh and, for an LSTM, yc: see `_infer_recurrent`."""
    dtype = arrays[0].dtype
    wide = np.dtype(np.float32) if dtype.itemsize < 4 else dtype
    xw, r = (x.astype(wide) for x in arrays[:2])
    time, batch, directions, _, hidden = xw.shape
    extra = {n: x if n == "lengths" else x.astype(wide) for n, x in zip(attrs["has"], arrays[2:])}
    lengths = extra.get("lengths", np.full(batch, time, np.int64))
    zero = np.zeros((directions, batch, hidden), wide)
    h, c = extra.get("h0", zero).copy(), extra.get("c0", zero).copy()
    y = np.zeros((time, batch, directions, hidden), wide)
    for d in range(directions):
        backward = attrs["direction"] == "reverse" or d == 1
        for t in reversed(range(time)) if backward else range(time):
            new_h, new_c = _cell(d, xw[t, :, d], r[d], h[d], c[d], extra, attrs)
            live = (t < lengths)[:, None]
            h[d], c[d] = np.where(live, new_h, h[d]), np.where(live, new_c, c[d])
            y[t, :, d] = np.where(live, new_h, 0)
    return [x.astype(dtype) for x in ((y, h, c) if attrs["kind"] == "lstm" else (y, h))]


def _cell(d: int, x: Array, r: Array, h: Array, c: Array, extra: dict[str, Array], attrs: Attrs) -> tuple[Array, Array]:
    """One step of direction d: x [B, G, H], r [H, G, H], states [B, H] -> new states.

    The formulas are those of ONNX's LSTM, GRU and RNN."""
    kind, clip = attrs["kind"], attrs["clip"]

    def activate(number: int, value: Array) -> Array:
        value = value if clip is None else np.clip(value, -clip, clip)
        return apply(attrs["activations"][d][number], value.astype(x.dtype))

    def recurrence(state: Array, gate: int) -> Array:
        return np.asarray(np.matmul(state, r[:, gate]))

    if kind == "rnn":
        return activate(0, x[:, 0] + recurrence(h, 0)), c
    if kind == "lstm":
        p = extra["peephole"][d] if "peephole" in extra else np.zeros((3, h.shape[-1]), x.dtype)
        i = activate(0, x[:, 0] + recurrence(h, 0) + p[0] * c)
        f = 1 - i if attrs["input_forget"] else activate(0, x[:, 2] + recurrence(h, 2) + p[2] * c)
        new_c = f * c + i * activate(1, x[:, 3] + recurrence(h, 3))
        o = activate(0, x[:, 1] + recurrence(h, 1) + p[1] * new_c)
        return o * apply(attrs["activations"][d][2], new_c), new_c  # not clipped
    z = activate(0, x[:, 0] + recurrence(h, 0))
    reset = activate(0, x[:, 1] + recurrence(h, 1))
    if kind == "gru":
        candidate = activate(1, x[:, 2] + recurrence(reset * h, 2))
    else:
        rb = extra["rb"][d] if "rb" in extra else np.zeros(h.shape[-1], x.dtype)
        candidate = activate(1, x[:, 2] + reset * (recurrence(h, 2) + rb))
    return (1 - z) * candidate + z * h, c


_ATTRS = "kind direction activations clip input_forget has"
register("recurrent", _infer_recurrent, layer, _ATTRS, demands=_demand_recurrent, traits=Trait.HEAVY)
