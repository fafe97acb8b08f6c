"""`python -m bench search`: the search of autotuning against random trials, kernel by kernel.

In: kernels of the zoo, each the one of its kind that takes the most time in a model. The search has as long as
`--trials` random candidates take; then the best of both run in turns. Out: a table, with --write to bench/results.
"""

from __future__ import annotations

import argparse
import datetime
import random
import time

from intaglio.compiler import driver
from intaglio.compiler.kernel.ir import Schedule
from intaglio.compiler.options import Options
from intaglio.compiler.tune.choose import place, wins
from intaglio.compiler.tune.encoding import decoded
from intaglio.compiler.tune.kernels import problems
from intaglio.compiler.tune.machines import Folder, Local
from intaglio.compiler.tune.search import Candidates, compare, search
from intaglio.compiler.tune.trial import Bench
from intaglio.runtime.run.executable import Executable
from intaglio.runtime.run.trace import Timed
from intaglio.runtime.store import artifact, cache
from intaglio.runtime.store.tuning import Record

from .inputs import model_inputs
from .models import MODELS, path
from .peak import cpu_name, cpus, describe
from .tables import keep, table

KERNELS = (("mobilenetv2", "Matmul"), ("mobilenetv2", "Conv"), ("resnet50", "Conv"), ("bert", "Attention"),
           ("convnext", "Conv"))  # fmt: skip


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench search", description=__doc__)
    parser.add_argument("--trials", type=int, default=64, help="random candidates (default: 64)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="write the table to bench/results")
    options = parser.parse_args(argv)
    rows = []
    for model, kind in KERNELS:
        bench = heaviest(model, kind)
        generator = random.Random(options.seed)

        def at_random(candidates: Candidates, count: int, generator: random.Random = generator) -> list[Schedule]:
            taken = generator.sample(candidates.left, min(count, len(candidates.left)))
            candidates.left = [how for how in candidates.left if how not in taken]
            return taken

        machines = Local(place(bench.problem.target, ""))
        space = Candidates(bench.problem).count
        start = time.monotonic()
        by_chance = best(search(bench, machines, 600, options.trials, proposals=at_random))
        seconds = time.monotonic() - start
        found = search(bench, machines, seconds)
        climbed = best(found)
        ratio = in_turns(bench, by_chance, climbed)
        gains = [f"{each.gain:.2f}" if each else "1.00" for each in (by_chance, climbed)]
        name = f"{model}: {bench.problem.nodes[:30]}"
        rows.append([name, kind, str(space), f"{seconds:.0f}", *gains, str(len(found)), f"{ratio:.3f}"])
        print(*rows[-1], flush=True)
    headings = ["", "kernel", "candidates", "s", "random", "search", "its trials", "search is faster"]
    text = "\n".join(
        [
            f"# {datetime.date.today()}, the search for schedules, {describe()}",
            "",
            f"Gains over the rules of the best of {options.trials} random candidates, and of the search in the same "
            "time; then how many times as fast the search's is as chance's, in turns.",
            "",
            table(headings, rows),
        ]
    )
    print(text)
    if options.write:
        keep(f"search-{cpu_name()}", text)
    return 0


def heaviest(model: str, kind: str) -> Bench:
    """The kernel of a kind that takes the most time in a model."""
    settings = Options()
    unit = driver.lowered_model(str(path(model)), settings)
    assert unit.program is not None
    with cache.workspace() as folder:
        driver.compile_model(str(path(model)), settings, folder)
        feeds = model_inputs(path(model), MODELS[model])
        timed = Timed(Executable(artifact.load_directory(folder), cpus(), 0), feeds)
        spent = min((timed.run() for _ in range(9)), key=lambda steps: float(steps.sum()))
    found, _ = problems(unit.program, timed.dims, unit.target)
    mine = [problem for problem in found if problem.kind == kind]
    chosen = max(mine, key=lambda problem: sum(spent[n] for n in problem.steps))
    return Bench(chosen, unit.program, timed.plan.threads)


def best(records: list[Record]) -> Record | None:
    """The record of the best schedule that wins."""
    return max(filter(wins, records), key=lambda record: record.gain, default=None)


def in_turns(bench: Bench, first: Record | None, second: Record | None) -> float:
    """How many times as fast the second is as the first; the rules' schedule stands for none."""
    trials = []
    for record in (first, second):
        how = (decoded(record.schedule) if record else None) or bench.problem.default
        folder = Folder()
        bench.build(how, folder.path)
        trials.append(bench.load(folder.path))
    return compare(*trials).gain
