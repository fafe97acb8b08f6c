"""onnxruntime's quantised LSTM (com.microsoft.DynamicQuantizeLSTM), which its quantize_dynamic makes of every LSTM.

In: values and attributes of a node. Out: values. The inputs of all time steps are quantised to u8 by one range, and at
each step the states of a direction by one range for the whole batch, as by onnxruntime with one thread (with several it
quantises parts of a batch separately). Products are of integers; everything else is an LSTM in f32.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...graph.ir import Value
from ...scalar.dim import Size, Symbol
from ...scalar.dtype import F32, I32
from ...scalar.expr import Call, Const, Expr
from ..registry import Capture, onnx_op
from ..values import concat, scalar
from .contrib import DOMAIN
from .control import repeated
from .index import checked_index, iota, reverse_sequence
from .quant import dynamically_quantized
from .recurrent import LENGTHS, activations_of, directions_of


@onnx_op("DynamicQuantizeLSTM", domain=DOMAIN)
def dynamic_quantize_lstm(
    x: Value, w: Value, r: Value, bias: Value | None, lengths: Value | None, h0: Value | None, c0: Value | None,
    peephole: Value | None, w_scale: Value, w_zero: Value, r_scale: Value, r_zero: Value, *,
    activation_alpha: list[float] | None = None, activation_beta: list[float] | None = None,
    activations: list[str] | None = None, clip: float | None = None, direction: str = "forward",
    hidden_size: int | None = None, input_forget: int = 0,
) -> tuple[Value, ...]:  # fmt: skip
    """x [T, B, I], w [D, I, 4 * H], r [D, H, 4 * H]; scales and zero points [D] or [D, 4 * H]."""
    count, hidden = directions_of(direction), r.shape[1] if hidden_size is None else hidden_size
    (time, batch, features), gates = x.shape, 4 * hidden

    def sized(v: Value, what: str, *shape: Size) -> Value:
        return v.ensure_shape(*shape, text=f"{what} of {count} directions and {hidden} hidden units: {v.shape}")

    def parameter(v: Value, what: str) -> Value:
        shape = (count, gates)[: v.rank]
        return sized(v, what, *shape).reshape(count, 1, *([gates] if v.rank > 1 else [1]))

    w, r = sized(w, "W", count, features, gates), sized(r, "R", count, hidden, gates)
    w_scaling, r_scaling = (
        (parameter(scale, "a scale"), parameter(zero, "a zero point"))
        for scale, zero in ((w_scale, w_zero), (r_scale, r_zero))
    )
    if lengths is not None:
        counts = lengths.ensure_shape(batch, text="a length of each sequence")
        lengths = checked_index(counts, time + 1, LENGTHS)
        at = iota((time, 1, 1), 0, lengths)
        x = (at < lengths.max()).select(x, 0)  # steps beyond all sequences must not affect the range
    rows = _product(x.reshape(1, time * batch, features), w, *w_scaling, [0, 1, 2])
    if bias is not None:
        both = sized(bias, "B", count, 2 * gates).reshape(count, 2, 1, gates)
        rows = rows + (both.narrow(1, 0, 1) + both.narrow(1, 1, 1)).squeeze(1)
    rows = turned(rows.reshape(count, time, batch, gates), direction, lengths).permute(1, 0, 2, 3)
    state = scalar(0.0, F32).broadcast(count, batch, hidden)
    first = [state if v is None else sized(v, "initial states", count, batch, hidden) for v in (h0, c0)]

    scale, zero = r_scaling
    if peephole is not None:
        peephole = sized(peephole, "P", count, 3 * hidden).reshape(count, 3, 1, hidden)
    formulas = activations_of("lstm", activations, activation_alpha, activation_beta, count, F32)

    def step(i: Symbol, index: Value, capture: Capture, *states: Value) -> tuple[list[Value], list[Value]]:
        h, c, last = states
        row = capture(rows).narrow(0, i, 1).squeeze(0)
        total = row + _product(h, capture(r), capture(scale), capture(zero), [1, 2])
        taps = None if peephole is None else capture(peephole)
        new_h, new_c = lstm_cell(total, c, taps, formulas, clip, bool(input_forget))
        if lengths is None:
            return [new_h, new_c, new_h], [new_h]
        live = (index < capture(lengths)).reshape(1, batch, 1)
        new_h, new_c, last = live.select(new_h, 0), live.select(new_c, c), live.select(new_h, last)
        return [new_h, new_c, last], [new_h]

    (_, c, last), (y,) = repeated(time, [*first, state], step)
    if lengths is not None:
        c = (lengths > 0).reshape(1, batch, 1).select(c, 0)
    return turned(y.permute(1, 0, 2, 3), direction, lengths).permute(1, 0, 2, 3), last, c


def turned(v: Value, direction: str, lengths: Value | None) -> Value:
    """v [D, T, ...] with the time axis of the backward direction reversed."""
    if direction == "forward":
        return v
    back = v.narrow(0, v.shape[0] - 1, 1).squeeze(0)
    back = back.flip(0) if lengths is None else reverse_sequence(back, lengths)
    back = back.unsqueeze(0)
    return back if direction == "reverse" else concat([v.narrow(0, 0, 1), back], 0)


def _product(x: Value, w: Value, scale: Value, zero: Value, axes: Sequence[int]) -> Value:
    """x [D or 1, M, K], quantised by its range over `axes`, times w [D, K, N] of scale and zero [D, 1, N or 1]: f32."""
    narrow, of_x, zero_of_x = dynamically_quantized(x, axes)
    a, b, zero = zero_of_x.cast(I32), zero.cast(I32), zero.cast(I32)
    total = narrow.matmul(w, acc=I32) - a * w.cast(I32).sum(-2, keepdims=True)
    total = total - (narrow.cast(I32).sum(-1, keepdims=True) - a * a.const_size(x.shape[-1])) * b
    return total.cast(F32) * (of_x * scale)


def lstm_cell(
    total: Value, c: Value, peephole: Value | None, formulas: Sequence[Sequence[Expr]], clip: float | None,
    coupled: bool,
) -> tuple[Value, Value]:  # fmt: skip
    """total [D, B, 4 * H], c [D, B, H]: the new h and c, by the formulas of ONNX's LSTM."""
    count, batch, hidden = c.shape
    parts = [total.reshape(count, batch, 4, hidden).narrow(2, i, 1).squeeze(2) for i in range(4)]

    def activate(number: int, v: Value) -> Value:
        each = [formula[number] for formula in formulas]
        if all(e is each[0] or e == each[0] for e in each):
            return _applied(each[0], v)
        return concat([_applied(e, v.narrow(0, d, 1)) for d, e in enumerate(each)], 0)

    def gate(number: int, part: int, state: Value | None = None, taps: int = 0) -> Value:
        v = parts[part]
        if peephole is not None and state is not None:
            v = v + state * peephole.narrow(1, taps, 1).squeeze(1)
        return activate(number, v if clip is None else v.map("max", -clip).map("min", clip))

    i = gate(0, 0, c, 0)
    f = 1 - i if coupled else gate(0, 2, c, 2)
    new = f * c + i * gate(1, 3)
    return gate(0, 1, new, 1) * activate(2, new), new


def _applied(e: Expr, x: Value) -> Value:
    """An expression of Var("x") at every element of x."""
    if isinstance(e, Const):
        return scalar(e.value, e.dtype)
    if not isinstance(e, Call):
        return x
    first, *others = (_applied(a, x) for a in e.args)
    return first.emit("map", [first, *others], prim=e.prim)[0]
