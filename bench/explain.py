"""`python -m bench explain [models]`: whether `intaglio explain` is right.

In: models of the zoo, or paths of ONNX files. Out: for each, with one thread and with all, the sum of its parts against
the latency of runs that are not recorded (at most 5 % apart), and the kernel that comes closest to its limit (at most
105 % of it), the model that is furthest off first. Exit code 1 where a model is outside of that.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from intaglio import InferenceSession
from intaglio.compiler.explain.steps import Report, explained, measure
from intaglio.compiler.inputs import sizes
from intaglio.compiler.roofline import limits_of
from intaglio.compiler.tables import table

from .inputs import model_inputs
from .models import MODELS, path
from .peak import cpus, describe

LARGEST = 1.05  # part of a limit that a kernel reaches
APART = 0.05  # of the latency, sum and latency
SHORTEST = 2e-6  # seconds: of a shorter step the clock's share is too large to judge it


def report(model: Path, dims: dict[str, int], threads: int) -> Report:
    """What explain says about a model."""
    session = InferenceSession(str(model))
    feeds = model_inputs(model, dims)
    loaded = session._main.artifact
    run = partial(measure, loaded, feeds, threads)
    return explained(loaded, sizes(session.get_inputs(), feeds), partial(limits_of, threads), run)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench explain", description=__doc__)
    parser.add_argument("models", nargs="*", default=list(MODELS), help="of the zoo, or files (default: the zoo)")
    parser.add_argument("--threads", type=int, nargs="*", default=sorted({1, cpus()}), help="default: 1, and all CPUs")
    options = parser.parse_args(argv)
    rows: list[tuple[float, list[str]]] = []
    wrong = 0
    for name in options.models:
        model = path(name) if name in MODELS else Path(name)
        for threads in options.threads:
            made = report(model, MODELS.get(name, {}), threads)
            assert made.measured and made.limits
            judged = [step for step in made.steps if made.seconds(step) >= SHORTEST] or made.steps
            nearest = max(judged, key=lambda step: made.of_limit([step]))
            reached, apart = made.of_limit([nearest]), made.measured.total / made.measured.latency - 1
            wrong += reached > LARGEST or abs(apart) > APART
            which = f"{nearest.number} ({nearest.kind}, {made.bound(nearest)})"
            of_all = made.of_limit(made.steps)
            row = [model.stem, str(threads), f"{made.measured.latency * 1e3:.2f}", f"{apart:+.1%}", f"{of_all:.0%}"]
            rows.append((max(reached / LARGEST, abs(apart) / APART), [*row, f"{reached:.0%}", which]))
    rows.sort(key=lambda each: -each[0])
    print(describe())
    headings = ["model", "threads", "ms", "sum - latency", "of limit", "nearest", "step"]
    print(table(headings, [row for _, row in rows]))
    return int(wrong > 0)
