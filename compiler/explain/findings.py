"""The few things to know about where a model's time goes, in words.

In: a report that was measured. Out: sentences, the most important first.
"""

from __future__ import annotations

from .groups import Group, by_kind, by_operators
from .steps import Report, Step

_LEAST = 0.02  # part of the time that is worth a sentence
_NAMES = {
    "Matmul": "matrix products", "Conv": "convolutions", "LoopNest": "loop nests", "Attention": "attention kernels",
    "Recurrent": "recurrent layers", "Sort": "sorts", "Trees": "tree ensembles", "HostCall": "functions in Python",
}  # fmt: skip


def findings(report: Report, most: int = 3) -> list[str]:
    """The `most` most important findings that are about at least a fiftieth of the time."""
    measured = report.measured
    assert measured is not None
    total = max(measured.total, 1e-12)
    found = [_largest(report, total)]
    others = [_lost(report, total), _waiting(report, total), _between(report, total), _around(report, total)]
    others.sort(key=lambda each: -each[0])
    found += [each for each in others if each[0] >= _LEAST]
    return [text for _, text in found[:most] if text]


Finding = tuple[float, str]  # the part of the time that it is about, and the sentence


def _largest(report: Report, total: float) -> Finding:
    """The kind of kernel that takes most."""
    group = by_kind(report)[0] if report.steps else Group("", ())
    seconds = report.together(group.steps)
    if not seconds:
        return 0.0, ""
    reached = f", at {_of_limit(report, group)}" if report.limits and group.name != "HostCall" else ""
    return seconds / total, f"{seconds / total:.0%} of the time is in {_counted(group)}{reached}."


def _of_limit(report: Report, group: Group) -> str:
    by_compute = sum(report.seconds(s) for s in group.steps if report.bound(s) == "compute")
    bound = "arithmetic" if by_compute > report.together(group.steps) / 2 else "memory"
    return f"{report.of_limit(group.steps):.0%} of what {bound} allows"


def _counted(group: Group) -> str:
    name = _NAMES.get(group.name, f"kernels of {group.name}")
    return f"{len(group.steps)} {name}" if len(group.steps) > 1 else f"one step of the kind {group.name}"


def _lost(report: Report, total: float) -> Finding:
    """The operators whose kernels stay the most behind their limit."""
    if not report.limits:
        return 0.0, ""
    assert report.measured is not None
    times = report.measured.times

    def behind(group: Group) -> float:
        return sum(times[s.number].seconds - report.limit(s) * times[s.number].count for s in group.steps)

    groups = [group for group in by_operators(report) if group.steps[0].kind != "HostCall"]
    if not groups:
        return 0.0, ""
    group = max(groups, key=behind)
    lost = max(behind(group), 0.0) / total
    taken = report.together(group.steps) / total
    which = _which(group.steps)
    return lost, (
        f"{which} ({group.name}) could gain most: {taken:.0%} of the time, at {_of_limit(report, group)}; at the limit "
        f"the run would be {lost:.0%} shorter."
    )


def _which(steps: tuple[Step, ...]) -> str:
    return f"Step {steps[0].number}" if len(steps) == 1 else f"{len(steps)} steps such as {steps[0].number}"


def _waiting(report: Report, total: float) -> Finding:
    """What is lost because threads have nothing to do within steps."""
    assert report.measured is not None
    threads, times = report.measured.threads, report.measured.times
    if threads == 1 or not times:
        return 0.0, ""
    lost = [(sum(each.waiting) + sum(each.idle)) / threads for each in times]
    part = sum(lost) / total
    worst = max(range(len(lost)), key=lost.__getitem__)
    where = f"most of it in step {worst} ({', '.join(report.steps[worst].nodes[:2]) or report.steps[worst].kind})"
    return part, f"{part:.0%} of the threads' time is spent waiting for other threads, {where}, which takes " \
                 f"{times[worst].seconds / total:.0%} of the time and keeps the threads at work for " \
                 f"{times[worst].at_work:.0%} of it."  # fmt: skip


def _between(report: Report, total: float) -> Finding:
    assert report.measured is not None
    part, runs = report.measured.between / total, sum(each.count for each in report.measured.times)
    each = report.measured.between / max(runs, 1)
    return part, f"{part:.0%} of the time passes between steps: there are {runs:.0f}, {each * 1e6:.1f} µs apart."


def _around(report: Report, total: float) -> Finding:
    assert report.measured is not None
    around = report.measured.around
    part = around / total
    return part, f"{part:.0%} of the time passes in Python, around the program: {around * 1e6:.0f} µs."
