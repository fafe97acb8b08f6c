"""Reads a compiled model: a directory (as in the cache) or one file (`model.intaglio`, compiled ahead of time).

In: a path or bytes. Out: an `Artifact`: the manifest, the library's path and the mapped weights. It must never trust
sizes and offsets it reads, nor copy or hash the weights.

The directory:
    manifest.json   everything the runtime needs to know, see below
    model.so        the code: exports of templates/c/runtime_abi.h
    weights.bin     prepacked weights, mapped read-only and shared by all processes; absent where there are none
    notes.json      provenance of steps and kernels for `explain` and profiles; read only by those
    device.bin      sources and binaries of the kernels of a GPU; absent where there is none

The single file holds the same: 64 bytes of header (`_HEADER`), then each file at a page-aligned offset, then the
manifest, whose `files` tell the offsets. Weights are mapped in place; the code is loaded from a memory file.

The manifest, a JSON object:
    format, abi       FORMAT and program.ABI; anything else is refused
    compiler          version of Intaglio that wrote it
    architecture      as cpus.architecture(): "x86_64"
    features          what the code needs of the CPU, as cpus.features(): ["avx2", "fma"]
    inputs, outputs   [{"name": "x", "type": "tensor(float)", "shape": [3, "batch", null]}], in the order of the
                      program's buffers; the shape is what NodeArg shows: an int, a name, or null where it has none
    results           where an output of the model is no tensor, all of them: as `outputs`, and "parts": the names of
                      those it is made of, "keys": the labels of the columns of a map, "words": what the numbers
                      stand for; absent elsewhere
    overridable       the same for initializers that are also graph inputs; empty where absent
    symbols           [{"name": "batch", "bind": [[0, 1], [2, 0]], "lower": 0, "text": "batch"}], in the order of the
                      program's `dims`: the symbol is dimension 1 of input 0, and dimension 0 of input 2 has to agree;
                      values below `lower` (0 where absent) are refused. {"name": "shape[1]", "element": [2, 1]}: the
                      symbol is element 1 of the data of input 2, a small integer tensor. {"name": "random#1",
                      "random": true}: the runtime draws another value for each run
    asserts           intaglio_plan's refusals, as in `errors`; a text may name symbols as {batch}
    errors            failures of a run: [{"type": "InvalidArgument", "text": "indices element {0} ..."}]; {0} ... {3}
                      are the numbers of `report`; the type is a class of errors.py
    conflicts         shapes of outputs that the model declares and that cannot be, as texts; empty where absent
    modelmeta         the fields of metadata.ModelMetadata
    device            of models for a GPU: {"gpus": ["cuda:sm_90"], "kernels": [...], "steps": 3, "straight": true,
                      "host_inputs": [0], "host_outputs": []}: which GPUs there is code for; of each kernel {"name":
                      "d1", "arguments": ["*fp32", "i32"], "source": [0, 10], "binaries": {"cuda:sm_90": {"at": [10,
                      99], "threads": 128, "shared": 0, "registers": 32, "spills": 0, "scratch": 0}}}, places being
                      [offset, size] in device.bin; how many steps run there; whether every run is the same work; the
                      inputs and outputs that the host reads or writes
    steps             how many steps intaglio_mark notes; 0 where absent
    files             {"model.so": {"bytes": 1, "crc32": 2}, "weights.bin": {"bytes": 3}}; "offset" in a single file
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import cpus
from .errors import Fail, InvalidArgument, InvalidProtobuf

FORMAT = 1
MAGIC = b"INTAGLIO"
HEADER = struct.Struct("<8sIIQQ32x")  # magic, format, crc32 of the manifest, its offset, its size
PAGE = 4096
MANIFEST, LIBRARY, WEIGHTS, NOTES = "manifest.json", "model.so", "weights.bin", "notes.json"
DEVICE = "device.bin"

Manifest = dict[str, Any]


class Corrupt(Exception):
    """An artifact is incomplete or damaged; the text says what is wrong. A cache drops it, others report it."""


@dataclass
class Artifact:
    """A compiled model, checked and ready to run.

    library: the code, loaded. weights: read-only bytes of the prepacked weights, empty where there are none; the
    owner of their memory. notes: reads the provenance, {} where there is none.
    """

    manifest: Manifest
    library: ctypes.CDLL
    weights: np.ndarray[Any, np.dtype[np.uint8]]
    source: Path | bytes

    def notes(self) -> dict[str, Any]:
        found = self._file(NOTES)
        return dict(json.loads(found)) if found else {}

    def device_code(self) -> bytes:
        """The content of device.bin. Raises Corrupt where it is not as the manifest has it."""
        found, entry = self._file(DEVICE), self.manifest["files"].get(DEVICE, {"bytes": 0})
        if len(found) != entry["bytes"]:
            raise Corrupt(f"{DEVICE} has a wrong size")
        return found

    def _file(self, name: str) -> bytes:
        """A whole file of the artifact; empty where it is absent."""
        if isinstance(self.source, Path) and self.source.is_dir():
            path = self.source / name
            return path.read_bytes() if path.exists() else b""
        with _opened(self.source) as data:
            entry = self.manifest["files"].get(name)
            return _section(data, name, entry) if entry else b""


def is_artifact(model: str | bytes) -> bool:
    """Whether `model` (a path or the bytes) is a compiled model rather than ONNX; tells by its content."""
    if isinstance(model, bytes):
        return model.startswith(MAGIC)
    if os.path.isdir(model):
        return os.path.exists(os.path.join(model, MANIFEST))
    try:
        with open(model, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def load(model: str | bytes) -> Artifact:
    """The artifact at a path or in bytes. Raises onnxruntime's errors; `load_directory` says `Corrupt` instead."""
    where = "" if isinstance(model, bytes) else f"Load model from {model} failed:"
    try:
        if not isinstance(model, bytes) and os.path.isdir(model):
            return load_directory(Path(model))
        return _load_file(Path(model) if isinstance(model, str) else model)
    except Corrupt as error:
        raise InvalidProtobuf(f"{where}{error}. Compile the model again.") from None


