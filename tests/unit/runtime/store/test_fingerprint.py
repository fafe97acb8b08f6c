"""The parts of a cache key."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from intaglio.runtime.store import fingerprint


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A compiler of two files."""
    root = tmp_path / "package"
    for name in ("compiler/sub/a.py", "templates/b.c.j2"):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text(name)
    monkeypatch.setattr(fingerprint, "_PACKAGE", root)
    return root


def test_the_compiler_is_its_sources(sources: Path, tmp_path: Path) -> None:
    memory = tmp_path / "notes"
    before = fingerprint.compiler(memory)
    assert fingerprint.compiler(memory) == before
    (sources / "compiler/sub/a.py").write_text("changed, and longer")
    changed = fingerprint.compiler(memory)
    assert changed != before
    (sources / "templates/c.h").write_text("new")
    assert fingerprint.compiler(memory) not in (before, changed)


def test_the_compiler_is_recognised_by_content(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere and at another time the same sources are the same compiler; bytecode does not count."""
    before = fingerprint.compiler(tmp_path / "notes")
    copy = Path(shutil.copytree(sources, tmp_path / "copy"))
    os.utime(copy / "compiler/sub/a.py", (5, 5))
    (copy / "compiler/__pycache__").mkdir()
    (copy / "compiler/__pycache__/a.py").write_text("")
    monkeypatch.setattr(fingerprint, "_PACKAGE", copy)
    assert fingerprint.compiler(tmp_path / "notes") == before


def test_real_sources_are_found(tmp_path: Path) -> None:
    assert len(fingerprint.compiler(tmp_path)) == 32
    folders = [str(fingerprint._PACKAGE / name) for name in fingerprint._SOURCES]
    files = [path for folder in folders for path, _, _ in fingerprint._sources(folder)]
    assert any(path.endswith("driver.py") for path in files) and any(path.endswith("pool.c") for path in files)


def test_external_data_is_found_by_its_bytes(tmp_path: Path) -> None:
    def named(name: bytes) -> bytes:
        return b"\x0a\x08location\x12" + bytes([len(name)]) + name

    (tmp_path / "a.bin").write_bytes(b"1")
    (tmp_path / "b.bin").write_bytes(b"2")
    data = b"junk" + named(b"a.bin") + b"\x0a\x08location" + named(b"absent") + named(b"b.bin") + named(b"a.bin")
    found = fingerprint._external(data, str(tmp_path))
    assert found == {name: str(tmp_path / name) for name in ("a.bin", "b.bin")}
    start = b"\x0a\x08location\x12"
    for wild in (start, start + b"\xff" * 6, named(b"a\0b"), named(b"\xff\xfe")):
        assert fingerprint._external(wild, str(tmp_path)) == {}


def test_the_contents_of_external_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that lie elsewhere are none of a model's."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.bin").write_bytes(b"1")
    (tmp_path / "b.bin").write_bytes(b"2")
    (folder / "c.bin").symlink_to(tmp_path / "b.bin")
    names = (b"a.bin", b"../b.bin", b"c.bin")
    data = b"".join(b"\x0a\x08location\x12" + bytes([len(name)]) + name for name in names)
    (folder / "model.onnx").write_bytes(data)
    assert fingerprint.external_data(str(folder / "model.onnx")) == {"a.bin": b"1"}
    assert fingerprint.external_data(data, str(folder)) == {"a.bin": b"1"}
    monkeypatch.chdir(folder)
    assert fingerprint.external_data(data) == {"a.bin": b"1"}


def test_damaged_notes_are_ignored(sources: Path, tmp_path: Path) -> None:
    memory = tmp_path / "notes"
    before = fingerprint.compiler(memory)
    for note in memory.iterdir():
        note.write_text("{")
    assert fingerprint.compiler(memory) == before


def test_keys_differ_in_every_part() -> None:
    base = fingerprint.Fingerprint("m", "c", "{}", "x86")
    others = [
        fingerprint.Fingerprint("n", "c", "{}", "x86"),
        fingerprint.Fingerprint("m", "d", "{}", "x86"),
        fingerprint.Fingerprint("m", "c", '{"level": 0}', "x86"),
        fingerprint.Fingerprint("m", "c", "{}", "arm"),
    ]
    assert len({base.key, *(other.key for other in others)}) == 5
