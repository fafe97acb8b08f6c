"""The lists of what passes and what doesn't, and the page made from them: docs/onnx_coverage.md.

In: passing.txt (names; it only grows) and missing.txt (name, status and reason of the others). Out: the page, a pure
function of the two, so that a test can tell at once whether it is current.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from .cases import Case
from .run import PASSED, Outcome

UPDATE = "python -m tests.onnx_suite --update"
PASSING, MISSING = Path(__file__).with_name("passing.txt"), Path(__file__).with_name("missing.txt")
PAGE = Path(__file__).parents[2] / "docs" / "onnx_coverage.md"

KINDS = {
    "simple": "Small models of several nodes",
    "real": "Networks of the ONNX model zoo, with constants for weights",
    "pytorch-converted": "Modules exported from PyTorch",
    "pytorch-operator": "Operators exported from PyTorch",
}


def read_passing() -> list[str]:
    return PASSING.read_text().split() if PASSING.exists() else []


def read_missing() -> dict[str, tuple[str, str]]:
    """Status and reason by name."""
    lines = MISSING.read_text().splitlines() if MISSING.exists() else []
    return {name: (status, reason) for name, status, reason in (line.split("\t") for line in lines)}


def update(cases: Mapping[str, Case], outcomes: Iterable[Outcome]) -> None:
    """Adds what passes to the list, notes why the rest does not, and writes the page. Listed cases stay listed."""
    passing, missing = set(read_passing()), read_missing()
    for outcome in outcomes:
        if outcome.status == PASSED:
            passing.add(outcome.name)
        else:
            missing[outcome.name] = (outcome.status, outcome.reason.replace("\t", " "))
    passing &= cases.keys()
    missing = {name: missing.get(name, ("not run", "")) for name in sorted(cases.keys() - passing)}
    PASSING.write_text("".join(f"{name}\n" for name in sorted(passing)))
    MISSING.write_text("".join(f"{name}\t{status}\t{reason}\n" for name, (status, reason) in missing.items()))
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(cases, passing, missing))


def page(cases: Mapping[str, Case], passing: Iterable[str], missing: Mapping[str, tuple[str, str]]) -> str:
    """The page, in Markdown."""
    passed = set(passing)
    groups: dict[str, list[Case]] = {}
    for case in cases.values():
        groups.setdefault(case.operator or case.kind, []).append(case)
    operators = sorted((name for name in groups if name not in KINDS), key=lambda name: ("." in name, name.lower()))
    whole = sum(all(case.name in passed for case in groups[name]) for name in operators)
    lines = [
        "# Coverage of ONNX",
        "",
        f"{len(passed):,} of the {len(cases):,} cases of onnx's own backend suite pass, each of them compiled to",
        f"native code; {whole} of the {len(operators)} operators in it pass all of theirs. A case that passes once",
        "stays listed (`tests/onnx_suite/passing.txt`), which CI checks. Random operators are checked for what the",
        "standard promises, as it leaves their numbers open (`tests/onnx_suite/chance.py`). This page is written by",
        "",
        f"    {UPDATE}",
        "",
        "| operator | cases | what is missing |",
        "|---|---:|---|",
    ]
    for name in [*operators, *(kind for kind in KINDS if kind in groups)]:
        own = groups[name]
        count = sum(case.name in passed for case in own)
        lines.append(f"| {KINDS.get(name, name)} | {count} of {len(own)} | {_why(name, own, missing)} |")
    return "\n".join(lines) + "\n"


def _why(operator: str, cases: Iterable[Case], missing: Mapping[str, tuple[str, str]]) -> str:
    """The reasons, the most frequent first."""
    reasons = Counter(_reason(operator, *missing[case.name]) for case in cases if case.name in missing)
    text = "; ".join(f"{reason} ({count})" if count > 1 else reason for reason, count in reasons.most_common())
    return text.replace("|", "\\|").replace("<", "&lt;")


def _reason(operator: str, status: str, reason: str) -> str:
    """The text of a refusal without the operator's own name; just the status of anything else, which is a mistake of
    ours.
    """
    return reason.replace(f"{operator}: ", "") if status == "unsupported" else status
