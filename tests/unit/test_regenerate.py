"""tests/regenerate.py finds what differs between two source trees, and only that."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests import regenerate

MODEL = regenerate.ROOT / "tests" / "data" / "mlp.onnx"


def test_differences_are_found_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed = tmp_path / "tree"
    changed.mkdir()
    for part in ("intaglio", "compiler", "runtime"):
        (changed / part).symlink_to(regenerate.ROOT / part)
    shutil.copytree(regenerate.ROOT / "templates", changed / "templates")
    with (changed / "templates" / "c" / "matmul.c.j2").open("a") as template:
        template.write("\n/* another line */\n")
    assert regenerate.compare(regenerate.ROOT, changed, [MODEL], tmp_path, lines=3) == 2
    shown = capsys.readouterr().out
    assert re.findall(r"^\S.*:$", shown, re.MULTILINE) == ["x86-64-v3/mlp.txt:", "x86-64-v4/mlp.txt:"]
    assert "more lines" in shown


def test_one_tree_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    assert regenerate.compare(regenerate.ROOT, regenerate.ROOT, [MODEL, tmp_path / "broken.onnx"], tmp_path) == 0
    assert not capsys.readouterr().out
    generated = {p.parent.name: p.read_text() for p in (tmp_path / "changed").glob("*/mlp.txt")}
    assert set(generated) == set(regenerate.TARGETS)
    assert all("==== program.c" in text for text in generated.values())
    assert "@triton.jit" in generated["x86-64-v3,cuda:sm_90"]
    refused = (tmp_path / "changed" / "x86-64-v3" / "broken.txt").read_text()
    assert refused.startswith("InvalidProtobuf")
