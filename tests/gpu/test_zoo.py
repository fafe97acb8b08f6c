"""The eleven full-size models on the GPU, against onnxruntime on the CPU; build them with `python -m bench zoo`."""

from __future__ import annotations

import numpy as np
import pytest
from parity import zoo

import intaglio
from bench.inputs import session_inputs
from bench.models import MODELS, path

EXACT = ("CUDAExecutionProvider", {"use_tf32": "0"})


@pytest.mark.parametrize("name", list(MODELS))
def test_agrees_with_onnxruntime(name: str) -> None:
    """Launched the first time, captured the second, replayed the third; for another size again."""
    mine = intaglio.InferenceSession(path(name), providers=[EXACT, "CPUExecutionProvider"])
    reference = zoo.theirs(path(name))
    for batch in (1, 3):
        for seed in range(3):
            zoo.compare(mine, reference, {**MODELS[name], "batch": batch}, seed)
    assert {step["on"] for step in mine._artifact.notes()["steps"]} <= {
        "device", "host: integers of a few elements, as of shapes",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["resnet50", "bert"])
def test_tf32_is_close(name: str) -> None:
    """With the provider's default, products of f32 keep 11 bits."""
    mine = intaglio.InferenceSession(path(name), providers=["CUDAExecutionProvider"])
    reference = zoo.theirs(path(name))
    feeds = session_inputs(reference, {**MODELS[name], "batch": 2}, 0)
    (got,), (expected,) = mine.run(None, feeds), reference.run(None, feeds)
    assert np.abs(got - expected).max() <= 2e-2 * np.abs(expected).max()


def test_the_same_bits_every_time() -> None:
    mine = intaglio.InferenceSession(path("vit"), providers=[EXACT])
    feeds = session_inputs(zoo.theirs(path("vit")), {"batch": 2}, 0)
    first = mine.run(None, feeds)[0]
    assert all(mine.run(None, feeds)[0].tobytes() == first.tobytes() for _ in range(5))
