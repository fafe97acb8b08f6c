"""The steps of a compiled model: what each is, what it costs, what it could cost at the least, and what it takes.

In: the notes of an artifact, values of the model's symbols, traces of runs. Out: a `Report`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...runtime.device import gpu
from ...runtime.run.executable import Executable
from ...runtime.run.trace import Timed, Trace
from ...runtime.store.artifact import Artifact
from ..driver import Progress, silent
from ..roofline import Machine
from ..scalar.dim import Symbol, evaluate, parse
from ..tune.choose import RULES

Array = np.ndarray[Any, Any]

_SECONDS = 1.0  # of measuring, and
_RUNS = 10  # at least


@dataclass(frozen=True)
class Step:
    """One launch of a kernel.

    kind: of the kernel's body. nodes: the ONNX nodes in it; operators: their operators. flops: as the operators have
    them; operations: those that the algorithm does; rate: the most of them in a second, as a multiple of f32
    multiply-adds. bytes: that it accesses, each once; kept: of these, weights and inputs of the model. reasons: why
    values that it reads are computed by other kernels. on: "device", or "host: why", "" in models for a CPU alone.
    schedule: where it is from, and its fields. slow: why it is slow, if the model could avoid that."""

    number: int
    kernel: str
    kind: str
    nodes: tuple[str, ...]
    operators: str
    flops: int
    operations: int
    rate: float
    bytes: int
    kept: int
    reasons: tuple[str, ...]
    on: str = ""
    schedule: str = ""
    slow: tuple[str, ...] = ()


@dataclass(frozen=True)
class Times:
    """What a step takes in a run, in seconds.

    seconds: of the run; steps that run at the same time share them. busy, waiting, idle: of each thread: in the kernel,
    waiting for the others after it did a part, without a part. count: how often it runs."""

    seconds: float
    busy: tuple[float, ...]
    waiting: tuple[float, ...]
    idle: tuple[float, ...]
    count: float

    @property
    def at_work(self) -> float:
        """The part of all threads' time in which they are in the kernel."""
        total = sum(self.busy) + sum(self.waiting) + sum(self.idle)
        return sum(self.busy) / total if total else 1.0


@dataclass(frozen=True)
class Measured:
    """Where the time of a run goes, in seconds: means over the middle half of all runs.

    latency: of a run that is not recorded, beside one that is; between: from one step to the next; around: in Python,
    before and after the program; trace: a run in the middle."""

    threads: int
    latency: float
    between: float
    around: float
    times: tuple[Times, ...]
    trace: Trace

    @property
    def total(self) -> float:
        """The sum of all parts."""
        return sum(each.seconds for each in self.times) + self.between + self.around


@dataclass(frozen=True)
class Report:
    """A model's steps, and what was measured. limits: None without a C compiler; footprint: bytes that a run touches,
    between two uses of a weight; copies: to and from a device."""

    steps: tuple[Step, ...]
    limits: Machine | None
    measured: Measured | None
    footprint: int
    copies: tuple[Mapping[str, Any], ...] = field(default=())

    def limit(self, step: Step) -> float:
        """The minimum seconds of a step, for arithmetic and memory."""
        assert self.limits is not None
        return max(self._compute(step), self._memory(step))

    def bound(self, step: Step) -> str:
        """What bounds a step: "compute" or "memory"."""
        return "compute" if self._compute(step) > self._memory(step) else "memory"

    def _compute(self, step: Step) -> float:
        assert self.limits is not None
        return step.operations / (self.limits.flops * step.rate)

    def _memory(self, step: Step) -> float:
        assert self.limits is not None
        return self.limits.seconds_to_move((step.kept, self.footprint), (step.bytes - step.kept, step.bytes))

    def seconds(self, step: Step) -> float:
        """What a step takes in a run; 0 if nothing was measured."""
        return self.measured.times[step.number].seconds if self.measured else 0.0

    def together(self, steps: Sequence[Step]) -> float:
        """The seconds that steps take in a run."""
        return sum(map(self.seconds, steps))

    def of_limit(self, steps: Sequence[Step]) -> float:
        """The part of the limit that steps reach together, over all times that they run."""
        assert self.measured is not None
        least = sum(self.limit(s) * self.measured.times[s.number].count for s in steps)
        return least / max(self.together(steps), 1e-12)


