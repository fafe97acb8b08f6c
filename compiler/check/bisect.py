"""Where a model first computes something wrong: `intaglio bisect`.

In: an ONNX model, its inputs. Out: a `Finding`: the stage of the compiler that is at fault, the first wrong value, its
ONNX nodes and kernel, and the smallest part of the model that shows it.

A model passes through stages, and each leaves something that can be evaluated: the import and each pass a graph, which
its interpreter runs; lowering and schedules kernels, which theirs runs; printing and the C compiler code, which runs
itself. What is right is said by float64 (`exact.py`), of each of these alike. The graphs are searched by halves. Of the
kernels all values are watched at once, and each kernel is judged by itself, for what it has read; the first that is
wrong, in the order of the steps, is at fault. Watching does not change fusion: what shares a kernel is decided before.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.api.options import SessionOptions
from ...runtime.enums import GraphOptimizationLevel
from ...runtime.errors import InvalidArgument
from .. import driver
from ..driver import Compilation, Progress, silent
from ..frontend.export import tensor_to_bytes
from ..frontend.importer import import_model
from ..frontend.interface import adjust
from ..frontend.interface import values as names_of
from ..frontend.load import Model as Loaded
from ..frontend.load import NodeDef, load_model
from ..graph.interp import evaluate
from ..graph.ir import Array, Graph, Value, is_static
from ..kernel.ir import Launch
from ..lower import fuse
from ..options import Options
from ..passes import at_level
from . import engines
from .compare import from_exact
from .engines import Results
from .exact import Known, Unable, precision_of
from .reduce import Cutter, Part, Shows, reduce
from .trace import Meaning, Trace, Traced, compiled, in_kernels, in_memory, interpreted, read, trace
from .verify import Subject, in_order, subject, verify

SECONDS = 60.0  # for the search of a small part


@dataclass(frozen=True)
class Step:
    """How accurate a kernel's result is.

    error: RMS of the difference to float64 / RMS of the value, of finite numbers; growth: error / the largest one of
    what it reads, or half a rounding of its type if that is larger. of_bound: see `Difference`."""

    number: int
    kind: str
    nodes: tuple[str, ...]
    error: float
    growth: float
    of_bound: float


@dataclass
class Finding:
    """stage: "import", a pass, "lower", "schedule", "print", "accuracy", "memory" or "package"; "" if nothing is wrong.

    value, operation: the ONNX name of the first wrong value, "" if it has none, and what computes it. nodes: the ONNX
    nodes of the kernel, or of the value. step: of the program. difference: how the value is wrong. part: the nodes of
    the smallest part. shown: whether the part, compiled and run by itself, is wrong as well. written: files. steps: of
    all kernels, in their order. notes: what could not be looked at."""

    stage: str = ""
    value: str = ""
    operation: str = ""
    nodes: tuple[str, ...] = ()
    step: int | None = None
    difference: str = ""
    part: list[str] = field(default_factory=list)
    shown: bool = False
    written: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class _Fault:
    """A fault with what its reduction needs: the nodes that are suspected, and which parts show it."""

    finding: Finding
    suspects: Sequence[str]
    shows: Shows


def bisect(
    model: str | bytes | Path,
    feeds: Mapping[str, Array] | None = None,
    dims: Mapping[str, int] | None = None,
    options: SessionOptions | None = None,
    seed: int = 0,
    against: str = "float64",
    output: Path | None = None,
    progress: Progress = silent,
) -> Finding:
    """Finds the first wrong value. output: a folder for the smallest part that shows it.

    against: what outputs are compared with to begin with: "float64", "onnxruntime", "reference", or another result of
    Intaglio: "strict", "level=N", "ours@ARTIFACT". Which of two differing results is wrong, float64 says.
    Raises InvalidArgument for a model without a meaning in float64."""
    start = time.monotonic()
    progress("compile")
    it = subject(model, options)
    inputs = it.feeds(dims or {}, feeds, seed)
    try:
        progress("compare")
        it = _accused(it, inputs, against)
        search = _Search(it, inputs, against)
        progress("search")
        fault = search.fault()
        if fault.finding.stage:
            progress("reduce")
            part = _smallest(it, search, fault)
            if part is not None:
                _tell(fault.finding, it, part, output)
    except Unable as reason:
        raise InvalidArgument(f"the model has no meaning apart from a run: {reason}") from None
    fault.finding.seconds = time.monotonic() - start
    return fault.finding


def _accused(it: Subject, feeds: Results, against: str) -> Subject:
    """Whose values are searched: the model as it is compiled; or as `against` says, where only that is wrong."""
    options = it.options.copied()
    if against == "strict":
        options.add_session_config_entry("intaglio.precision", "strict")
    elif against.startswith("level="):
        options.graph_optimization_level = GraphOptimizationLevel(int(against.removeprefix("level=")))
    elif against.startswith("ours@"):
        theirs = engines.ours(against.removeprefix("ours@"))(feeds)
        wrong = _wrong(theirs, it.known(feeds))
        if wrong and not _wrong(it.ours(feeds), it.known(feeds)):
            raise InvalidArgument(f"{against} is wrong, and the model as it is compiled now is right: {wrong}")
        return it
    else:
        if against not in ("float64", *engines.OTHERS):
            raise InvalidArgument(f"cannot compare with '{against}'")
        return it
    other = subject(it.model, options)
    exact = it.known(feeds)
    return other if _wrong(other.ours(feeds), exact) and not _wrong(it.ours(feeds), exact) else it


def _wrong(results: Results, exact: Mapping[str, Known]) -> str:
    """What is wrong with results; "" where nothing is."""
    found = ((name, from_exact(results[name], value)) for name, value in exact.items() if name in results)
    return next((f"{name}: {each.text}" for name, each in found if not each.agrees), "")


# ---- the stages ------------------------------------------------------------------------------------------------------


class _Search:
    """The search in one model, on one input."""

    def __init__(self, it: Subject, feeds: Results, against: str) -> None:
        self.it, self.feeds = it, feeds
        self.settings = it.settings
        self.finding = Finding()
        self.loaded = load_model(it.model, it.settings.external_data_folder or None)
        self.named = _named(self.loaded, it.settings)
        self.values = it.known(feeds, self.named)  # of ONNX names
        self.exact = {name: self.values[name] for name in it.graph.output_names if name in self.values}
        self.other = self._other(against)

    def _other(self, against: str) -> dict[str, Any] | None:
        """The ONNX values as another engine has them: the one that is asked for, or the first that agrees at the
        outputs, else the first that can."""
        found: list[dict[str, Any]] = []
        for name in [against] if against in engines.OTHERS else engines.OTHERS:
            try:
                found.append(dict(engines.OTHERS[name](self.it.model, list(self.values))(self.feeds)))
                if not _wrong(found[-1], self.exact):
                    return found[-1]
            except Exception as error:  # of the engine, whatever it is
                first = (str(error).strip() or type(error).__name__).splitlines()[0]
                self.finding.notes.append(f"the import is not compared with {name}: {first[:200]}")
        return found[0] if found else None

    def fault(self) -> _Fault:
        return self._of_import() or self._of_passes() or self._of_kernels()

    def _of_import(self) -> _Fault | None:
        if self.other is None or not _wrong(self.other, self.exact):
            return None
        for node in Cutter(self.loaded, {}, (), False).nodes:
            for name in node.outputs:
                if name in self.values and name in self.other:
                    found = from_exact(self.other[name], self.values[name])
                    if not found.agrees:
                        self._found("import", name, node.op, (node.name or node.op,), found.text)
                        return _Fault(self.finding, [name], self._import_differs)
        return None

    def _import_differs(self, part: Part) -> bool:
        graph = import_model(load_model(part.model), self.settings.dims)
        exact = self.it.known(part.feeds, graph)
        for make in engines.OTHERS.values():
            try:
                return bool(_wrong(make(part.model)(part.feeds), exact))
            except Exception:  # it cannot run this part
                continue
        return False

    def _of_passes(self) -> _Fault | None:
        """The first pass after which the outputs are wrong, by halves: those after the import are right."""
        names, graphs = zip(*_passes(self.it.graph, self.settings))
        if not self._is_wrong(graphs[-1]):
            return None
        right, wrong = 0, len(graphs) - 1
        while wrong - right > 1:
            middle = (right + wrong) // 2
            right, wrong = (right, middle) if self._is_wrong(graphs[middle]) else (middle, wrong)
        value, text = self._first_wrong(graphs[wrong])
        origin = value.node.origin if value is not None else ()
        name = value.name if value is not None else ""
        self._found(names[wrong], name, _operation(value), origin, text)
        suspects = [name] if name in self.values else _names_in(self.loaded, origin)
        return _Fault(self.finding, suspects, partial(self._pass_is_wrong, wrong))

    def _is_wrong(self, graph: Graph) -> str:
        return _wrong(_evaluated(graph, self.feeds), self.exact)

    def _first_wrong(self, graph: Graph) -> tuple[Value | None, str]:
        """The first value of a graph that has an ONNX name, and differs from what that stands for."""
        seen = [v for node in graph.nodes() for v in node.outputs if v.name in self.values and v.op != "input"]
        results = evaluate(replace(graph, outputs=seen), in_order(graph, self.feeds))
        for value, result in zip(seen, results):
            exact = self.values[value.name]
            alike = sorted(result.shape) == sorted(exact.exact.shape) and result.dtype == exact.dtype.to_numpy()
            if alike and not _is_moved(result, exact):
                found = from_exact(result, exact)
                if not found.agrees:
                    return value, found.text
        return None, self._is_wrong(graph)

    def _pass_is_wrong(self, number: int, part: Part) -> bool:
        graph = import_model(load_model(part.model), self.settings.dims)
        exact = self.it.known(part.feeds, graph)
        after = _passes(graph, self.settings)[number][1]
        return bool(_wrong(_evaluated(after, part.feeds), exact))

    def _of_kernels(self) -> _Fault:
        unit = driver.optimized_model(self.it.model, self.settings)
        assert unit.graph
        unit.graph = fuse.distinct_outputs(unit.graph)
        arrays = in_order(unit.graph, self.feeds)
        meaning = Meaning.of(unit.graph, arrays, self.it.precision)
        found = trace(unit, meaning, self.it.options, in_memory(unit.graph))
        self.finding.steps = _growth(found)
        if found.wrong:
            return self._of_kernel(unit, meaning, found)
        names = unit.graph.output_names
        together = _wrong(dict(zip(names, found.outputs)), self.exact)
        plain = _wrong(dict(zip(names, compiled(unit, arrays, self.it.options, ()))), self.exact)
        if together:
            worst = max(self.finding.steps, key=lambda step: step.growth)
            self._found("accuracy", "", worst.kind, worst.nodes, f"each kernel is right by itself, but {together}")
        elif plain:
            self._found("memory", "", "", (), f"with nothing watched, {plain}")
        elif self._session_is_wrong():
            self._found("package", "", "", (), f"compiled anew it is right, from the cache {self._session_is_wrong()}")
        return _Fault(self.finding, (), self._compiled_is_wrong)

    def _session_is_wrong(self) -> str:
        return _wrong(self.it.ours(self.feeds), self.exact)

    def _of_kernel(self, unit: Compilation, meaning: Meaning, found: Trace) -> _Fault:
        """The first wrong value: of all inside of the kernel at fault, whose stage the interpreter of kernels tells."""
        first = found.wrong[0]
        stage = self._stage(unit, found, first, meaning)
        watched = [*in_memory(meaning.graph), *in_kernels(meaning.graph, first.value)]
        closer = trace(unit, meaning, self.it.options, watched)
        first = next((each for each in closer.wrong if each.step == first.step), first)
        self.finding.step = first.step
        self._found(stage, first.value.name, _operation(first.value), first.launch.origin, first.difference.text)
        return _Fault(self.finding, _names_in(self.loaded, first.launch.origin), self._compiled_is_wrong)

    def _stage(self, unit: Compilation, found: Trace, first: Traced, meaning: Meaning) -> str:
        """Which stage made a kernel wrong: the one before which its meaning is right."""
        scheduled = found.unit.program
        watched = [each.value for each in found.values if each.value not in set(meaning.graph.outputs)]
        lowered = driver.lowered(replace(unit, program=None), watched).program
        assert lowered and scheduled
        for stage, program in (("lower", lowered), ("schedule", scheduled)):
            launch = program.numbered[first.step]
            assert isinstance(launch, Launch)
            if not interpreted(program, launch, found, first, meaning.sizes).agrees:
                return stage
        return "print"

    def _compiled_is_wrong(self, part: Part) -> bool:
        unit = driver.optimized_model(part.model, replace(self.settings, outputs=()))
        graph = import_model(load_model(part.model), self.settings.dims)
        exact = self.it.known(part.feeds, graph)
        assert unit.graph
        unit.graph = fuse.distinct_outputs(unit.graph)
        results = compiled(unit, in_order(unit.graph, part.feeds), self.it.options, ())
        return bool(_wrong(dict(zip(unit.graph.output_names, results)), exact))

    def _found(self, stage: str, value: str, operation: str, nodes: Sequence[str], text: str) -> None:
        self.finding.stage, self.finding.value, self.finding.operation = stage, value, operation
        self.finding.nodes, self.finding.difference = tuple(nodes), text


def _is_moved(array: Array, value: Known) -> bool:
    """Whether an array has the elements of a value, in whatever order: a pass that changes layouts keeps the names."""
    got, wanted = np.sort(array.astype(np.float64).reshape(-1)), np.sort(value.exact.astype(np.float64).reshape(-1))
    return bool((np.abs(got - wanted) <= value.bound.max(initial=0)).all())


def _evaluated(graph: Graph, feeds: Results) -> Results:
    with np.errstate(all="ignore"):
        return dict(zip(graph.output_names, evaluate(graph, in_order(graph, feeds))))


def _passes(graph: Graph, settings: Options) -> list[tuple[str, Graph]]:
    """The imported graph, and the graphs after each of the passes."""
    graphs = [("import", graph)]
    for name, rewrite in at_level(settings.level, settings.check_data):
        graphs.append((name, rewrite(graphs[-1][1])))
    return graphs


def _named(model: Loaded, settings: Options) -> Graph:
    """The imported graph with all values that have names as outputs; without those inside, where some cannot be."""
    inside = [name for name in names_of(model) if name not in model.graph.outputs]
    try:
        return import_model(adjust(model, inside, (), {}, {}), settings.dims)
    except Exception:  # a value that is none: an optional without an element
        return import_model(model, settings.dims)


def _operation(value: Value | None) -> str:
    if value is None:
        return ""
    prim = value.node.attrs.get("prim") or value.node.attrs.get("kind")
    return f"{value.op} {prim}" if isinstance(prim, str) else value.op


def _names_in(model: Loaded, origin: Sequence[str]) -> list[str]:
    """The values that the ONNX nodes of an origin make."""
    labels = {label.partition("/")[0] for label in origin} | set(origin)
    return [name for node in model.graph.nodes if (node.name or node.op) in labels for name in node.outputs if name]


def _growth(found: Trace) -> list[Step]:
    """Of each kernel, the error of what it writes beside the errors of what it reads."""
    program = found.unit.program
    assert program
    errors: dict[Value, float] = {}
    steps = []
    for each in found.values:
        if not each.value.dtype.is_float or not each.array.size:
            continue
        exact, got = each.exact.exact, each.array.astype(np.float64)
        finite = np.isfinite(exact) & np.isfinite(got)
        off, scale = (float(np.linalg.norm(x[finite])) for x in (got - exact, exact))
        error = errors[each.value] = off / scale if scale else off
        before = max([precision_of(each.value.dtype)[0] / 2, *(errors.get(v, 0.0) for v in read(program, each.launch))])
        kind, origin = type(each.launch.kernel.body).__name__, each.launch.origin
        steps.append(Step(each.step, kind, origin, error, error / before, each.difference.of_bound))
    return steps


# ---- the smallest part -----------------------------------------------------------------------------------------------


def _smallest(it: Subject, search: _Search, fault: _Fault) -> Part | None:
    """A part with sizes that are numbers, or, if the fault is not shown then, with those of the model's inputs."""
    if search.finding.stage == "import" and search.other is not None:
        arrays = {name: array for name, array in search.other.items() if isinstance(array, np.ndarray)}
    else:
        arrays = {name: value.rounded() for name, value in search.values.items()}
    arrays |= {name: array for name, array in search.feeds.items() if isinstance(array, np.ndarray)}
    named = zip(search.named.output_names, search.named.outputs)
    fixed = [name for name, value in named if is_static(value) or value.content is not None]
    deadline = time.monotonic() + SECONDS

    def shows(part: Part) -> bool:
        try:
            return fault.shows(part)
        except Exception:  # a part that is no model
            return False

    for symbolic in (False, True):
        cutter = Cutter(search.loaded, arrays, set(fixed), symbolic)
        suspects: list[NodeDef] = [node for node in cutter.nodes if set(node.outputs) & set(fault.suspects)]
        part = reduce(cutter, suspects, shows, deadline)
        if part is not None:
            return part
    return None


_SCRIPT = """\
from intaglio.compiler.cli.main import main

main(["verify", "model.onnx", {inputs}])
"""


def _tell(finding: Finding, it: Subject, part: Part, output: Path | None) -> None:
    finding.part = [f"{node.op} {node.name}".strip() for node in part.nodes]
    finding.shown = not verify(part.model, part.feeds, options=it.options).agrees
    if output is None:
        return
    output.mkdir(parents=True, exist_ok=True)
    (output / "model.onnx").write_bytes(part.model)
    usual = {name: array for name, array in part.feeds.items() if array.dtype.kind != "V"}
    np.savez(output / "inputs.npz", **usual)  # type: ignore[arg-type]  # names may be those of parameters
    others = [name for name in part.feeds if name not in usual]  # of types that numpy lacks
    for i, name in enumerate(others):
        (output / f"input{i}.pb").write_bytes(tensor_to_bytes(name, part.feeds[name]))
    files = ["inputs.npz", *(f"input{i}.pb" for i in range(len(others)))]
    (output / "repeat.py").write_text(_SCRIPT.format(inputs=", ".join(f'"--input", "{file}"' for file in files)))
    finding.written = [str(output / name) for name in ("model.onnx", *files, "repeat.py")]
