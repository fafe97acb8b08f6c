"""`python -m bench cubins [models]`: the Triton kernels of whole models, built for several GPUs without one.

In: models of the zoo (all by default). Out: for each model and GPU how many different kernels there are, how long
their building took, and of the kernels the most registers and shared memory, and how many spill; below it those that
spill, and which kinds of kernels use the tensor cores of Hopper. Exit code 1 where a kernel spills on sm_90.
"""

from __future__ import annotations

import argparse
import datetime
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from intaglio.compiler import driver
from intaglio.compiler.codegen.triton import build
from intaglio.compiler.options import Options

from .models import MODELS, path
from .tables import keep, table

GPUS = ("cuda:sm_80", "cuda:sm_90", "cuda:sm_100", "hip:gfx942")
STRICT = "cuda:sm_90"  # where no kernel may spill


@dataclass(frozen=True)
class Built:
    """One kernel for one GPU; `kinds` of the kernel bodies that it computes, bytes where not said otherwise."""

    model: str
    gpu: str
    kernel: str
    kind: str
    registers: int
    shared: int
    spills: int
    wgmma: int


@dataclass(frozen=True)
class Row:
    model: str
    gpu: str
    steps: int
    on_host: int
    seconds: float
    kernels: list[Built]


def measure(name: str, gpus: Iterable[str]) -> list[Row]:
    """Builds one model for each GPU, by an empty cache."""
    rows = []
    for gpu in gpus:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            unit = driver.compile_model(str(path(name)), Options(target=gpu, allow_tf32=True), Path(folder))
            seconds = time.perf_counter() - start
        assert unit.device_code and unit.program
        kinds = {made.name: type(kernel.body).__name__ for kernel, made in unit.device_kernels.items()}
        kernels = [
            Built(name, gpu, kernel, kinds[kernel], made.registers, made.shared, made.spills, made.wgmma)
            for (kernel, _), made in unit.device_code.binaries.items()
        ]
        launches = unit.program.launches
        rows.append(Row(name, gpu, len(launches), sum(not x.device for x in launches), seconds, kernels))
    return rows


def format_rows(rows: list[Row]) -> str:
    lines = [
        [
            row.model,
            row.gpu,
            str(row.steps),
            str(row.on_host),
            str(len(row.kernels)),
            f"{row.seconds:.1f}",
            str(max(k.registers for k in row.kernels)),
            f"{max(k.shared for k in row.kernels) / 1024:.0f}",
            str(sum(k.spills > 0 for k in row.kernels)),
        ]
        for row in rows
    ]
    headings = ["", "GPU", "steps", "on host", "kernels", "seconds", "registers", "shared KiB", "spilling"]
    return table(headings, lines)


def format_kernels(rows: list[Row]) -> str:
    """Every kernel of STRICT, the greedy ones first."""
    kernels = sorted({k for row in rows if row.gpu == STRICT for k in row.kernels}, key=lambda k: -k.registers)
    lines = [
        [k.kernel, k.model, k.kind, str(k.registers), f"{k.shared / 1024:.1f}", str(k.spills), str(k.wgmma)]
        for k in kernels
    ]
    return table(["kernel", "model", "kind", "registers", "shared KiB", "spilled bytes", "wgmma"], lines)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench cubins", description="Build the GPU kernels of models.")
    parser.add_argument("models", nargs="*", default=list(MODELS), help="of the zoo")
    parser.add_argument("--gpu", action="append", help=f"a target (default: {', '.join(GPUS)}); may be repeated")
    parser.add_argument("--write", action="store_true", help="write the tables to bench/results")
    options = parser.parse_args(argv)
    rows = []
    for name in options.models:
        rows += measure(name, options.gpu or GPUS)
        print(format_rows(rows[-len(options.gpu or GPUS) :]), flush=True)
    distinct = len({k.kernel for row in rows for k in row.kernels})
    text = "\n\n".join(
        [
            f"# {datetime.date.today()}, kernels of the zoo by triton {build.version()}, built without a GPU",
            f"{distinct} different kernels in all. Seconds are those of a whole compilation on this machine; equal "
            "kernels of earlier rows come from the object cache. Products of f32 may use TF32.",
            format_rows(rows),
            f"## The kernels for {STRICT}",
            format_kernels(rows),
        ]
    )
    if options.write:
        keep("cubins", text)
    print(text)
    return int(any(k.spills for row in rows if row.gpu == STRICT for k in row.kernels))
