"""`intaglio verify`: the report of `compiler/check/verify.py` as a table."""

from __future__ import annotations

import math

from ..check.verify import OURS, Report
from ..tables import number, table

RULE = """\
ulp: units in the last place of the output's type; error: the largest one / RMS of the output; of bound: the largest
part of what roundings explain: changes within a rounding of all that rounds, run through the graph in float64. Up to
1 is right. Where there is no float64, the bound is 8 roundings of the largest element for each node."""


def text(report: Report) -> str:
    worst: dict[tuple[str, str, str], tuple[float, float, float, bool]] = {}
    for row in report.rows:
        key, d = (row.output, row.engine, row.against), row.difference
        before = worst.get(key, (0.0, 0.0, 0.0, True))
        worst[key] = (
            max(before[0], d.ulps), max(before[1], d.relative), max(before[2], d.of_bound), before[3] and d.agrees
        )  # fmt: skip
    rows = [
        [output, engine, against, _number(ulps), _small(relative), _small(part), "" if agrees else "DIFFERS"]
        for (output, engine, against), (ulps, relative, part, agrees) in worst.items()
    ]
    lines = [table(["output", "engine", "against", "ulp", "error", "of bound", ""], rows, left=3)]
    lines.append("\n" + ", ".join(f"{name} {number(1e3 * s)} ms" for name, s in report.seconds.items()))
    lines += [f"{name} is left out: {why}" for name, why in report.unable.items()]
    lines.append(RULE)
    lines += [f"WRONG  {line}" for line in report.wrong]
    if report.agrees:
        lines.append(f"{OURS} agrees")
    return "\n".join(lines)


def _number(value: float) -> str:
    return number(value) if math.isfinite(value) else "inf"


def _small(value: float) -> str:
    return f"{value:.2g}"
