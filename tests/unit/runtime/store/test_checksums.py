"""Checksums of weights: every damage is found when a file is read whole, which happens once after each start of the
system; after that a few blocks are read."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from intaglio.runtime.store import checksums, sealed
from intaglio.runtime.store.checksums import BLOCK, SAMPLES, Damaged

SIZES = [1, 63, 4096, BLOCK - 1, BLOCK, BLOCK + 1, 4 * BLOCK, 15 * BLOCK + 8, 16 * BLOCK, 33 * BLOCK + 5]
MANY = 50 * BLOCK + 100


class Counted(io.FileIO):
    """A file that counts the bytes that are read of it."""

    amount = 0

    def readinto(self, into: Any) -> int:
        got = super().readinto(into) or 0
        self.amount += got
        return got


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> Any:
    """As if the process were a new one, whenever it is called."""
    monkeypatch.setattr(checksums, "_checked", {})
    return checksums._checked.clear


def data_of(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).integers(1, 255, size, np.uint8).tobytes()


def damaged(data: bytes, rng: np.random.Generator) -> list[bytes]:
    """The same with a bit flipped, with a part that is zeros, and with a part from elsewhere."""
    at = int(rng.integers(len(data)))
    length = int(rng.integers(1, 5000))
    flipped = data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :]
    part = data[at : at + length]
    zeros = data[:at] + bytes(len(part)) + data[at + len(part) :]
    random = data[:at] + data_of(len(part), int(rng.integers(1 << 30))) + data[at + len(part) :]
    return [each for each in (flipped, zeros, random) if each != data]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("offset", [0, 4097])
def test_every_damage_is_found(size: int, offset: int) -> None:
    rng = np.random.default_rng(size + offset)
    data, around = data_of(size), data_of(offset)
    expected = checksums.of(io.BytesIO(around + data + b"more"), offset, size)
    assert len(expected) == 4 * -(-size // BLOCK)
    checksums.check(io.BytesIO(around + data), offset, size, expected, None, None)
    for _ in range(5):
        for wrong in damaged(data, rng):
            with pytest.raises(Damaged):
                checksums.check(io.BytesIO(around + wrong), offset, size, expected, None, None)
    for wrong, sums in ((data[:-1], expected), (data, expected[:-4]), (data, expected + bytes(4))):
        with pytest.raises(Damaged):
            checksums.check(io.BytesIO(around + wrong), offset, size, sums, None, None)
    if size:
        with pytest.raises(Damaged):
            checksums.of(io.BytesIO(around + data[:-1]), offset, size)


def read(path: Path, expected: bytes, memory: Path | None) -> int:
    """How many bytes a check reads."""
    with Counted(path) as file:
        checksums.check(file, 0, os.path.getsize(path), expected, path, memory)
        return file.amount


def test_a_file_is_read_whole_once(tmp_path: Path, forgetful: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path, memory, few = tmp_path / "weights", tmp_path / "notes", SAMPLES * BLOCK
    path.write_bytes(data_of(MANY))
    with open(path, "rb") as file:
        expected = checksums.of(file, 0, MANY)
    assert read(path, expected, memory) == MANY
    assert read(path, expected, memory) <= few
    forgetful()
    assert read(path, expected, memory) <= few
    (note,) = memory.iterdir()
    for content in (b"", b"{}", b"[1]", note.read_bytes()[:-9], note.read_bytes().replace(b"weights", b"weighty")):
        forgetful()
        note.write_bytes(content)
        assert read(path, expected, memory) == MANY
        assert read(path, expected, memory) <= few
    os.utime(path, (1, 1))
    assert read(path, expected, memory) == MANY
    forgetful()
    monkeypatch.setattr(checksums, "_boot", lambda: "another")
    assert read(path, expected, memory) == MANY


def test_where_nothing_can_be_remembered_each_process_reads_it_whole(tmp_path: Path, forgetful: Any) -> None:
    path = tmp_path / "weights"
    path.write_bytes(data_of(MANY))
    with open(path, "rb") as file:
        expected = checksums.of(file, 0, MANY)
    for memory in (None, path / "no folder"):
        forgetful()
        assert read(path, expected, memory) == MANY
        assert read(path, expected, memory) <= SAMPLES * BLOCK


def test_samples_find_what_is_everywhere_at_once_and_the_rest_in_time(tmp_path: Path, forgetful: Any) -> None:
    """Of a file that says of itself that it did not change."""
    path = tmp_path / "weights"
    data = data_of(MANY)
    path.write_bytes(data)
    with open(path, "rb") as file:
        expected = checksums.of(file, 0, MANY)
    read(path, expected, None)
    place, (_, digest) = next(iter(checksums._checked.items()))

    def write(wrong: bytes) -> None:
        path.write_bytes(wrong)
        checksums._checked[place] = sealed.file_stat(place), digest

    write(bytes(MANY))
    with pytest.raises(Damaged):
        read(path, expected, None)
    write(data[: 7 * BLOCK] + bytes(BLOCK) + data[8 * BLOCK :])
    with pytest.raises(Damaged):
        for _ in range(1000):
            read(path, expected, None)
    write(data)
    read(path, expected, None)
