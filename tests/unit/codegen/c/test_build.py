"""Objects and libraries from C sources, the object cache, and the C compilers of this machine."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import handmade
import pytest

from intaglio.compiler.codegen.c import build as module
from intaglio.compiler.codegen.c import toolchain
from intaglio.compiler.codegen.c.build import Source, build
from intaglio.compiler.codegen.c.toolchain import Toolchain
from intaglio.compiler.processes import Processes
from intaglio.compiler.target import target
from intaglio.runtime.errors import Fail, NotFound
from intaglio.runtime.run.program import ABI

EXPORT = '__attribute__((visibility("default")))'
ADD = Source("add", f"{EXPORT} int add(int a, int b) {{ return a + b; }}")
TWICE = Source("twice", f"int add(int, int); {EXPORT} int twice(int a) {{ return add(a, a); }}")


@pytest.fixture
def objects(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
def compiler(objects: Path) -> Toolchain:
    return toolchain.find(objects)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the sources that were compiled rather than found."""
    names: list[str] = []
    compile_one = module._compile_one

    def counting(source: Source, *args: Any) -> None:
        names.append(source.name)
        compile_one(source, *args)

    monkeypatch.setattr(module, "_compile_one", counting)
    return names


def test_builds_and_runs(tmp_path: Path, objects: Path, compiler: Toolchain) -> None:
    told: list[tuple[int, int]] = []
    build([ADD, TWICE], tmp_path / "a.so", compiler, target(), objects, lambda done, of: told.append((done, of)))
    library = ctypes.CDLL(str(tmp_path / "a.so"))
    assert library.twice(21) == 42 and library.intaglio_abi() == ABI
    assert told == [(n, 4) for n in range(5)]


def test_objects_are_shared(tmp_path: Path, objects: Path, compiler: Toolchain, compiled: list[str]) -> None:
    build([ADD], tmp_path / "a.so", compiler, target(), objects)
    assert sorted(compiled) == ["add", "pool", "walker"]
    build([ADD, TWICE], tmp_path / "b.so", compiler, target(), objects)
    assert sorted(compiled) == ["add", "pool", "twice", "walker"]
    build([Source("renamed", ADD.text)], tmp_path / "c.so", compiler, target(), objects)
    assert len(compiled) == 4  # the name is for people


