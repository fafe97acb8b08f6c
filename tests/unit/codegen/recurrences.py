"""LSTM, GRU and RNN for the tests of both back ends: cases, their kernels, random arrays for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from intaglio.compiler.kernel.ir import Kernel, Param, Recurrent
from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import BF16, F16, F32, F64, I64, DType
from intaglio.compiler.scalar.expr import Const, Expr, Var
from intaglio.compiler.scalar.prims import call

Array = np.ndarray[Any, Any]
GATES = {"lstm": 4, "gru": 3, "gru_linear_before_reset": 3, "rnn": 1}
ACTIVATIONS: dict[str, Callable[[Expr], Expr]] = {
    "sigmoid": lambda x: call("sigmoid", x),
    "tanh": lambda x: call("tanh", x),
    "relu": lambda x: call("max", x, Const(0.0, x.dtype)),
    "softsign": lambda x: x / (call("abs", x) + 1.0),
}
DEFAULTS = {"lstm": ("sigmoid", "tanh", "tanh"), "rnn": ("tanh",)}


@dataclass(frozen=True)
class Case:
    kind: str
    direction: str = "forward"
    time: int = 7
    batch: int = 3
    hidden: int = 21
    has: tuple[str, ...] = ()  # of rb, peephole, h0, c0, lengths
    outputs: tuple[str, ...] = ("y", "yh", "yc")
    activations: tuple[tuple[str, ...], ...] = ()  # per direction
    clip: float | None = None
    input_forget: bool = False
    dtype: DType = F32
    symbolic: bool = True

    @property
    def directions(self) -> int:
        return 2 if self.direction == "bidirectional" else 1

    @property
    def names(self) -> tuple[tuple[str, ...], ...]:
        return self.activations or (DEFAULTS.get(self.kind, ("sigmoid", "tanh")),) * self.directions


def kernel_of(case: Case) -> tuple[Kernel, list[int]]:
    sizes = (case.time, case.batch, case.hidden)
    symbols = tuple(Symbol(n, 0) for n in ("time", "batch", "hidden")) if case.symbolic else ()
    time, batch, hidden = symbols or sizes
    params: list[Param] = []
    number: dict[str, int] = {}
    for name in ("xw", "r", "rb", "peephole", "h0", "c0", "lengths", "y", "yh", "yc"):
        given = name in ("xw", "r", *case.has, *(o for o in case.outputs if o != "yc" or case.kind == "lstm"))
        number[name] = len(params) if given else -1
        if given:
            params.append(Param(I64 if name == "lengths" else case.dtype, 0, name.startswith("y")))
    x = Var("x", case.dtype.compute)
    body = Recurrent(
        kind=case.kind, direction=case.direction, time=time, batch=batch, hidden=hidden, clip=case.clip,
        input_forget=case.input_forget, dtype=case.dtype, **number,
        activations=tuple(tuple(ACTIVATIONS[name](x) for name in names) for names in case.names),
    )  # fmt: skip
    return Kernel(tuple(params), symbols, body), list(sizes) if case.symbolic else []


def arrays_of(case: Case, rng: np.random.Generator) -> dict[str, Array]:
    t, b, d, g, h = case.time, case.batch, case.directions, GATES[case.kind], case.hidden
    shapes: dict[str, tuple[int, ...]] = {
        "xw": (t, b, d, g, h), "r": (d, h, g, h), "rb": (d, h), "peephole": (d, 3, h), "h0": (d, b, h), "c0": (d, b, h),
    }  # fmt: skip
    dtype = case.dtype.to_numpy()
    given = ("xw", "r", *case.has)
    arrays = {name: rng.standard_normal(s).astype(dtype) for name, s in shapes.items() if name in given}
    arrays["r"] = (arrays["r"].astype(np.float64) / np.sqrt(h)).astype(dtype)
    if "lengths" in case.has:
        arrays["lengths"] = rng.integers(0, t + 1, b)
    outputs = {"y": (t, b, d, h), "yh": (d, b, h), "yc": (d, b, h)}
    for name in case.outputs:
        if name != "yc" or case.kind == "lstm":
            arrays[name] = np.full(outputs[name], np.nan, dtype)
    return arrays


CASES = [
    Case("lstm"),
    Case("lstm", "bidirectional", batch=1, hidden=128, time=20, symbolic=False),
    Case("lstm", "bidirectional", batch=13, hidden=40, has=("peephole", "h0", "c0", "lengths")),
    Case("lstm", "reverse", has=("c0", "lengths"), outputs=("yh",), clip=0.3),
    Case("lstm", input_forget=True, has=("peephole",), outputs=("y",), dtype=F64),
    Case("lstm", "bidirectional", activations=(("sigmoid", "tanh", "relu"), ("softsign", "relu", "tanh")), has=("h0",)),
    Case("lstm", "bidirectional", dtype=F16, has=("h0", "c0", "lengths", "peephole")),
    Case("gru", "bidirectional", batch=2, hidden=50, has=("h0", "lengths")),
    Case("gru", "reverse", batch=5, hidden=6, clip=0.5, time=1),
    Case("gru", dtype=BF16, batch=9),
    Case("gru_linear_before_reset", "bidirectional", batch=4, hidden=33, has=("rb", "h0", "lengths")),
    Case("gru_linear_before_reset", "reverse", batch=20, hidden=3, outputs=("y",)),
    Case("rnn", "bidirectional", batch=6, hidden=100, has=("h0",)),
    Case("rnn", hidden=1, batch=1, time=3, activations=(("relu",),)),
    Case("rnn", "reverse", hidden=5, has=("lengths",), dtype=F64),
]
