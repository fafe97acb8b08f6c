"""A report as one page for browsers, with nothing from elsewhere: words, tables, figures.

In: a report that was measured, the notes of its model. Out: HTML. Names of nodes come from a model, and are escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...runtime import cpus
from ..codegen.render import render
from . import plots
from .findings import findings
from .groups import by_kind, by_layer, by_operators, cells
from .steps import Report, Step, evaluated

_GROUPS = 12  # rows of a table
_LISTED = 12  # numbers of steps in a cell


@dataclass(frozen=True)
class Row:
    """A group of kernels in a table. colour: of its kind in the figures, if it is one."""

    name: str
    colour: str
    count: str
    us: str
    share: str
    reached: str


@dataclass(frozen=True)
class Table:
    title: str
    rows: Sequence[Row]


@dataclass(frozen=True)
class Note:
    """Something that holds for some steps."""

    steps: str
    kind: str
    text: str


def page(report: Report, notes: Mapping[str, Any], model: str, dims: Mapping[str, int], accuracy: str = "") -> str:
    """The page. dims: values of the model's symbols; accuracy: how outputs compare, as text. Raises Fail where Bokeh is
    not installed."""
    assert report.measured
    b = plots.bokeh()
    plan = [
        {**m, "offset": evaluated(str(m["offset"]), dims), "bytes": evaluated(str(m["bytes"]), dims)}
        for m in notes["memory"]
        if m["region"] == 0
    ]
    figures = [plots.timeline(b, report)]
    if report.limits:
        figures.append(plots.roofline(b, report))
    if plan:
        figures.append(plots.memory(b, report, plan))
    figures.append(plots.graph(b, report, [note["needs"] for note in notes["steps"]]))
    data, divisions = b.embed.components(tuple(figures))
    return render(
        "html/report.html.j2",
        report=report,
        model=model,
        cpu=cpus.model_name(),
        dims=", ".join(f"{name} = {size}" for name, size in dims.items()),
        findings=findings(report),
        groups=[Table(*each) for each in _tables(report)],
        figures=divisions,
        reasons=_notes(report.steps, lambda step: step.reasons),
        schedules=_notes(report.steps, lambda step: (step.schedule,)),
        accuracy=accuracy,
        scripts=b.resources.Resources(mode="inline", components=["bokeh"]).render_js(),
        data=data,
    )


def _tables(report: Report) -> list[tuple[str, list[Row]]]:
    colours = plots.colours(report)
    tables = [("kind", by_kind(report)), ("ONNX operators", by_operators(report)), ("part", by_layer(report))]
    return [
        (
            title,
            [Row(group.name, colours.get(group.name, ""), *cells(report, group.steps)) for group in groups[:_GROUPS]],
        )
        for title, groups in tables
        if groups
    ]


def _notes(steps: Sequence[Step], texts: Callable[[Step], Sequence[str]]) -> list[Note]:
    """Each text once, with the steps that it is about."""
    about: dict[tuple[str, str], list[int]] = {}
    for step in steps:
        for text in texts(step):
            about.setdefault((step.kind, text), []).append(step.number)
    return [Note(_listed(numbers), kind, text) for (kind, text), numbers in about.items()]


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:_LISTED]))
    return shown if len(numbers) <= _LISTED else f"{shown} and {len(numbers) - _LISTED} more"
