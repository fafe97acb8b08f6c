"""Groups of steps: what repeats, what is alike."""

from __future__ import annotations

import pytest
from unit.explain.reports import report, step, times

from intaglio.compiler.explain.groups import by_kind, by_layer, by_operators


def layers(kernels: str) -> list[tuple[str, int]]:
    """Of a model whose steps have these kernels: the steps of each part, and how often it repeats."""
    made = report([step(i, kernel=k) for i, k in enumerate(kernels)], [times(1e-3)] * len(kernels))
    return [("".join(s.kernel for s in group.steps), group.times) for group in by_layer(made)]


@pytest.mark.parametrize(("kernels", "parts"), [
    ("abcabcabc", [("abcabcabc", 3)]),
    ("xabababy", [("x", 1), ("ababab", 3), ("y", 1)]),
    ("xabcdabcdyefef", [("x", 1), ("abcdabcd", 2), ("y", 1), ("efef", 2)]),
    ("abcdef", []),
    ("aaaaaa", []),  # one kernel is no layer
    ("aabaabaab", [("aabaabaab", 3)]),
    ("", []),
])  # fmt: skip
def test_layers(kernels: str, parts: list[tuple[str, int]]) -> None:
    assert layers(kernels) == parts


def test_names_of_layers() -> None:
    made = report([step(i, kernel=k) for i, k in enumerate("xabab")], [times(1e-3)] * 5)
    assert [group.name for group in by_layer(made)] == ["step 0", "2 layers of 2 steps, steps 1 to 4"]


def test_those_that_take_most_come_first() -> None:
    kinds, operators = ("Conv", "LoopNest", "Conv"), ("Conv+Relu", "Add", "Conv")
    found = [step(i, kind=kind, operators=op) for i, (kind, op) in enumerate(zip(kinds, operators))]
    made = report(found, [times(1e-3), times(5e-3), times(2e-3)])
    assert [(group.name, len(group.steps)) for group in by_kind(made)] == [("LoopNest", 1), ("Conv", 2)]
    assert [group.name for group in by_operators(made)] == ["Add", "Conv", "Conv+Relu"]
