"""What `intaglio tune` does: its arguments, random inputs, and what is in the database.

In: arguments. Out: data and text.
"""

from __future__ import annotations

import argparse
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...runtime.errors import InvalidArgument
from ...runtime.store import tuning
from ...runtime.store.tuning import Record
from ..tables import number, table


def combinations(dims: Sequence[tuple[str, list[int]]]) -> list[dict[str, int]]:
    """One dictionary for each combination of sizes; one without any for no dimensions."""
    names = [name for name, _ in dims]
    return [dict(zip(names, sizes)) for sizes in itertools.product(*(sizes for _, sizes in dims))]


def dim(argument: str) -> tuple[str, list[int]]:
    """NAME=1,8 or NAME=16..512: sizes, or powers of two between two sizes."""
    name, equals, given = argument.partition("=")
    parts = [re.fullmatch(r"(\d+)(?:\.\.(\d+))?", each) for each in given.split(",")]
    if not (name and equals) or not all(parts):
        raise argparse.ArgumentTypeError(f"expected NAME=SIZE,SIZE or NAME=FROM..TO, not '{argument}'")
    sizes: list[int] = []
    for part in parts:
        assert part is not None
        size, last = int(part[1]), int(part[2] or part[1])
        sizes.append(size)
        while part[2] and size < last:
            size = min(max(2 * size, 1), last)
            sizes.append(size)
    return name, list(dict.fromkeys(sizes))


def duration(argument: str) -> float:
    """Seconds: 90, 90s, 5m, 1h."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", argument)
    if not match or float(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"expected a time such as 90s, 5m or 1h, not '{argument}'")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def show(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """What is in the database: of each kernel, sizes and place the best schedule, and how many were measured."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in tuning.read(paths):
        key = record.kernel, record.sizes, record.cpu, record.target, record.threads, record.toolchain
        groups.setdefault(key, []).append(record)
    found = []
    for records in groups.values():
        usable = [r for r in records if not r.refused]
        best = max(usable, key=lambda r: r.gain) if usable else records[0]
        found.append(
            {
                "kernel": best.kernel, "kind": best.kind, "nodes": best.nodes, "sizes": best.sizes, "cpu": best.cpu,
                "threads": best.threads, "measured": len(records), "refused": len(records) - len(usable),
                "gain": best.gain, "gain_low": best.gain_low, "seconds": best.seconds, "schedule": best.schedule,
            }
        )  # fmt: skip
    return found


def show_text(found: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [r["kind"], r["nodes"][:40], r["cpu"], str(r["threads"]), str(r["measured"]), number(r["seconds"] * 1e6),
         f"{r['gain']:.2f}"]
        for r in found
    ]  # fmt: skip
    headings = ["kernel", "ONNX nodes", "CPU", "threads", "measured", "µs", "best gain"]
    return table(headings, rows, left=3) if rows else "nothing was measured yet"


def export(paths: Sequence[Path], output: Path) -> int:
    """Writes the records of all files in use to one; returns their number. Raises InvalidArgument where it exists."""
    if output.exists():
        raise InvalidArgument(f"{output} exists already")
    records = tuning.read(paths)
    output.touch()  # also where there are none
    tuning.append(output, records)
    return len(records)
