"""The cache of compiled models: on disk, addressed by content, shared by processes.

In: a model and a function that compiles it into a directory. Out: its artifact. It must never lose or poison anything,
whatever is killed, interrupted, full, read-only or damaged: entries appear by one rename, are checked when they are
read, and are compiled again when something is wrong with them; without a usable folder, a temporary one serves.

    <root>/models/<key>/     an artifact (artifact.py), and key.json: what the key was made of
    <root>/objects/          object files of kernels, by hash; see compiler/codegen/c/build.py
    <root>/notes/            digests of files that were read before; see fingerprint.py and checksums.py
    <root>/locks/<key>       held while that key is compiled, so that one process does it and the others wait
    <root>/tmp/              entries in the making
    <root>/pruned            when it was last looked at whether something has to go

The root is INTAGLIO_CACHE_DIR, else $XDG_CACHE_HOME/intaglio, else ~/.cache/intaglio. Once it holds more than
INTAGLIO_CACHE_SIZE bytes, the entries that were not used for the longest time go.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .. import variables
from ..errors import Fail
from . import fingerprint
from .artifact import Artifact, Corrupt, load_directory
from .fingerprint import Fingerprint
from .sealed import seal, unseal

try:
    import fcntl
except ImportError:  # not a Unix: processes may compile the same model twice, and the last one wins
    fcntl = None  # type: ignore[assignment]

KEY = "key.json"
DEFAULT_BYTES = 20 << 30
STALE_SECONDS = 24 * 3600
PRUNE_SECONDS = 60
NOTE_SECONDS = 30 * STALE_SECONDS
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

Build = Callable[[Path], None]


@dataclass(frozen=True)
class Entry:
    """A compiled model in the cache. used: seconds since the epoch."""

    key: str
    path: Path
    bytes: int
    used: float
    source: str
    parts: dict[str, str]


def root() -> Path:
    """The folder of the cache, as the environment says; a temporary one where that says nothing."""
    return _named_root() or _temporary_root()


def _named_root() -> Path | None:
    given = variables.CACHE_DIR.text()
    if given:
        return Path(given)
    base = variables.XDG_CACHE_HOME.text()
    if base:
        return Path(base, "intaglio")
    home = os.path.expanduser("~")  # "~" itself where there is no home
    return Path(home, ".cache", "intaglio") if os.path.isabs(home) else None


_temporary: tuple[int, Path] | None = None  # process id and folder; used once the root turned out to be unusable


def _temporary_root() -> Path:
    """A folder of this process, removed when it ends. Raises Fail where there is no place for one."""
    global _temporary
    if _temporary is None or _temporary[0] != os.getpid():
        import atexit
        import tempfile

        try:
            _temporary = os.getpid(), Path(tempfile.mkdtemp(prefix="intaglio-cache-"))
        except OSError as error:
            raise _nowhere(error) from None
        atexit.register(_remove_temporary, *_temporary)
    return _temporary[1]


def _nowhere(error: OSError) -> Fail:
    return Fail(
        "Compiling a model needs a folder that can be written, and neither that of the cache is one nor a temporary "
        f"one ({error.strerror or error}). Set INTAGLIO_CACHE_DIR or TMPDIR to one, or run a model that was compiled "
        "elsewhere with `intaglio compile`."
    )


def _remove_temporary(process: int, folder: Path) -> None:
    if process == os.getpid():
        shutil.rmtree(folder, ignore_errors=True)


def objects(directory: Path) -> Path:
    """Where object files are kept while the entry in `directory` (handed to a build function) is made."""
    return directory.parent.parent / "objects"


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """An empty folder for an artifact that the cache does not keep, in the cache's folder, so that object files are
    shared; in a temporary one where that cannot be written."""
    import tempfile

    with contextlib.ExitStack() as stack:
        parent = root() / "tmp"
        try:
            parent.mkdir(parents=True, exist_ok=True)
            made = tempfile.TemporaryDirectory(prefix="compile-", dir=parent)
        except OSError:
            parent = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="intaglio-")), "tmp")
            parent.mkdir()
            made = tempfile.TemporaryDirectory(dir=parent)
        yield Path(stack.enter_context(made))


def notes(folder: Path | None = None) -> Path | None:
    """Where is remembered what was found out of files; None where there is no cache."""
    folder = folder or _named_root()
    return folder and folder / "notes"


def load(model: str | bytes, settings: dict[str, Any], build: Build) -> Artifact:
    """The artifact of a model, from the cache or else made by `build(directory)`.

    Where the cache cannot be used, warns and uses a temporary folder. Raises Fail where there is none either.
    """
    folder = root()
    try:
        return _load(folder, model, settings, build)
    except OSError as error:
        if not _unusable(folder, error):
            raise
        reason = error.strerror or error
    temporary = _temporary_root()
    warnings.warn(
        f"The cache folder {folder} cannot be used ({reason}); compiled models are kept in a temporary folder until "
        "this process ends. Set INTAGLIO_CACHE_DIR to a folder that can be written.",
        stacklevel=5,
    )
    try:
        return _load(temporary, model, settings, build)
    except OSError as error:
        if not _unusable(temporary, error):
            raise
        raise _nowhere(error) from None


def _unusable(folder: Path, error: OSError) -> bool:
    """Whether an error is about the folder, what is in it or what it is in, and not about the model or the compiler."""
    if error.errno in _FULL:
        return True
    if not isinstance(error.filename, str):
        return False
    path = Path(error.filename)
    return folder == path or folder in path.parents or path in folder.parents


def _load(folder: Path, model: str | bytes, settings: dict[str, Any], build: Build) -> Artifact:
    while True:
        identity = fingerprint.of(model, settings, folder / "notes")
        found = _read(folder, identity)
        if found is not None:
            return found
        with _locked(folder, identity.key) as alone:
            found = _read(folder, identity)  # another process may have compiled it meanwhile
            if found is not None:
                return found
            directory = _fresh_directory(folder, identity.key, alone)
            try:
                build(directory)
                if not identity.unchanged():  # the file was replaced meanwhile: this may be neither the old nor the new
                    continue
                note = {"parts": identity.parts, "source": model if isinstance(model, str) else "", "time": time.time()}
                (directory / KEY).write_bytes(seal(note))
                entry = _entry_path(folder, identity.key)
                _publish(directory, entry)
            finally:
                shutil.rmtree(directory, ignore_errors=True)
        _prune_now_and_then(folder, identity.key)
        return load_directory(entry, folder / "notes")


def _publish(directory: Path, entry: Path) -> None:
    """Makes a complete directory the entry, unless there is one by now."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(directory, entry)
    except OSError:
        if not entry.is_dir():
            raise


