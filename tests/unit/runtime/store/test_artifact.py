"""Reading artifacts: what is damaged or not for this machine is refused with a message, before any code of it runs."""

from __future__ import annotations

import ctypes
import errno
import io
import json
import os
import shutil
import struct
from pathlib import Path
from typing import Any

import handmade
import numpy as np
import pytest

from intaglio import InferenceSession
from intaglio.compiler.package import writer as package
from intaglio.compiler.target import target
from intaglio.runtime import cpus
from intaglio.runtime.errors import InvalidArgument, InvalidProtobuf
from intaglio.runtime.store import artifact, sealed
from intaglio.runtime.store.artifact import Corrupt, load_directory


@pytest.fixture
def folder(artifacts: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(artifacts["affine"], tmp_path / "artifact"))


def change(folder: Path, **changes: Any) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest.pop("crc32")
    (folder / "manifest.json").write_bytes(sealed.seal({**manifest, **changes}))


def test_sealed_manifest_is_json(folder: Path) -> None:
    assert json.loads((folder / "manifest.json").read_bytes())["format"] == artifact.FORMAT


@pytest.mark.parametrize("damage", handmade.DAMAGES)
@pytest.mark.parametrize("name", handmade.FILES)
def test_damaged(folder: Path, tmp_path: Path, name: str, damage: str) -> None:
    """In the directory; in the single file, whose parts are the same; and in its bytes."""
    file = tmp_path / "model.intaglio"
    package.pack(folder, file)
    whole, data = file.read_bytes(), (folder / name).read_bytes()
    wrong = handmade.damaged(data, damage)
    (folder / name).unlink()
    if wrong is None:
        with pytest.raises(Corrupt, match=f"{name} is missing"):
            load_directory(folder)
        return
    (folder / name).write_bytes(wrong)
    with pytest.raises(Corrupt, match=f"^{name} is (damaged|incomplete)"):
        load_directory(folder)
    with pytest.raises(InvalidProtobuf, match=r"failed:.*Compile the model again"):
        InferenceSession(folder)
    if len(wrong) == len(data) and name != "manifest.json":  # of which that file has another form
        assert whole.count(data) == 1
        file.write_bytes(whole.replace(data, wrong))
        for model in (str(file), file.read_bytes()):
            with pytest.raises(InvalidProtobuf, match=f"{name} is damaged .*Compile the model again"):
                InferenceSession(model)


def test_single_file_with_any_byte_flipped(folder: Path, tmp_path: Path) -> None:
    """It is refused; what lies between the parts says nothing."""
    file = tmp_path / "model.intaglio"
    package.pack(folder, file)
    whole, x = file.read_bytes(), np.ones((2, 3), np.float32)
    rng = np.random.default_rng(3)
    for at in (*range(32), *map(int, rng.integers(len(whole), size=100)), len(whole) - 1):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << int(rng.integers(8))
        try:
            session = InferenceSession(bytes(flipped))
        except (InvalidProtobuf, InvalidArgument):
            continue
        assert whole[at] == 0 and np.array_equal(session.run(None, {"x": x})[0], handmade.affine(x)[0])


