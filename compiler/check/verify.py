"""Whether a compiled model computes what the model means: `intaglio verify`.

In: an ONNX model, inputs or how to make them up. Out: a `Report`: each output of each engine against float64, and the
times. It changes nothing, and never says "agrees" of what was compared with nothing.

What is right: every element of an output is as near to what the imported graph is in float64 as roundings of the types
of the model explain (`exact.py`). That says nothing of the import: so one other engine has to be as near to float64,
too. Where the graph has no meaning in float64, or one of the outputs has none, it has to agree with the first other
engine that runs the model, within 8 roundings of the largest element for each node. Integers, booleans and strings are
equal, but where a rounding decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ...runtime.api.options import SessionOptions
from ...runtime.api.session import InferenceSession
from ...runtime.errors import InvalidArgument
from ...runtime.store import artifact
from ..frontend.importer import import_model
from ..frontend.load import load_model
from ..graph.ir import Array, Graph
from ..inputs import fitting_inputs
from ..options import Options
from ..precision import Precision
from . import engines
from .compare import Difference, between, from_exact
from .engines import Engine, Model, Results
from .exact import Known, Unable, known

T = TypeVar("T")

OURS, FLOAT64 = "intaglio", "float64"


@dataclass(frozen=True)
class Row:
    """An output of an engine, compared with that of another one."""

    output: str
    engine: str
    against: str
    difference: Difference


@dataclass
class Report:
    """rows: of all inputs, in turn. seconds: the fastest run of each engine. unable: why an engine has not run.
    wrong: what does not agree, a line each."""

    rows: list[Row] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    unable: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        return not self.wrong

    def as_json(self) -> dict[str, Any]:
        return {"agrees": self.agrees, **asdict(self)}


@dataclass
class Subject:
    """A model under examination: itself, how it is compiled, and what it means."""

    model: Model
    options: SessionOptions
    settings: Options
    graph: Graph
    session: InferenceSession

    @property
    def precision(self) -> Precision:
        return self.settings.rounding

    def feeds(self, dims: Mapping[str, int], given: Mapping[str, Array] | None = None, seed: int = 0) -> Results:
        """Inputs that are given, or made up."""
        metadata = self.session.get_modelmeta().custom_metadata_map
        return fitting_inputs(self.graph, self.session.get_inputs(), dims, metadata, given, seed)

    def ours(self, feeds: Mapping[str, Any]) -> Results:
        return engines.of_session(self.session)(feeds)

    def known(self, feeds: Mapping[str, Any], graph: Graph | None = None) -> dict[str, Known]:
        """The outputs of the model's graph, or another one, in float64, by name. Raises Unable."""
        graph = graph or self.graph
        values = known(graph, in_order(graph, feeds), precision=self.precision)
        return {name: v for name, v in zip(graph.output_names, values) if name not in graph.types}


def in_order(graph: Graph, feeds: Mapping[str, Any]) -> list[Array]:
    """The feeds as the graph's inputs. Raises Unable for what is no tensor."""
    for value in graph.inputs:
        if value.dtype.kind == "s" or not hasattr(feeds[value.name], "dtype"):
            raise Unable(f"input '{value.name}' has no numbers")
    return [feeds[value.name] for value in graph.inputs]


def subject(model: str | bytes | Path, options: SessionOptions | None = None) -> Subject:
    """Raises InvalidArgument for a model that is compiled already: its meaning is not in it."""
    path = str(model) if isinstance(model, Path) else model
    if artifact.is_artifact(path):
        raise InvalidArgument("a compiled model does not say what it means: give the ONNX model")
    options = options or SessionOptions()
    settings = Options(**options.compiler_settings(path))
    graph = import_model(load_model(path, settings.external_data_folder or None), settings.dims)
    return Subject(path, options, settings, graph, InferenceSession(path, options))


def verify(
    model: str | bytes | Path,
    feeds: Mapping[str, Array] | None = None,
    dims: Mapping[str, int] | None = None,
    options: SessionOptions | None = None,
    seed: int = 0,
    runs: int = 1,
) -> Report:
    """Compares the engines on `runs` inputs; those that `feeds` lacks are random, with seeds from `seed` on."""
    report, it = Report(), subject(model, options)
    made = {name: _attempt(report, name, make, it.model) for name, make in engines.OTHERS.items()}
    others = {name: engine for name, engine in made.items() if engine is not None}
    for number in range(runs):
        examine(report, it, others, it.feeds(dims or {}, feeds, seed + number))
    return report


def examine(report: Report, it: Subject, others: Mapping[str, Engine], feeds: Results) -> None:
    """Runs all engines on one input, and adds what is found to the report."""

    def timed(name: str, engine: Callable[[Results], T]) -> T:
        start = time.perf_counter()
        result = engine(feeds)
        report.seconds[name] = min(report.seconds.get(name, float("inf")), time.perf_counter() - start)
        return result

    mine = timed(OURS, it.ours)
    exact = _attempt(report, FLOAT64, timed, FLOAT64, it.known) or {}
    attempts = {name: _attempt(report, name, timed, name, engine) for name, engine in others.items()}
    results = {name: result for name, result in attempts.items() if result is not None}
    for output, y in mine.items():
        if output in exact:
            everyone = {OURS: mine, **results}
            rows = [Row(output, name, FLOAT64, from_exact(r[output], exact[output])) for name, r in everyone.items()]
        else:
            roundings = len(it.graph.nodes())
            rows = [Row(output, OURS, name, between(y, r[output], roundings)) for name, r in results.items()]
        report.rows += rows
        report.wrong += _wrong(output, rows)


def _wrong(output: str, rows: Sequence[Row]) -> list[str]:
    """What is wrong with an output, by the rule that the top of this file states."""
    lines = []
    own = [row for row in rows if row.engine == OURS]
    judges = [row for row in rows if row.engine != OURS]
    if not own:
        return [f"{output}: there is nothing to compare with"]
    if not own[0].difference.agrees:
        lines.append(f"{output}: {OURS} differs from {own[0].against}: {own[0].difference.text}")
    if judges and not any(row.difference.agrees for row in judges):
        lines += [f"{output}: {row.engine} differs from {row.against}: {row.difference.text}" for row in judges]
    return lines


def _attempt(report: Report, name: str, work: Callable[..., T], *arguments: Any) -> T | None:
    """What an engine does; None where it cannot, and from then on: the report says why."""
    if name in report.unable:
        return None
    try:
        return work(*arguments)
    except Exception as error:  # of another engine, whatever it is
        report.unable[name] = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        return None
