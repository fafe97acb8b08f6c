"""`python -m tests.onnx_suite [--gpu] [--update] [patterns]`: runs the suite of the ONNX project and says what does
not pass.
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
from .run import PASSED, SECONDS, Outcome, default_cache, graph, native, run, triton


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.onnx_suite", description=__doc__)
    parser.add_argument("patterns", nargs="*", help="regular expressions; a case runs if one is found in its name")
    parser.add_argument("--update", action="store_true", help="write the lists and docs/onnx_coverage.md")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="cases at a time")
    engines = parser.add_mutually_exclusive_group()
    engines.add_argument("--gpu", action="store_true", help="run kernels in Triton, by its interpreter")
    engines.add_argument("--graph", action="store_true", help="run by the interpreter of the graph IR")
    parser.add_argument("--seconds", type=float, default=SECONDS, metavar="N", help="the most that a case may take")
    parser.add_argument("--trace", action="store_true", help="print where exceptions come from")
    parser.add_argument("--missing", action="store_true", help="only cases that are not listed as passing")
    parser.add_argument("--slowest", type=int, default=0, metavar="N", help="list the N slowest cases")
    options = parser.parse_args()
    if options.graph and options.update:
        parser.error("--update lists what passes as compiled code: not with --graph")
    engine = triton if options.gpu else graph if options.graph else native
    os.environ.setdefault("INTAGLIO_CACHE_DIR", default_cache(engine))
    cases = load()
    lists = coverage.TRITON if options.gpu else coverage.NATIVE
    listed = lists.passing()
    chosen = [
        case
        for name, case in cases.items()
        if (not options.patterns or any(re.search(p, name) for p in options.patterns))
        and not (options.missing and name in listed)
    ]
    outcomes: list[Outcome] = []
    start = time.monotonic()
    for outcome in run(chosen, options.jobs, engine, options.trace, options.seconds):
        outcomes.append(outcome)
        if outcome.status != PASSED:
            print(f"{outcome.name}: {outcome.status}: {outcome.reason}", flush=True)
        elif sys.stderr.isatty():
            print(f"{len(outcomes)} of {len(chosen)}", end="\r", file=sys.stderr)
    counts = Counter(outcome.status for outcome in outcomes)
    print(f"{', '.join(f'{n} {status}' for status, n in counts.most_common())} in {time.monotonic() - start:.0f} s")
    if options.gpu:
        _print_places([outcome for outcome in outcomes if outcome.status == PASSED])
    for outcome in sorted(outcomes, key=lambda o: -o.seconds)[: options.slowest]:
        print(f"{outcome.seconds:8.2f} s  {outcome.name}")
    if options.update:
        coverage.update(cases, outcomes, lists)
    lost = sorted(outcome.name for outcome in outcomes if lists.lost(outcome, listed))
    if lost and not options.graph:
        print(f"{len(lost)} of {lists.names.name} no longer pass as listed: {', '.join(lost)}")
    return 1 if lost and not options.graph else 0


def _print_places(passed: list[Outcome]) -> None:
    """Of the cases that passed where their kernels ran, and why not on the device."""
    places = Counter(outcome.place for outcome in passed)
    print(f"of those that passed, {places['device']} ran on the device alone, {places['both']} on the device and the "
          f"host, {places['host']} on the host alone")  # fmt: skip
    reasons = Counter(step for outcome in passed for step in set(outcome.steps) if step != "device")
    for reason, count in reasons.most_common():
        print(f"{count:6} cases  {reason}")


if __name__ == "__main__":
    sys.exit(main())
