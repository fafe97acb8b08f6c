"""`python -m bench tune [models]`: what autotuning gains, on whole models and kernel by kernel.

In: models of the zoo, a time for each. Each is tuned into a database of its own; then the model by the rules and the
tuned one run in turns, in new sessions, and their outputs are compared. Out: tables, with --write to bench/results;
exit code 1 where outputs differ, or a model is slower than 0.99.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import statistics
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import intaglio
from intaglio.compiler.tune.report import TuningReport
from intaglio.runtime.api.options import TARGET, TUNING

from .engines import Run, difference, turns
from .inputs import model_inputs
from .models import MODELS, path
from .peak import cpu_name, cpus, describe
from .tables import keep, milliseconds, table

LEAST = 0.99  # of the gain of a model


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench tune", description=__doc__)
    parser.add_argument("models", nargs="*", default=list(MODELS), help="of the zoo (default: all)")
    parser.add_argument("--seconds", type=float, default=180.0, help="for each model (default: 180)")
    parser.add_argument("--threads", type=int, default=cpus())
    parser.add_argument("--target", default="native", help="what to compile for, as of the command line")
    parser.add_argument("--rounds", type=int, default=31, help="turns of whole models")
    parser.add_argument("--write", action="store_true", help="write the tables to bench/results")
    options = parser.parse_args(argv)
    rows: list[tuple[float, list[str]]] = []
    details: list[str] = []
    wrong: list[str] = []
    for name in options.models:
        with tempfile.TemporaryDirectory(prefix="intaglio-bench-tune-") as folder:
            database = Path(folder, "tuning.jsonl")
            report = tuned(name, options.seconds, options.threads, options.target, database)
            seconds, differs = measured(name, options.threads, options.target, database, options.rounds)
        gain = statistics.median(old / new for old, new in zip(seconds["rules"], seconds["tuned"]))
        if not any(kernel.schedule for kernel in report.kernels):
            gain = 1.0  # the same code
        medians = [milliseconds(statistics.median(seconds[side])) for side in ("rules", "tuned")]
        rows.append((gain, [name, *medians, f"{gain:.3f}", str(report.records), f"{report.seconds:.0f}"]))
        details += ["", f"## {name}", "", kernels(report)]
        wrong += [f"- {name}: {differs}"] if differs else []
        print(*rows[-1][1], flush=True)
    mean = statistics.geometric_mean(gain for gain, _ in rows)
    text = "\n".join(
        [
            f"# {datetime.date.today()}, autotuning, {describe()}",
            "",
            f"{options.threads} threads, for {options.target}, {options.seconds:.0f} s for each model; in turns, in "
            f"new sessions, {mean:.3f} times as fast in the geometric mean.",
            "",
            table(["", "rules ms", "tuned ms", "gain", "measurements", "s"], [row for _, row in sorted(rows)]),
            *details,
        ]
    )
    print(text, *wrong, sep="\n")
    if options.write:
        kind = "" if options.target == "native" else f"-{options.target.replace('+', '-')}"
        keep(f"tune{kind}-{cpu_name()}", text)
    return int(bool(wrong) or min(gain for gain, _ in rows) < LEAST)


def tuned(name: str, seconds: float, threads: int, target: str, database: Path) -> TuningReport:
    settings = _options(threads, target, "off")
    return intaglio.tune(
        path(name), MODELS[name], seconds, sess_options=settings, threads=threads, database=database, resume=False
    )


def measured(
    name: str, threads: int, target: str, database: Path, rounds: int
) -> tuple[dict[str, list[float]], str | None]:
    """The seconds of both in turns, and how outputs differ."""
    feeds = model_inputs(path(name), MODELS[name])
    runs: dict[str, Run] = {}
    with _database(database):
        for side, entry in (("rules", "off"), ("tuned", "use")):
            session = intaglio.InferenceSession(path(name), _options(threads, target, entry))
            runs[side] = partial(session.run, None, feeds)
    differs = difference(runs["tuned"](), [y.copy() for y in runs["rules"]()])
    return turns(runs, rounds), differs


def kernels(report: TuningReport) -> str:
    """A row for each kernel that has another schedule."""
    rows = [
        [k.nodes[:50], k.kind, f"{k.share:.1%}", str(k.trials), f"{k.gain:.2f}", f"{k.in_model or 1:.2f}", k.changes]
        for k in report.kernels
        if k.schedule
    ]
    headings = ["nodes", "kernel", "share", "trials", "gain", "in the model", "schedule"]
    return table(headings, rows) if rows else "Nothing was faster than the rules."


def _options(threads: int, target: str, entry: str) -> intaglio.SessionOptions:
    options = intaglio.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry(TARGET, target)
    options.add_session_config_entry(TUNING, entry)
    return options


@contextlib.contextmanager
def _database(file: Path) -> Iterator[None]:
    """Sessions use this database."""
    before = os.environ.get("INTAGLIO_TUNING")
    os.environ["INTAGLIO_TUNING"] = str(file)
    try:
        yield
    finally:
        del os.environ["INTAGLIO_TUNING"]
        if before is not None:
            os.environ["INTAGLIO_TUNING"] = before
