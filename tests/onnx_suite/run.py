"""Compiles and runs cases of the suite, each in a process that may crash, and says how each one ended.

In: cases, and an engine. Out: `Outcome`s. The engines: native code; kernels in Triton, run by its interpreter, with
native code for what they lack; the interpreter of the graph IR, which tells mistakes of the import from mistakes of
code generation, and from which nothing is recorded.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx.backend.test.runner import Runner

from intaglio.runtime.store import cache

from . import chance, pool
from .cases import Case, Values

SECONDS = 120.0  # for one case
CACHE_BYTES = 1 << 30  # kept of earlier runs

PASSED, UNSUPPORTED, WRONG, ERROR, CRASH = "passed", "unsupported", "wrong result", "error", "crash"
SLOW = "slow under the interpreter"


class Mismatch(Exception):
    """An output differs from what the suite expects."""


@dataclass(frozen=True)
class Outcome:
    """status: PASSED, UNSUPPORTED (refused with a reason), WRONG, ERROR (another exception), CRASH (or a hang) or SLOW.

    steps: of each kernel launch where it ran, "device" or "host: reason"; nothing where there is no device.
    """

    name: str
    status: str
    reason: str = ""
    seconds: float = 0.0
    steps: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Where the launches were: "device", "both" or "host", which is the place of a model without any, too."""
        on_device = sum(step == "device" for step in self.steps)
        return "host" if not on_device else "device" if on_device == len(self.steps) else "both"


@dataclass(frozen=True)
class Ran:
    """What an engine computed; steps as in Outcome."""

    outputs: Values
    steps: tuple[str, ...] = ()


Engine = Callable[[bytes, Values], Ran]


def run(
    cases: Sequence[Case], jobs: int, engine: Engine, trace: bool = False, seconds: float = SECONDS
) -> Iterator[Outcome]:
    """The outcomes as they come. trace: print where exceptions come from. seconds: the most that a case may take."""
    cache.prune(limit=CACHE_BYTES)

    def work(case: Case) -> Outcome:
        start = time.perf_counter()
        outcome = _run(case, engine, trace)
        return replace(outcome, seconds=time.perf_counter() - start)

    late = SLOW if engine is triton else CRASH
    by_name = {case.name: case for case in cases}
    for name, result in pool.run(lambda name: work(by_name[name]), list(by_name), jobs, seconds):
        if isinstance(result, pool.Ended):
            yield Outcome(name, late if result.late else CRASH, result.how, seconds if result.late else 0.0)
        else:
            yield result


def default_cache(engine: Engine) -> str:
    """A fixed folder, so that the next run of the suite compiles only what changed."""
    suffix = "-triton" if engine is triton else ""
    return os.path.join(tempfile.gettempdir(), f"intaglio-onnx-suite{suffix}-{os.getuid()}")


def _run(case: Case, engine: Engine, trace: bool) -> Outcome:
    from intaglio.runtime.errors import NotImplemented

    warnings.simplefilter("ignore")
    steps: tuple[str, ...] = ()
    try:
        model = case.model()
        for inputs, expected in case.data():
            ran = engine(model, inputs)
            steps = ran.steps
            check(case, inputs, expected, ran.outputs)
    except NotImplemented as error:
        return Outcome(case.name, UNSUPPORTED, refusal(str(error)))
    except Exception as error:
        if trace:
            traceback.print_exc()
        if isinstance(error, Mismatch):
            return Outcome(case.name, WRONG, _line(error), steps=steps)
        return Outcome(case.name, ERROR, f"{type(error).__name__}: {_line(error)}")
    return Outcome(case.name, PASSED, steps=steps)


def native(model: bytes, inputs: Values) -> Ran:
    """The engine of native code."""
    import intaglio

    session = intaglio.InferenceSession(model)
    return Ran(_fed(session, inputs))


def triton(model: bytes, inputs: Values) -> Ran:
    """The engine of kernels in Triton; f32 is not rounded to tf32."""
    os.environ["TRITON_INTERPRET"] = "1"  # before the first import of triton in this process
    import intaglio

    providers = [("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"]
    session = intaglio.InferenceSession(model, providers=providers)
    steps = tuple(step["on"] for step in session._artifact.notes()["steps"])
    assert sum(step == "device" for step in steps) == session._artifact.manifest["device"]["steps"]
    return Ran(_fed(session, inputs), steps)


def graph(model: bytes, inputs: Values) -> Ran:
    """The engine of the graph IR's interpreter."""
    from intaglio.compiler.frontend.importer import import_model
    from intaglio.compiler.frontend.load import load_model
    from intaglio.compiler.graph.interp import evaluate
    from intaglio.compiler.passes import PASSES

    graph = import_model(load_model(model))
    for _, rewrite in PASSES:
        graph = rewrite(graph)
    return Ran(list(evaluate(graph, [np.asarray(each) for each in inputs])))


def _fed(session: Any, inputs: Values) -> Values:
    feeds = dict(zip([each.name for each in session.get_inputs()], inputs, strict=True))
    return list(session.run(None, feeds))


def check(case: Case, inputs: Values, expected: Values, outputs: Values) -> None:
    """Raises Mismatch where outputs are not what the suite wants, by its own rule and tolerances."""
    try:
        promised = chance.CHECKS.get(case.name)
        if promised is not None:
            assert [(y.dtype, y.shape) for y in outputs] == [(y.dtype, y.shape) for y in expected]
            promised(inputs, outputs)
            return
        assert [_length(y) for y in outputs] == [_length(y) for y in expected]
        Runner.assert_similar_outputs(_tensors(expected), _tensors(outputs), case.rtol, case.atol)
    except (AssertionError, TypeError, AttributeError) as error:  # the latter for values of another kind
        raise Mismatch(_line(error)) from None


def _length(value: Any) -> int | None:
    """The length of a sequence; None for a tensor."""
    return len(value) if isinstance(value, list) else None


def _tensors(values: Values) -> Values:
    """The values, with the tensors of sequences in their places: the suite's own rule knows no scalars in these."""
    return [tensor for value in values for tensor in (value if isinstance(value, list) else [value])]


def refusal(text: str) -> str:
    """`Operator: reason` for each reason in a NotImplemented, without the names of nodes."""
    found = re.findall(r"^  ([\w.]+)\(\d+\) at nodes? '.*?: (.*)$", text, re.MULTILINE)
    return "; ".join(dict.fromkeys(f"{op}: {reason}" for op, reason in found)) or _line(text)


def _line(error: Any) -> str:
    """The text of an error on one line."""
    return " ".join(str(error).split())[:300]