def load_directory(folder: Path) -> Artifact:
    """The artifact in a directory. Raises Corrupt, and InvalidArgument where it is not for this machine."""
    try:
        manifest = _parse(_unseal((folder / MANIFEST).read_bytes()))
        files = manifest["files"]
        if (folder / LIBRARY).stat().st_size != files[LIBRARY]["bytes"]:
            raise Corrupt(f"{LIBRARY} has a wrong size")
        if zlib.crc32((folder / LIBRARY).read_bytes()) != files[LIBRARY]["crc32"]:
            raise Corrupt(f"{LIBRARY} is damaged (its checksum differs)")
        weights = _map(folder / WEIGHTS, 0, files[WEIGHTS]["bytes"]) if WEIGHTS in files else _empty()
    except FileNotFoundError as error:
        raise Corrupt(f"{Path(error.filename).name} is missing") from None
    except (KeyError, TypeError):
        raise Corrupt(f"{MANIFEST} is damaged") from None
    return Artifact(manifest, _dlopen(str(folder / LIBRARY)), weights, folder)


def _load_file(source: Path | bytes) -> Artifact:
    with _opened(source) as data:
        if len(data) < HEADER.size:
            raise Corrupt("the file is incomplete")
        magic, version, crc, offset, size = HEADER.unpack_from(data)
        if magic != MAGIC:
            raise Corrupt("this is not a compiled model")
        if version != FORMAT:
            raise _other_format(version)
        if offset + size > len(data):
            raise Corrupt("the file is incomplete")
        if zlib.crc32(data[offset : offset + size]) != crc:
            raise Corrupt("the manifest is damaged (its checksum differs)")
        manifest = _parse(bytes(data[offset : offset + size]))
        files = manifest["files"]
        code = _section(data, LIBRARY, files[LIBRARY])
        if zlib.crc32(code) != files[LIBRARY]["crc32"]:
            raise Corrupt(f"{LIBRARY} is damaged (its checksum differs)")
        weights = _empty()
        if WEIGHTS in files:
            entry = files[WEIGHTS]
            if isinstance(source, Path):
                weights = _map(source, entry["offset"], entry["bytes"])
            else:
                weights = aligned(entry["bytes"])
                weights[:] = np.frombuffer(_section(data, WEIGHTS, entry), np.uint8)
        return Artifact(manifest, _dlopen_bytes(code), weights, source)


