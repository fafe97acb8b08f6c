"""onnxruntime's LSTM with an attention mechanism."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from .nodes import Array, assert_same, model, ours, theirs

RNG = np.random.default_rng(0)


def f(*shape: int) -> Array:
    return (RNG.standard_normal(shape) / 2).astype(np.float32)


def case(
    direction: str = "forward", batch: int = 2, lengths: Any = None, memory_lengths: Any = None, layer: bool = True,
    bias: bool = True, states: bool = False, taps: bool = False, **attrs: Any,
) -> tuple[list[Any], dict[str, Any]]:  # fmt: skip
    """4 steps of 3 features, 5 hidden units, a memory of 6 steps of 3 numbers, keys of 4, attention of 2 or 3."""
    count = 2 if direction == "bidirectional" else 1
    attended = 2 if layer else 3

    def whole(values: Any) -> Any:
        return None if values is None else np.array(values, np.int32)

    inputs = [
        f(4, batch, 3), f(count, 20, 3 + attended), f(count, 20, 5), f(count, 40) if bias else None, whole(lengths),
        *([f(count, batch, 5) for _ in range(2)] if states else [None, None]), f(count, 15) if taps else None,
        f(count, 5, 4), f(count, 3, 4), f(count, 4), f(batch, 6, 3), whole(memory_lengths),
        f(count, 8, 2) if layer else None,
    ]  # fmt: skip
    return inputs, {"direction": direction, "hidden_size": 5, **attrs}


CASES = [
    *(case(direction, layer=layer) for direction in ("forward", "reverse", "bidirectional") for layer in (True, False)),
    case(lengths=[4, 2], memory_lengths=[3, 6]), case("bidirectional", lengths=[1, 3], memory_lengths=[1, 2]),
    case(states=True, taps=True, bias=False), case("bidirectional", 1, states=True, clip=0.3),
    case(input_forget=1, activations=["Sigmoid", "Tanh", "Softsign"]),
]  # fmt: skip
CONSTANT = (1, 2, 3, 7, 8, 9, 10, 13)


@pytest.mark.parametrize("inputs, attrs", CASES)
def test_same_as_onnxruntime(inputs: list[Any], attrs: dict[str, Any]) -> None:
    data, feeds = model("AttnLSTM", inputs, attrs, 3, domain="com.microsoft", fixed=CONSTANT)
    wanted = theirs(data, feeds)
    assert isinstance(wanted, list), wanted
    assert_same(ours(data, feeds), wanted, 1e-4, 1e-5)


def test_compiled_for_any_number_of_steps() -> None:
    inputs, attrs = case("bidirectional", lengths=[1, 3], memory_lengths=[1, 2])
    data, feeds = model("AttnLSTM", inputs, attrs, 3, domain="com.microsoft", fixed=CONSTANT, symbolic=True)
    assert_same(ours(data, feeds, compiled=True), theirs(data, feeds), 1e-4, 1e-5)


@pytest.mark.parametrize("inputs, attrs", [
    case(lengths=[4, 5]), case(memory_lengths=[0, 6]), case(memory_lengths=[7, 6]),
    ([*case()[0][:11], f(1, 6, 3), *case()[0][12:]], case()[1]),
    ([*case()[0][:8], f(1, 4, 4), *case()[0][9:]], case()[1]),
])  # fmt: skip
def test_refused_as_by_onnxruntime(inputs: list[Any], attrs: dict[str, Any]) -> None:
    data, feeds = model("AttnLSTM", inputs, attrs, 3, domain="com.microsoft", fixed=CONSTANT)
    made, wanted = ours(data, feeds, compiled=True), theirs(data, feeds)
    assert isinstance(made, str), made
    assert isinstance(wanted, str), wanted
