"""The small models of the zoo have as few kernels as ever: what passes see through, and what fuses, shows in that."""

from __future__ import annotations

import pytest

from bench.models import SMALL_DIR
from intaglio.compiler import driver
from intaglio.compiler.options import Options

STEPS = {
    "bert": 20, "convnext": 20, "gpt2": 17, "llama": 34, "lstm": 6, "mlp": 3, "mobilenetv2": 55, "resnet50": 16,
    "segformer": 68, "vit": 23, "whisper": 22,
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_number_of_steps(name: str) -> None:
    program = driver.lower_model(str(SMALL_DIR / f"{name}.onnx"), Options(target="x86-64-v4")).program
    assert program is not None
    assert len(program.launches) <= STEPS[name]
    assert len(program.conditions) <= 3  # nearly everything that operations demand of these is provable
