"""Every command and every program in the README works: they run here in order, or in CI, which has to name them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from intaglio.runtime.variables import VARIABLES
from tests.documents import BLOCK, ROOT, environment

# These build environments or run everything; .ci/run calls them, word for word.
IN_CI = re.compile(r"make \w+|pip install .*")


def blocks() -> list[tuple[str, str]]:
    """(language, text) of the README's code blocks, in order."""
    found = BLOCK.findall((ROOT / "README.md").read_text())
    assert {language for language, _ in found} == {"sh", "python"}
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, in which the blocks run one after another."""
    made = tmp_path_factory.mktemp("readme")
    shutil.copy(ROOT / "tests" / "data" / "mlp.onnx", made / "model.onnx")
    return made


@pytest.mark.parametrize(("language", "text"), blocks())
def test_block(language: str, text: str, folder: Path) -> None:
    if language == "python":
        subprocess.run([sys.executable, "-c", text], cwd=folder, check=True)
        return
    for line in text.splitlines():
        if IN_CI.fullmatch(line):
            assert f"step {line}\n" in (ROOT / ".ci" / "run").read_text(), f".ci/run does not call: {line}"
        else:
            variables = environment() | {"INTAGLIO_TUNING": str(folder / "tuning.jsonl")}
            subprocess.run(["bash", "-c", line], cwd=folder, check=True, env=variables, stdout=subprocess.DEVNULL)


def documents() -> dict[str, str]:
    names = (
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs/precision.md",
        "docs/tour.md",
        "docs/tuning.md",
        "docs/wrong_numbers.md",
    )
    return {name: (ROOT / name).read_text() for name in names}


def test_links_and_paths_lead_somewhere() -> None:
    named = re.compile(r"\]\(([^)#]+)\)|`((?:compiler|runtime|templates|tests|bench|intaglio|docs)/[\w./]*)`")
    for name, text in documents().items():
        for link, path in named.findall(BLOCK.sub("", text)):
            place = (ROOT / name).parent / link if link else ROOT / path
            assert link.startswith("https://") or place.exists(), f"{name}: {link or path}"


def test_environment_variables_are_listed() -> None:
    """Those of the project as their table says; those of tests and measurements by name."""
    table = documents()["ARCHITECTURE.md"].partition("## Environment variables")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| `")]
    ours = {each.name: each.meaning for each in VARIABLES}
    assert {name.strip("`"): meaning for name, meaning in rows[: len(ours)]} == ours

    sources = [f for folder in ("tests", "bench") for f in (ROOT / folder).rglob("*.py")]
    read = re.compile(r"""(?:environ(?:\.get\(|\[)|getenv\()\s*"(INTAGLIO_\w+)""")
    used = {name for file in sources for name in read.findall(file.read_text())}
    assert used - set(ours) == set(re.findall(r"INTAGLIO_\w+", " ".join(name for name, _ in rows[len(ours) :])))
