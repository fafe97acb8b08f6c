"""A machine with nothing on PATH: the package `ziglang` compiles, and without it the message says what to install."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import intaglio
from intaglio.compiler.cli import main as cli
from intaglio.compiler.codegen.c import toolchain

MLP = Path(__file__).parents[1] / "data" / "mlp.onnx"


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """An environment without compilers, without HOME, and with an empty cache."""
    (tmp_path / "bin").mkdir()
    kept = {name: value for name, value in os.environ.items() if name not in ("CC", "INTAGLIO_CC", "HOME")}
    return kept | {"PATH": str(tmp_path / "bin"), "INTAGLIO_CACHE_DIR": str(tmp_path / "cache")}


def intaglio_command(*arguments: object, env: dict[str, str]) -> str:
    command = [sys.executable, "-m", "intaglio", *map(str, arguments)]
    return subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True).stdout


def test_zig_compiles_and_agrees(bare: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("ziglang")
    (finding,) = [f for f in json.loads(intaglio_command("doctor", "--json", env=bare)) if f["topic"] == "compiler"]
    assert finding["ok"] and "zig cc" in finding["text"]
    x = np.random.default_rng(0).standard_normal((3, 64), np.float32)
    np.save(tmp_path / "x.npy", x)
    intaglio_command("run", MLP, "-i", tmp_path / "x.npy", "-o", tmp_path / "y.npy", env=bare)
    (expected,) = intaglio.InferenceSession(MLP).run(None, {"input": x})
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, rtol=1e-5, atol=1e-6)


def test_an_artifact_needs_no_compiler(bare: dict[str, str], tmp_path: Path) -> None:
    assert cli.main(["compile", str(MLP), "-o", str(tmp_path / "mlp.intaglio")]) == 0
    intaglio_command("run", tmp_path / "mlp.intaglio", "-o", tmp_path / "y.npy", env=bare)
    assert np.load(tmp_path / "y.npy").shape == (1, 10)
    assert not list((tmp_path / "cache").rglob("*.o"))


def test_without_any_the_message_says_what_to_install(
    bare: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("PATH", "INTAGLIO_CACHE_DIR"):
        monkeypatch.setenv(name, bare[name])
    for name in ("CC", "INTAGLIO_CC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(toolchain, "_zig", lambda: None)
    assert cli.main(["compile", str(MLP), "-o", str(tmp_path / "mlp.intaglio")]) == 1
    assert "pip install intaglio[cc]" in capsys.readouterr().err