def steps(notes: Mapping[str, Any], dims: Mapping[str, int]) -> tuple[Step, ...]:
    """The steps of an artifact, from its notes. dims: values of the model's symbols, 1 for missing ones."""
    operators = {name: op for name, _, op in notes["nodes"] if name}
    found = []
    for number, note in enumerate(notes["steps"]):
        flops, operations, moved, kept = (evaluated(note[f], dims) for f in ("flops", "operations", "bytes", "kept"))
        names = dict.fromkeys(operators.get(node, node) for node in note["nodes"])
        about = note["kernel"], note["kind"], tuple(note["nodes"]), "+".join(names)
        costs = flops, operations, note["rate"], moved, kept
        rest = tuple(note["reasons"]), note.get("on", ""), _schedule(note), tuple(note["slow"])
        found.append(Step(number, *about, *costs, *rest))
    return tuple(found)


class _Symbols(dict[str, Symbol]):
    """The symbols of a formula, created on demand."""

    def __missing__(self, name: str) -> Symbol:
        self[name] = Symbol(name)
        return self[name]


def evaluated(formula: str, dims: Mapping[str, int]) -> int:
    """The value of a formula of the notes. dims: values of the symbols, 1 for missing ones."""
    symbols = _Symbols()
    return evaluate(parse(formula, symbols), {s: dims.get(name, 1) for name, s in symbols.items()})


def _schedule(note: Mapping[str, Any]) -> str:
    """Where the schedule of a step is from, and its fields."""
    fields = note.get("fields", "")
    return f"{note.get('schedule', RULES)}{f' ({fields})' if fields else ''}"


def measure(
    loaded: Artifact,
    inputs: Mapping[str, Any],
    threads: int,
    repeat: int | None = None,
    progress: Progress = silent,
) -> Measured:
    """Runs a model, in turns recorded and not. repeat: so often; by default at least ten times, for a second."""
    device = gpu.open_device(loaded, {"enable_cuda_graph": "0"}) if "device" in loaded.manifest else None
    model = Timed(Executable(loaded, threads, 0, device), inputs)
    model.trace()  # the first run is a warm-up
    turns = repeat or max(_RUNS, int(_SECONDS / 2 / max(model.whole(), 1e-9)))
    pairs: list[tuple[float, float, Trace]] = []  # of runs one after the other: not recorded, recorded
    while len(pairs) < turns:
        progress("run", len(pairs), turns)
        pairs.append((model.whole(), *model.recorded()))
    pairs.sort(key=lambda pair: pair[0] + pair[1])
    middle = pairs[len(pairs) // 4 : -(len(pairs) // 4) or None]
    latency, whole = (float(np.mean([pair[i] for pair in middle])) for i in (0, 1))
    traces = [trace for _, _, trace in middle]
    parts = np.mean([_by_step(trace, loaded.manifest["steps"]) for trace in traces], axis=0)
    inside = float(np.mean([trace.end - trace.begin for trace in traces])) / 1e9
    between, around = inside - float(parts[:, 0].sum()), whole - inside
    times = tuple(_times(row) for row in parts.tolist())
    return Measured(model.plan.threads, latency, between, around, times, traces[len(traces) // 2])


def _by_step(trace: Trace, steps: int) -> Array:
    """float64 [steps, 2 + 3 threads]: how often each ran, and the numbers of `Times`."""
    columns = [trace.share / 1e9, np.ones(trace.step.size)]
    columns += [*(trace.busy.T / 1e9), *(trace.lost_by[0].T / 1e9), *(trace.lost_by[1].T / 1e9)]
    return np.stack([np.bincount(trace.step, each, steps) for each in columns], axis=1)


def _times(row: Sequence[float]) -> Times:
    seconds, count, *rest = row
    busy, waiting, idle = (tuple(rest[i : i + len(rest) // 3]) for i in range(0, len(rest), len(rest) // 3))
    return Times(seconds, busy, waiting, idle, count)


def explained(
    loaded: Artifact,
    dims: Mapping[str, int],
    limits: Callable[[], Machine | None],
    run: Callable[[], Measured] | None = None,
    progress: Progress = silent,
) -> Report:
    """The report of a compiled model. limits: measures the machine, before and after the model runs; run: measures the
    model, None to leave it out."""
    notes = loaded.notes()
    found = steps(notes, dims)
    progress("limits of this machine")
    limits()
    measured = run() if run else None
    progress("limits of this machine")
    footprint = sum(step.bytes for step in found)
    return Report(found, limits(), measured, footprint, tuple(notes["copies"]))
