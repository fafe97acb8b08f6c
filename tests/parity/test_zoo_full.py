"""The eleven architectures at full size against onnxruntime: `pytest -m slow tests/parity/test_zoo_full.py`.

Needs the models that `python -m bench zoo` builds, in INTAGLIO_ZOO_DIR; skipped where they are not there.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.models import path
from parity import zoo

pytestmark = pytest.mark.slow

PAIRS = [(1, 1), (1, 128), (2, 17), (3, 40)]  # batch, sequence


def _model(name: str) -> Path:
    try:
        return path(name)
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", zoo.NAMES)
def test_agrees_with_onnxruntime(name: str) -> None:
    model = _model(name)
    mine, reference = zoo.ours(model), zoo.theirs(model)
    for seed, (batch, sequence) in enumerate(PAIRS if name in zoo.TEXT else [(1, 0), (3, 0)]):
        zoo.compare(mine, reference, {"batch": batch, "sequence": sequence}, seed)
