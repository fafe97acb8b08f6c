"""`python -m bench report`: every table in one Markdown file, bench/results/<date>-<cpu>.md.

In: the zoo. Out: that file (replaced when there is one of the same day) and its path. Takes some minutes, and
wants a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import platform
import subprocess

from .compare import format_rows, zoo_row
from .models import MODELS
from .ops import measure_ops
from .peak import cpu_name, cpus, describe, measure
from .startup import format_checks, measure_startup
from .tables import RESULTS


def report(rounds: int) -> str:
    """The whole report as Markdown."""
    peaks = [measure(threads) for threads in sorted({1, cpus()})]
    sections = [
        f"# {datetime.date.today()}, {describe()}",
        "\n".join(f"- {line}" for line in [*map(str, peaks), _versions(), _commit()]),
        "Times are medians; how they are taken stands in `bench/engines.py`. Bold: we lose. "
        "FMA and memory are the shares of the machine's peak that we reach.",
    ]
    for peak in reversed(peaks):
        rows = [zoo_row(name, peak.threads, rounds) for name in MODELS]
        sections += [f"## Models, {peak}", format_rows(rows, peak)]
    sections += [f"## Operators, {peaks[-1]}", format_rows(measure_ops([], cpus(), rounds), peaks[-1])]
    sections += ["## Startup and overhead", format_checks(measure_startup(["resnet50", "bert"]))]
    return "\n\n".join(sections) + "\n"


def _versions() -> str:
    packages = ("intaglio", "onnxruntime", "openvino", "onnx", "numpy")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    return f"{platform.platform()}, Python {platform.python_version()}, {versions}"


def _commit() -> str:
    """The commit of the working tree, and whether it was changed since."""
    command = ["git", "describe", "--always", "--dirty"]
    result = subprocess.run(command, cwd=RESULTS.parent, capture_output=True, text=True)
    return f"commit {result.stdout.strip() or 'unknown'}"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench report", description="Write all tables to a file.")
    parser.add_argument("--rounds", type=int, default=11, help="turns that each engine gets")
    text = report(parser.parse_args(argv).rounds)
    file = RESULTS / f"{datetime.date.today()}-{cpu_name()}.md"
    RESULTS.mkdir(exist_ok=True)
    file.write_text(text)
    print(text, file, sep="\n")
    return 0
