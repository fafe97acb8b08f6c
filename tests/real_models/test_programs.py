"""Programs that use such packages print the same under `python -m intaglio.as_onnxruntime`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from real_models.agreement import unlike
from real_models.programs import PROGRAMS
from real_models.table import MISSING

pytestmark = [pytest.mark.models, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
REFUSED = {"japanese": "inputs of strings"}
OURS = ("-m", "intaglio.as_onnxruntime")
MODULE = ["-m", "tests.real_models.programs"]


def _run(name: str, *under: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *under, *MODULE, name]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


def _printed(name: str, *under: str) -> list[Any]:
    done = _run(name, *under)
    assert not done.returncode, done.stderr[-4000:]
    found: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("name", PROGRAMS)
def test_prints_the_same(name: str) -> None:
    if (package := PROGRAMS[name][0]) in MISSING:
        pytest.skip(f"{package} is not installed; pip install -e '.[models]'")
    if name in REFUSED:
        assert REFUSED[name] in _run(name, *OURS).stderr
        return
    theirs, ours = _printed(name), _printed(name, *OURS)
    assert (theirs[0].partition(".")[0], ours[0].partition(".")[0]) == ("onnxruntime", "intaglio")
    assert not unlike(ours[1], theirs[1], "the results")
