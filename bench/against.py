"""`python -m bench against BASE [models]`: whole models, compiled by this source tree against those of another commit.

In: a commit; models of the zoo, or paths of ONNX files. Out: for each number of threads a table, the model that loses
most first, and the geometric mean; exit code 1 where outputs differ. Both sides run in this process, by this tree's
runtime, in turns (`engines.py`): what is told is the median of the ratios of neighbouring turns, and between which two
the middle half of them lies.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from .engines import difference, ours, turns
from .inputs import model_inputs
from .models import MODELS, path
from .peak import cpus, describe
from .tables import milliseconds, table
from .trees import ROOT, checkout, environment

SIDES = ("base", "here")


def compile_all(trees: dict[str, Path], models: dict[str, Path], folder: Path) -> None:
    """Writes folder/SIDE/MODEL.intaglio. Raises CalledProcessError where a model can't be compiled."""
    for side, tree in trees.items():
        variables = environment(tree, folder / side / "package")
        variables["INTAGLIO_CACHE_DIR"] = os.environ.get("INTAGLIO_CACHE_DIR", str(folder / side / "cache"))
        for name, model in models.items():
            command = [sys.executable, "-m", "intaglio", "compile", str(model), "-o", f"{name}.intaglio"]
            subprocess.run(command, env=variables, cwd=folder / side, check=True, stdout=subprocess.DEVNULL)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench against", description=__doc__)
    parser.add_argument("base", help="the commit to compare with")
    parser.add_argument("models", nargs="*", default=list(MODELS), help="of the zoo, or files (default: the zoo)")
    parser.add_argument("--threads", type=int, nargs="*", default=sorted({1, cpus()}), help="default: 1, and all CPUs")
    parser.add_argument("--rounds", type=int, default=15, help="turns that each side gets")
    options = parser.parse_args(argv)
    files = {Path(name).stem: path(name) if name in MODELS else Path(name).absolute() for name in options.models}
    print(describe())
    wrong: list[str] = []
    with checkout(options.base) as base, tempfile.TemporaryDirectory(prefix="intaglio-against-") as made:
        compile_all(dict(zip(SIDES, (base, ROOT))), files, Path(made))
        for threads in options.threads:
            rows: list[tuple[float, list[str]]] = []
            for name, model in files.items():
                feeds = model_inputs(model, MODELS.get(name, {}))
                runs = {side: ours(Path(made, side, f"{name}.intaglio"), feeds, threads) for side in SIDES}
                differs = difference(runs["here"](), [y.copy() for y in runs["base"]()])
                wrong += [f"- {name}: {differs}"] if differs else []
                seconds = turns(runs, options.rounds)
                ratios = [base / here for base, here in zip(*(seconds[side] for side in SIDES))]
                low, faster, high = statistics.quantiles(ratios, n=4)
                medians = (milliseconds(statistics.median(seconds[side])) for side in SIDES)
                rows.append((faster, [name, *medians, f"{faster:.3f}", f"{low:.3f} to {high:.3f}"]))
            mean = statistics.geometric_mean(faster for faster, _ in rows)
            print(f"\n{threads} threads, {mean:.3f} times as fast as {options.base} in the geometric mean\n")
            print(table(["", "base ms", "here ms", "faster", "half of the turns"], [row for _, row in sorted(rows)]))
    print(*wrong, sep="\n")
    return int(bool(wrong))
