"""Reads a compiled model: a directory (as in the cache) or one file (`model.intaglio`, compiled ahead of time).

In: a path or bytes. Out: an `Artifact`: the manifest, the loaded library and the mapped weights. It must never trust
what it reads: every file has a checksum, and that of the weights is one for each block (checksums.py), as they are not
read whole each time.

The directory:
    manifest.json   everything the runtime needs to know, see below
    model.so        the code: exports of templates/c/runtime_abi.h
    weights.bin     prepacked weights, mapped read-only and shared by all processes; absent where there are none
    weights.crc     the checksums of its blocks; absent like it
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
                      program's buffers; the shape is what NodeArg shows: an int, a name, or null where it has none.
                      An output that has another rank than the model declares has a "rank", too
                      "object": true if it is one for the program, such as a sequence, or a tensor of unknown rank
    host              the host calls, in order: [{"function": "split_text", "arguments": {"delimiter": " "}, "takes":
                      ["tensor(string)"], "gives": ["object", "tensor(int64)"], "ranks": [1, 0, 1], "node":
                      ["StringSplit", "a"]}]: a function of runtime/host/, the types and ranks of its buffers, operator
                      and name of the ONNX node; absent where there are none
    strings           those of the model; the program knows strings by number, these from 0 on; absent where none
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
    slow              warnings for sessions to log: what of the model is slow, and a remedy; absent where nothing is
    modelmeta         the fields of metadata.ModelMetadata
    device            of models for a GPU: {"gpus": ["cuda:sm_90"], "kernels": [...], "steps": 3, "straight": true,
                      "host_inputs": [0], "host_outputs": []}: which GPUs there is code for; of each kernel {"name":
                      "d1", "arguments": ["*fp32", "i32"], "source": [0, 10], "binaries": {"cuda:sm_90": {"at": [10,
                      99], "threads": 128, "shared": 0, "registers": 32, "spills": 0, "scratch": 0}}}, places being
                      [offset, size] in device.bin; how many steps run there; whether every run is the same work; the
                      inputs and outputs that the host reads or writes
    steps             how many steps are numbered; 0 where absent
    files             {"model.so": {"bytes": 1, "crc32": 2}, "weights.bin": {"bytes": 3}}; "offset" in a single file;
                      all have a checksum but the weights
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import io
import json
import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import cpus
from ..errors import Fail, InvalidArgument, InvalidProtobuf
from . import checksums
from .sealed import unseal

FORMAT = 2
MAGIC = b"INTAGLIO"
HEADER = struct.Struct("<8sIIQQ32x")  # magic, format, crc32 of the manifest, its offset, its size
PAGE = 4096
MANIFEST, LIBRARY, NOTES, DEVICE = "manifest.json", "model.so", "notes.json", "device.bin"
WEIGHTS, CHECKSUMS = "weights.bin", "weights.crc"

Manifest = dict[str, Any]
Weights = np.ndarray[Any, np.dtype[np.uint8]]

_FAULTS_OF_OTHERS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.EPERM}  # than of the artifact


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
    weights: Weights
    source: Path | bytes

    def notes(self) -> dict[str, Any]:
        found = self._file(NOTES)
        return dict(json.loads(found)) if found else {}

    def device_code(self) -> bytes:
        """The content of device.bin."""
        return self._file(DEVICE)

    def _file(self, name: str) -> bytes:
        """A whole file of the artifact; empty where it has none. Raises Corrupt where it was damaged since it was
        checked."""
        entry = self.manifest["files"].get(name)
        return _whole(self.source, name, entry) if entry else b""


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


def load(model: str | bytes, memory: Path | None = None) -> Artifact:
    """The artifact at a path or in bytes. memory: a folder in which is remembered what was checked, None for none.

    Raises onnxruntime's errors; `load_directory` says `Corrupt` instead."""
    where = "" if isinstance(model, bytes) else f"Load model from {model} failed:"
    try:
        if not isinstance(model, bytes) and os.path.isdir(model):
            return load_directory(Path(model), memory)
        return _load_file(Path(model) if isinstance(model, str) else model, memory)
    except Corrupt as error:
        raise InvalidProtobuf(f"{where}{error}. Compile the model again.") from None


def load_directory(folder: Path, memory: Path | None = None) -> Artifact:
    """The artifact in a directory. Raises Corrupt, and InvalidArgument where it is not for this machine."""
    with _opened(folder, MANIFEST) as file:
        text = file.read()
    try:
        manifest = _for_this_machine(unseal(text))
    except ValueError as error:
        raise Corrupt(f"{MANIFEST} is damaged ({error})") from None
    code, weights = _checked(folder, manifest, memory)
    return Artifact(manifest, _dlopen(folder / LIBRARY, code), weights, folder)


