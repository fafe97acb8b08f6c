"""Any division of a model between host and device gives its results: random placements of what is decided at run time.

The models of tests/parity/test_control_flow.py (sizes that depend on data, branches, loops, scans), each with launches
refused to the device at random, and run under Triton's interpreter; against onnxruntime, as there.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from parity import test_control_flow as models

import intaglio
from intaglio.compiler.codegen.triton.program import Device
from intaglio.compiler.kernel.ir import Launch

EXACT = ("CUDAExecutionProvider", {"use_tf32": "0"})
SHARES = (0.0, 0.5)  # of launches that stay on the host


def cases() -> list[Any]:
    """The tests of that module that compare, one for each of their parameters."""
    found = []
    for name, test in vars(models).items():
        if not name.startswith("test_") or "compare(" not in inspect.getsource(test):
            continue
        marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
        if not marks:
            found.append(pytest.param(test, (), id=name[5:]))
        elif len(marks) == 1:
            values = [v if isinstance(v, tuple) and "," in str(marks[0].args[0]) else (v,) for v in marks[0].args[1]]
            found += [pytest.param(test, v, id=f"{name[5:]}-{i}") for i, v in enumerate(values[:2])]
    return found


@pytest.mark.sample(3)
@pytest.mark.parametrize(("test", "values"), cases())
def test_random_placements(
    test: Callable[..., None], values: Sequence[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    possible = Device.refusal
    placed: list[bool] = []

    def compare(data: bytes, runs: Sequence[models.Feeds]) -> None:
        reference = onnxruntime.InferenceSession(data)
        for seed, share in enumerate(SHARES):
            rng = random.Random(seed)

            def refusal(self: Device, launch: Launch, rng: random.Random = rng, share: float = share) -> str | None:
                return "as the test wants" if rng.random() < share else possible(self, launch)

            monkeypatch.setattr(Device, "refusal", refusal)
            monkeypatch.setenv("INTAGLIO_CACHE_DIR", str(tmp_path / str(len(placed))))
            mine = intaglio.InferenceSession(data, providers=[EXACT, "CPUExecutionProvider"])
            placed.append(mine._artifact.manifest["device"]["steps"] > 0)
            for feeds in runs:
                for got, wanted in zip(mine.run(None, dict(feeds)), reference.run(None, dict(feeds)), strict=True):
                    assert (np.shape(got), np.asarray(got).dtype) == (np.shape(wanted), np.asarray(wanted).dtype)
                    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6, err_msg=f"seed {seed}")

    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(models, "compare", compare)
    test(*values)
    assert placed