def test_what_makes_another_object(
    tmp_path: Path, objects: Path, compiler: Toolchain, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    header = Source("header", f'#include "runtime_abi.h"\n{EXPORT} int abi(void) {{ return INTAGLIO_ABI; }}')
    build([ADD, header], tmp_path / "a.so", compiler, target("generic"), objects)
    compiled.clear()
    build([ADD, header], tmp_path / "a.so", compiler, target(), objects)
    if target().flags:
        assert sorted(compiled) == ["add", "header", "pool", "walker"]
    compiled.clear()
    monkeypatch.setattr(module, "_headers", lambda folder: "other headers")
    build([ADD, header], tmp_path / "a.so", compiler, target(), objects)
    assert sorted(compiled) == ["header", "pool", "walker"]


@pytest.mark.sample(2)
@pytest.mark.parametrize("damage", handmade.DAMAGES)
@pytest.mark.parametrize("suffix", [".o", ".o.crc"])
def test_a_damaged_object_is_made_again(
    tmp_path: Path, objects: Path, compiler: Toolchain, compiled: list[str], damage: str, suffix: str
) -> None:
    build([ADD], tmp_path / "a.so", compiler, target(), objects)
    damaged = [path for path in objects.glob("??/*") if "".join(path.suffixes) == suffix]
    assert len(damaged) == 3
    for path in damaged:
        wrong = handmade.damaged(path.read_bytes(), damage)
        path.unlink()
        if wrong is not None:
            path.write_bytes(wrong)
    for name in ("b.so", "c.so"):
        build([ADD], tmp_path / name, compiler, target(), objects)
        assert ctypes.CDLL(str(tmp_path / name)).add(1, 2) == 3
    assert sorted(compiled) == ["add", "add", "pool", "pool", "walker", "walker"]


def test_only_exports_are_visible(tmp_path: Path, objects: Path, compiler: Toolchain) -> None:
    build([ADD, Source("hidden", "int hidden_one(void) { return 1; }")], tmp_path / "a.so", compiler, target(), objects)
    library = ctypes.CDLL(str(tmp_path / "a.so"))
    for name in ("hidden_one", "intaglio_launch", "intaglio_barrier"):
        with pytest.raises(AttributeError):
            getattr(library, name)


def test_an_error_tells_the_command(tmp_path: Path, objects: Path, compiler: Toolchain) -> None:
    broken = Source("broken", "int broken(void) { return missing; }\n")
    with pytest.raises(Fail, match=r"failed on kernel broken. Its source is kept") as caught:
        build([ADD, broken, TWICE], tmp_path / "a.so", compiler, target(), objects)
    kept = re.search(r"\S+broken\.c", str(caught.value))
    assert kept and Path(kept[0]).read_text() == broken.text and "error" in str(caught.value)
    assert not list(objects.glob("build-*")) and not (tmp_path / "a.so").exists()
    command = str(caught.value).splitlines()[1]
    assert subprocess.run(command, shell=True, capture_output=True).returncode != 0  # it reproduces the error


def test_an_undefined_symbol(tmp_path: Path, objects: Path, compiler: Toolchain) -> None:
    """A library may leave symbols open, and so would load; calling must fail when it is loaded, not later."""
    build([TWICE], tmp_path / "a.so", compiler, target(), objects)
    with pytest.raises(OSError, match="add"):
        ctypes.CDLL(str(tmp_path / "a.so"))


def test_a_full_disk(tmp_path: Path, objects: Path, compiler: Toolchain, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "cc1: error: writing x.o: No space left on device"
    monkeypatch.setattr(Processes, "run", lambda *_: (1, said))
    with pytest.raises(OSError) as caught:
        build([ADD], tmp_path / "a.so", compiler, target(), objects)
    assert caught.value.errno == errno.ENOSPC


def test_a_killed_compiler(tmp_path: Path, objects: Path, compiler: Toolchain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Processes, "run", lambda *_: (-9, ""))
    with pytest.raises(Fail, match="ended by signal 9"):
        build([ADD], tmp_path / "a.so", compiler, target(), objects)


def test_temporary_files_lie_where_objects_are_made(
    tmp_path: Path, objects: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that none is left behind when a compiler is killed."""
    script = tmp_path / "cc"
    script.write_text(f'#!/bin/sh\necho "$TMPDIR" >> {tmp_path}/seen\nexec gcc "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("INTAGLIO_CC", str(script))
    build([ADD], tmp_path / "a.so", toolchain.find(objects), target(), objects)
    assert {Path(each).parent for each in (tmp_path / "seen").read_text().splitlines()} == {objects}


# ---- Finding a compiler ------------------------------------------------------------------------------------------


@pytest.fixture
def nothing(tmp_path: Path, compiler: Toolchain, monkeypatch: pytest.MonkeyPatch) -> None:
    """No compiler on PATH, none in the environment."""
    for name in ("INTAGLIO_CC", "CC"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def fake(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_text("#!/bin/sh\nexit 1\n")
    path.chmod(0o755)
    return path


@pytest.mark.usefixtures("nothing")
def test_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "_zig", lambda: None)
    folder = tmp_path / "bin"
    for name in ("cc", "clang", "gcc"):  # each is preferred to those before it
        fake(folder, name)
        assert toolchain.find(tmp_path).name == name
    other = fake(tmp_path, "mycc")
    monkeypatch.setenv("CC", f"{other} -Wall")
    assert toolchain.find(tmp_path).command == (str(other), "-Wall")
    monkeypatch.setenv("INTAGLIO_CC", "clang")
    assert toolchain.find(tmp_path).command == (str(folder / "clang"),)


@pytest.mark.usefixtures("nothing")
def test_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "_zig", lambda: None)
    with pytest.raises(NotFound, match=r"needs a C compiler, and there is none.*pip install intaglio\[cc\]"):
        toolchain.find(tmp_path)
    monkeypatch.setenv("INTAGLIO_CC", "nocc -O2")
    with pytest.raises(NotFound, match="'nocc -O2' that INTAGLIO_CC or CC names does not exist"):
        toolchain.find(tmp_path)


@pytest.mark.usefixtures("nothing")
def test_identity_changes_with_the_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fake(tmp_path / "bin", "gcc")
    before = toolchain.find(tmp_path).identity
    assert toolchain.find(tmp_path).identity == before
    os.utime(path, (1, 1))
    assert toolchain.find(tmp_path).identity != before


@pytest.mark.slow
def test_zig_alone(tmp_path: Path) -> None:
    """With nothing on PATH and no home, the package `ziglang` is a whole compiler."""
    pytest.importorskip("ziglang")
    code = f"""
import ctypes, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from intaglio.compiler.codegen.c import toolchain
from intaglio.compiler.codegen.c.build import Source, build
from intaglio.compiler.processes import Processes
from intaglio.compiler.target import target
objects = Path({str(tmp_path / "objects")!r})
compiler = toolchain.find(objects)
assert compiler.name == "zig", compiler
text = '#include <math.h>\\n{EXPORT} float f(float x) {{ return sqrtf(x) + fmodf(x, 4); }}'
build([Source("f", text)], Path({str(tmp_path / "f.so")!r}), compiler, target(), objects)
f = ctypes.CDLL({str(tmp_path / "f.so")!r}).f
f.restype, f.argtypes = ctypes.c_float, [ctypes.c_float]
assert f(9.0) == 4.0
"""
    (tmp_path / "empty").mkdir()
    subprocess.run([sys.executable, "-c", code], check=True, env={"PATH": str(tmp_path / "empty")})


@pytest.mark.usefixtures("nothing")
@pytest.mark.parametrize("path", [None, "", "bin"])
def test_a_compiler_by_its_path(
    path: str | None, tmp_path: Path, objects: Path, compiler: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds its assembler and its linker whatever PATH is."""
    if path is None:
        monkeypatch.delenv("PATH")
    else:
        monkeypatch.setenv("PATH", path and str(tmp_path / path))
    monkeypatch.setenv("INTAGLIO_CC", compiler.command[0])
    build([ADD], tmp_path / "a.so", toolchain.find(objects), target(), objects)
    assert ctypes.CDLL(str(tmp_path / "a.so")).add(1, 2) == 3
