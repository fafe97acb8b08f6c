"""What the parity tests of the zoo share: sessions of both engines, random inputs, and the one tolerance."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import intaglio
from bench.inputs import session_inputs
from bench.models import MODELS, SMALL_DIR

Array = np.ndarray[Any, Any]
NAMES = list(MODELS)
TEXT = [name for name in MODELS if "sequence" in MODELS[name]]  # the models with two symbolic dimensions
PAIRS = [(1, 1), (1, 2), (2, 1), (1, 9), (3, 5), (2, 16), (1, 33), (4, 17), (7, 3), (1, 64)]  # batch, sequence


def small(name: str) -> Path:
    return SMALL_DIR / f"{name}.onnx"


def ours(path: Path, threads: int = 0) -> intaglio.InferenceSession:
    options = intaglio.SessionOptions()
    options.intra_op_num_threads = threads
    return intaglio.InferenceSession(path, options)


def theirs(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def compare(
    mine: intaglio.InferenceSession, reference: onnxruntime.InferenceSession, dims: Mapping[str, int], seed: int
) -> None:
    """Runs both on the same random inputs. Raises AssertionError, with the seed, unless |a - b| <= 1e-4 + 1e-3 |b|."""
    feeds = session_inputs(reference, dims, seed)
    names = [each.name for each in reference.get_outputs()]
    assert [each.name for each in mine.get_outputs()] == names
    for name, got, expected in zip(names, mine.run(None, feeds), reference.run(None, feeds)):
        where = f"output '{name}' at {dict(dims)}, inputs from seed {seed}"
        assert (got.dtype, got.shape) == (expected.dtype, expected.shape), where
        assert np.isfinite(expected).all(), where
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4, err_msg=where)
