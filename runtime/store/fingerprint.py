"""What a model and the compiler are, as short keys: the parts of a cache key.

In: a model (path or bytes), and the compiler's settings. Out: a `Fingerprint`. Warm starts must never read a model or
the compiler's sources: both are recognised by what `stat` says of their files, and the digests are remembered.

Digests are SHA-256, cut to 32 digits. A file is only remembered when its timestamps are old enough that a later change
cannot leave them as they are.
"""

from __future__ import annotations

import json
import mmap
import os
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import cpus
from . import external
from .sealed import Stat, file_stat, recall, remember

SETTLED_NS = 2_000_000_000  # the coarsest timestamps of common file systems
_PACKAGE = Path(__file__).resolve().parents[2]
_SOURCES = ("compiler", "templates")
# How an entry of TensorProto.external_data that names a file begins: field 1, 8 bytes, "location"; field 2, length
_LOCATION = b"\x0a\x08location\x12"


@dataclass(frozen=True)
class Fingerprint:
    """The identity of a compiled model.

    model: digest of the model's content, external data included; compiler: of the compiler's sources; settings: of
    Options, as JSON; cpu: instruction set. files: what the model was read from, to notice a change underneath.
    """

    model: str
    compiler: str
    settings: str
    cpu: str
    files: tuple[Stat, ...] = ()

    @property
    def parts(self) -> dict[str, str]:
        return {"model": self.model, "compiler": self.compiler, "settings": self.settings, "cpu": self.cpu}

    @property
    def key(self) -> str:
        """The name of the cache entry; begins with the model's digest."""
        rest = "\0".join((self.compiler, self.settings, self.cpu)).encode()
        return f"{self.model}-{zlib.crc32(rest):08x}{zlib.adler32(rest):08x}"

    def unchanged(self) -> bool:
        """Whether the model's files still are what was read."""
        return all(file_stat(stat[0]) == stat for stat in self.files)


def of(model: str | bytes, settings: dict[str, Any], memory: Path) -> Fingerprint:
    """The fingerprint of a model. `memory` is a folder of what is known already; it need not be writable."""
    folder = settings.get("external_data_folder", "")
    files: tuple[Stat, ...] = ()
    if isinstance(model, bytes):
        digest = _of_bytes(model, folder)
    else:
        digest, files = _of_file(os.path.realpath(model), folder, os.path.dirname(os.path.abspath(model)), memory)
    cpu = " ".join((cpus.architecture(), cpus.vendor(), *map(str, cpus.model()), *sorted(cpus.features())))
    return Fingerprint(digest, compiler(memory), json.dumps(settings, sort_keys=True), cpu, files)


def _of_file(path: str, chosen: str, beside: str, memory: Path) -> tuple[str, tuple[Stat, ...]]:
    """chosen: the folder of the external data, "" where that lies `beside` the model."""
    folder = chosen or beside
    note = memory / f"model-{zlib.crc32(os.fsencode(f'{path}|{folder}')):08x}.json"
    known = recall(note)
    if known.get("path") == path and known.get("folder") == folder:
        files = tuple([tuple(each) for each in known["files"]])
        if all(file_stat(each[0]) == each for each in files):
            return known["digest"], files
    before = file_stat(path)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        names = list(_external(data, folder).values())
        files = (before, *(file_stat(name) for name in names))
        digest = _digest(data, names, external.homes(folder, None if chosen else path))
    settled = time.time_ns() - max(max(each[2], each[3]) for each in files) > SETTLED_NS
    if settled and all(file_stat(each[0]) == each for each in files):
        remember(note, {"path": path, "folder": folder, "digest": digest, "files": files})
    return digest, files


def _of_bytes(model: bytes, folder: str) -> str:
    folder = folder or os.getcwd()
    return _digest(model, list(_external(model, folder).values()), external.homes(folder, None))


def external_data(model: str | bytes, folder: str = "") -> dict[str, bytes]:
    """What the files hold that a model (path or bytes) names as external data, by the names that it has for them.

    folder: where they lie; beside the model where it is "". What lies elsewhere is not read."""
    if isinstance(model, bytes):
        content, place, homes = model, folder or os.getcwd(), external.homes(folder or os.getcwd(), None)
    else:
        content, place = Path(model).read_bytes(), folder or os.path.dirname(os.path.abspath(model))
        homes = external.homes(place, None if folder else model)
    found = _external(content, place).items()
    return {name: Path(file).read_bytes() for name, file in found if external.is_within(file, homes)}


def _external(data: Any, folder: str) -> dict[str, str]:
    """Paths of the files that a serialized model names as external data and that exist, by these names.

    Searches for the bytes instead of parsing: a name too many does no harm.
    """
    found: dict[str, str] = {}
    seen = set()
    position = data.find(_LOCATION)
    while position >= 0:
        start = position + len(_LOCATION)
        length, start = _varint(data, start)
        name = data[start : start + length]
        if name not in seen and length < 4096:
            seen.add(name)
            location = name.decode("utf-8", "replace")
            path = os.path.join(folder, location)
            if "\0" not in path and os.path.isfile(path):
                found[location] = path
        position = data.find(_LOCATION, start)
    return found


def _varint(data: Any, position: int) -> tuple[int, int]:
    """A base-128 number and the position behind it."""
    value = shift = 0
    while position < len(data) and shift < 35:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            break
    return value, position


def _digest(data: Any, files: list[str], homes: list[str]) -> str:
    """Of a model and its files. What lies elsewhere is not read, and is nothing that was ever compiled."""
    import hashlib  # takes 3 ms, which a warm start saves

    whole = hashlib.sha256(data)
    for name in files:
        part = hashlib.sha256()
        if external.is_within(name, homes):
            with open(name, "rb") as file:
                while block := file.read(1 << 22):
                    part.update(block)
        whole.update(f"\0{os.path.basename(name)}\0".encode() + part.digest())
    return whole.hexdigest()[:32]


def compiler(memory: Path) -> str:
    """Digest of the compiler's sources and templates; recognised by names, sizes and times."""
    files = sorted(entry for folder in _SOURCES for entry in _sources(str(_PACKAGE / folder)))
    signature = zlib.crc32(repr(files).encode())
    note = memory / f"compiler-{signature:08x}.json"
    known = recall(note)
    if known.get("root") == str(_PACKAGE) and known.get("files") == len(files):
        digest: str = known["digest"]
        return digest
    import hashlib

    whole = hashlib.sha256()
    for path, _, _ in files:
        whole.update(os.path.relpath(path, _PACKAGE).encode() + b"\0" + Path(path).read_bytes() + b"\0")
    digest = whole.hexdigest()[:32]
    remember(note, {"root": str(_PACKAGE), "files": len(files), "digest": digest})
    return digest


def _sources(folder: str) -> Iterator[tuple[str, int, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name != "__pycache__":
                    yield from _sources(entry.path)
            elif entry.name.endswith((".py", ".j2", ".h", ".c")):
                stat = entry.stat()
                yield entry.path, stat.st_size, stat.st_mtime_ns
