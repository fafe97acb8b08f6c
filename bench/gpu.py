"""`python -m bench gpu [models]`: whole models on an NVIDIA GPU, ours against torch eager and torch.compile.

In: architectures of the zoo. Out: a table for each of fp32, fp16 and bf16, at batch 1 and 32, the model that loses most
first, as Markdown (`--write` puts it into bench/results with date and device); exit code 1 where outputs differ.

What is fair:
- The same architecture with the same weights; ours is exported from it by torch.onnx. Inputs and outputs of all stay
  in the GPU's memory: ours by I/O binding.
- Times by CUDA events, interleaved in one process; each engine in turn, median of blocks.
- torch.compile has mode="max-autotune", which captures CUDA graphs, as ours does. TF32 is on for all where f32 is
  named (it is the default of the provider, and of torch's matmul precision "high").
- Peaks are measured in the same process: a product of 8192 x 8192 matrices by torch, and a copy of 1 GiB.
"""

from __future__ import annotations

import argparse
import datetime
import re
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

import intaglio

from .inputs import random_inputs
from .models import MODELS
from .recipes import RECIPES
from .tables import keep, milliseconds, ratio, table
from .zoo import FirstOutput, randomise

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
BATCHES = (1, 32)
# By dtype, the largest |a - b| allowed over the largest |b|: narrow floats keep 11 and 8 bits, TF32 keeps 11.
TOLERANCE = {"fp32": 1e-2, "fp16": 2e-2, "bf16": 1e-1}
Run = Callable[[], object]


@dataclass
class Row:
    name: str
    flops: int
    bytes: int
    seconds: dict[str, float] = field(default_factory=dict)
    problem: str = ""

    @property
    def loss(self) -> float:
        peers = [t for engine, t in self.seconds.items() if engine != "ours"]
        return self.seconds["ours"] / min(peers) if "ours" in self.seconds and peers else float("inf")


def prepare(name: str, dtype: torch.dtype, batch: int) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...], bytes, int]:
    """The torch model on the GPU, its inputs there, the ONNX file of it, and bytes of its parameters."""
    torch.manual_seed(0)
    source, inputs = RECIPES[name](False)
    model = FirstOutput(source).eval()
    ranges = {f"range.{i.name}": f"0:{i.below}" for i in inputs if i.below is not None}
    dims = {**MODELS[name], "batch": batch}
    small = tuple(map(torch.from_numpy, random_inputs(inputs, {**dims, "batch": 2}, ranges).values()))
    randomise(model, small)
    model = model.to(dtype)
    args = tuple(map(torch.from_numpy, random_inputs(inputs, dims, ranges).values()))
    args = tuple(a.to(dtype) if a.is_floating_point() else a for a in args)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.onnx")
        program = torch.onnx.export(
            model, args, dynamo=True, verbose=False, input_names=[i.name for i in inputs], output_names=["output"],
            opset_version=22,  # the first with convolutions of bfloat16
            optimize=False,  # the exporter's own fusion of batch norms leaves float32 in models of bfloat16
        )  # fmt: skip
        assert program is not None
        program.save(file, external_data=False)
        data = file.read_bytes()
    parameters = sum(p.numel() * p.element_size() for p in model.parameters())
    return model.cuda(), tuple(a.cuda() for a in args), data, parameters


