"""`python -m tests.onnx_suite [--update] [patterns]`: runs the suite of the ONNX project and says what does not
pass.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections import Counter

from . import coverage
from .cases import load
from .run import PASSED, default_cache, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.onnx_suite", description=__doc__)
    parser.add_argument("patterns", nargs="*", help="regular expressions; a case runs if one is found in its name")
    parser.add_argument("--update", action="store_true", help="write the two lists and docs/onnx_coverage.md")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="cases at a time")
    parser.add_argument("--graph", action="store_true", help="run by the interpreter of the graph IR")
    parser.add_argument("--trace", action="store_true", help="print where exceptions come from")
    parser.add_argument("--missing", action="store_true", help="only cases that are not in passing.txt")
    parser.add_argument("--slowest", type=int, default=0, metavar="N", help="list the N slowest cases")
    options = parser.parse_args()
    if options.graph and options.update:
        parser.error("--update lists what passes as native code: not with --graph")
    os.environ.setdefault("INTAGLIO_CACHE_DIR", default_cache())
    cases = load()
    listed = set(coverage.read_passing())
    chosen = [
        case
        for name, case in cases.items()
        if (not options.patterns or any(re.search(p, name) for p in options.patterns))
        and not (options.missing and name in listed)
    ]
    outcomes = []
    start = time.monotonic()
    for outcome in run(chosen, options.jobs, options.graph, options.trace):
        outcomes.append(outcome)
        if outcome.status != PASSED:
            print(f"{outcome.name}: {outcome.status}: {outcome.reason}", flush=True)
        elif sys.stderr.isatty():
            print(f"{len(outcomes)} of {len(chosen)}", end="\r", file=sys.stderr)
    counts = Counter(outcome.status for outcome in outcomes)
    print(f"{', '.join(f'{n} {status}' for status, n in counts.most_common())} in {time.monotonic() - start:.0f} s")
    for outcome in sorted(outcomes, key=lambda o: -o.seconds)[: options.slowest]:
        print(f"{outcome.seconds:8.2f} s  {outcome.name}")
    if options.update:
        coverage.update(cases, outcomes)
    lost = sorted(outcome.name for outcome in outcomes if outcome.status != PASSED and outcome.name in listed)
    if lost and not options.graph:
        print(f"{len(lost)} of passing.txt no longer pass: {', '.join(lost)}")
    return 1 if lost and not options.graph else 0


if __name__ == "__main__":
    sys.exit(main())
