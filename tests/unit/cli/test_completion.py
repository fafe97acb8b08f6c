"""Completion: what a shell offers, of which the parser alone knows."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from intaglio.compiler.cli import completion
from intaglio.compiler.cli import main as cli

pytest.importorskip("shtab")


@pytest.fixture
def script(capsys: pytest.CaptureFixture[str]) -> str:
    """That of bash."""
    assert cli.main(["completion", "bash"]) == 0
    return capsys.readouterr().out


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("intaglio co", ["compile", "completion"]),
        ("intaglio cache p", ["prune"]),
        ("intaglio run --rep", ["--repeat"]),
        ("intaglio compile x.onnx --precision ", ["strict", "exact", "high", "bf16"]),
        ("intaglio completion ", list(completion.SHELLS)),
        ("intaglio explain mod", ["model.onnx"]),
        ("intaglio run -i mod", ["model.onnx"]),
    ],
)
def test_bash_offers(line: str, offered: list[str], script: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    words = line.split(" ")
    asked = f"""{script}
        COMP_WORDS=({" ".join(repr(word) for word in words)}) COMP_CWORD={len(words) - 1} COMP_LINE={line!r}
        _shtab_intaglio; printf '%s\\n' "${{COMPREPLY[@]}}" """
    done = subprocess.run(["bash", "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert sorted(done.stdout.split()) == sorted(offered), done.stderr


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_every_shell_knows_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == 0
    said = capsys.readouterr().out
    for word in ("compile", "explain", "precision", "prune", "doctor"):
        assert word in said


def test_without_the_package(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert cli.main(["completion", "zsh"]) == 1
    assert "pip install 'intaglio[completion]'" in capsys.readouterr().err
