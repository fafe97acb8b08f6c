"""A report in pictures: the kernels as a graph, the roofline, the timeline of the threads, the plan of memory.

In: a report that was measured. Out: figures of Bokeh (extra `report`), which can be zoomed, and tell what is under the
pointer. Names come from a model; Bokeh shows them as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...runtime.errors import Fail
from .groups import by_kind
from .steps import Report, Step

_WIDTH, _HEIGHT = 1100, 420  # of a figure, in pixels
_ROW = 18  # pixels of a step in the graph
_HIGHEST = 12_000  # pixels of the graph; browsers draw no larger canvas
_FAR = 60  # steps: longer arcs are as wide as one of these
_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb", "#000000")  # Tol's bright


class Bokeh(NamedTuple):
    """The modules of Bokeh that are used."""

    plotting: Any
    models: Any
    embed: Any
    resources: Any


def bokeh() -> Bokeh:
    """Raises Fail where it is not installed."""
    try:
        from bokeh import embed, models, plotting, resources
    except ImportError:
        raise Fail("A report needs the package `bokeh`: `pip install 'intaglio[report]'` installs it.") from None
    return Bokeh(plotting, models, embed, resources)


def colours(report: Report) -> dict[str, str]:
    """A colour for each kind of kernel; the kinds that take most have the clearest."""
    kinds = [group.name for group in by_kind(report)]
    return {kind: _COLOURS[min(i, len(_COLOURS) - 1)] for i, kind in enumerate(kinds)}


def _columns(report: Report, steps: Iterable[Step]) -> dict[str, list[Any]]:
    """What is told of a step under the pointer."""
    paint = colours(report)
    rows = [
        {
            "step": step.number,
            "kind": step.kind,
            "nodes": ", ".join(step.nodes[:6]) + (" …" if len(step.nodes) > 6 else ""),
            "operators": step.operators,
            "us": round(report.seconds(step) * 1e6, 2),
            "reached": f"{report.of_limit([step]):.0%} ({report.bound(step)})" if report.limits else "",
            "colour": paint[step.kind],
        }
        for step in steps
    ]
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


_TIPS = [
    ("step", "@step @kind"),
    ("operators", "@operators"),
    ("nodes", "@nodes"),
    ("µs", "@us"),
    ("limit", "@reached"),
]


def graph(b: Bokeh, report: Report, needs: Sequence[Sequence[int]]) -> Any:
    """The kernels from top to bottom in the order in which they run: a bar is as long as a kernel takes, an arc leads
    to a kernel from one whose results it reads. needs: of each step the steps before that it needs."""
    steps = report.steps
    longest = max(map(report.seconds, steps), default=0.0) or 1.0
    figure = _figure(
        b, "Kernels: the bar is the time that one takes, an arc leads to it from what it reads", y_range=(12, -1),
        height=min(max(_ROW * len(steps) + 60, 160), _HIGHEST), x_range=(-1.1, 2.2),
    )  # fmt: skip
    figure.axis.visible = figure.grid.visible = False
    for number, earlier in enumerate(needs):
        for other in earlier:
            if number - other > 1:  # the neighbours are above
                width = min(number - other, _FAR) / _FAR
                across = {"x0": [-0.02], "y0": [other], "x1": [-0.02], "y1": [number]}
                figure.bezier(
                    **across, cx0=[-0.1 - width], cy0=[other], cx1=[-0.1 - width], cy1=[number], line_color="#999999",
                    line_alpha=0.6,
                )  # fmt: skip
    source = b.models.ColumnDataSource(_columns(report, steps))
    source.data["right"] = [max(report.seconds(step) / longest, 0.003) for step in steps]
    source.data["label"] = [f"{s.number}  {s.operators or s.kind}" for s in steps]
    bars = figure.hbar(y="step", left=0, right="right", height=0.8, color="colour", source=source)
    figure.text(
        x="right", y="step", text="label", x_offset=6, text_baseline="middle", text_font_size="11px", source=source
    )
    figure.add_tools(b.models.HoverTool(renderers=[bars], tooltips=_TIPS))
    figure.y_range.start, figure.y_range.end = min(len(steps), 40) - 0.5, -0.5
    figure.height = min(figure.height, 40 * _ROW + 60)
    return figure


def roofline(b: Bokeh, report: Report) -> Any:
    """Operations per second over operations per byte, of each kernel, under the roofs of the machine."""
    assert report.limits and report.measured
    shown = [s for s in report.steps if s.operations and s.bytes and report.seconds(s) > 0]
    counts = report.measured.times
    source = b.models.ColumnDataSource(_columns(report, shown))
    reach = [s.operations / s.bytes for s in shown] or [1.0]
    source.data["x"] = reach if shown else []
    source.data["y"] = [s.operations * counts[s.number].count / report.seconds(s) / 1e9 for s in shown]
    share = [report.seconds(s) / max(report.measured.total, 1e-12) for s in shown]
    source.data["size"] = [5 + 40 * part**0.5 for part in share]
    figure = _figure(
        b, "Roofline: the larger a point, the more time it takes", x_axis_type="log", y_axis_type="log",
        x_axis_label="operations per byte", y_axis_label="GFLOP/s",
    )  # fmt: skip
    peak = report.limits.flops
    xs = np.geomspace(min(*reach, 0.1) / 2, max(*reach, 100) * 2, 64)
    names = ["first-level cache", "second-level cache", "third-level cache", "memory"]
    for name, level, dash in zip(names, report.limits.levels, ("dotted", "dotdash", "dashed", "solid")):
        roof = np.minimum(xs * level.rate, peak) / 1e9
        label = f"{name}: {level.rate / 1e9:.0f} GB/s"
        figure.line(xs, roof, color="#555555", line_dash=dash, legend_label=label)
    points = figure.scatter("x", "y", size="size", color="colour", alpha=0.6, source=source)
    figure.add_tools(b.models.HoverTool(renderers=[points], tooltips=[*_TIPS, ("GFLOP/s", "@y{0.0}")]))
    figure.legend.location = "bottom_right"
    return figure


def timeline(b: Bokeh, report: Report) -> Any:
    """What each thread does in one run, one of those in the middle."""
    assert report.measured
    trace = report.measured.trace
    about = _columns(report, report.steps)
    rows: dict[str, list[Any]] = {name: [] for name in ("left", "right", "thread", *about)}
    for record in range(trace.step.size):
        number = int(trace.step[record])
        for thread, (begin, end, *_) in enumerate(trace.work[record].tolist()):
            if end:
                rows["left"].append((begin - trace.begin) / 1e6)
                rows["right"].append((end - trace.begin) / 1e6)
                rows["thread"].append(thread)
                for name, column in about.items():
                    rows[name].append(column[number])
    threads = trace.work.shape[1]
    figure = _figure(
        b, "One run: what each thread does; gaps are waits", x_axis_label="ms", y_range=(threads - 0.4, -0.6),
        height=120 + 40 * threads, active_scroll="xwheel_zoom",
    )  # fmt: skip
    figure.yaxis.ticker = list(range(threads))
    figure.yaxis.major_label_overrides = {i: f"thread {i}" for i in range(threads)}
    source = b.models.ColumnDataSource(rows)
    bars = figure.hbar(
        y="thread", left="left", right="right", height=0.8, color="colour", line_color="white", line_width=0.3,
        source=source,
    )  # fmt: skip
    figure.add_tools(b.models.HoverTool(renderers=[bars], tooltips=_TIPS))
    return figure


def memory(b: Bokeh, report: Report, plan: Sequence[Mapping[str, Any]]) -> Any:
    """Where intermediate values lie, from the first to the last step that uses them. plan: of each its name, its place
    and its size in bytes, and these steps."""
    figure = _figure(
        b, "Memory of intermediate values: place over the steps that use it", x_axis_label="step", y_axis_label="MB"
    )
    rows = {
        "left": [m["steps"][0] - 0.5 for m in plan], "right": [m["steps"][1] + 0.5 for m in plan],
        "bottom": [m["offset"] / 1e6 for m in plan], "top": [(m["offset"] + m["bytes"]) / 1e6 for m in plan],
        "name": [m["buffer"] for m in plan], "bytes": [m["bytes"] for m in plan],
        "colour": [_COLOURS[i % 6] for i in range(len(plan))],
    }  # fmt: skip
    source = b.models.ColumnDataSource(rows)
    boxes = figure.quad(
        left="left", right="right", bottom="bottom", top="top", color="colour", alpha=0.5, line_color="#333333",
        line_width=0.5, source=source,
    )  # fmt: skip
    tips = [("value", "@name"), ("bytes", "@bytes{0,0}"), ("from step", "@left{0}"), ("to step", "@right{0}")]
    figure.add_tools(b.models.HoverTool(renderers=[boxes], tooltips=tips))
    return figure


def _figure(b: Bokeh, title: str, **options: Any) -> Any:
    sized = {"width": _WIDTH, "height": _HEIGHT, "tools": "pan,xwheel_zoom,wheel_zoom,box_zoom,reset,save", **options}
    figure = b.plotting.figure(title=title, toolbar_location="right", output_backend="canvas", **sized)
    figure.toolbar.logo = None
    return figure
