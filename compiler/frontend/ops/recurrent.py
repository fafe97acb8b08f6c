"""ONNX LSTM, GRU and RNN: the input projection as one matrix product over all time steps, then `recurrent`.

In: values and attributes of a node. Out: values. Formulas: https://onnx.ai/onnx/operators/onnx__LSTM.html.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...errors import Unsupported
from ...graph.ir import Value
from ...scalar.dim import Size
from ...scalar.dtype import DType
from ...scalar.expr import Const, Expr, Var
from ...scalar.prims import call
from ..registry import onnx_op
from .index import checked_index
from .matmul import product

Activation = Callable[[Expr, float, float], Expr]


def _clamp(x: Expr, low: float, high: float) -> Expr:
    return call("min", call("max", x, Const(low, x.dtype)), Const(high, x.dtype))


def _choose(condition: Expr, yes: Expr, no: Expr) -> Expr:
    return call("select", condition, yes, no)


# name: (default alpha, default beta, formula); None where the parameter is not used
ACTIVATIONS: dict[str, tuple[float | None, float | None, Activation]] = {
    "relu": (None, None, lambda x, a, b: call("max", x, Const(0.0, x.dtype))),
    "tanh": (None, None, lambda x, a, b: call("tanh", x)),
    "sigmoid": (None, None, lambda x, a, b: call("sigmoid", x)),
    "softsign": (None, None, lambda x, a, b: x / (call("abs", x) + 1.0)),
    "softplus": (
        None,
        None,
        lambda x, a, b: call("max", x, Const(0.0, x.dtype)) + call("log1p", call("exp", -call("abs", x))),
    ),
    "affine": (1.0, 0.0, lambda x, a, b: x * a + b),
    "leakyrelu": (0.01, None, lambda x, a, b: _choose(x < 0.0, x * a, x)),
    "thresholdedrelu": (1.0, None, lambda x, a, b: _choose(x > a, x, Const(0.0, x.dtype))),
    "scaledtanh": (1.0, 1.0, lambda x, a, b: call("tanh", x * b) * a),
    "hardsigmoid": (0.2, 0.5, lambda x, a, b: _clamp(x * a + b, 0.0, 1.0)),
    "elu": (1.0, None, lambda x, a, b: _choose(x < 0.0, call("expm1", x) * a, x)),
}


DEFAULTS = {"lstm": ("Sigmoid", "Tanh", "Tanh"), "gru": ("Sigmoid", "Tanh"), "rnn": ("Tanh",)}
LENGTHS = "Invalid value/s in sequence_lens. All values must be >= 0 and <= seq_length"


def activations_of(
    kind: str, names: Sequence[str] | None, alphas: Sequence[float] | None, betas: Sequence[float] | None,
    directions: int, dtype: DType,
) -> tuple[tuple[Expr, ...], ...]:  # fmt: skip
    """The activations of each direction; alphas and betas go, in order, to the activations that take them."""
    alpha, beta = iter(alphas or ()), iter(betas or ())
    formulas: list[Expr] = []
    for name in names or DEFAULTS[kind.split("_")[0]] * directions:
        if name.lower() not in ACTIVATIONS:
            raise Unsupported(f"the activation '{name}'")
        a, b, formula = ACTIVATIONS[name.lower()]
        a = a if a is None else next(alpha, a)
        b = b if b is None else next(beta, b)
        formulas.append(formula(Var("x", dtype), a or 0.0, b or 0.0))
    count = len(formulas) // directions
    return tuple(tuple(formulas[d * count : (d + 1) * count]) for d in range(directions))


def directions_of(direction: str) -> int:
    """The number of directions of a layer. Raises ValueError for an unknown `direction`."""
    if direction not in ("forward", "reverse", "bidirectional"):
        raise ValueError(f"there is no direction '{direction}'")
    return 2 if direction == "bidirectional" else 1


def _layer(
    kind: str, gates: int, x: Value, w: Value, r: Value, bias: Value | None, lengths: Value | None,
    states: dict[str, Value | None], activations: list[str] | None,
    activation_alpha: list[float] | None, activation_beta: list[float] | None, clip: float | None, direction: str,
    layout: int, hidden_size: int | None, input_forget: int = 0,
) -> tuple[Value, ...]:  # fmt: skip
    """w [D, G * H, I], r [D, G * H, H], bias [D, 2 * G * H]; states: the optional inputs h0, c0, peephole by name.

    D and H come from the attributes, and the shapes of the inputs are checked against them."""
    directions = directions_of(direction)
    hidden = r.shape[-1] if hidden_size is None else hidden_size

    def sized(v: Value, what: str, *shape: Size) -> Value:
        return v.ensure_shape(*shape, text=f"{what} of {directions} directions and {hidden} hidden units: {v.shape}")

    w = sized(w, "W", directions, gates * hidden, w.shape[2])
    r = sized(r, "R", directions, gates * hidden, hidden)
    if layout:  # batch first
        x = x.permute(1, 0, 2)
        states = {k: v if v is None or k == "peephole" else v.permute(1, 0, 2) for k, v in states.items()}
    time, batch, _ = x.shape
    xw = product(x, w.reshape(-1, w.shape[2]).permute(1, 0)).reshape(time, batch, directions, gates, hidden)
    optional: dict[str, Value] = {}
    if bias is not None:
        both = sized(bias, "B", directions, 2 * gates * hidden).reshape(directions, 2, gates, hidden)
        of_w, of_r = (both.narrow(1, i, 1).squeeze(1) for i in (0, 1))
        if kind == "gru_linear_before_reset":
            optional["rb"] = of_r.narrow(1, 2, 1).squeeze(1)
            of_r = of_r.narrow(1, 0, 2).pad([0, 0, 0], [0, 1, 0])
        xw = xw + (of_w + of_r)
    for name in ("peephole", "h0", "c0"):
        value = states.get(name)
        if value is not None:
            if name == "peephole":
                optional[name] = sized(value, "P", directions, 3 * hidden).reshape(directions, 3, hidden)
            else:
                optional[name] = sized(value, f"initial_{name[0]}", directions, batch, hidden)
    if lengths is not None:
        counts = lengths.ensure_shape(batch, text="a length of each sequence")
        optional["lengths"] = checked_index(counts, time + 1, LENGTHS)
    outputs = x.emit(
        "recurrent", [xw, r.reshape(directions, gates, hidden, hidden).permute(0, 3, 1, 2), *optional.values()],
        kind=kind, direction=direction, has=tuple(optional), input_forget=bool(input_forget), clip=clip,
        activations=activations_of(
            kind, activations, activation_alpha, activation_beta, directions, x.dtype.compute
        ),
    )  # fmt: skip
    y, *last = outputs
    if lengths is not None:  # an empty sequence has states of 0 in onnxruntime; the standard is silent
        some = (optional["lengths"] > 0).unsqueeze(-1)
        last = [some.select(v, 0) for v in last]
    if layout:
        return (y.permute(1, 0, 2, 3), *(v.permute(1, 0, 2) for v in last))
    return (y.permute(0, 2, 1, 3), *last)


@onnx_op("LSTM", since=7)
def lstm(
    x: Value, w: Value, r: Value, bias: Value | None = None, lengths: Value | None = None, h0: Value | None = None,
    c0: Value | None = None, peephole: Value | None = None, *, activation_alpha: list[float] | None = None,
    activation_beta: list[float] | None = None, activations: list[str] | None = None, clip: float | None = None,
    direction: str = "forward", hidden_size: int | None = None, input_forget: int = 0, layout: int = 0,
) -> tuple[Value, ...]:  # fmt: skip
    return _layer(
        "lstm", 4, x, w, r, bias, lengths, {"peephole": peephole, "h0": h0, "c0": c0}, activations,
        activation_alpha, activation_beta, clip, direction, layout, hidden_size, input_forget,
    )  # fmt: skip


@onnx_op("GRU", since=7)
def gru(
    x: Value, w: Value, r: Value, bias: Value | None = None, lengths: Value | None = None, h0: Value | None = None, *,
    activation_alpha: list[float] | None = None, activation_beta: list[float] | None = None,
    activations: list[str] | None = None, clip: float | None = None, direction: str = "forward",
    hidden_size: int | None = None, layout: int = 0, linear_before_reset: int = 0,
) -> tuple[Value, ...]:  # fmt: skip
    kind = "gru_linear_before_reset" if linear_before_reset else "gru"
    return _layer(
        kind, 3, x, w, r, bias, lengths, {"h0": h0}, activations, activation_alpha, activation_beta,
        clip, direction, layout, hidden_size,
    )  # fmt: skip


@onnx_op("RNN", since=7)
def rnn(
    x: Value, w: Value, r: Value, bias: Value | None = None, lengths: Value | None = None, h0: Value | None = None, *,
    activation_alpha: list[float] | None = None, activation_beta: list[float] | None = None,
    activations: list[str] | None = None, clip: float | None = None, direction: str = "forward",
    hidden_size: int | None = None, layout: int = 0,
) -> tuple[Value, ...]:  # fmt: skip
    return _layer(
        "rnn", 1, x, w, r, bias, lengths, {"h0": h0}, activations, activation_alpha, activation_beta, clip,
        direction, layout, hidden_size,
    )  # fmt: skip
