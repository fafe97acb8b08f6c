"""The report of a tuning run as a page for browsers and notebooks: a table, the search, a roofline.

In: a report. Out: HTML without scripts and without anything from elsewhere. Names of nodes come from a model, and are
escaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..codegen.render import render

if TYPE_CHECKING:
    from .report import KernelReport, TuningReport

WIDTH, HEIGHT = 640, 320  # of a plot
PLOTTED = 8  # kernels in the plot of the search


@dataclass(frozen=True)
class Line:
    """A curve of a plot. points: x and y of each, as SVG has them; position: in the list of kernels, for its colour."""

    name: str
    points: str
    position: int


@dataclass(frozen=True)
class Point:
    """A kernel in the roofline: by the rules, and as it was tuned."""

    name: str
    x: float
    before: float
    after: float


def html(report: TuningReport) -> str:
    """The page, or part of one."""
    search = _search(report.kernels)
    roof, points = _roofline(report)
    return render(
        "html/tuning.html.j2",
        report=report,
        search=search,
        roof=roof,
        points=points,
        width=WIDTH,
        height=HEIGHT,
        most=_most(report.kernels),
    )


def _most(kernels: Sequence[KernelReport]) -> float:
    """The largest gain."""
    return max((kernel.gain for kernel in kernels), default=1.0)


def _search(kernels: Sequence[KernelReport]) -> list[Line]:
    """The best gain so far over the number of trials, of the kernels that take the most time."""
    shown = [(i, kernel) for i, kernel in enumerate(kernels) if kernel.best][:PLOTTED]
    trials = max((len(kernel.best) for _, kernel in shown), default=1)
    top = max(1.01, *(max(kernel.best) for _, kernel in shown)) if shown else 1.01
    lines = []
    for position, kernel in shown:
        places = ((WIDTH * (n + 1) / trials, HEIGHT * (top - best) / (top - 1)) for n, best in enumerate(kernel.best))
        lines.append(Line(kernel.nodes, f"0,{HEIGHT} " + " ".join(f"{x:.1f},{y:.1f}" for x, y in places), position))
    return lines


def _roofline(report: TuningReport) -> tuple[str, list[Point]]:
    """The points of the roof, and the kernels under it, on logarithmic axes: operations per byte, and per second."""
    measured: list[Any] = [k for k in report.kernels if k.seconds and k.flops and k.bytes]
    if not measured or not report.peak_flops:
        return "", []
    ridge = report.peak_flops / report.peak_bytes
    intensities = [k.flops / k.bytes for k in measured]
    speeds = [k.flops / k.seconds for k in measured]
    left, right = min(*intensities, ridge) / 2, max(*intensities, ridge) * 2
    low, high = min(speeds) / 2, max(report.peak_flops, *(s * k.gain for s, k in zip(speeds, measured))) * 1.5

    def x(intensity: float) -> float:
        return WIDTH * math.log(intensity / left) / math.log(right / left)

    def y(speed: float) -> float:
        return HEIGHT * math.log(high / speed) / math.log(high / low)

    roof = [(left, left * report.peak_bytes), (ridge, report.peak_flops), (right, report.peak_flops)]
    points = [Point(k.nodes, x(i), y(s), y(s * k.gain)) for k, i, s in zip(measured, intensities, speeds)]
    return " ".join(f"{x(i):.1f},{y(s):.1f}" for i, s in roof), points
