"""Files of weights lie beside the model, or beside what it is a link to, and nowhere else."""

from __future__ import annotations

from pathlib import Path

from intaglio.runtime.store.external import homes, is_within


def test_below_the_folder(tmp_path: Path) -> None:
    allowed = homes(str(tmp_path / "model"), None)
    for inside in ("w.bin", "deep/w.bin", "deep/../w.bin", "."):
        assert is_within(str(tmp_path / "model" / inside), allowed)
    for outside in ("../w.bin", "../model2/w.bin", "deep/../../w.bin", "/etc/passwd"):
        assert not is_within(str(tmp_path / "model" / outside), allowed)


def test_links_are_followed(tmp_path: Path) -> None:
    folder, secret = tmp_path / "model", tmp_path / "secret"
    folder.mkdir()
    secret.write_text("")
    (folder / "w.bin").symlink_to(secret)
    assert not is_within(str(folder / "w.bin"), homes(str(folder), None))


def test_a_store_hands_out_links_to_models(tmp_path: Path) -> None:
    """The weights lie beside the model itself."""
    store, seen = tmp_path / "store", tmp_path / "seen"
    store.mkdir()
    seen.mkdir()
    for name in ("model.onnx", "w.bin"):
        (store / name).write_text("")
        (seen / name).symlink_to(store / name)
    assert is_within(str(seen / "w.bin"), homes(str(seen), str(seen / "model.onnx")))
    assert not is_within(str(seen / "w.bin"), homes(str(seen), None))
