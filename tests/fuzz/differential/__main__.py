"""`python -m tests.fuzz.differential --seed N --count K`: grows K models, of the seeds from N on, and says what of them
fails. What is already in the folder of the run is not done again; failures are reduced and written to it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import asdict
from pathlib import Path

from intaglio.runtime.store import cache

from ...onnx_suite import pool
from . import reduce, subject, text
from .grow import grow
from .subject import FINDINGS, Outcome
from .world import Case

CACHE_BYTES = 1 << 30  # kept of what was compiled


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.differential", description=__doc__)
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="the first seed; or several")
    parser.add_argument("--count", type=int, default=1, help="models from each of them on")
    parser.add_argument("-j", "--jobs", type=int, default=2, help="models at a time")
    parser.add_argument("--folder", type=Path, help="of the run: results.jsonl, and a folder for each finding")
    parser.add_argument("--of-each", type=int, default=2, metavar="N", help="failures of one cause to reduce")
    parser.add_argument("--seconds", type=float, default=60, help="for the reduction of one failure")
    parser.add_argument("--print", action="store_true", help="print the model of the seed, whole, and do no more")
    options = parser.parse_args()
    if options.print:
        print(text.script(grow(options.seed[0])))
        return 0
    os.environ.setdefault("INTAGLIO_CACHE_DIR", os.path.join(tempfile.gettempdir(), f"intaglio-fuzz-{os.getuid()}"))
    os.environ.setdefault("INTAGLIO_VERIFY", "1")
    folder = options.folder or Path(tempfile.mkdtemp(prefix="intaglio-fuzz-"))
    folder.mkdir(parents=True, exist_ok=True)
    results = folder / "results.jsonl"
    done = [Outcome(**json.loads(line)) for line in results.read_text().splitlines()] if results.exists() else []
    known = {outcome.seed for outcome in done}
    seeds = [seed for first in options.seed for seed in range(first, first + options.count) if seed not in known]
    reduced: Counter[str] = Counter()
    start = time.monotonic()
    with results.open("a") as file:
        for seed, result in pool.run(subject.attempt, seeds, options.jobs, subject.SECONDS):
            outcome = subject.told(seed, result)
            done.append(outcome)
            file.write(json.dumps(asdict(outcome)) + "\n")
            file.flush()
            if outcome.status in FINDINGS:
                print(f"seed {seed}: {outcome.status}: {outcome.text[:300]}\n    {command(seed)}", flush=True)
                reduced[outcome.cause] += 1
                if reduced[outcome.cause] <= options.of_each:
                    _reduce(outcome, folder, options.seconds)
            if len(done) % 100 == 0 or len(done) == len(seeds):
                cache.prune(limit=CACHE_BYTES)
                print(f"{len(done)} done, {time.monotonic() - start:.0f} s", flush=True)
    print(summary(done))
    print(f"in {time.monotonic() - start:.0f} s; {folder}")
    return int(any(outcome.status in FINDINGS for outcome in done))


def command(seed: int) -> str:
    return f"python -m tests.fuzz.differential --seed {seed}"


def _reduce(outcome: Outcome, folder: Path, seconds: float) -> None:
    # In a process of its own: growing runs the judges, which start threads, and this one is forked.
    for _, grown in pool.run(_grow, [outcome.seed], 1, subject.SECONDS):
        if isinstance(grown, pool.Ended):
            return
        case, ended = reduce.reduce(grown, outcome, seconds)
        operators = "-".join(dict.fromkeys(node.op_type for node in case.nodes if node.op_type != "Constant"))
        text.write(folder / f"{outcome.status}-{operators[:80]}-{outcome.seed}", case, ended)
        print(f"reduced to {ended.status}: {ended.text[:200]}\n{text.script(case)}", flush=True)


def _grow(seed: int) -> Case:
    case = grow(seed)
    return Case(**{**vars(case), "values": dict(case.values)})


def summary(outcomes: list[Outcome]) -> str:
    """How many ended how, and of what did not pass, each cause once, with a seed."""
    counts = Counter(outcome.status for outcome in outcomes)
    lines = [", ".join(f"{n} {status}" for status, n in counts.most_common())]
    causes: dict[tuple[str, str], list[int]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.status not in (subject.PASSED, subject.NOTHING):
            causes[outcome.status, outcome.cause].append(outcome.seed)
    for (status, cause), seeds in sorted(causes.items(), key=lambda each: (each[0][0], -len(each[1]))):
        lines.append(f"{len(seeds):5}  {status}: {cause}  (seed {seeds[0]})")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