def test_a_disk_that_fails(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read is an error; a look at mapped memory would end the process."""

    class Failing(io.FileIO):
        def readinto(self, into: Any) -> int:
            if self.tell() >= 1 << 18:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().readinto(memoryview(into)[: 1 << 18]) or 0

    monkeypatch.setattr(artifact, "open", lambda path, mode: Failing(path), raising=False)
    with pytest.raises(Corrupt, match=r"weights.bin cannot be read \(Input/output error\)"):
        load_directory(folder)


def test_where_no_code_may_be_loaded_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system that is mounted noexec: the code is loaded from memory."""
    load = ctypes.CDLL

    def refuse(path: str) -> ctypes.CDLL:
        if str(folder) in path:
            raise OSError(f"{path}: failed to map segment from shared object")
        return load(path)

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    x = np.ones((2, 3), np.float32)
    assert np.array_equal(InferenceSession(folder).run(None, {"x": x})[0], handmade.affine(x)[0])


def test_other_machines(folder: Path) -> None:
    change(folder, features=["avx2", "teleport"])
    if cpus.features():
        with pytest.raises(InvalidArgument, match=r"lacks: .*teleport.*Compile it here"):
            InferenceSession(folder)
    change(folder, features=[], architecture="pdp11")
    with pytest.raises(InvalidArgument, match="compiled for pdp11, and this machine is"):
        InferenceSession(folder)
    change(folder, architecture=cpus.architecture(), format=99)
    with pytest.raises(InvalidArgument, match=r"format 99.*reads format 2"):
        InferenceSession(folder)


def test_features_of_this_machine_are_known_by_name() -> None:
    """The compiler's names for features and the system's name the same: native code is accepted here."""
    if cpus.features():
        assert cpus.features().issuperset(target("native").required)
    assert "sse4_1" in target("x86-64-v2").required
    assert {"avx512f", "fma", "abm", "avx512_vnni"} <= set(target("cascadelake").required)


def test_single_file_in_every_truncation(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.intaglio"
    package.pack(folder, file)
    whole = file.read_bytes()
    assert artifact.is_artifact(str(file)) and artifact.is_artifact(whole)
    for size in (9, 60, 64, 4096, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        with pytest.raises(InvalidProtobuf, match=r"failed:.*Compile the model again"):
            InferenceSession(str(file))
        with pytest.raises(InvalidProtobuf, match="Compile the model again"):
            InferenceSession(whole[:size])


def test_single_file_with_wild_numbers(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.intaglio"
    package.pack(folder, file)
    whole = bytearray(file.read_bytes())
    struct.pack_into("<Q", whole, 16, 1 << 62)
    with pytest.raises(InvalidProtobuf, match="incomplete"):
        InferenceSession(bytes(whole))


def test_weights_are_page_aligned_and_mapped(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.intaglio"
    package.pack(folder, file)
    for source in (str(folder), str(file)):
        weights = artifact.load(source).weights
        assert weights.ctypes.data % 4096 == 0 and not weights.flags.writeable
        assert np.array_equal(weights[:12].view(np.float32), handmade.W)


def test_weights_keep_order_and_alignment(tmp_path: Path) -> None:
    arrays = [np.arange(5, dtype=np.int8), np.zeros((0, 3), np.float32), np.arange(100.0)[::2], np.array(True)]
    with package.Writer(tmp_path) as writer:
        offsets = [writer.add(each) for each in arrays]
        (tmp_path / "model.so").write_bytes(b"")
        writer.finish({}, {}, target("generic"), "test")
    assert offsets == [0, 64, 64, 512]
    data = (tmp_path / "weights.bin").read_bytes()
    assert data[64:464] == np.arange(0, 100, 2.0).tobytes() and data[512:] == b"\1"


def test_another_model_at_the_same_path(artifacts: dict[str, Path], tmp_path: Path) -> None:
    """The system's loader would hand out the library that it has loaded from there."""
    for pack in (False, True):
        for name in ("affine", "positive"):
            place = tmp_path / "place"
            if pack:
                package.pack(artifacts[name], place)
            else:
                shutil.rmtree(place, ignore_errors=True)
                shutil.copytree(artifacts[name], place)
            session = InferenceSession(place)
            x = np.ones((2, 3) if name == "affine" else 3, np.float32)
            assert [y.shape for y in session.run(None, {"x": x})] == (
                [(2, 3), (3, 2)] if name == "affine" else [(3,), (3,)]
            )
        shutil.rmtree(place, ignore_errors=True)


def test_is_artifact(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x08\x07")
    assert not artifact.is_artifact(str(tmp_path / "model.onnx"))
    assert not artifact.is_artifact(str(tmp_path)) and not artifact.is_artifact(str(tmp_path / "none"))
    assert not artifact.is_artifact(b"\x08\x07")
