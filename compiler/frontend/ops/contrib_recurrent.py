"""onnxruntime's LSTM with an attention mechanism (com.microsoft.AttnLSTM).

In: values and attributes of a node. Out: values. Formulas: onnxruntime's docs/ContribOperators.md; the attention is
Bahdanau's (https://arxiv.org/abs/1409.0473).
"""

from __future__ import annotations

import math

from ...graph.ir import Value
from ...scalar.dim import Size, Symbol
from ..registry import Capture, onnx_op
from ..values import concat
from .contrib import DOMAIN
from .control import repeated
from .index import checked_index, iota
from .quant_recurrent import lstm_cell, turned
from .recurrent import LENGTHS, activations_of, directions_of
from .reduce import softmax


@onnx_op("AttnLSTM", domain=DOMAIN)
def attn_lstm(
    x: Value, w: Value, r: Value, bias: Value | None, lengths: Value | None, h0: Value | None, c0: Value | None,
    peephole: Value | None, qw: Value, mw: Value, v: Value, memory: Value, memory_lengths: Value | None = None,
    aw: Value | None = None, *, activation_alpha: list[float] | None = None,
    activation_beta: list[float] | None = None, activations: list[str] | None = None, clip: float | None = None,
    direction: str = "forward", hidden_size: int | None = None, input_forget: int = 0,
) -> tuple[Value, ...]:  # fmt: skip
    """x [T, B, I], w [D, 4 * H, I + A], r [D, 4 * H, H]; qw [D, H, Q], mw [D, M, Q], v [D, Q], memory [B, S, M].

    The input of a step is followed by what the step before attended to: the mean of the memory, weighted by how its
    keys, memory * mw, agree with the state, or, with aw [D, H + M, A], a layer on the state and that."""
    count, hidden = directions_of(direction), r.shape[-1] if hidden_size is None else hidden_size
    time, batch, features = x.shape
    depth, width, steps, gates = memory.shape[2], qw.shape[-1], memory.shape[1], 4 * hidden
    attended = depth if aw is None else aw.shape[-1]

    def sized(t: Value, what: str, *shape: Size) -> Value:
        return t.ensure_shape(*shape, text=f"{what} of {count} directions and {hidden} hidden units: {t.shape}")

    w, r = sized(w, "W", count, gates, features + attended), sized(r, "R", count, gates, hidden)
    qw, mw, v = sized(qw, "QW", count, hidden, width), sized(mw, "MW", count, depth, width), sized(v, "V", count, width)
    memory = memory.ensure_shape(batch, steps, depth, text="a memory of each sequence")
    keys = memory.unsqueeze(0).matmul(mw.unsqueeze(1))  # [D, B, S, Q]
    if lengths is not None:
        counts = lengths.ensure_shape(batch, text="a length of each sequence")
        lengths = checked_index(counts, time + 1, LENGTHS)
    known: Value | None = None
    if memory_lengths is not None:
        most = memory_lengths.ensure_shape(batch, text="a length of each memory")
        most = checked_index(most - 1, steps, "memory_seq_lens are not within the memory")
        known = iota((1, 1, steps), 2, most) <= most.reshape(1, batch, 1)
    rows = x.reshape(1, time * batch, features).matmul(w.narrow(2, 0, features).permute(0, 2, 1))
    if bias is not None:
        both = sized(bias, "B", count, 2 * gates).reshape(count, 2, 1, gates)
        rows = rows + (both.narrow(1, 0, 1) + both.narrow(1, 1, 1)).squeeze(1)
    rows = turned(rows.reshape(count, time, batch, gates), direction, lengths).permute(1, 0, 2, 3)
    if peephole is not None:
        peephole = sized(peephole, "P", count, 3 * hidden).reshape(count, 3, 1, hidden)
    state = x.const(0.0).broadcast(count, batch, hidden)
    first = [state if t is None else sized(t, "initial states", count, batch, hidden) for t in (h0, c0)]
    of_attended = w.narrow(2, features, attended).permute(0, 2, 1)
    if aw is not None:
        aw = sized(aw, "AW", count, hidden + depth, attended)
    formulas = activations_of("lstm", activations, activation_alpha, activation_beta, count, x.dtype)

    def step(i: Symbol, index: Value, capture: Capture, *states: Value) -> tuple[list[Value], list[Value]]:
        h, c, last, attention = states
        total = capture(rows).narrow(0, i, 1).squeeze(0) + attention.matmul(capture(of_attended))
        total = total + h.matmul(capture(r).permute(0, 2, 1))
        taps = None if peephole is None else capture(peephole)
        new_h, new_c = lstm_cell(total, c, taps, formulas, clip, bool(input_forget))
        query = new_h.matmul(capture(qw)).unsqueeze(2)
        scores = ((capture(keys) + query).map("tanh") * capture(v).reshape(count, 1, 1, width)).sum(3)  # [D, B, S]
        shares = softmax(scores if known is None else capture(known).select(scores, -math.inf), axis=2)
        attention = shares.unsqueeze(2).matmul(capture(memory).unsqueeze(0)).squeeze(2)
        if aw is not None:
            attention = concat([new_h, attention], 2).matmul(capture(aw))
        if lengths is None:
            return [new_h, new_c, new_h, attention], [new_h]
        live = (index < capture(lengths)).reshape(1, batch, 1)
        return [new_h, live.select(new_c, c), live.select(new_h, last), attention], [live.select(new_h, 0)]

    begin = x.const(0.0).broadcast(count, batch, attended)
    (_, c, last, _), (y,) = repeated(time, [*first, state, begin], step)
    return turned(y.permute(1, 0, 2, 3), direction, lengths).permute(1, 0, 2, 3), last, c
