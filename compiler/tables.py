"""Tables and numbers for people: aligned columns, three significant digits."""

from __future__ import annotations

from collections.abc import Sequence


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table with two spaces between columns; the first `left` ones are aligned left, the others (numbers) right."""
    widths = [max(len(row[column]) for row in [headings, *rows]) for column in range(len(headings))]

    def line(cells: Sequence[str]) -> str:
        padded = [c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths))]
        return "  ".join(padded).rstrip()

    return "\n".join([line(headings), *map(line, rows)])


def number(value: float) -> str:
    """Three significant digits, never in scientific notation."""
    if value == 0:
        return "0"
    digits = max(0, 2 - _magnitude(value))
    return f"{value:.{min(digits, 9)}f}"


def _magnitude(value: float) -> int:
    """Floor of the decimal logarithm."""
    return int(f"{value:e}".rpartition("e")[2])


def shortened(text: str, width: int = 48) -> str:
    """A text that fits a column."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def megabytes(size: int) -> str:
    return f"{number(size / 1e6)} MB"
