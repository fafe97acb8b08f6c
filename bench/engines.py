"""The engines behind one face, and the one way in which all of them are timed.

In: a model (a path, or bytes) and its feeds. Out: a function that runs it once; median seconds of each.

What is fair (measured on two Zen 4 cores):
- Every engine has its defaults and the same number of threads. onnxruntime keeps `allow_spinning`: without
  it LSTM and MobileNetV2 take twice as long there.
- Spinning must not fall on the next engine: onnxruntime's threads burn 40 ms after a run, OpenVINO's 1 ms.
  So engines take turns in one process, in blocks: wait until the process uses no CPU, warm up by one run,
  then time runs until the block has lasted long enough for the clock. A block's value is its mean; the
  result is the median of the blocks.
- OpenVINO gets the latency hint, float32 (by itself it takes bfloat16 where the CPU has it), the symbolic
  dims fixed to the timed sizes (up to 5 % faster), and inputs and outputs that it need not copy. The others
  get the file as it is.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import openvino

import intaglio

from .peak import cpus

Feeds = dict[str, np.ndarray]
Run = Callable[[], list[np.ndarray]]


def selected(command: str, description: str, names: Iterable[str], argv: Sequence[str]) -> argparse.Namespace:
    """The arguments of `python -m bench command`, which measures models of those names in turns of several engines."""
    names = list(names)
    parser = argparse.ArgumentParser(prog=f"python -m bench {command}", description=description)
    parser.add_argument("models", nargs="*", default=names, help=f"of {', '.join(names)} (default: all)")
    parser.add_argument("--threads", type=int, default=cpus(), help="of all engines (default: all CPUs)")
    parser.add_argument("--rounds", type=int, default=11, help="turns that each engine gets")
    parser.add_argument("--write", action="store_true", help="write the table to bench/results")
    options = parser.parse_args(argv)
    if unknown := set(options.models) - set(names):
        parser.error(f"there is no model {min(unknown)}")
    return options


def ours(model: Path | bytes, feeds: Feeds, threads: int) -> Run:
    options = intaglio.SessionOptions()
    options.intra_op_num_threads = threads
    session = intaglio.InferenceSession(model, options)
    return lambda: session.run(None, feeds)


def ort(model: Path | bytes, feeds: Feeds, threads: int) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, feeds)


def ov(model: Path | bytes, feeds: Feeds, threads: int) -> Run:
    core = openvino.Core()
    network = core.read_model(model)
    network.reshape({entry.any_name: list(feeds[entry.any_name].shape) for entry in network.inputs})
    hints = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
    }
    request = core.compile_model(network, "CPU", hints).create_infer_request()
    return lambda: list(request.infer(feeds, share_inputs=True, share_outputs=True).values())


ENGINES: dict[str, Callable[[Path | bytes, Feeds, int], Run]] = {"ours": ours, "ort": ort, "ov": ov}


def interleave(runs: dict[str, Run], rounds: int, block: float = 0.02) -> dict[str, float]:
    """Median seconds of one call of each, taking turns for `rounds` rounds of at least `block` seconds."""
    return {name: statistics.median(samples) for name, samples in turns(runs, rounds, block).items()}


def turns(runs: dict[str, Run], rounds: int, block: float = 0.02) -> dict[str, list[float]]:
    """Seconds of one call of each in each round; every other round goes the other way, so that none is always first."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        for name in list(runs)[:: -1 if number % 2 else 1]:
            wait_until_idle()
            times[name].append(_mean_time(runs[name], block))
    return times


def wait_until_idle(at_most: float = 1.0) -> None:
    """Return when no thread of this process spins any more; say so where that takes too long."""
    end = time.monotonic() + at_most
    while time.monotonic() < end:
        used = time.process_time()
        time.sleep(0.01)
        if time.process_time() - used < 0.001:
            return
    print(f"warning: a thread is still busy {at_most} s after the last run", file=sys.stderr)


def _mean_time(run: Run, block: float) -> float:
    run()
    count, start = 0, time.perf_counter()
    while True:
        run()
        count += 1
        elapsed = time.perf_counter() - start
        if elapsed >= block:
            return elapsed / count


def difference(got: list[np.ndarray], expected: list[np.ndarray]) -> str:
    """Empty where all outputs agree, |a - b| <= 1e-4 + 1e-3 |b|; otherwise where they do not."""
    if len(got) != len(expected):
        return f"{len(got)} outputs instead of {len(expected)}"
    for index, (a, b) in enumerate(zip(got, expected)):
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"output {index} is {a.dtype}{list(a.shape)} instead of {b.dtype}{list(b.shape)}"
        wrong = ~np.isclose(a, b, rtol=1e-3, atol=1e-4, equal_nan=True)
        if wrong.any():
            worst = np.nanmax(np.abs(a[wrong].astype(float) - b[wrong]))
            return f"output {index}: {wrong.mean():.2%} of the elements differ, by up to {worst:.3g}"
    return ""
