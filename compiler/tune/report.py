"""What a tuning run tells: a report, its text, and a table on a terminal that changes while it works.

In: reports. Out: text.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any

from ..tables import number, table
from . import page

SHOWN = 10  # kernels in the live table
REDRAW = 0.2  # seconds


@dataclass
class KernelReport:
    """What became of one kernel. share: of the model's time before. gain: alone; in_model: of its steps in the model.
    schedule: the fields of the best that differ from the default's. flops, bytes: of a step; best: the best gain after
    each trial."""

    kind: str
    nodes: str
    steps: int
    share: float
    trials: int = 0
    seconds: float = 0.0
    gain: float = 1.0
    in_model: float | None = None
    schedule: dict[str, Any] = field(default_factory=dict)
    refused: int = 0
    flops: int = 0
    bytes: int = 0
    best: list[float] = field(default_factory=list)

    @property
    def changes(self) -> str:
        """The fields of the schedule, as text."""
        return described(self.schedule)


@dataclass
class TuningReport:
    """What a tuning run has found. before, after: seconds of the whole model, medians of turns; gain: the median of the
    ratios of neighbouring turns. interrupted: whether the user ended it. left_out: kernels that cannot be tuned; lost:
    candidates that could not be measured; how many, by the reason."""

    model: str
    cpu: str
    threads: int
    database: str
    kernels: list[KernelReport] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    before: float = 0.0
    after: float = 0.0
    gain: float = 1.0
    records: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    peak_flops: float = 0.0
    peak_bytes: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return text(self)

    def html(self) -> str:
        """One page, with a plot of the search and a roofline before and after."""
        return page.html(self)

    def _repr_html_(self) -> str:
        return page.html(self)


class Live:
    """The table of a run on a terminal, removed in the end; nothing elsewhere. Called as the tuner's `progress`."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._lines, self._last, self._start = 0, 0.0, time.monotonic()

    def __enter__(self) -> Live:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write([])

    def __call__(self, report: TuningReport, kernel: KernelReport | None, part: float) -> None:
        now = time.monotonic()
        if not self._terminal or now - self._last < REDRAW:
            return
        self._last = now
        done = int(part * 30)
        elapsed = now - self._start
        left = elapsed / part - elapsed if part > 0.02 else 0.0
        bar = f"[{'#' * done}{'.' * (30 - done)}] {part:4.0%}, {left:.0f} s left, {report.records} trials"
        now_at = f"  {kernel.kind} {kernel.nodes[:40]}" if kernel else ""
        self._write([*kernels_text(report.kernels[:SHOWN]).splitlines(), bar + now_at])

    def _write(self, lines: Sequence[str]) -> None:
        if not self._terminal:
            return
        back = f"\x1b[{self._lines}A" if self._lines else ""
        sys.stderr.write(f"{back}\r\x1b[J" + "".join(f"{line}\n" for line in lines))
        sys.stderr.flush()
        self._lines = len(lines)


def kernels_text(kernels: Sequence[KernelReport]) -> str:
    """A row for each kernel."""
    rows = [
        [
            k.kind,
            k.nodes if len(k.nodes) <= 36 else k.nodes[:33] + "...",
            str(k.steps),
            f"{k.share:.1%}",
            str(k.trials),
            number(k.seconds * 1e6) if k.seconds else "",
            f"{k.gain:.2f}" if k.trials else "",
            "" if k.in_model is None else f"{k.in_model:.2f}",
            f"{max(0.0, k.share * (1 - 1 / k.gain)):.1%}",
        ]
        for k in kernels
    ]
    return table(
        ["kernel", "ONNX nodes", "steps", "share", "trials", "µs", "gain", "in the model", "won"], rows, left=2
    )


def text(report: TuningReport) -> str:
    """The report for people."""
    lines = [kernels_text(report.kernels), ""]
    for kernel in report.kernels:
        if kernel.schedule:
            lines.append(f"  {kernel.nodes[:60]}: {kernel.changes}")
    lines += [f"  {count} steps are left out: {reason}" for reason, count in report.left_out.items()]
    lines += [f"  {count} candidates are left out: {reason}" for reason, count in report.lost.items()]
    if any(kernel.refused for kernel in report.kernels):
        lines.append(f"  {sum(kernel.refused for kernel in report.kernels)} candidates were refused: wrong results")
    if report.interrupted:
        lines.append("interrupted: what was measured is kept, and used from now on")
    elif report.before:
        lines.append(
            f"the whole model: {number(report.before * 1e3)} -> {number(report.after * 1e3)} ms, "
            f"{report.gain:.3f} times as fast, on {report.threads} threads of {report.cpu}"
        )
    lines.append(f"{report.records} measurements in {report.seconds:.0f} s, added to {report.database}")
    return "\n".join(lines)


def described(schedule: Mapping[str, Any]) -> str:
    """Fields of a schedule as text."""
    return ", ".join(f"{name} = {_short(value)}" for name, value in schedule.items() if name != "type")


def _short(value: Any) -> str:
    """A register tile by its largest size, other fields as they are."""
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return " ".join(map(_short, value))
    if isinstance(value, Mapping) and "vectors" in value:
        return f"{max(value['rows'])}x{value['vectors'] * value['lanes']}"
    if isinstance(value, Mapping):
        return "x".join(str(part).replace(" ", "") for part in value.values())
    return str(value)
