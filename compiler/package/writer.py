"""Writes a compiled model: the directory of the cache, and the single file of ahead-of-time compilation.

In: weights one after another, then the manifest and the library. Out: the files that runtime/store/artifact.py
describes and reads. Weights go straight to the disk; none is kept in memory or written twice.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ...runtime.cpus import architecture
from ...runtime.run.program import ABI
from ...runtime.store import checksums
from ...runtime.store.artifact import (
    CHECKSUMS,
    DEVICE,
    FORMAT,
    HEADER,
    LIBRARY,
    MAGIC,
    MANIFEST,
    NOTES,
    PAGE,
    WEIGHTS,
    Manifest,
)
from ...runtime.store.sealed import seal
from ..target import Target

ALIGNMENT = 64  # of each weight in weights.bin


class Writer:
    """Writes an artifact into an empty directory: `add` each weight, then `finish`. To be used in a `with`.

    size: the bytes of the weights so far."""

    def __init__(self, directory: Path):
        self._directory = directory
        self._file = open(directory / WEIGHTS, "wb", buffering=1 << 20)  # noqa: SIM115  closed by __exit__
        self.size = 0

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, data: np.ndarray[Any, Any]) -> int:
        """Writes an array in row-major order; returns its offset in weights.bin, a multiple of 64."""
        flat = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        offset = -(-self.size // ALIGNMENT) * ALIGNMENT
        self._file.write(bytes(offset - self.size))
        self._file.write(flat.data)
        self.size = offset + flat.size
        return offset

    def finish(self, manifest: Manifest, notes: dict[str, Any], target: Target, version: str) -> None:
        """Completes the artifact; model.so is in the directory already.

        manifest: inputs, outputs, symbols, asserts, errors, modelmeta, steps and the other entries that artifact.py
        describes; format, abi, compiler, architecture, features and files are added here. notes: provenance, for
        people.
        """
        self._file.close()
        weights = self._directory / WEIGHTS
        if self.size == 0:
            weights.unlink()
        else:
            with open(weights, "rb") as file:
                (self._directory / CHECKSUMS).write_bytes(checksums.of(file, 0, self.size))
        (self._directory / NOTES).write_text(json.dumps(notes))
        files = {WEIGHTS: {"bytes": self.size}} if self.size else {}
        for name in (LIBRARY, CHECKSUMS, NOTES, DEVICE):
            path = self._directory / name
            if path.exists():
                data = path.read_bytes()
                files[name] = {"bytes": len(data), "crc32": zlib.crc32(data)}
        complete = {
            **manifest,
            "format": FORMAT,
            "abi": ABI,
            "compiler": version,
            "architecture": architecture(),
            "features": target.required,
            "files": files,
        }
        (self._directory / MANIFEST).write_bytes(seal(complete))


def pack(directory: Path, output: Path) -> None:
    """Writes the artifact in `directory` as one file, which is renamed to `output` once it is complete."""
    manifest = json.loads((directory / MANIFEST).read_bytes())
    temporary = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(bytes(PAGE))
            for name, entry in manifest["files"].items():
                file.write(bytes(-file.tell() % PAGE))
                entry["offset"] = file.tell()
                with open(directory / name, "rb") as part:
                    shutil.copyfileobj(part, file, 1 << 20)
            text = json.dumps(manifest).encode()
            offset = file.tell()
            file.write(text)
            file.seek(0)
            file.write(HEADER.pack(MAGIC, FORMAT, zlib.crc32(text), offset, len(text)))
        os.replace(temporary, output)
    finally:
        temporary.unlink(missing_ok=True)
