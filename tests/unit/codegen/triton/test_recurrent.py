"""LSTM, GRU and RNN in Triton against their meaning in float64, on fresh random inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from chance import fresh_seed
from unit.codegen.exact import meant
from unit.codegen.recurrences import CASES, Case, arrays_of, kernel_of
from unit.codegen.triton import translated

from intaglio.compiler.scalar.dtype import BF16, DTYPES, F16, F32, F64

Run = Callable[..., None]


def _check(
    case: Case, run_triton: Run, rng: np.random.Generator | None = None, lengths: tuple[int, ...] | None = None
) -> None:
    arrays = arrays_of(case, rng or np.random.default_rng(0))
    if lengths is not None:
        arrays["lengths"][:] = lengths
    kernel, sizes = kernel_of(case)
    run_triton(kernel, [*arrays.values()], sizes)
    tolerance = {BF16: 4e-2, F16: 5e-3, F32: 1e-5, F64: 1e-12}[case.dtype]  # states are kept in the type
    for name, wanted in zip(arrays, meant(kernel, [*arrays.values()], sizes)):
        np.testing.assert_allclose(arrays[name].astype(np.float64), wanted, tolerance, tolerance, err_msg=name)


def _small(case: Case) -> Case:
    """With few steps, and all outputs."""
    return replace(case, time=min(case.time, 4), outputs=("y", "yh", "yc"))


# f64 has no tanh in Triton
@pytest.mark.parametrize("case", [_small(c) for c in CASES if c.dtype != F64], ids=str)
def test_every_case(case: Case, run_triton: Run) -> None:
    _check(case, run_triton)


@pytest.mark.parametrize(
    "case",
    [
        Case("lstm", time=3, hidden=70, batch=20, outputs=("y", "yc"), input_forget=True, has=("peephole", "lengths")),
        Case("lstm", time=3, activations=(("softsign", "relu", "softsign"),), has=("h0", "peephole"), dtype=F64),
        Case("gru", "bidirectional", time=3, hidden=70, has=("h0", "lengths"), symbolic=False),
        Case("gru_linear_before_reset", time=3, outputs=("y",), activations=(("softsign", "relu"),), dtype=F64),
        Case("rnn", "bidirectional", time=3, activations=(("relu",), ("tanh",)), clip=0.5),
        Case("rnn", time=0, has=("h0",)),
        Case("lstm", time=0, has=("c0",)),
    ],
    ids=str,
)
def test_options(case: Case, run_triton: Run) -> None:
    _check(case, run_triton)


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_sequences_of_no_steps_and_of_too_many(kind: str, direction: str, run_triton: Run) -> None:
    has = ("h0", "c0", "lengths") if kind == "lstm" else ("h0", "lengths")
    _check(Case(kind, direction, time=3, batch=4, hidden=5, has=has), run_triton, lengths=(0, 9, 2, -1))


def test_random_sizes(run_triton: Run) -> None:
    seed = fresh_seed()
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    for _ in range(5):
        time, batch, hidden = (int(x) for x in rng.integers((0, 1, 1), (4, 20, 80)))
        _check(Case("gru", "bidirectional", time, batch, hidden, ("h0", "lengths")), run_triton, rng)


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (Case("rnn", outputs=("yh",)), "rnn without y, which holds a state between steps, in Triton"),
        (Case("lstm", outputs=("y", "yh")), "lstm without yc, which holds a state between steps, in Triton"),
        (Case("gru", outputs=("y",)), "gru without yh, which holds a state between steps, in Triton"),
        (Case("rnn", dtype=DTYPES["f8e5m2"]), "rnn of f8e5m2 in Triton"),
    ],
)
def test_refusals(case: Case, reason: str) -> None:
    assert translated.refusal(kernel_of(case)[0]) == reason
