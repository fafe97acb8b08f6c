"""Tables as aligned Markdown: the same text reads well in a terminal and in a report."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

RESULTS = Path(__file__).parent / "results"  # where reports are kept


def keep(name: str, text: str) -> None:
    """Writes a report to bench/results, under today's date."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{datetime.date.today()}-{name}.md").write_text(text + "\n")


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The first column flush left, the others (numbers) flush right."""
    widths = [max(len(row[column]) for row in [headings, *rows]) for column in range(len(headings))]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths)
        return "| " + " | ".join([first[0].ljust(first[1]), *(cell.rjust(wide) for cell, wide in others)]) + " |"

    rule = "|" + "|".join("-" * (width + 1) + (":" if column else "-") for column, width in enumerate(widths)) + "|"
    return "\n".join([line(headings), rule, *map(line, rows)])


def milliseconds(seconds: float | None) -> str:
    """Three significant digits, or a dash where there is no figure."""
    if seconds is None:
        return "-"
    value = seconds * 1e3
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def ratio(ours: float | None, theirs: float | None) -> str:
    """ours / theirs; under 1 we win. In bold where we lose."""
    if ours is None or theirs is None:
        return "-"
    value = ours / theirs
    return f"**{value:.2f}**" if value > 1 else f"{value:.2f}"
