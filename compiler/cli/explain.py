"""`intaglio explain`: what each kernel does, its time against the machine's limits, and why fusion stopped.

In: a `Report`. Out: its text, and its JSON.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..explain.findings import findings
from ..explain.groups import Group, by_kind, by_layer, by_operators, cells
from ..explain.steps import Report, Step
from ..tables import number, shortened, table
from ..tune.choose import RULES

_ROWS = 10  # of the table of steps, unless all are asked for
_GROUPS = 8


def schedules_text(notes: Mapping[str, Any]) -> str:
    """How many steps have schedules from where, a line each; nothing if all are by the rules."""
    counts = Counter(note.get("schedule", RULES) for note in notes["steps"])
    return "".join(f"\n  {count} steps: {source}" for source, count in counts.items()) if set(counts) != {RULES} else ""


def text(report: Report, every: bool = False) -> str:
    """What to know in words, the steps in groups, those that take most, and why they do not compute more of what they
    read. every: all steps, in their order."""
    steps = report.steps
    shown = list(steps)
    if report.measured and not every:
        shown = sorted(steps, key=lambda step: -report.seconds(step))[:_ROWS]
    lines = [_summary(report)]
    if report.measured:
        lines += [f"  {sentence}" for sentence in findings(report)]
        for title, grouped in (("kind", by_kind), ("operators", by_operators), ("part", by_layer)):
            if len(groups := grouped(report)) > 1:
                lines += ["", _groups(report, title, groups)]
    lines += ["", _table(report, shown)]
    if len(shown) < len(steps):
        lines.append(f"the {len(shown)} steps that take most, of {len(steps)}; --steps shows all")
    chosen = {step.schedule for step in shown}
    for choice in sorted(chosen):
        lines += ["", f"schedule {choice}: step {', '.join(str(s.number) for s in shown if s.schedule == choice)}"]
    for step in steps:
        if step.on.startswith("host: "):
            lines.append(f"step {step.number} stays on the host: {step.on[6:]}")
        lines += [f"step {step.number} is slow: {reason}" for reason in step.slow]
    for copy in report.copies:
        lines.append(f"copied to the {copy['to']}: {copy['bytes']} bytes, for {', '.join(copy['nodes'])}")
    if any(step.reasons for step in shown):
        lines.append("\nWhy these steps do not compute more of what they read:")
        lines += [f"  {step.number}: {reason}" for step in shown for reason in step.reasons]
    return "\n".join(lines)


def _summary(report: Report) -> str:
    """The sum of all steps, against the latency; and the limits."""
    measured, limits = report.measured, report.limits
    line = f"{len(report.steps)} steps, {number(sum(s.flops for s in report.steps) / 1e9)} GFLOP"
    if measured:
        inside = report.together(report.steps)
        parts = [("in steps", inside), ("between them", measured.between), ("around the program", measured.around)]
        threads = f"{measured.threads} thread{'s' * (measured.threads > 1)}"
        line += f", {number(measured.latency * 1e3)} ms with {threads}\n"
        line += " + ".join(f"{number(seconds * 1e3)} ms {what}" for what, seconds in parts)
        line += f" = {number(measured.total * 1e3)} ms, {measured.total / measured.latency:.1%} of the latency"
    if limits:
        inner, memory = limits.levels[-2], limits.levels[-1]
        rates = f"{number(memory.rate / 1e9)} GB/s from memory, {number(inner.rate / 1e9)} GB/s from the last cache"
        line += f"\nlimits of this machine: {number(limits.flops / 1e9)} GFLOP/s, {rates}"
    return line


def _groups(report: Report, title: str, groups: Sequence[Group]) -> str:
    """A table of groups of steps."""
    rows = [[shortened(group.name), *cells(report, group.steps)] for group in groups[:_GROUPS]]
    rest = [step for group in groups[_GROUPS:] for step in group.steps]
    if rest:
        rows.append([f"{len(groups) - _GROUPS} others", *cells(report, rest)[:3], ""])
    return table([title, "steps", "µs", "share", "of limit"], rows)


def _table(report: Report, steps: Sequence[Step]) -> str:
    headings = ["step", "kind", "ONNX nodes", "GFLOP", "MB"]
    headings += ["bound by", "limit µs"] * bool(report.limits)
    if report.measured:
        headings += ["µs", "share"] + ["of limit"] * bool(report.limits) + ["at work"] * (report.measured.threads > 1)
    rows = []
    for step in steps:
        row = [str(step.number), step.kind, _nodes(step.nodes), number(step.flops / 1e9), number(step.bytes / 1e6)]
        if report.limits:
            row += [report.bound(step), number(report.limit(step) * 1e6)]
        if report.measured:
            times = report.measured.times[step.number]
            row += [number(times.seconds * 1e6), f"{times.seconds / report.measured.total:.1%}"]
            if report.limits:
                row.append(f"{report.of_limit([step]):.0%}")
            if report.measured.threads > 1:
                row.append(f"{times.at_work:.0%}")
        rows.append(row)
    return table(headings, rows, left=3)


def _nodes(names: Sequence[str], width: int = 48) -> str:
    joined = ", ".join(names)
    if len(joined) <= width:
        return joined
    return f"{names[0][: width - 12]}{' ' if len(names) == 1 else f' and {len(names) - 1} more'}"


def as_json(report: Report) -> dict[str, Any]:
    """The report for programs. Times are in seconds."""
    steps = []
    for step in report.steps:
        entry = asdict(step)
        if report.limits:
            entry |= {"roofline": report.limit(step), "bound": report.bound(step)}
        if report.measured:
            entry |= asdict(report.measured.times[step.number])
        steps.append(entry)
    described: dict[str, Any] = {"steps": steps, "copies": list(report.copies)}
    if report.limits:
        described["machine"] = {**asdict(report.limits), "levels": [_level(each) for each in report.limits.levels]}
    if report.measured:
        measured = report.measured
        described |= {name: getattr(measured, name) for name in ("threads", "latency", "total", "between", "around")}
        described["findings"] = findings(report)
        for name, groups in (("kinds", by_kind), ("operators", by_operators), ("layers", by_layer)):
            described[name] = [{"name": g.name, "steps": [s.number for s in g.steps]} for g in groups(report)]
    return described


def _level(level: Any) -> dict[str, float | None]:
    """A level of memory; JSON has no infinity."""
    return {"capacity": level.capacity if level.capacity != float("inf") else None, "rate": level.rate}