def _load_file(source: Path | bytes, memory: Path | None) -> Artifact:
    with _opened(source) as file:
        head = file.read(HEADER.size)
        if len(head) < HEADER.size:
            raise Corrupt("the file is incomplete")
        magic, version, crc, offset, size = HEADER.unpack(head)
        if magic != MAGIC:
            raise Corrupt("this is not a compiled model")
        if version != FORMAT:
            raise _other_format(version)
        text = _section(file, MANIFEST, {"offset": offset, "bytes": size})
    if zlib.crc32(text) != crc:
        raise Corrupt(f"{MANIFEST} is damaged (its checksum differs)")
    manifest = _for_this_machine(json.loads(text))
    code, weights = _checked(source, manifest, memory)
    return Artifact(manifest, _dlopen_bytes(code), weights, source)


def _checked(source: Path | bytes, manifest: Manifest, memory: Path | None) -> tuple[bytes, Weights]:
    """The code, and the weights, mapped where they are in a file. Raises Corrupt unless all is as it was written."""
    files: dict[str, dict[str, int]] = manifest["files"]
    whole = {name: _whole(source, name, entry) for name, entry in files.items() if name != WEIGHTS}
    if LIBRARY not in whole:
        raise Corrupt(f"{MANIFEST} is damaged")
    if WEIGHTS not in files:
        return whole[LIBRARY], np.empty(0, np.uint8)
    entry = files[WEIGHTS]
    offset, size = entry.get("offset", 0), entry["bytes"]
    with _opened(source, WEIGHTS) as file:
        try:
            path = None if isinstance(source, bytes) else Path(file.name)
            checksums.check(file, offset, size, whole.get(CHECKSUMS, b""), path, memory)
        except checksums.Damaged:
            raise Corrupt(f"{WEIGHTS} is damaged (a checksum differs)") from None
        if not isinstance(source, bytes):
            mapped = mmap.mmap(file.fileno(), offset + size, access=mmap.ACCESS_READ)
            return whole[LIBRARY], np.frombuffer(mapped, np.uint8, size, offset)
        weights = aligned(size)
        weights[:] = np.frombuffer(source, np.uint8, size, offset)
    return whole[LIBRARY], weights


def _whole(source: Path | bytes, name: str, entry: dict[str, int]) -> bytes:
    """A file of the artifact."""
    with _opened(source, name) as file:
        content = _section(file, name, entry)
    if zlib.crc32(content) != entry["crc32"]:
        raise Corrupt(f"{name} is damaged (its checksum differs)")
    return content


@contextlib.contextmanager
def _opened(source: Path | bytes, name: str = "") -> Iterator[Any]:
    """The file that `name` is in, for reading. Raises Corrupt where it is missing, or the disk fails."""
    if isinstance(source, bytes):
        yield io.BytesIO(source)  # shares the memory
        return
    path = source / name if name and source.is_dir() else source
    try:
        with open(path, "rb") as file:
            yield file
    except FileNotFoundError:
        raise Corrupt(f"{path.name} is missing") from None
    except OSError as error:
        if error.errno in _FAULTS_OF_OTHERS:
            raise
        raise Corrupt(f"{path.name} cannot be read ({error.strerror})") from None


def _section(file: Any, name: str, entry: dict[str, int]) -> bytes:
    offset, size = entry.get("offset", 0), entry["bytes"]
    if file.seek(0, os.SEEK_END) < offset + size:  # before memory is asked for
        raise Corrupt(f"{name} is incomplete")
    file.seek(offset)
    return bytes(file.read(size))


def _for_this_machine(manifest: Manifest) -> Manifest:
    """The manifest, if it is one that this version can run on this machine."""
    version, architecture, needed = manifest["format"], manifest["architecture"], manifest["features"]
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
    return manifest


def _other_format(version: int) -> InvalidArgument:
    return InvalidArgument(
        f"This model is compiled in format {version}, and this version of Intaglio reads format {FORMAT}. "
        "Compile the ONNX model again."
    )


def aligned(size: int) -> Weights:
    """`size` bytes of memory at a multiple of 64."""
    memory = np.empty(size + 63, np.uint8)
    skip = -memory.ctypes.data % 64
    return memory[skip : skip + size]


_loaded: dict[str, tuple[int, int]] = {}  # paths of libraries in this process, and which file each was


def _dlopen(path: Path, code: bytes) -> ctypes.CDLL:
    """Loads the library at `path`, whose content is `code`. The loader knows libraries by path: another file at the
    path of one is loaded from memory, as is one in a place that no code may be run from."""
    stat = os.stat(path)
    known = str(path)
    if _loaded.setdefault(known, (stat.st_ino, stat.st_mtime_ns)) == (stat.st_ino, stat.st_mtime_ns):
        with contextlib.suppress(OSError):
            return ctypes.CDLL(known)
    return _dlopen_bytes(code)


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
        try:
            return ctypes.CDLL(str(path))
        except OSError as error:
            raise Fail(f"Cannot load the compiled code: {error}") from None
