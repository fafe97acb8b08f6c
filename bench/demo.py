"""`python -m bench demo`: compile ResNet-50, check what it computes, and tell how long everything takes.

In: a model that the onnx package ships, with its expected output; nothing from the network. Out: text, and exit code
1 where the output is wrong. Compilation and sessions are timed in fresh processes, with caches that start empty.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

import intaglio

ROOT = Path(__file__).parent.parent
DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"


def files(name: str) -> tuple[Path, Path, float, float]:
    """A light model of onnx's backend test data: the model, its expected output, and the tolerances stated for it."""
    stated = json.loads((DATA / "real" / f"test_{name}" / "data.json").read_text())
    light = DATA / "light"
    return light / f"light_{name}.onnx", light / f"light_{name}_output_0.pb", stated["rtol"], stated["atol"]


def test_input(shape: list[int]) -> np.ndarray:
    """What onnx's test runner feeds these models: a ramp from 0 to 1."""
    size = int(np.prod(shape))
    return (np.arange(size).reshape(shape) / size).astype(np.float32)


def demo(name: str) -> bool:
    """Runs it, prints, and returns whether the output is right."""
    model, expected_file, rtol, atol = files(name)
    with tempfile.TemporaryDirectory(prefix="intaglio-demo-") as folder:
        print(f"Compile {model.name} ahead of time (nothing is cached yet):\n")
        command = [sys.executable, "-m", "intaglio", "compile", str(model), "-o", f"{folder}/{name}.intaglio"]
        _run(command, f"{folder}/first")
        print("\nThe same from Python, intaglio.InferenceSession(...), each time in a fresh process:\n")
        cache = f"{folder}/second"
        cold, warm = _session_seconds(model, cache), [_session_seconds(model, cache) for _ in range(5)]
        print(f"  cold session  {cold:8.2f} s   compiles")
        print(f"  warm session  {statistics.median(warm) * 1e3:8.1f} ms  from the cache")

        os.environ["INTAGLIO_CACHE_DIR"] = cache
        session = intaglio.InferenceSession(model)
        (entry,) = session.get_inputs()
        feeds = {entry.name: test_input(entry.shape)}
        (got,) = session.run(None, feeds)
        expected = numpy_helper.to_array(onnx.load_tensor(str(expected_file)))
        right = got.shape == expected.shape and np.allclose(got, expected, rtol, atol)
        verdict = f"(rtol {rtol:g}, atol {atol:g}): {'equal' if right else 'DIFFERENT'}"
        print(f"\nOutput against {expected_file.name} {verdict},")
        print(f"  largest difference {np.abs(got - expected).max():.3g}, values up to {np.abs(expected).max():.3g}\n")

        runs = {"intaglio": lambda: session.run(None, feeds)}
        if importlib.util.find_spec("onnxruntime"):
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3  # it has much to say about this model
            peer = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            runs["onnxruntime"] = lambda: peer.run(None, feeds)
        for engine, seconds in _latency(runs).items():
            print(f"  {engine:12}  {seconds * 1e3:8.2f} ms a run (median)")
    return bool(right)


def _run(command: list[str], cache: str) -> str:
    """Runs a command with that cache folder, and shows what it prints. Raises CalledProcessError."""
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"INTAGLIO_CACHE_DIR": cache}, stdout=subprocess.PIPE, text=True, check=True
    )
    print("  " + done.stdout.rstrip().replace("\n", "\n  "))
    return done.stdout


def _session_seconds(model: Path, cache: str) -> float:
    command = [sys.executable, "-m", "bench.probe", "intaglio", str(model)]
    environment = os.environ | {"INTAGLIO_CACHE_DIR": cache}
    return float(subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout)


def _latency(runs: dict[str, Callable[[], object]], rounds: int = 15) -> dict[str, float]:
    """Median seconds of one run. The engines take turns; before each turn the other's threads come to rest."""
    times: dict[str, list[float]] = {engine: [] for engine in runs}
    for _ in range(rounds):
        for engine, run in runs.items():
            time.sleep(0.05)
            run()
            start = time.perf_counter()
            run()
            times[engine].append(time.perf_counter() - start)
    return {engine: statistics.median(samples) for engine, samples in times.items()}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench demo", description="Compile a model, check it, time it.")
    parser.add_argument(
        "model", nargs="?", default="resnet50", help="a light model of the onnx package (default: resnet50)"
    )
    return 0 if demo(parser.parse_args(argv).model) else 1
