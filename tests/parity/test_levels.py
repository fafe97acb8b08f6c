"""Graph optimization levels: every level gives onnxruntime's numbers, and lower ones leave out what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import intaglio
from bench.inputs import model_inputs
from intaglio.compiler.codegen.c.kernels import CTemplates
from intaglio.compiler.driver import lower_model
from intaglio.compiler.kernel.ir import Attention
from intaglio.compiler.options import Options
from intaglio.compiler.scalar.dtype import F32
from intaglio.compiler.target import target

DATA = Path(__file__).parents[1] / "data"
LEVELS = ["ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_LAYOUT"]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["vit", "mobilenetv2"])
def test_numbers(name: str, level: str) -> None:
    path = DATA / f"{name}.onnx"
    feeds = model_inputs(path, {"batch": 2}, seed=11)
    options = intaglio.SessionOptions()
    options.graph_optimization_level = intaglio.GraphOptimizationLevel[level]
    ours = intaglio.InferenceSession(path, options).run(None, feeds)
    theirs = onnxruntime.InferenceSession(path).run(None, feeds)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_what_levels_leave_out() -> None:
    def bodies(name: str, level: int) -> list[object]:
        program = lower_model(str(DATA / f"{name}.onnx"), Options(level=level)).program
        assert program is not None
        return [launch.kernel.body for launch in program.launches]

    assert any(isinstance(b, Attention) for b in bodies("vit", 99))
    assert not any(isinstance(b, Attention) for b in bodies("vit", 1))


def test_below_the_highest_level_convolutions_are_exact() -> None:
    facts = {
        "taps": (3, 3), "strides": (1, 1), "dilations": (1, 1), "groups": 1, "ic": 128, "oc": 128, "out": (28, 28),
        "dtype": F32,
    }  # fmt: skip
    assert CTemplates(target()).conv_packing(facts).form == "winograd"
    assert CTemplates(target(), approximate=False).conv_packing(facts).form == "panels"
