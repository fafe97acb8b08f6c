"""Random inputs keep to the shapes, types and bounds that the small models state."""

from __future__ import annotations

import numpy as np
import pytest

from bench.inputs import model_inputs, session_inputs
from bench.models import MODELS, SMALL_DIR


@pytest.mark.parametrize("name", MODELS)
def test_onnxruntime_takes_them(name: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    file = SMALL_DIR / f"{name}.onnx"
    feeds = model_inputs(file, {"batch": 3, "sequence": 7})
    session = onnxruntime.InferenceSession(file)
    (output,) = session.run(None, feeds)
    assert output.shape[0] == 3
    assert np.isfinite(output).all()
    same = session_inputs(session, {"batch": 3, "sequence": 7})
    assert all(np.array_equal(feeds[key], same[key]) for key in feeds | same)


def test_token_ids_use_the_whole_vocabulary_and_no_more() -> None:
    ids = model_inputs(SMALL_DIR / "bert.onnx", {"batch": 200, "sequence": 50})["input_ids"]
    assert ids.dtype == np.int64 and ids.min() == 0 and ids.max() == 199


def test_seed() -> None:
    file = SMALL_DIR / "mlp.onnx"
    first, again, other = (model_inputs(file, {}, seed)["input"] for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
