"""Checksums of weights: what a bad disk has made of them is found before a run computes with it.

In: a file, and what was noted of it when it was written: 4 bytes for each block of 64 KiB. Out: nothing, or `Damaged`.
A file is read whole when it is first opened after the system has started: most of it comes from the disk then, and is
in memory for the run. That it was is remembered, by what `stat` says of it; whoever opens it later looks at a few
blocks, each time at others. It must never map what it reads: where the disk fails, a read is an error, and a look at
mapped memory the end of the process.

The checksum of a block is the CRC-32 of the sum of its pages, as 64-bit integers: at the speed of memory, it tells all
blocks apart but those with the same pages in another order.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .sealed import Stat, file_stat, recall, remember

BLOCK, PAGE = 1 << 16, 1 << 12
SAMPLES = 4
_AT_ONCE = 16  # blocks

_checked: dict[str, tuple[Stat, int]] = {}  # what this process knows: of each file what it was, and its checksums


class Damaged(Exception):
    """The content of a file is not what was written."""


def of(file: BinaryIO, offset: int, size: int) -> bytes:
    """The checksums of `size` bytes at `offset`, as little-endian 32-bit integers. Raises Damaged where there are
    fewer."""
    return b"".join(_sums(file, offset, size, 0, _count(size)))


def check(file: BinaryIO, offset: int, size: int, expected: bytes, path: Path | None, memory: Path | None) -> None:
    """Raises Damaged where the bytes are not those that `expected` is `of`, and OSError where they cannot be read.

    path: of the file, None where there is none. memory: a folder for notes of what was read; it need not be writable.
    """
    count = _count(size)
    if len(expected) != 4 * count:
        raise Damaged
    if count <= SAMPLES or path is None:
        _compare(file, offset, size, expected, [(0, count)])
    elif _known(path, expected, memory):
        start = int.from_bytes(os.urandom(4), "little")
        _compare(file, offset, size, expected, [((start + i * count // SAMPLES) % count, 1) for i in range(SAMPLES)])
    else:
        _compare(file, offset, size, expected, [(0, count)])
        _note(path, expected, memory)


def _compare(file: BinaryIO, offset: int, size: int, expected: bytes, runs: Sequence[tuple[int, int]]) -> None:
    """runs: the first block, and how many."""
    for first, count in runs:
        at = 4 * first
        for sums in _sums(file, offset, size, first, count):
            if sums != expected[at : at + len(sums)]:
                raise Damaged
            at += len(sums)


def _count(size: int) -> int:
    return -(-size // BLOCK)


def _sums(file: BinaryIO, offset: int, size: int, first: int, count: int) -> Iterator[bytes]:
    """The checksums of `count` blocks, a few at a time."""
    memory = np.zeros(BLOCK * min(_AT_ONCE, count), np.uint8)
    file.seek(offset + first * BLOCK)
    end = min(size, (first + count) * BLOCK)
    for start in range(first * BLOCK, end, len(memory)):
        wanted = min(len(memory), end - start)
        if _read(file, memory[:wanted]) != wanted:
            raise Damaged
        memory[wanted:] = 0
        blocks = memory[: _count(wanted) * BLOCK].view("<u8").reshape(-1, BLOCK // PAGE, PAGE // 8)
        sums = np.array([zlib.crc32(each) for each in np.add.reduce(blocks, axis=1)], "<u4")
        yield sums.tobytes()


def _read(file: BinaryIO, into: Any) -> int:
    """How many bytes there were; a read may end early."""
    view, done = memoryview(into), 0
    while done < len(view) and (got := file.readinto(view[done:])):  # type: ignore[attr-defined]
        done += got
    return done


# ---- What was read whole ---------------------------------------------------------------------------------------------


def _known(path: Path, expected: bytes, memory: Path | None) -> bool:
    """Whether the file was read whole since the system has started, and is the same since then."""
    place = os.path.abspath(path)
    now = file_stat(place), zlib.crc32(expected)
    if place not in _checked and memory is not None:
        known = recall(_note_path(memory, place))
        if known.get("boot") == _boot() and known.get("path") == place:
            _checked[place] = tuple(known["stat"]), known["digest"]
    return _checked.get(place) == now


def _note(path: Path, expected: bytes, memory: Path | None) -> None:
    place = os.path.abspath(path)
    _checked[place] = stat, digest = file_stat(place), zlib.crc32(expected)
    if memory is not None:
        remember(_note_path(memory, place), {"path": place, "boot": _boot(), "stat": stat, "digest": digest})


def _note_path(memory: Path, place: str) -> Path:
    return memory / f"weights-{zlib.crc32(os.fsencode(place)):08x}.json"


@lru_cache
def _boot() -> str:
    """The name of the time since the system has started; "" where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
