"""The object cache: compiled files, named by a hash of what they were compiled from, each with a checksum beside it.

In: files, and their paths in the cache. Out: whether a file is there. A file that is not as it was written must never
be taken for one that is: its code would do something else.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from pathlib import Path


def keep(file: Path, path: Path) -> None:
    """Moves a complete file into the cache, where other processes may have put the same one meanwhile."""
    checksum = _checksum(file)
    path.parent.mkdir(exist_ok=True)
    os.replace(file, path)
    _beside(path).write_text(checksum)


def intact(path: Path) -> bool:
    """Whether the file exists, as it was written."""
    try:
        return _beside(path).read_text() == _checksum(path)
    except (OSError, ValueError):
        return False


def touch(path: Path) -> None:
    """Marks a file as used just now: the cache drops the least recently used files."""
    for each in (path, _beside(path)):
        with contextlib.suppress(OSError):  # the file of another user, in a shared cache
            os.utime(each)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.crc")


def _checksum(path: Path) -> str:
    return f"{zlib.crc32(path.read_bytes()):08x}"
