"""Artifacts of programs written by hand, so that the runtime is tested without the compiler."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np

from intaglio.compiler.codegen.c import toolchain
from intaglio.compiler.codegen.c.build import Source, build
from intaglio.compiler.options import Options
from intaglio.compiler.package import writer as package
from intaglio.compiler.target import target

HERE = Path(__file__).parent

W, B = np.array([1, 2, 3], np.float32), np.array([0.5, -0.5, 10], np.float32)

FILES = ["manifest.json", "model.so", "weights.bin", "weights.crc", "notes.json"]  # of an artifact
DAMAGES = ["missing", "empty", "truncated", "zeros", "one bit", "one sector", "garbage"]

AFFINE: dict[str, Any] = {
    "inputs": [{"name": "x", "type": "tensor(float)", "shape": ["batch", 3]}],
    "outputs": [
        {"name": "y", "type": "tensor(float)", "shape": ["batch", 3]},
        {"name": "z", "type": "tensor(float)", "shape": [3, "batch"]},
    ],
    "symbols": [{"name": "batch", "bind": [[0, 0]]}],
    "asserts": [{"type": "InvalidArgument", "text": "batch {batch} is more than 1000"}],
    "errors": [{"type": "InvalidArgument", "text": "infinite, of batch {0}, with {1}"}],
    "modelmeta": {"graph_name": "affine", "version": 3, "custom_metadata_map": {"a": "b"}},
    "steps": 2,
}
POSITIVE: dict[str, Any] = {
    "inputs": [{"name": "x", "type": "tensor(float)", "shape": ["n"]}],
    "outputs": [
        {"name": "positive", "type": "tensor(float)", "shape": [None]},
        {"name": "same", "type": "tensor(float)", "shape": ["n"]},
    ],
    "symbols": [{"name": "n", "bind": [[0, 0]]}],
    "asserts": [],
    "errors": [],
    "modelmeta": {},
}
RELAY: dict[str, Any] = {
    "inputs": [
        {"name": "x", "type": "tensor(int64)", "shape": ["n"]},
        {"name": "rounds", "type": "tensor(bool)", "shape": ["rounds"]},
        {"name": "steps", "type": "tensor(bool)", "shape": ["steps"]},
    ],
    "outputs": [
        {"name": "y", "type": "tensor(int64)", "shape": ["n"]},
        {"name": "taken", "type": "tensor(int64)", "shape": [64]},
        {"name": "present", "type": "tensor(int64)", "shape": [64]},
    ],
    "symbols": [
        {"name": "n", "bind": [[0, 0]]},
        {"name": "rounds", "bind": [[1, 0]]},
        {"name": "steps", "bind": [[2, 0]]},
    ],
    "asserts": [],
    "errors": [],
    "modelmeta": {},
}
MANIFESTS = {"affine": AFFINE, "positive": POSITIVE, "relay": RELAY}


def write(name: str, directory: Path, objects: Path, features: str = "generic") -> Path:
    """Writes the artifact of `<name>.c` into `directory`, which is made."""
    directory.mkdir(parents=True, exist_ok=True)
    source = Source(name, (HERE / f"{name}.c").read_text())
    build([source], directory / "model.so", toolchain.find(objects), target("generic"), objects)
    with package.Writer(directory) as writer:
        if name == "affine":
            assert [writer.add(W), writer.add(B)] == [0, 64]
            writer.add(np.arange(100_000.0))  # more than is looked at each time
        writer.finish(MANIFESTS[name], {"steps": [name]}, target(features), "test")
    return directory


def damaged(data: bytes, damage: str) -> bytes | None:
    """What a file becomes; None where it goes away."""
    rng = np.random.default_rng(len(data))
    at = int(rng.integers(len(data)))
    sector = min(at // 512 * 512, len(data) - 1)
    return {
        "missing": None,
        "empty": b"",
        "truncated": data[:at],
        "zeros": bytes(len(data)),
        "one bit": data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :],
        "one sector": (data[:sector] + rng.bytes(512) + data[sector + 512 :])[: len(data)],
        "garbage": rng.bytes(len(data)),
    }[damage]


def affine(x: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    """What affine.c computes."""
    y = x * W + B
    return [y, y.T]


def fake_compiler(log: Path, objects: Path, behaviour: Any = None) -> None:
    """Puts a module in the place of intaglio.compiler.driver that "compiles" everything to affine.c.

    Appends a line to `log` for each compilation; `behaviour(directory)` is called first.
    """

    def compile_model(model: str | bytes, options: Options, directory: Path, progress: Any) -> None:
        with open(log, "a") as file:
            file.write(f"{options}\n")
        if behaviour:
            behaviour(directory)
        write("affine", directory, objects)

    driver: Any = types.ModuleType("intaglio.compiler.driver")
    driver.compile_model, driver.write_optimized = compile_model, None
    sys.modules["intaglio.compiler.driver"] = driver
