"""Notes with a checksum of themselves: what is damaged is nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from intaglio.runtime.store.sealed import file_stat, recall, remember, seal, unseal

CONTENT = {"a": [1, 2.5, None], "crc": "x", "ü": {"b": True}}


def test_there_and_back() -> None:
    made = unseal(seal(CONTENT))
    assert isinstance(made.pop("crc32"), int) and made == CONTENT


def test_every_changed_byte_is_noticed() -> None:
    data = seal(CONTENT)
    for at in range(len(data)):
        with pytest.raises(ValueError):
            unseal(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(ValueError):
            unseal(data[:at])


def test_notes(tmp_path: Path) -> None:
    note = tmp_path / "made" / "note.json"
    assert recall(note) == {}
    remember(note, CONTENT)
    assert recall(note).items() >= CONTENT.items()
    assert list(note.parent.iterdir()) == [note]  # nothing temporary is left
    note.write_bytes(note.read_bytes()[:-5])
    assert recall(note) == {}


def test_what_cannot_be_written_is_not_remembered(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    remember(tmp_path / "file" / "note.json", CONTENT)


def test_what_tells_that_a_file_changed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert file_stat(str(path))[1] == -1
    path.write_text("a")
    before = file_stat(str(path))
    assert file_stat(str(path)) == before
    os.utime(path, ns=(1, 1))
    touched = file_stat(str(path))
    path.write_text("ab")
    assert len({before, touched, file_stat(str(path))}) == 3
