"""Every command and every program in the README and in docs/ works: they run here in order, or in CI, which has to name
them."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import intaglio
from intaglio.runtime.variables import VARIABLES
from tests.documents import BLOCK, FILE, ROOT, UNRUN, environment

# These build environments or run everything; .ci/run calls them, word for word.
IN_CI = re.compile(r"make \w+|pip install .*")
# What its own test runs.
ELSEWHERE = {"docs/tour.md": "test_tour.py"}
# How many blocks of a page need a cluster, containers, a package index or minutes: as few as can be.
NOT_HERE = {"docs/c_export.md": 1, "docs/deployment.md": 1, "docs/tuning.md": 4}
LANGUAGES = {"sh", "python"}
TEXTS = {"c", "cmake", "dockerfile", "text"}  # languages of blocks that are no programs
LONG = re.compile(r"(?<=--time )\d+\w+")  # searches, which may be shorter here


def pages() -> dict[str, str]:
    """The README and the pages of docs/, by their paths."""
    files = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return {file.relative_to(ROOT).as_posix(): file.read_text() for file in files}


def documents() -> dict[str, str]:
    """The pages, and what is for those who work on Intaglio."""
    names = ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")
    return pages() | {name: (ROOT / name).read_text() for name in names}


RUN = [name for name, text in pages().items() if BLOCK.search(text) and name not in ELSEWHERE]


@pytest.mark.parametrize("page", RUN)
def test_blocks_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a page run in one folder, which holds a model; its programs share their names."""
    shutil.copy(ROOT / "tests" / "data" / "mlp.onnx", tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INTAGLIO_TUNING", str(tmp_path / "tuning.jsonl"))
    names: dict[str, Any] = {"__name__": "__main__"}
    for language, text in BLOCK.findall(pages()[page]):
        if language == "sh":
            _run_commands(text)
        elif file := FILE.match(text):
            Path(file[1]).write_text(text)
        elif language == "python":
            exec(compile(text, page, "exec"), names)


def _run_commands(text: str) -> None:
    """Runs the lines, but for those that are for CI."""
    here = []
    for line in text.splitlines():
        if IN_CI.fullmatch(line):
            assert f"step {line}\n" in (ROOT / ".ci" / "run").read_text(), f".ci/run does not call: {line}"
        else:
            here.append(LONG.sub("1s", line))
    subprocess.run(["bash", "-euc", "\n".join(here)], check=True, env=environment(), stdout=subprocess.DEVNULL)


def test_no_block_is_forgotten() -> None:
    """Each is of a language that runs, is a text, or has a mark; and few have."""
    found = {name: len(UNRUN.findall(text)) for name, text in pages().items()}
    assert {name: count for name, count in found.items() if count} == NOT_HERE
    for name, text in pages().items():
        rest = BLOCK.sub("", UNRUN.sub("", text))
        assert not re.search(r"^ *```", rest, re.MULTILINE), f"{name} has a block of no language"
        languages = {language for language, _ in BLOCK.findall(text)}
        assert languages <= LANGUAGES | TEXTS | ({"console"} if name in ELSEWHERE else set()), name


def test_extras_that_pages_name_are_there() -> None:
    extras = importlib.metadata.metadata("intaglio").get_all("Provides-Extra") or []
    named = {extra for text in pages().values() for extra in re.findall(r"pip install '[^'\[]+\[(\w+)\]'", text)}
    assert {"cc", "tune"} <= named <= set(extras)


def test_the_site_has_every_page() -> None:
    named = re.findall(r"^ +- .*: (\w+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(Path(name).name for name in documents() if name != "README.md")


def test_the_reference_is_complete() -> None:
    """Every public name of the package has its place in docs/api.md, where it is found."""
    places = re.findall(r"^::: intaglio\.([\w.]+)$", pages()["docs/api.md"], re.MULTILINE)
    lazy = {f"{module[1:]}.{name}" for name, module in intaglio._LAZY.items()}
    assert sorted(places) == sorted({*intaglio.__all__} | lazy)


def test_links_and_paths_lead_somewhere() -> None:
    named = re.compile(r"\]\(([^)#]+)\)|`((?:compiler|runtime|templates|tests|bench|intaglio|docs)/[\w./]*)`")
    for name, text in documents().items():
        for link, path in named.findall(BLOCK.sub("", text)):
            place = (ROOT / name).parent / link if link else ROOT / path
            assert _is_address(link) or place.exists(), f"{name}: {link or path}"


def _is_address(link: str) -> bool:
    """Whether it leads to another site, as far as can be told without asking it."""
    parts = urlsplit(link)
    return parts.scheme == "https" and "." in parts.netloc


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