def ours(data: bytes, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> Run:
    """A run whose inputs and output are memory of torch on the GPU."""
    session = intaglio.InferenceSession(data, providers=["CUDAExecutionProvider", "CPUExecutionProvider"])
    binding = session.io_binding()
    for spec, tensor in zip(session.get_inputs(), args):
        binding.bind_ortvalue_input(spec.name, intaglio.OrtValue.from_dlpack(tensor.contiguous()))
    binding.bind_ortvalue_output(session.get_outputs()[0].name, intaglio.OrtValue.from_dlpack(output))
    return lambda: session.run_with_iobinding(binding)


def difference(got: torch.Tensor, wanted: torch.Tensor, dtype: str) -> str:
    """Empty where they agree."""
    off = float((got.float() - wanted.float()).abs().max())
    most = float(wanted.float().abs().max())
    return "" if off <= TOLERANCE[dtype] * most else f"differs by {off:.3g} of {most:.3g}"


def interleave(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    """Median seconds of one call of each, by events, taking turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        for _ in range(5):
            run()
    for _ in range(rounds):
        for name, run in runs.items():
            torch.cuda.synchronize()
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            count = 10
            begin.record()
            for _ in range(count):
                run()
            end.record()
            torch.cuda.synchronize()
            times[name].append(begin.elapsed_time(end) / 1e3 / count)
    return {name: statistics.median(samples) for name, samples in times.items()}


@torch.no_grad()
def measure(name: str, dtype: str, batch: int, rounds: int) -> Row:
    model, args, data, parameters = prepare(name, DTYPES[dtype], batch)
    with FlopCounterMode(display=False) as counter:
        expected = model(*args)
    traffic = parameters + sum(a.numel() * a.element_size() for a in (*args, expected))
    row = Row(f"{name} x {batch}", counter.get_total_flops(), traffic)
    output = torch.empty_like(expected)
    runs: dict[str, Run] = {}
    try:
        runs["ours"] = ours(data, args, output)
        runs["ours"]()
        torch.cuda.synchronize()
        row.problem = difference(output, expected, dtype)
    except Exception as error:  # whatever fails is a result of the measurement
        runs.pop("ours", None)
        row.problem = f"{type(error).__name__}: {error}".splitlines()[0]
    runs["eager"] = lambda: model(*args)
    compiled = torch.compile(model, mode="max-autotune")
    compiled(*args)
    runs["max-autotune"] = lambda: compiled(*args)
    row.seconds = interleave(runs, rounds)
    return row


def peaks(dtype: torch.dtype) -> tuple[float, float]:
    """Operations and bytes per second of this GPU."""
    a = torch.randn(8192, 8192, device="cuda").to(dtype)
    source = torch.empty(1 << 28, device="cuda")
    target = torch.empty_like(source)
    seconds = interleave({"product": lambda: a @ a, "copy": lambda: target.copy_(source)}, 11)
    return 2 * 8192**3 / seconds["product"], 2 * source.numel() * 4 / seconds["copy"]


def format_rows(rows: list[Row], peak: tuple[float, float]) -> str:
    lines = []
    for row in sorted(rows, key=lambda row: -row.loss):
        mine, eager, tuned = (row.seconds.get(engine) for engine in ("ours", "eager", "max-autotune"))
        lines.append(
            [
                row.name,
                *map(milliseconds, (mine, eager, tuned)),
                ratio(mine, eager),
                ratio(mine, tuned),
                f"{row.flops / mine / peak[0]:.0%}" if mine and row.flops else "-",
                f"{row.bytes / mine / peak[1]:.0%}" if mine else "-",
                row.problem or "yes",
            ]
        )
    headings = ["", "ours ms", "eager ms", "max-autotune ms", "ours/eager", "ours/tuned", "peak", "memory", "correct"]
    return table(headings, lines)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench gpu", description="Time whole models on a GPU.")
    parser.add_argument("models", nargs="*", default=list(MODELS), help="of the zoo")
    parser.add_argument("--dtype", action="append", choices=list(DTYPES), help="may be repeated (default: all)")
    parser.add_argument("--batch", action="append", type=int, help=f"may be repeated (default: {BATCHES})")
    parser.add_argument("--rounds", type=int, default=11, help="turns that each engine gets")
    parser.add_argument("--write", action="store_true", help="write the tables to bench/results")
    options = parser.parse_args(argv)
    if not torch.cuda.is_available():
        print("bench gpu: there is no GPU that torch can use")
        return 2
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    device = torch.cuda.get_device_name()
    sections, wrong = [f"# {datetime.date.today()}, {device}, torch {torch.__version__}"], False
    for dtype in options.dtype or DTYPES:
        peak = peaks(DTYPES[dtype])
        batches = options.batch or BATCHES
        rows = [measure(name, dtype, batch, options.rounds) for name in options.models for batch in batches]
        wrong |= any(row.problem for row in rows)
        told = f"## {dtype}: {peak[0] / 1e12:.0f} TFLOP/s, {peak[1] / 1e9:.0f} GB/s measured"
        sections += [told, format_rows(rows, peak)]
        print(*sections[-2:], sep="\n\n", flush=True)
    if options.write:
        name = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
        keep(name, "\n\n".join(sections))
    return int(wrong)
