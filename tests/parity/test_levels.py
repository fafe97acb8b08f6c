"""Graph optimization levels: every level gives onnxruntime's numbers, and lower ones leave out what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import intaglio
from bench.inputs import model_inputs
from intaglio.compiler.driver import lower_model
from intaglio.compiler.kernel.ir import Attention, Conv
from intaglio.compiler.options import Options

DATA = Path(__file__).parents[1] / "data"
LEVELS = ["ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_LAYOUT"]


@pytest.mark.sample(4)
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


@pytest.mark.parametrize("level, form", [(99, "winograd"), (2, "panels")])
def test_below_the_highest_level_convolutions_are_exact(level: int, form: str) -> None:
    made = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]> agraph (float[1, 64, 28, 28] x) => (float[1, 64, 26, 26] y)
        <float[64, 64, 3, 3] w> { y = Conv (x, w) }"""
    )
    w = np.random.default_rng(0).standard_normal((64, 64, 3, 3)).astype(np.float32)
    made.graph.initializer.append(onnx.numpy_helper.from_array(w, "w"))
    program = lower_model(made.SerializeToString(), Options(level=level)).program
    assert program is not None
    assert form in [body.packing.form for body in (x.kernel.body for x in program.launches) if isinstance(body, Conv)]
