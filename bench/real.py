"""`python -m bench real [names]`: the models of tests/real_models, ours against onnxruntime.

In: names of models, or parts of them (all that are installed if none is given). Out: a table, the model that loses
most first; exit code 1 where ours does not run or differs. First and later sessions are made in fresh processes
(`probe.py`), the first with an empty cache. Runs take turns (`engines.interleave`), with the largest inputs of the
model, after a check of their outputs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.real_models.agreement import difference
from tests.real_models.entries import RUNS, Entry
from tests.real_models.table import MISSING, TABLE

from .engines import interleave, ort, ours
from .peak import cpus, describe
from .startup import ProbeError, probe
from .tables import milliseconds, ratio, table

WARM = 3  # sessions from the cache, of which the median counts


@dataclass
class Row:
    """What was measured of a model, in seconds; `note`: what is wrong."""

    name: str
    cold: float | None = None
    warm: float | None = None
    theirs_warm: float | None = None
    ours: float | None = None
    theirs: float | None = None
    note: str = ""

    @property
    def loss(self) -> float:
        return self.ours / self.theirs if self.ours and self.theirs and not self.note else float("inf")


def measure(entry: Entry, threads: int, rounds: int) -> Row:
    row, model = Row(entry.name), entry.load()
    with tempfile.TemporaryDirectory() as folder:
        if isinstance(model, bytes):
            file = Path(folder, "model.onnx")
            file.write_bytes(model)
            model = file
        setting = {"INTAGLIO_CACHE_DIR": str(Path(folder, "cache"))}
        try:
            row.cold = probe(["intaglio", str(model)], setting, 1)
            row.warm = probe(["intaglio", str(model)], setting, WARM)
        except ProbeError as error:
            row.note = str(error)
            return row
        row.theirs_warm = probe(["onnxruntime", str(model)], {}, WARM)
        feeds = entry.feeds(RUNS - 1)
        mine, theirs = ours(model, feeds, threads), ort(model, feeds, threads)
        row.note = difference(mine(), theirs(), entry.rounds)
        seconds = interleave({"ours": mine, "ort": theirs}, rounds)
    row.ours, row.theirs = seconds["ours"], seconds["ort"]
    return row


def format_rows(rows: list[Row]) -> str:
    lines = [
        [row.name, *map(milliseconds, (row.cold, row.warm, row.theirs_warm, row.ours, row.theirs)),
         ratio(row.ours, row.theirs), row.note]
        for row in sorted(rows, key=lambda row: -row.loss)
    ]  # fmt: skip
    return table(["", "first ms", "later ms", "ort's ms", "run ms", "ort's ms", "ours/ort", ""], lines)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench real", description="Time models of packages.")
    parser.add_argument("names", nargs="*", default=[""], help="of models, or parts of them (default: all)")
    parser.add_argument("--threads", type=int, default=cpus(), help="of both engines (default: all CPUs)")
    parser.add_argument("--rounds", type=int, default=5, help="turns that each engine gets")
    options = parser.parse_args(argv)
    if MISSING:
        print(f"not installed, so not measured: {', '.join(MISSING)}; pip install -e '.[models]'")
    chosen = [entry for name, entry in TABLE.items() if any(part in name for part in options.names)]
    rows = []
    for entry in chosen:
        rows.append(measure(entry, options.threads, options.rounds))
        print(rows[-1], file=sys.stderr, flush=True)
    print(f"{describe()}, {options.threads} threads\n\n{format_rows(rows)}")
    return int(any(row.note for row in rows))
