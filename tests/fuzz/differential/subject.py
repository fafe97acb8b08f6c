"""Compiles and runs a case, and says how that ended.

In: a `Case`. Out: an `Outcome`. Crashes and hangs are the pool's to notice.
"""

from __future__ import annotations

import faulthandler
import re
from dataclasses import dataclass

import numpy as np

from ...onnx_suite import pool
from ...onnx_suite.run import refusal
from . import judge
from .grow import grow
from .judge import Rejected
from .world import Case

SECONDS = 60.0  # for one model, with its compilation

PASSED, UNSUPPORTED, NOTHING = "passed", "unsupported", "nothing"
WRONG, ERROR, CRASH = "wrong", "error", "crash"
CONTESTED, JUDGE = "contested", "judge crashed"
FINDINGS = (WRONG, ERROR, CRASH)


@dataclass(frozen=True)
class Outcome:
    """PASSED; UNSUPPORTED: refused with a reason; NOTHING: no model grew of the seed; WRONG: numbers, shapes or types;
    ERROR: an exception where there should be none; CRASH: a signal or a hang; CONTESTED: different from the nodes one
    by one, but so is onnxruntime that runs the whole model; JUDGE: a judge crashed. output: the name of what is wrong.
    """

    seed: int
    status: str
    text: str = ""
    output: str = ""
    nodes: int = 0

    @property
    def cause(self) -> str:
        """The text without what differs from model to model."""
        text = re.sub(r"'[^']*'|`[^`]*`", "'...'", self.text)
        return re.sub(r"-?\d+(\.\d+)?(e-?\d+)?", "N", text)[:110]


def attempt(seed: int) -> Outcome:
    """Grows a model of a seed, and tries it."""
    faulthandler.dump_traceback_later(SECONDS - 2)  # says on stderr where it hangs
    try:
        return judged(grow(seed))
    except Rejected as reason:
        return Outcome(seed, NOTHING, str(reason))
    finally:
        faulthandler.cancel_dump_traceback_later()


def judged(case: Case) -> Outcome:
    """How a case ends; what is wrong is looked at by onnxruntime a second time, as a whole."""
    outcome = run(case)
    if outcome.status == WRONG and not _whole_agrees(case, outcome.output):
        return Outcome(case.seed, CONTESTED, outcome.text, outcome.output, outcome.nodes)
    return outcome


def run(case: Case) -> Outcome:
    import intaglio
    from intaglio.runtime.errors import NotImplemented

    def ended(status: str, text: str = "", output: str = "") -> Outcome:
        return Outcome(case.seed, status, text, output, len(case.nodes))

    options = intaglio.SessionOptions()
    options.graph_optimization_level = intaglio.GraphOptimizationLevel(case.level)
    options.log_severity_level = 4
    try:
        session = intaglio.InferenceSession(case.model().SerializeToString(), options)
        got = session.run(None, case.feeds())
        again = session.run(None, case.feeds())
    except NotImplemented as error:
        return ended(UNSUPPORTED, refusal(str(error)))
    except Exception as error:
        return ended(ERROR, f"{type(error).__name__}: {' '.join(str(error).split())}")
    for name, y, second in zip(case.outputs, got, again):
        found = case.values[name].check(y)
        if found:
            return ended(WRONG, found, name)
        if np.asarray(y).tobytes() != np.asarray(second).tobytes():
            return ended(WRONG, "another result in the second run", name)
    return ended(PASSED)


def _whole_agrees(case: Case, output: str) -> bool:
    """Whether onnxruntime says of the whole model what it says of its nodes, optimized and not."""
    at = case.outputs.index(output)
    for optimized in (False, True):
        try:
            theirs = judge.onnxruntime_says(case.model(), case.feeds(), optimized)
        except Exception:  # it lacks a kernel, or bfloat16 as an input
            continue
        if case.values[output].check(theirs[at]):
            return False
    return True


def told(seed: int, result: Outcome | pool.Ended) -> Outcome:
    """An outcome of whatever the pool says about a seed: where its process ended, by the fault of whom."""
    if isinstance(result, Outcome):
        return result
    for _, grown in pool.run(_grown, [seed], 1, SECONDS):
        if isinstance(grown, pool.Ended):
            return Outcome(seed, JUDGE, grown.how)
    return Outcome(seed, CRASH, result.how)


def _grown(seed: int) -> bool:
    try:
        grow(seed)
    except Rejected:
        return False
    return True
