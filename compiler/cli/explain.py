"""`intaglio explain`: what each kernel does, its cost compared with the machine's limits, and why fusion stopped.

In: the notes of an artifact, values of the model's symbols and, if the model was run, seconds per step.
Out: `Step`s, and their text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...runtime.api.options import SessionOptions
from ...runtime.device import gpu
from ...runtime.run.executable import Executable
from ...runtime.run.profiler import Timed
from ...runtime.store.artifact import Artifact
from ..driver import Progress, silent
from ..roofline import Machine
from ..scalar.dim import Symbol, evaluate, parse
from ..tables import number, table
from ..tune.choose import RULES
from ..tune.report import described


@dataclass(frozen=True)
class Step:
    """One launch of a kernel.

    kind: of the kernel's body. nodes: the ONNX nodes in it. bytes: each buffer once. reasons: why values that it reads
    are computed by other kernels. on: "device", or "host: why", "" in models for a CPU alone. seconds: measured, None
    if the model was not run; for steps on a device, the time to start them. schedule: where it is from. slow: why
    it is slow, if the model could avoid that.
    """

    number: int
    kernel: str
    kind: str
    nodes: tuple[str, ...]
    flops: int
    bytes: int
    reasons: tuple[str, ...]
    on: str = ""
    seconds: float | None = None
    schedule: str = ""
    slow: tuple[str, ...] = ()

    def roofline(self, machine: Machine) -> float:
        """The minimum seconds for arithmetic and memory (Williams, Waterman, Patterson, "Roofline", 2009)."""
        return max(self.flops / machine.flops, self.bytes / machine.bytes)

    def limit(self, machine: Machine) -> str:
        """The bound of the step: "compute" or "memory"."""
        return "compute" if self.flops / machine.flops > self.bytes / machine.bytes else "memory"


def steps(notes: Mapping[str, Any], dims: Mapping[str, int], seconds: Sequence[float] | None = None) -> list[Step]:
    """The steps of an artifact, from its notes. dims: values of the model's symbols, 1 for missing ones."""
    result = []
    for position, note in enumerate(notes["steps"]):
        result.append(
            Step(
                position,
                note["kernel"],
                note["kind"],
                tuple(note["nodes"]),
                _evaluated(note["flops"], dims),
                _evaluated(note["bytes"], dims),
                tuple(note["reasons"]),
                note.get("on", ""),
                None if seconds is None else seconds[position],
                _schedule(note),
                tuple(note.get("slow", ())),
            )
        )
    return result


class _Symbols(dict[str, Symbol]):
    """The symbols of a formula, created on demand."""

    def __missing__(self, name: str) -> Symbol:
        self[name] = Symbol(name)
        return self[name]


def _evaluated(formula: str, dims: Mapping[str, int]) -> int:
    symbols = _Symbols()
    return evaluate(parse(formula, symbols), {s: dims.get(name, 1) for name, s in symbols.items()})


def measure(loaded: Artifact, inputs: Mapping[str, Any], repeat: int, progress: Progress = silent) -> list[float]:
    """The seconds of each step: medians of `repeat` runs, with the default number of threads."""
    device = gpu.open_device(loaded, {"enable_cuda_graph": "0"}) if "device" in loaded.manifest else None
    model = Timed(Executable(loaded, SessionOptions().threads(), 0, device), inputs)
    runs = []
    for number_of_run in range(repeat + 1):
        progress("run", number_of_run, repeat + 1)
        runs.append(model.run())
    return [float(seconds) for seconds in np.median(runs[1:], axis=0)]  # the first run is a warm-up


def schedules_text(notes: Mapping[str, Any]) -> str:
    """How many steps have schedules from where, a line each; nothing if all are by the rules."""
    counts = Counter(note.get("schedule", RULES) for note in notes["steps"])
    return "".join(f"\n  {count} steps: {source}" for source, count in counts.items()) if set(counts) != {RULES} else ""


def _schedule(note: Mapping[str, Any]) -> str:
    """Where the schedule of a step is from, and its fields if it was measured."""
    fields = described(note.get("measured", {}))
    return f"{note.get('schedule', RULES)}{f' ({fields})' if fields else ''}"


def text(found: Sequence[Step], limits: Machine, reasons: bool = True, copies: Sequence[Mapping[str, Any]] = ()) -> str:
    """The report: a table of the steps, then the copies to and from a device, and the reasons why fusion stopped."""
    total = sum(step.seconds or 0.0 for step in found)
    headings = ["step", "kind", "ONNX nodes", "GFLOP", "MB", "bound by", "limit µs"]
    measured = total > 0
    rows = []
    for step in found:
        row = [
            str(step.number),
            step.kind,
            _nodes(step.nodes),
            number(step.flops / 1e9),
            number(step.bytes / 1e6),
            step.limit(limits),
            number(step.roofline(limits) * 1e6),
        ]
        if measured:
            assert step.seconds is not None
            row += [
                number(step.seconds * 1e6),
                f"{step.seconds / total:.1%}",
                f"{step.roofline(limits) / max(step.seconds, 1e-9):.0%}",
            ]
        rows.append(row)
    lines = [table([*headings, *(["µs", "share", "of limit"] if measured else [])], rows, left=3)]
    lines.append(
        f"\n{len(found)} steps, {number(sum(s.flops for s in found) / 1e9)} GFLOP"
        + (f", {number(total * 1e3)} ms" if measured else "")
        + f"; limits of this machine by numpy: {number(limits.flops / 1e9)} GFLOP/s, {number(limits.bytes / 1e9)} GB/s"
    )
    for step in found:
        if step.on.startswith("host: "):
            lines.append(f"\nstep {step.number} stays on the host: {step.on[6:]}")
    for step in found:
        lines += [f"\nstep {step.number} is slow: {reason}" for reason in step.slow]
    for choice in sorted({step.schedule for step in found} - {RULES}):
        lines.append(f"\nschedule {choice}: step {', '.join(str(s.number) for s in found if s.schedule == choice)}")
    for copy in copies:
        lines.append(f"copied to the {copy['to']}: {copy['bytes']} bytes, for {', '.join(copy['nodes'])}")
    if reasons and any(step.reasons for step in found):
        lines.append("\nWhy these steps do not compute more of what they read:")
        lines += [f"  {step.number}: {reason}" for step in found for reason in step.reasons]
    return "\n".join(lines)


def _nodes(names: Sequence[str], width: int = 48) -> str:
    joined = ", ".join(names)
    if len(joined) <= width:
        return joined
    return f"{names[0][: width - 12]}{' ' if len(names) == 1 else f' and {len(names) - 1} more'}"


def as_json(found: Sequence[Step], limits: Machine) -> dict[str, Any]:
    """The report for programs."""
    return {
        "machine": asdict(limits),
        "steps": [{**asdict(s), "roofline": s.roofline(limits), "bound": s.limit(limits)} for s in found],
    }
