"""Compiles and runs cases of the suite, each in a process that may crash, and says how each one ended.

In: cases. Out: `Outcome`s. Native code only: with `graph=True` the interpreter of the graph IR runs them instead, which
tells mistakes of the import from mistakes of code generation; nothing is recorded from that.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx.backend.test.runner import Runner

from intaglio.runtime import cache

from . import chance, pool
from .cases import Case, Values

SECONDS = 120.0  # for one case
CACHE_BYTES = 1 << 30  # kept of earlier runs

PASSED, UNSUPPORTED, WRONG, ERROR, CRASH = "passed", "unsupported", "wrong result", "error", "crash"


class Mismatch(Exception):
    """An output differs from what the suite expects."""


@dataclass(frozen=True)
class Outcome:
    """status: PASSED, UNSUPPORTED (refused with a reason), WRONG, ERROR (another exception) or CRASH (or a hang)."""

    name: str
    status: str
    reason: str = ""
    seconds: float = 0.0


def run(cases: Sequence[Case], jobs: int, graph: bool = False, trace: bool = False) -> Iterator[Outcome]:
    """The outcomes as they come. trace: print where exceptions come from."""
    engine = _interpreted if graph else _compiled
    cache.prune(limit=CACHE_BYTES)

    def work(case: Case) -> Outcome:
        start = time.perf_counter()
        status, reason = _run(case, engine, trace)
        return Outcome(case.name, status, reason, time.perf_counter() - start)

    by_name = {case.name: case for case in cases}
    for name, result in pool.run(lambda name: work(by_name[name]), list(by_name), jobs, SECONDS):
        yield Outcome(name, CRASH, result.how) if isinstance(result, pool.Ended) else result


def default_cache() -> str:
    """A fixed folder, so that the next run of the suite compiles only what changed."""
    return os.path.join(tempfile.gettempdir(), f"intaglio-onnx-suite-{os.getuid()}")


def _run(case: Case, engine: Callable[[bytes, Values], Values], trace: bool) -> tuple[str, str]:
    from intaglio.runtime.errors import NotImplemented

    warnings.simplefilter("ignore")
    try:
        model = case.model()
        for inputs, expected in case.data():
            check(case, inputs, expected, engine(model, inputs))
    except NotImplemented as error:
        return UNSUPPORTED, _refusal(str(error))
    except Exception as error:
        if trace:
            traceback.print_exc()
        if isinstance(error, Mismatch):
            return WRONG, _line(error)
        return ERROR, f"{type(error).__name__}: {_line(error)}"
    return PASSED, ""


def _compiled(model: bytes, inputs: Values) -> Values:
    import intaglio

    session = intaglio.InferenceSession(model)
    feeds = dict(zip([each.name for each in session.get_inputs()], inputs, strict=True))
    return list(session.run(None, feeds))


def _interpreted(model: bytes, inputs: Values) -> Values:
    from intaglio.compiler.frontend.importer import import_model
    from intaglio.compiler.frontend.load import load_model
    from intaglio.compiler.graph.interp import evaluate
    from intaglio.compiler.passes import PASSES

    graph = import_model(load_model(model))
    for _, rewrite in PASSES:
        graph = rewrite(graph)
    return list(evaluate(graph, [np.asarray(each) for each in inputs]))


def check(case: Case, inputs: Values, expected: Values, outputs: Values) -> None:
    """Raises Mismatch where outputs are not what the suite wants, by its own rule and tolerances."""
    try:
        promised = chance.CHECKS.get(case.name)
        if promised is not None:
            assert [(y.dtype, y.shape) for y in outputs] == [(y.dtype, y.shape) for y in expected]
            promised(inputs, outputs)
            return
        Runner.assert_similar_outputs(expected, outputs, case.rtol, case.atol)
    except (AssertionError, TypeError, AttributeError) as error:  # the latter for values of another kind
        raise Mismatch(_line(error)) from None


def _refusal(text: str) -> str:
    """`Operator: reason` for each reason in a NotImplemented, without the names of nodes."""
    found = re.findall(r"^  ([\w.]+)\(\d+\) at nodes? '.*?: (.*)$", text, re.MULTILINE)
    return "; ".join(dict.fromkeys(f"{op}: {reason}" for op, reason in found)) or _line(text)


def _line(error: Any) -> str:
    """The text of an error on one line."""
    return " ".join(str(error).split())[:300]
