"""No size of an input, whatever the others are, reaches memory of others or gives numbers that are wrong in silence.

`python -m tests.fuzz.perturb` runs all perturbations; these are some: of every operator, and, with the sanitizer, which
takes three times as long, of some.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import perturb

ROOT = Path(__file__).parents[2]


def _run(count: int, **variables: str) -> int:
    """Runs about `count` perturbations in a process of its own, whose workers are forked; how many they were."""
    command = [sys.executable, "-m", "tests.fuzz.perturb", "--count", str(count), "-j", "2"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True)
    findings = [line for line in done.stdout.splitlines() if line.startswith("FOUND")]
    assert done.returncode == 0, "\n".join(findings) or done.stderr[-2000:]
    found = re.search(r"(\d+) perturbations, 0 findings", done.stdout)
    assert found, done.stdout
    return int(found[1])


@pytest.mark.parametrize(("count", "least"), [(900, 820), pytest.param(10_400, 9_400, marks=pytest.mark.slow)])
def test_with_checks_of_bounds(count: int, least: int) -> None:
    assert _run(count, INTAGLIO_VERIFY="2") > least


@pytest.mark.parametrize(("count", "least"), [(100, 70), pytest.param(900, 600, marks=pytest.mark.slow)])
def test_under_the_sanitizer(count: int, least: int) -> None:
    gcc = shutil.which("gcc")
    libraries = [
        subprocess.run([gcc, f"-print-file-name={name}"], capture_output=True, text=True).stdout.strip() if gcc else ""
        for name in ("libasan.so", "libstdc++.so")
    ]
    if not all(os.path.isabs(path) for path in libraries):
        pytest.skip("gcc's libasan is not installed")
    variables = {"LD_PRELOAD": " ".join(libraries), "ASAN_OPTIONS": "detect_leaks=0", "INTAGLIO_CC": str(gcc)}
    assert _run(count, INTAGLIO_SANITIZE="address", INTAGLIO_VERIFY="0", **variables) > least


def test_a_finding_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results where both judges refuse, and results that differ from theirs, are findings."""
    subject = next(s for s in perturb.subjects() if s.operator == "Concat")
    count, findings, left_out = perturb.judged(subject)
    assert count > 5 and not findings and not left_out
    monkeypatch.setattr(perturb, "onnxruntime_says", lambda model, many: ["refused"] * len(many))
    monkeypatch.setattr(perturb, "reference_says", lambda model, feeds: "refused")
    assert perturb.judged(subject)[1]
