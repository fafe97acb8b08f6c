"""What users install: one wheel with everything inside `intaglio`, and nothing that shadows a folder of theirs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Folder of the sources -> where it is inside the package.
PARTS = {"intaglio": "", "compiler": "compiler/", "runtime": "runtime/", "templates": "templates/"}


def pip(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *map(str, arguments)], check=True, cwd=ROOT)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the sources, as a build leaves traces; without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in PARTS:
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    pip("wheel", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", folder, folder / "source")
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, installed into a folder of its own."""
    folder = tmp_path_factory.mktemp("site")
    pip("install", "--no-deps", "--no-index", "--target", folder, wheel)
    return folder


def python(site: Path, code: str, folder: Path) -> str:
    """Runs code with the installed wheel in front of everything else."""
    environment = os.environ | {"PYTHONPATH": str(site)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def test_everything_is_in_the_wheel(wheel: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    sources = {
        f"intaglio/{inside}{file.relative_to(ROOT / part).as_posix()}"
        for part, inside in PARTS.items()
        for file in (ROOT / part).rglob("*")
        if file.suffix in (".py", ".j2", ".c", ".h", ".typed", ".onnx")
    }
    assert names == sources
    with capsys.disabled():
        print(f"\n{wheel.name}: {wheel.stat().st_size / 1e3:.0f} kB, {len(names)} files")
    assert wheel.stat().st_size < 1_000_000


def test_no_bare_compiler_or_runtime(site: Path, tmp_path: Path) -> None:
    assert {p.name for p in site.iterdir() if not p.name.endswith(".dist-info")} <= {"intaglio", "bin"}
    code = """
from importlib.util import find_spec
import intaglio, intaglio.compiler.driver
print(intaglio.__file__, [name for name in ("compiler", "runtime", "templates") if find_spec(name)])
"""
    assert python(site, code, tmp_path) == f"{site / 'intaglio' / '__init__.py'} []\n"


def test_the_installed_package_compiles(site: Path, tmp_path: Path) -> None:
    """A user's own folders of the same names change nothing."""
    for name in ("compiler", "runtime", "templates"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('not for you')\n")
    code = f"""
import numpy, intaglio
session = intaglio.InferenceSession({str(ROOT / "tests" / "data" / "mlp.onnx")!r})
print(session.run(None, {{"input": numpy.ones((2, 64), numpy.float32)}})[0].shape)
"""
    assert python(site, code, tmp_path) == "(2, 10)\n"


def test_runtime_imports_numpy_alone(site: Path, tmp_path: Path) -> None:
    code = """
import sys, numpy
import intaglio
print(sorted({"onnx", "jinja2", "ml_dtypes", "triton", "torch", "google", "intaglio.compiler"} & set(sys.modules)))
"""
    assert python(site, code, tmp_path) == "[]\n"


def test_command_is_installed(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (entry,) = [n for n in archive.namelist() if n.endswith("entry_points.txt")]
    assert "intaglio = intaglio.compiler.cli.main:main" in archive.read(entry).decode()