@contextlib.contextmanager
def _opened(source: Path | bytes) -> Any:
    """The content as something sliceable, without reading it."""
    if isinstance(source, bytes):
        yield memoryview(source)
        return
    with open(source, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def _section(data: Any, name: str, entry: dict[str, int]) -> bytes:
    section = bytes(data[entry["offset"] : entry["offset"] + entry["bytes"]])
    if len(section) != entry["bytes"]:
        raise Corrupt(f"the file is incomplete ({name})")
    return section


def seal(manifest: Manifest) -> bytes:
    """The manifest as JSON whose last key is a checksum of everything before it."""
    text = json.dumps(manifest, separators=(",", ":"))[:-1].encode()
    return text + b',"crc32":%d}' % zlib.crc32(text)


def _unseal(data: bytes) -> bytes:
    """Checks what `seal` wrote."""
    text, _, crc = data.rpartition(b',"crc32":')
    if not crc.endswith(b"}") or crc[:-1] != b"%d" % zlib.crc32(text):
        raise Corrupt(f"{MANIFEST} is damaged (its checksum differs)")
    return data


def _parse(data: bytes) -> Manifest:
    """The manifest, if it is one that this version can run on this machine."""
    try:
        manifest = json.loads(data)
        version, architecture, needed = manifest["format"], manifest["architecture"], manifest["features"]
    except (ValueError, KeyError, TypeError):
        raise Corrupt(f"{MANIFEST} is damaged") from None
    if version != FORMAT:
        raise _other_format(version)
    if architecture != cpus.architecture():
        raise InvalidArgument(
            f"This model is compiled for {architecture}, and this machine is {cpus.architecture()}. "
            "Compile it here, or with --target for this machine."
        )
    present = cpus.features()
    if present and not present.issuperset(needed):
        missing = " ".join(sorted(set(needed) - present))
        raise InvalidArgument(
            f"This model is compiled for a CPU with instructions that this one lacks: {missing}. "
            "Compile it here, or with --target=x86-64-v2 for any CPU."
        )
    return dict(manifest)


def _other_format(version: int) -> InvalidArgument:
    return InvalidArgument(
        f"This model is compiled in format {version}, and this version of Intaglio reads format {FORMAT}. "
        "Compile the ONNX model again."
    )


def _map(path: Path, offset: int, size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The bytes of a file, mapped read-only and shared."""
    if size == 0:
        return _empty()
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size < offset + size:
            raise Corrupt(f"{path.name} is incomplete")
        mapped = mmap.mmap(file.fileno(), offset + size, access=mmap.ACCESS_READ)
    return np.frombuffer(mapped, np.uint8, size, offset)


def _empty() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.empty(0, np.uint8)


def aligned(size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """`size` bytes of memory at a multiple of 64."""
    memory = np.empty(size + 63, np.uint8)
    skip = -memory.ctypes.data % 64
    return memory[skip : skip + size]


_loaded: dict[str, tuple[int, int]] = {}  # paths of libraries in this process, and which file each was


def _dlopen(path: str) -> ctypes.CDLL:
    """Loads a library. The loader knows libraries by path: another file at the path of one is loaded from memory."""
    stat = os.stat(path)
    if _loaded.setdefault(path, (stat.st_ino, stat.st_mtime_ns)) != (stat.st_ino, stat.st_mtime_ns):
        return _dlopen_bytes(Path(path).read_bytes())
    try:
        return ctypes.CDLL(path)
    except OSError as error:
        raise Fail(f"Cannot load the compiled code: {error}") from None


def _dlopen_bytes(code: bytes) -> ctypes.CDLL:
    """Loads a library that is not a file: from memory where the system can, else from a temporary file.

    The memory file stays open, as the library stays loaded: its number is the path that the loader knows it by.
    """
    if hasattr(os, "memfd_create"):
        with contextlib.suppress(OSError):
            descriptor = os.memfd_create("intaglio-model")
            with open(descriptor, "wb", closefd=False) as file:
                file.write(code)
            return ctypes.CDLL(f"/proc/self/fd/{descriptor}")
    import tempfile  # takes 3 ms, and is hardly ever needed

    with tempfile.TemporaryDirectory(prefix="intaglio-") as folder:
        path = Path(folder, LIBRARY)
        path.write_bytes(code)
        return _dlopen(str(path))
