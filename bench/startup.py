"""`python -m bench startup [models]`: what a user waits for before and around the kernels, against a budget.

In: models of the zoo (ResNet-50 and BERT if none is named). Out: a table, and exit code 1 where ours is over
its budget or fails. Everything but `run()` is measured in fresh processes, with a cache folder of its own:
- import: `import intaglio` once numpy is there, median of nine.
- cold: the first session of a model, compiling included.
- warm: a session of a model that the cache has, median of nine; the files are in the page cache.
- run: a whole `run()` of the MLP, whose arithmetic is nothing; the budget is onnxruntime's own time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .engines import interleave, ort, ours
from .inputs import model_inputs
from .models import MODELS, path
from .peak import cpus
from .tables import milliseconds, table

IMPORT_BUDGET, COLD_BUDGET, WARM_BUDGET = 0.060, 10.0, 0.050  # seconds
REPEATS = 9
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Check:
    """One measured wait in seconds; `ours` is None where it failed, and `note` says why."""

    name: str
    ours: float | None
    peer: float | None
    budget: float
    note: str = ""

    @property
    def passed(self) -> bool:
        return self.ours is not None and self.ours <= self.budget


class ProbeError(Exception):
    """A fresh process failed; the text is the last line of what it said."""


def measure_startup(names: list[str]) -> list[Check]:
    """All checks, for sessions of these models."""
    checks = [_check("import", IMPORT_BUDGET, ["intaglio"], {}, ["onnxruntime"])]
    for name in names:
        model = str(path(name))
        with tempfile.TemporaryDirectory() as cache:
            setting = {"INTAGLIO_CACHE_DIR": cache}
            cold = _check(f"cold session, {name}", COLD_BUDGET, ["intaglio", model], setting, repeats=1)
            checks.append(cold)
            if cold.ours is not None:
                size = sum(file.stat().st_size for file in Path(cache).rglob("*") if file.is_file())
                command, peer = ["intaglio", model], ["onnxruntime", model]
                note = f"{size / 1e6:.1f} MB in the cache"
                checks.append(_check(f"warm session, {name}", WARM_BUDGET, command, setting, peer, note=note))
    checks.append(_run_check())
    return checks


def _check(
    name: str,
    budget: float,
    command: list[str],
    setting: Mapping[str, str],
    peer: list[str] | None = None,
    repeats: int = REPEATS,
    note: str = "",
) -> Check:
    try:
        seconds = probe(command, setting, repeats)
    except ProbeError as error:
        return Check(name, None, None, budget, str(error))
    return Check(name, seconds, probe(peer, {}, repeats) if peer else None, budget, note)


def probe(arguments: list[str], setting: Mapping[str, str], repeats: int) -> float:
    """Median seconds that `probe.py` reports. Raises ProbeError."""
    times = []
    for _ in range(repeats):
        command = [sys.executable, "-m", "bench.probe", *arguments]
        result = subprocess.run(command, cwd=ROOT, env=os.environ | setting, capture_output=True, text=True)
        if result.returncode:
            said = result.stderr.strip().splitlines()
            raise ProbeError(said[-1] if said else f"exit code {result.returncode}")
        times.append(float(result.stdout))
    return statistics.median(times)


def _run_check() -> Check:
    model = path("mlp")
    feeds = model_inputs(model, MODELS["mlp"])
    theirs = ort(model, feeds, cpus())
    name = "run() of the MLP"
    try:
        mine = ours(model, feeds, cpus())
        seconds = interleave({"ours": mine, "ort": theirs}, rounds=21)
    except Exception as error:  # a failure of ours is a result
        return Check(name, None, None, 0.0, f"{type(error).__name__}: {error}")
    return Check(name, seconds["ours"], seconds["ort"], seconds["ort"])


def format_checks(checks: list[Check]) -> str:
    """The checks as a table."""
    rows = [
        [
            check.name,
            milliseconds(check.ours),
            milliseconds(check.peer),
            milliseconds(check.budget),
            "yes" if check.passed else "NO",
            check.note,
        ]
        for check in checks
    ]
    return table(["", "ours ms", "ort ms", "budget ms", "within", ""], rows)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench startup", description="Measure waits and overhead.")
    parser.add_argument("models", nargs="*", default=["resnet50", "bert"], help="for the sessions")
    checks = measure_startup(parser.parse_args(argv).models)
    print(format_checks(checks))
    return int(not all(check.passed for check in checks))
