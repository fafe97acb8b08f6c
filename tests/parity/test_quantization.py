"""onnxruntime's Python toolkits on our sessions make the models that they make on its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime

import intaglio

QUANTIZE, TOOLKITS = (Path(__file__).with_name(name) for name in ("quantize.py", "toolkits.py"))


def written(program: Path, folder: Path, *command: str) -> tuple[str, dict[str, bytes]]:
    """The module of InferenceSession in a run of the program, and what it wrote."""
    folder.mkdir()
    aside = folder.with_suffix(".aside")  # for what toolkits leave in the current folder
    aside.mkdir()
    call = [sys.executable, *command, str(program), str(folder)]
    done = subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True, cwd=aside)
    return done.stdout.split()[-1], {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_models(tmp_path: Path) -> None:
    engine, theirs = written(QUANTIZE, tmp_path / "theirs")
    assert engine.startswith("onnxruntime.")
    engine, ours = written(QUANTIZE, tmp_path / "ours", "-m", "intaglio.as_onnxruntime")
    assert engine.startswith("intaglio.")
    assert len(ours) == 9 and ours == theirs
    x = (np.random.default_rng(1).integers(-16, 17, (3, 3, 8, 8)) / 8).astype(np.float32)
    for name in ("QDQ-MinMax.onnx", "QOperator-Entropy.onnx", "dynamic.onnx"):
        # Roundings of exact halves may differ, by a step of about 0.1.
        (expected,) = onnxruntime.InferenceSession(theirs[name]).run(None, {"x": x})
        (found,) = intaglio.InferenceSession(ours[name]).run(None, {"x": x})
        np.testing.assert_allclose(found, expected, atol=0.25)


def test_other_toolkits(tmp_path: Path) -> None:
    """Fusions of transformers, conversion to float16, shapes, weights of four bits."""
    engine, theirs = written(TOOLKITS, tmp_path / "theirs")
    assert engine.startswith("onnxruntime.")
    engine, ours = written(TOOLKITS, tmp_path / "ours", "-m", "intaglio.as_onnxruntime")
    assert engine.startswith("intaglio.")
    assert len(ours) == 9 and ours == theirs
