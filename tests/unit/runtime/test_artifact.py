"""Reading artifacts: what is damaged or not for this machine is refused with a message, before any code of it runs."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import handmade
import numpy as np
import pytest

from intaglio import InferenceSession
from intaglio.compiler import package
from intaglio.compiler.target import target
from intaglio.runtime import artifact, cpus
from intaglio.runtime.artifact import Corrupt, load_directory
from intaglio.runtime.errors import InvalidArgument, InvalidProtobuf


@pytest.fixture
def folder(artifacts: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(artifacts["affine"], tmp_path / "artifact"))


def change(folder: Path, **changes: Any) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest.pop("crc32")
    (folder / "manifest.json").write_bytes(artifact.seal({**manifest, **changes}))


def test_sealed_manifest_is_json(folder: Path) -> None:
    assert json.loads((folder / "manifest.json").read_bytes())["format"] == artifact.FORMAT


@pytest.mark.parametrize("name", ["manifest.json", "model.so", "weights.bin"])
def test_missing(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(Corrupt, match=f"{name} is missing"):
        load_directory(folder)


@pytest.mark.parametrize("name", ["manifest.json", "model.so", "weights.bin"])
def test_truncated(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(Corrupt, match=r"damaged|size|incomplete"):
        load_directory(folder)


@pytest.mark.parametrize("name", ["manifest.json", "model.so"])
def test_flipped_bit(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(Corrupt, match="its checksum differs"):
        load_directory(folder)


def test_other_machines(folder: Path) -> None:
    change(folder, features=["avx2", "teleport"])
    if cpus.features():
        with pytest.raises(InvalidArgument, match=r"lacks: .*teleport.*Compile it here"):
            InferenceSession(folder)
    change(folder, features=[], architecture="pdp11")
    with pytest.raises(InvalidArgument, match="compiled for pdp11, and this machine is"):
        InferenceSession(folder)
    change(folder, architecture=cpus.architecture(), format=99)
    with pytest.raises(InvalidArgument, match=r"format 99.*reads format 1"):
        InferenceSession(folder)


def test_features_of_this_machine_are_known_by_name() -> None:
    """The compiler's names for features and the system's name the same: native code is accepted here."""
    if cpus.features():
        assert cpus.features().issuperset(package.required_features(target("native")))
    assert "sse4_1" in package.required_features(target("x86-64-v2"))
    assert {"avx512f", "fma", "abm"} <= set(package.required_features(target("x86-64-v4")))


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