def _entry_path(folder: Path, key: str) -> Path:
    return folder / "models" / key


def _read(folder: Path, identity: Fingerprint) -> Artifact | None:
    """The entry of that key; a damaged one is dropped."""
    entry = _entry_path(folder, identity.key)
    try:
        if unseal((entry / KEY).read_bytes())["parts"] != identity.parts:
            raise Corrupt("the key belongs to another model")
        artifact = load_directory(entry, folder / "notes")
    except (Corrupt, OSError, ValueError, KeyError, TypeError):
        if entry.exists():
            _drop(folder, entry)
        return None
    with contextlib.suppress(OSError):
        os.utime(entry)
    return artifact


def _drop(folder: Path, entry: Path) -> None:
    """Removes an entry so that no reader sees half of it; raises OSError where the folder is read-only."""
    grave = folder / "tmp" / f"{entry.name}.{os.getpid()}.dropped"
    grave.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.rename(entry, grave)
    shutil.rmtree(grave, ignore_errors=True)


def _fresh_directory(folder: Path, key: str, alone: bool) -> Path:
    """An empty directory for a new entry. What a killed process left behind for the same key goes, if nobody else is
    at it: `alone`."""
    parent = folder / "tmp"
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f"{key}.*") if alone else ():
        shutil.rmtree(left, ignore_errors=True)
    directory = parent / f"{key}.{os.getpid()}.{next(_numbers)}"
    directory.mkdir()
    return directory


_numbers = itertools.count()
_held: dict[Path, tuple[int, IO[str]]] = {}  # the locks of this process: the thread that has each, and its open file


@contextlib.contextmanager
def _locked(folder: Path, key: str) -> Iterator[bool]:
    """Holds the lock of a key. The system releases it when its holder dies.

    False where this very thread has it already, as its work was interrupted by the handler of a signal, which loads the
    same model: it would wait for itself.
    """
    path = folder / "locks" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    thread = threading.get_ident()
    if fcntl is None or _held.get(path, (None,))[0] == thread:
        yield False
        return
    while True:
        with open(path, "a") as file:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
            try:
                current = os.stat(path).st_ino == os.fstat(file.fileno()).st_ino
            except FileNotFoundError:
                current = False
            if not current:
                continue  # the holder before us removed the file
            _held[path] = thread, file
            try:
                yield True
            finally:
                _held.pop(path, None)
                with contextlib.suppress(OSError):
                    os.unlink(path)
            return


def _let_go() -> None:
    """A forked process has the open files as well, and would keep the locks for as long as it lives."""
    for _, file in _held.values():
        file.close()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


# ---- What the `intaglio cache` commands do ---------------------------------------------------------------------------


