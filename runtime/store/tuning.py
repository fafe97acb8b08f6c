"""The database of measured schedules: files of JSON lines, one for each measurement.

In: records. Out: the records of all files in use, the one that is written first. It must never lose a record: a file is
only appended to, under a lock; what a killed process or a full disk has left of a line is cut off by the next writer,
and ignored by readers. Files are merged by concatenation.

Which files are in use: those of INTAGLIO_TUNING, else $XDG_DATA_HOME/intaglio/tuning.jsonl (~/.local/share), the same
below each of $XDG_DATA_DIRS; and for a model that has one, `<model>.tuning.jsonl`. Only the first is ever written.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any

from .. import variables
from ..errors import Fail

try:
    import fcntl
except ImportError:  # not a Unix: two tuners should not share a file
    fcntl = None  # type: ignore[assignment]

VERSION = 1
NAME = "tuning.jsonl"


@dataclass(frozen=True, slots=True)
class Record:
    """One measurement of a kernel with a schedule, beside the same kernel with the schedule that rules choose.

    kernel: a digest of the kernel without a schedule. sizes: the values of its formal sizes. cpu: cpus.identity();
    target: what was compiled for, in full; threads: of the runs; toolchain: the C compiler. code: the name of the
    kernel's C source, a hash of it: other templates print another one. kind: of its body. schedule: the fields of it.
    seconds, default_seconds: medians of turns; gain: the median of the ratios default/this of neighbouring turns,
    gain_low: the lower quartile of these; turns: their number. refused: why the schedule must not be used, "" if it
    may. nodes: of the model, for people. time: seconds since the epoch.
    """

    kernel: str
    sizes: tuple[int, ...]
    cpu: str
    target: str
    threads: int
    toolchain: str
    code: str
    kind: str
    schedule: dict[str, Any]
    seconds: float
    default_seconds: float
    gain: float
    gain_low: float
    turns: int
    refused: str
    nodes: str
    time: float

    @property
    def key(self) -> tuple[Any, ...]:
        """What was measured; of records with equal keys the last one counts."""
        how = json.dumps(self.schedule, sort_keys=True)
        return self.kernel, self.sizes, self.cpu, self.target, self.threads, self.toolchain, self.code, self.kind, how


_TYPES = {"str": (str,), "int": (int,), "float": (int, float), "dict[str, Any]": (dict,), "tuple[int, ...]": (list,)}
_FIELDS = {f.name: _TYPES[str(f.type)] for f in fields(Record)}


def line(record: Record) -> bytes:
    """The record as a line of a file."""
    return json.dumps({"version": VERSION, **asdict(record)}, separators=(",", ":")).encode() + b"\n"


def parsed(text: bytes) -> Record | str:
    """The record of a line, or why it is none that this version reads."""
    try:
        entry = json.loads(text)
    except ValueError:
        return "is no record"
    if not isinstance(entry, dict) or "version" not in entry:
        return "is no record"
    version = entry.pop("version")
    if version != VERSION:
        return f"has version {version}, and {VERSION} is read"
    if set(entry) != set(_FIELDS) or any(type(entry[name]) not in types for name, types in _FIELDS.items()):
        return "has other fields"
    if any(type(size) is not int for size in entry["sizes"]):
        return "has sizes that are no numbers"
    return Record(**{**entry, "sizes": tuple(entry["sizes"])})


# ---- Files -----------------------------------------------------------------------------------------------------------


def files(model: str | bytes = b"", database: Path | None = None) -> list[Path]:
    """The files in use, whether they exist or not; the first one, `database` or else the user's own, is written."""
    given = variables.TUNING.text()
    if given:
        found = [Path(name) for name in given.split(os.pathsep) if name]
    else:
        home = variables.XDG_DATA_HOME.text() or os.path.join(os.path.expanduser("~"), ".local", "share")
        others = (variables.XDG_DATA_DIRS.text() or "/usr/local/share:/usr/share").split(os.pathsep)
        found = [Path(folder, "intaglio", NAME) for folder in (home, *others) if os.path.isabs(folder)]
    beside = [Path(f"{model}.{NAME}")] if isinstance(model, str) and model else []
    first = [] if database is None else [database]
    return list(dict.fromkeys(first + found[:1] + beside + found[1:]))


def state(paths: Sequence[Path]) -> tuple[tuple[str, str], ...]:
    """The files that exist, with a digest of each: equal states have equal records."""
    found = []
    for path in paths:
        with contextlib.suppress(OSError):
            found.append((str(path), f"{zlib.crc32(path.read_bytes()):08x}"))
    return tuple(found)


def read(paths: Iterable[Path]) -> list[Record]:
    """The records of files, without those that a later line of the same file replaces, or an earlier file has."""
    found: dict[tuple[Any, ...], Record] = {}
    for path in paths:
        own = {r.key: r for r in map(parsed, lines(path)) if isinstance(r, Record)}
        found = own | found
    return list(found.values())


def lines(path: Path) -> Iterator[bytes]:
    """The complete lines of a file; none if it does not exist."""
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return
    yield from (each for each in data[: data.rfind(b"\n") + 1].split(b"\n") if each.strip())


def append(path: Path, records: Sequence[Record]) -> None:
    """Adds records to a file. Raises OSError where it cannot be written, and leaves it then as it was."""
    if not records:
        return
    with _locked(path) as file:
        end = file.seek(0, os.SEEK_END)
        kept = _complete(file, end)
        if kept != end:  # a writer was killed, or its disk was full
            file.truncate(kept)
        text = b"".join(map(line, records))
        try:
            written = 0
            while written < len(text):
                written += file.write(text[written:]) or 0
        except OSError:
            file.truncate(kept)
            raise


def prune(path: Path) -> int:
    """Removes the lines that a later one replaces, and those that are no records of this version; returns how many.

    The file is written anew, by one rename; writers that wait for its lock then open the new one."""
    if not path.exists():
        return 0
    with _locked(path):
        before, kept = sum(1 for _ in lines(path)), read([path])
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            temporary.write_bytes(b"".join(map(line, kept)))
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return before - len(kept)


def merge(path: Path, other: Path) -> int:
    """Adds the records of another file that `path` has not; returns their number. Raises Fail where that is no file of
    records."""
    if not other.is_file():
        raise Fail(f"{other}: there is no such file")
    texts = list(lines(other))
    found = [parsed(text) for text in texts]
    if texts and not any(isinstance(each, Record) for each in found):
        raise Fail(f"{other}: its first line {found[0]}")
    known = {record.key for record in read([path])}
    new = {r.key: r for r in found if isinstance(r, Record) and r.key not in known}
    append(path, list(new.values()))
    return len(new)


def _complete(file: IO[bytes], end: int) -> int:
    """How much of a file of `end` bytes consists of complete lines."""
    step = 1 << 16
    while end > 0:
        start = max(0, end - step)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    """The file, open and locked; the system releases the lock when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with open(path, "a+b", buffering=0) as file:
            if fcntl is not None:
                with contextlib.suppress(OSError):  # a file system without locks
                    fcntl.flock(file, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.stat(path).st_ino == os.fstat(file.fileno()).st_ino:  # else it was written anew meanwhile
                    yield file
                    return
