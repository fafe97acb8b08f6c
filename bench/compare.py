"""`python -m bench compare [models]`: whole models, ours against onnxruntime and OpenVINO.

In: models of the zoo, or paths of ONNX files. Out: a table, the model that loses most first; exit code 1
where an output of ours differs from onnxruntime's or ours does not run. How times are taken: `engines.py`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .engines import ENGINES, Feeds, Run, difference, interleave
from .flops import count_flops
from .inputs import model_inputs
from .models import MODELS, path
from .peak import Peak, cpus, describe, measure
from .tables import milliseconds, ratio, table


@dataclass
class Row:
    """One measured model: seconds of each engine that runs it, and whatever is wrong."""

    name: str
    flops: int
    traffic: int = 0  # bytes of inputs, weights and outputs, where they are counted
    seconds: dict[str, float] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)  # by engine

    @property
    def loss(self) -> float:
        """Our time over that of the fastest peer; infinite where ours does not run or is wrong."""
        peers = [time for engine, time in self.seconds.items() if engine != "ours"]
        if "ours" in self.problems or "ours" not in self.seconds:
            return float("inf")
        return self.seconds["ours"] / min(peers, default=float("inf"))


def measure_model(name: str, model: Path | bytes, feeds: Feeds, threads: int, rounds: int) -> Row:
    """Compile on every engine, compare the outputs with onnxruntime's, then time those that run."""
    row = Row(name, count_flops(model, feeds))
    runs: dict[str, Run] = {}
    for engine, prepare in ENGINES.items():
        try:
            runs[engine] = prepare(model, feeds, threads)
            runs[engine]()
        except Exception as error:  # whatever an engine throws is a result of the measurement
            runs.pop(engine, None)
            row.problems[engine] = f"{type(error).__name__}: {error}".splitlines()[0]
    if reference := runs.get("ort") or runs.get("ov"):
        expected = [output.copy() for output in reference()]
        for engine, run in runs.items():
            if wrong := difference(run(), expected):
                row.problems[engine] = wrong
    else:
        row.problems.setdefault("ours", "no peer runs it: nothing to compare with")
    row.seconds = interleave(runs, rounds)
    return row


def zoo_row(name: str, threads: int, rounds: int) -> Row:
    """One model of the zoo at its usual sizes, or an ONNX file with every symbolic dimension 1."""
    file = path(name) if name in MODELS else Path(name)
    return measure_model(name, file, model_inputs(file, MODELS.get(name, {})), threads, rounds)


def format_rows(rows: Iterable[Row], peak: Peak) -> str:
    """The table, the row that loses most first, and under it what went wrong."""
    rows = sorted(rows, key=lambda row: -row.loss)
    lines = []
    for row in rows:
        ours, ort, ov = (row.seconds.get(engine) for engine in ("ours", "ort", "ov"))
        lines.append(
            [
                row.name,
                f"{row.flops / 1e9:.3g}" if row.flops else "-",
                *map(milliseconds, (ours, ort, ov)),
                ratio(ours, ort),
                ratio(ours, ov),
                share(row.flops, ours, peak.gflops),
                share(row.traffic, ours, peak.gbytes),
                "FAILED" if ours is None else "WRONG" if "ours" in row.problems else "yes",
            ]
        )
    headings = ["", "GFLOP", "ours ms", "ort ms", "ov ms", "ours/ort", "ours/ov", "FMA", "memory", "correct"]
    notes = [f"- {row.name}, {engine}: {problem}" for row in rows for engine, problem in row.problems.items()]
    return "\n".join([table(headings, lines), *([""] if notes else []), *notes])


def share(amount: int, seconds: float | None, giga_per_second: float) -> str:
    """What part of the machine's peak rate this is."""
    return f"{amount / seconds / 1e9 / giga_per_second:.0%}" if amount and seconds else "-"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that the timing commands share."""
    parser.add_argument("--threads", type=int, default=cpus(), help="of every engine (default: all CPUs)")
    parser.add_argument("--rounds", type=int, default=11, help="turns that each engine gets")
    parser.add_argument("--json", action="store_true", help="the measurements as JSON instead of a table")


def finish(rows: list[Row], options: argparse.Namespace) -> int:
    """Print the rows as `options` ask; the exit code."""
    peak = measure(options.threads)
    if options.json:
        print(json.dumps({"peak": asdict(peak), "rows": [asdict(row) for row in rows]}, indent=1))
    else:
        print(f"{describe()}; {peak}\n\n{format_rows(rows, peak)}")
    return int(any("ours" in row.problems for row in rows))


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench compare", description="Time whole models.")
    parser.add_argument("models", nargs="*", default=list(MODELS), help="of the zoo, or files (default: the zoo)")
    add_options(parser)
    options = parser.parse_args(argv)
    return finish([zoo_row(name, options.threads, options.rounds) for name in options.models], options)
