"""Small JSON files with a checksum of themselves: manifests, and what one process remembers for the next.

In: objects of plain data. Out: the same, or nothing where the file is not as it was written. It must never trust a
file for being JSON: one that is damaged may well be.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from pathlib import Path
from typing import Any

Stat = tuple[str, int, int, int, int]  # path, size, mtime_ns, ctime_ns, inode


def seal(content: dict[str, Any]) -> bytes:
    """The content as JSON whose last key is a checksum of everything before it."""
    text = json.dumps(content, separators=(",", ":"))[:-1].encode()
    return text + b',"crc32":%d}' % zlib.crc32(text)


def unseal(data: bytes) -> dict[str, Any]:
    """What `seal` was given, and the checksum. Raises ValueError where the data are damaged."""
    text, _, crc = data.rpartition(b',"crc32":')
    if not crc.endswith(b"}") or crc[:-1] != b"%d" % zlib.crc32(text):
        raise ValueError("its checksum differs")
    return dict(json.loads(data))


def file_stat(path: str) -> Stat:
    """What tells whether a file was changed; of one that does not exist, what no file has."""
    try:
        stat = os.stat(path)
    except OSError:
        return (path, -1, 0, 0, 0)
    return (path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


def recall(note: Path) -> dict[str, Any]:
    """What was remembered; {} where there is nothing, or it is damaged."""
    try:
        return unseal(note.read_bytes())
    except (OSError, ValueError):
        return {}


def remember(note: Path, known: dict[str, Any]) -> None:
    """Best effort: where it cannot be written, the next process finds out again."""
    temporary = note.with_name(f"{note.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(seal(known))
        os.replace(temporary, note)
