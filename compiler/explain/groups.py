"""The steps of a model in groups: by kind, by the operators in them, and by the layers that repeat.

In: steps. Out: `Group`s, those that take most first. Sixty rows are no answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..tables import number
from .steps import Report, Step

_LONGEST = 4096  # steps of a model in which repetitions are looked for: it takes their square


@dataclass(frozen=True)
class Group:
    """Steps that are alike. times: how often a layer repeats; 1 for other groups."""

    name: str
    steps: tuple[Step, ...]
    times: int = 1


def by_kind(report: Report) -> list[Group]:
    """Products, loop nests, convolutions, ..."""
    return _by(report, lambda step: step.kind)


def by_operators(report: Report) -> list[Group]:
    """The ONNX operators that one kernel computes, such as MatMul+Add+Gelu."""
    return _by(report, lambda step: step.operators or step.kind)


def _by(report: Report, key: Callable[[Step], str]) -> list[Group]:
    groups: dict[str, list[Step]] = {}
    for step in report.steps:
        groups.setdefault(key(step), []).append(step)
    made = [Group(name, tuple(steps)) for name, steps in groups.items()]
    return sorted(made, key=lambda group: -report.together(group.steps))


def cells(report: Report, steps: Sequence[Step]) -> tuple[str, str, str, str]:
    """Of steps that are a row of a table: how many, microseconds, their share, and the part of their limit, which what
    Python computes has not."""
    assert report.measured
    seconds = report.together(steps)
    reached = f"{report.of_limit(steps):.0%}" if report.limits and steps[0].kind != "HostCall" else ""
    share = f"{seconds / max(report.measured.total, 1e-12):.1%}"
    return str(len(steps)), number(seconds * 1e6), share, reached


def by_layer(report: Report) -> list[Group]:
    """The parts of a model whose kernels repeat one after the other, and what is between them, in the model's order.
    Empty if nothing repeats."""
    steps = report.steps
    parts = list(_repeated([step.kernel for step in steps[:_LONGEST]], 0))
    if not parts:
        return []
    groups, at = [], 0
    for first, period, times in [*parts, (len(steps), 0, 0)]:
        if at < first:
            groups.append(Group(_range(steps, at, first), steps[at:first]))
        at = first + period * times
        if times:
            name = f"{times} layers of {period} steps, {_range(steps, first, at)}"
            groups.append(Group(name, steps[first:at], times))
    return groups


def _range(steps: Sequence[Step], first: int, end: int) -> str:
    return f"step {first}" if end - first == 1 else f"steps {first} to {end - 1}"


def _repeated(kernels: Sequence[str], start: int) -> Iterator[tuple[int, int, int]]:
    """(start, period, times) of the sequences of two and more kernels that repeat, from the one that covers most."""
    numbers = np.unique(np.array(kernels), return_inverse=True)[1] if kernels else np.zeros(0, np.int64)
    best = (0, 0, 0, 0)  # covered, minus the period, start, times
    for period in range(2, len(kernels) // 2 + 1):
        same = np.concatenate([[False], numbers[period:] == numbers[:-period], [False]])
        edges = np.flatnonzero(same[1:] != same[:-1])
        for first, end in zip(edges[::2].tolist(), edges[1::2].tolist()):
            times = (end - first) // period + 1
            if times > 1 and len(set(kernels[first : first + period])) > 1:
                best = max(best, (times * period, -period, -first, times))
    covered, period, first, times = best[0], -best[1], -best[2], best[3]
    if not covered:
        return
    yield from _repeated(kernels[:first], start)
    yield start + first, period, times
    yield from _repeated(kernels[first + covered :], start + first + covered)