def entries(folder: Path | None = None) -> list[Entry]:
    """All entries, the one used last first."""
    found = []
    models = (folder or root()) / "models"
    for path in models.iterdir() if models.is_dir() else ():
        with contextlib.suppress(OSError, ValueError, KeyError):
            note = unseal((path / KEY).read_bytes())
            size = sum(each.stat().st_size for each in path.iterdir())
            found.append(Entry(path.name, path, size, path.stat().st_mtime, note["source"], note["parts"]))
    return sorted(found, key=lambda entry: -entry.used)


def most_bytes() -> int:
    """How many bytes the cache may hold."""
    given = variables.CACHE_SIZE.value()
    return DEFAULT_BYTES if given is None else given


def prune(folder: Path | None = None, limit: int | None = None, keep: str = "") -> int:
    """Removes what was not used for the longest time until at most `limit` bytes are left; returns the bytes freed.

    Object files may take an eighth of the limit. Never removes the entry `keep`. Models in use stay usable: what is
    mapped stays until it is unmapped.
    """
    folder = folder or root()
    if limit is None:
        limit = most_bytes()
    freed = _prune_objects(folder / "objects", limit // 8)
    total = 0
    for entry in entries(folder):
        total += entry.bytes
        if total > limit and entry.key != keep:
            with contextlib.suppress(OSError):
                _drop(folder, entry.path)
                freed += entry.bytes
    _remove_stale(folder)
    return freed


def _prune_now_and_then(folder: Path, keep: str) -> None:
    """`prune`, which looks at every entry: under the default limit only once a minute."""
    stamp = folder / "pruned"
    if not variables.CACHE_SIZE.text():
        with contextlib.suppress(OSError):
            if time.time() - stamp.stat().st_mtime < PRUNE_SECONDS:
                return
    stamp.touch()
    prune(folder, keep=keep)


def _prune_objects(folder: Path, limit: int) -> int:
    files = []
    for directory, below, names in os.walk(folder):
        below[:] = [name for name in below if len(name) == 2]  # not what the C compiler keeps, nor what is being made
        for name in names:
            with contextlib.suppress(OSError):
                path = os.path.join(directory, name)
                stat = os.stat(path)
                files.append((stat.st_mtime, stat.st_size, path))
    total = freed = 0
    for _, size, path in sorted(files, reverse=True):
        total += size
        if total > limit:
            with contextlib.suppress(OSError):
                os.unlink(path)
                freed += size
    return freed


def _remove_stale(folder: Path) -> None:
    """What killed processes left behind, once it is a day old; and old notes, of which nobody knows who needs them."""
    now = time.time()
    for pattern in ("tmp/*", "objects/build-*", "notes/*"):
        for path in folder.glob(pattern):
            with contextlib.suppress(OSError):
                if now - path.stat().st_mtime < (NOTE_SECONDS if path.suffix == ".json" else STALE_SECONDS):
                    continue
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()


def clear(folder: Path | None = None) -> int:
    """Empties the cache; returns the bytes freed."""
    folder = folder or root()
    freed = sum(entry.bytes for entry in entries(folder))
    for name in ("models", "objects", "notes", "tmp"):
        shutil.rmtree(folder / name, ignore_errors=True)
    return freed


def find(model: str | bytes, settings: dict[str, Any]) -> Artifact | None:
    """The entry of a model, left as it is; None where there is none, or it is damaged."""
    folder = root()
    entry = _entry_path(folder, fingerprint.of(model, settings, folder / "notes").key)
    try:
        return load_directory(entry, folder / "notes")
    except (Corrupt, OSError):
        return None


def explain(model: str | bytes, settings: dict[str, Any], folder: Path | None = None) -> str:
    """Says whether a model is in the cache, and on a miss which part of the key differs from the nearest entry."""
    folder = folder or root()
    identity = fingerprint.of(model, settings, folder / "notes")
    found = {entry.key: entry for entry in entries(folder)}
    if identity.key in found:
        entry = found[identity.key]
        damage = ""
        try:
            load_directory(entry.path, folder / "notes")
        except Corrupt as error:
            damage = f", but it is damaged ({error}) and will be compiled again"
        return f"hit: {entry.path}{damage}"
    if not found:
        return f"miss: there are no compiled models in {folder}"

    def likeness(entry: Entry) -> tuple[bool, int]:
        same_source = bool(entry.source) and entry.source == model
        return same_source, sum(entry.parts.get(part) == value for part, value in identity.parts.items())

    nearest = max(found.values(), key=likeness)
    if not likeness(nearest)[0] and nearest.parts.get("model") != identity.model:
        return f"miss: this model was never compiled here ({len(found)} others were)"
    lines = [f"miss: the nearest entry is {nearest.path}, and these parts of the key differ:"]
    for part, value in identity.parts.items():
        was = nearest.parts.get(part, "")
        if was != value:
            lines.append(f"  {part}: was {was}, is {value}")
    return "\n".join(lines)
