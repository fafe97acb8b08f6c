"""The lists of what passes and what doesn't, and the page made from them: docs/onnx_coverage.md.

In: passing.txt (names; it only grows) and missing.txt (name, status and reason of the others), and the same of Triton,
passing_gpu.txt and missing_gpu.txt. Out: the page, a pure function of the four, so that a test can tell at once whether
it is current.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .cases import Case
from .run import PASSED, SLOW, UNSUPPORTED, Outcome

UPDATE = "python -m tests.onnx_suite --update"
TRITON_UPDATE = "python -m tests.onnx_suite --gpu --update"
FOLDER = Path(__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "onnx_coverage.md"

KINDS = {
    "simple": "Small models of several nodes",
    "real": "Networks of the ONNX model zoo, with constants for weights",
    "pytorch-converted": "Modules exported from PyTorch",
    "pytorch-operator": "Operators exported from PyTorch",
}


@dataclass(frozen=True)
class Lists:
    """The two lists of an engine. places: whether the first says where each case ran (`run.Outcome.place`), too."""

    names: Path
    rest: Path
    places: bool = False

    def passing(self) -> dict[str, str]:
        """Places by name; "" where there are none."""
        lines = self.names.read_text().splitlines() if self.names.exists() else []
        return {name: place for name, _, place in (line.partition("\t") for line in lines)}

    def missing(self) -> dict[str, tuple[str, str]]:
        """Status and reason by name."""
        lines = self.rest.read_text().splitlines() if self.rest.exists() else []
        return {name: (status, reason) for name, status, reason in (line.split("\t") for line in lines)}

    def write(self, passing: Mapping[str, str], missing: Mapping[str, tuple[str, str]]) -> None:
        self.names.write_text("".join("\t".join(filter(None, line)) + "\n" for line in sorted(passing.items())))
        self.rest.write_text("".join(f"{name}\t{status}\t{why}\n" for name, (status, why) in missing.items()))

    def lost(self, outcome: Outcome, listed: Mapping[str, str]) -> bool:
        """Whether a listed case fails, or has left the device."""
        if outcome.name not in listed:
            return False
        place = listed[outcome.name]
        return outcome.status != PASSED or (self.places and PLACES.index(outcome.place) > PLACES.index(place))


PLACES = ("device", "both", "host")
NATIVE = Lists(FOLDER / "passing.txt", FOLDER / "missing.txt")
TRITON = Lists(FOLDER / "passing_gpu.txt", FOLDER / "missing_gpu.txt", places=True)


def update(cases: Mapping[str, Case], outcomes: Iterable[Outcome], lists: Lists) -> None:
    """Adds what passes to the list, notes why the rest does not, and writes the page. Listed cases stay listed."""
    passing, missing = lists.passing(), lists.missing()
    for outcome in outcomes:
        if outcome.status == PASSED:
            passing[outcome.name] = outcome.place if lists.places else ""
        else:
            missing[outcome.name] = (outcome.status, outcome.reason.replace("\t", " "))
    passing = {name: place for name, place in passing.items() if name in cases}
    missing = {name: missing.get(name, ("not run", "")) for name in sorted(cases.keys() - passing.keys())}
    lists.write(passing, missing)
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(cases))


def page(cases: Mapping[str, Case]) -> str:
    """The page, in Markdown."""
    passed, missing = NATIVE.passing(), NATIVE.missing()
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
    return "\n".join([*lines, *_through_triton(passed)]) + "\n"


def _through_triton(native: Mapping[str, str]) -> list[str]:
    """The section on kernels in Triton. native: what passes without."""
    passed, missing = TRITON.passing(), TRITON.missing()
    both, places = len(passed.keys() & native.keys()), Counter(passed.values())
    lines = [
        "",
        "## Through Triton",
        "",
        f"{both:,} of the {len(native):,} cases that pass as native code pass with kernels in Triton, too, which its",
        f"interpreter runs on the CPU: {places['device']:,} on the device alone, {places['both']:,} on the device and",
        f"the host, {places['host']:,} on the host alone. Shapes are computed there, and what Triton lacks. Listed in",
        "`tests/onnx_suite/passing_gpu.txt`, with the places; CI runs a sample of them. The lists are written by",
        "",
        f"    {TRITON_UPDATE}",
        "",
        "| what passes as native code only, and why | cases |",
        "|---|---|",
    ]
    why: dict[str, list[str]] = {}
    for name, (status, reason) in missing.items():
        if name in native:
            why.setdefault(f"{status}: {reason}" if status in (UNSUPPORTED, SLOW) else status, []).append(name)
    return [*lines, *(f"| {_escaped(reason)} | {', '.join(names)} |" for reason, names in sorted(why.items()))]


def _why(operator: str, cases: Iterable[Case], missing: Mapping[str, tuple[str, str]]) -> str:
    """The reasons, the most frequent first."""
    reasons = Counter(_reason(operator, *missing[case.name]) for case in cases if case.name in missing)
    text = "; ".join(f"{reason} ({count})" if count > 1 else reason for reason, count in reasons.most_common())
    return _escaped(text)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _reason(operator: str, status: str, reason: str) -> str:
    """The text of a refusal without the operator's own name; just the status of anything else, which is a mistake of
    ours.
    """
    return reason.replace(f"{operator}: ", "") if status == UNSUPPORTED else status
