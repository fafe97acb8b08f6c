"""The object cache: what was compiled, under the hash of what it was made of, each file with a checksum beside it.

In: files, and their places. Out: whether one is there. It must never say so of a file that is not as it was written:
the code would do something else.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from pathlib import Path


def keep(made: Path, path: Path) -> None:
    """Moves a complete file to its place, where others may have put the same meanwhile."""
    checksum = _checksum(made)
    path.parent.mkdir(exist_ok=True)
    os.replace(made, path)
    _beside(path).write_text(checksum)


def intact(path: Path) -> bool:
    """Whether the file is there, as it was written."""
    try:
        return _beside(path).read_text() == _checksum(path)
    except (OSError, ValueError):
        return False


def used(path: Path) -> None:
    """The cache drops what was not used for the longest time."""
    for each in (path, _beside(path)):
        with contextlib.suppress(OSError):  # of another user, in a shared cache
            os.utime(each)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.crc")


def _checksum(path: Path) -> str:
    return f"{zlib.crc32(path.read_bytes()):08x}"
