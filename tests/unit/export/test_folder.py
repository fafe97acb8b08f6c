"""C by itself: that compilers take it without a warning, and that it computes what a session does, without a finding of
sanitizers and of valgrind."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import exported
import pytest
from exported import MODELS, SANITIZERS, compilers, dims, feeds, make, run, session, write

from intaglio.compiler.driver import lower_model
from intaglio.compiler.export import folder
from intaglio.compiler.export.folder import Embedding
from intaglio.compiler.options import Options
from intaglio.runtime.store.artifact import WEIGHTS

pytestmark = pytest.mark.skipif(
    not (shutil.which("gcc") and shutil.which("make")), reason="there is no gcc, or no make"
)
needs_zig = pytest.mark.skipif(not importlib.util.find_spec("ziglang"), reason="there is no package ziglang")
ARCHIVE = re.compile(r"^\w* *[A-TV-Z] (\w+)$", re.MULTILINE)  # a symbol that nm calls defined and global


def example(path: Path) -> list[str]:
    return [str(path / "example")]


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("embed", "is_threaded"), [(None, True), ("asm", True), ("plain", False)], ids=["file", "asm", "array, alone"]
)
def test_same_bits_as_a_session(name: str, embed: Embedding | None, is_threaded: bool, tmp_path: Path) -> None:
    """By gcc, as which the session's compiler, with warnings as errors; small sizes, and those that threads share."""
    write(tmp_path, name, embed=embed, is_threaded=is_threaded)
    make(tmp_path, ["gcc"])
    if embed:
        (tmp_path / WEIGHTS).unlink(missing_ok=True)
    for least in (1, 150):
        fed = feeds(name, least)
        expected = session(name, threads=2).run(None, fed)
        for threads in (1, 2):
            run(example(tmp_path), fed, expected, tmp_path, f"threads={threads}", *dims(name, fed))


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("compiler", [each for each in compilers() if each != "gcc"])
def test_other_compilers(name: str, compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session is compiled by the same one: compilers sum in other orders."""
    monkeypatch.setenv("INTAGLIO_CC", " ".join(compilers()[compiler]))
    monkeypatch.setenv("INTAGLIO_CACHE_DIR", str(tmp_path / "cache"))
    write(tmp_path / "c", name, embed="asm")
    make(tmp_path / "c", compilers()[compiler])
    for least in (1, 150):
        fed = feeds(name, least)
        expected = session(name).run(None, fed)
        for threads in (1, 2):
            run(example(tmp_path / "c"), fed, expected, tmp_path / "c", f"threads={threads}", *dims(name, fed))


@pytest.mark.sample(1)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("is_threaded", [True, False], ids=["threads", "alone"])
def test_sanitizers_find_nothing(name: str, is_threaded: bool, tmp_path: Path) -> None:
    """Their code is not vectorised, and sums in another order."""
    write(tmp_path, name, is_threaded=is_threaded)
    make(tmp_path, ["gcc"], SANITIZERS)
    for least in (1, 100):
        fed = feeds(name, least)
        expected = session(name).run(None, fed)
        for threads in (1, 2):
            how = f"threads={threads}", *dims(name, fed)
            run(example(tmp_path), fed, expected, tmp_path, *how, exact=False)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("valgrind"), reason="there is no valgrind")
@pytest.mark.parametrize("name", MODELS)
def test_valgrind_finds_nothing(name: str, tmp_path: Path) -> None:
    write(tmp_path, name)
    make(tmp_path, ["gcc"])
    checked = ["valgrind", "-q", "--error-exitcode=9", "--leak-check=full", *example(tmp_path)]
    for least in (1, 100):
        fed = feeds(name, least)
        expected = session(name).run(None, fed)
        for threads in (1, 2):
            run(checked, fed, expected, tmp_path, f"threads={threads}", *dims(name, fed))


@needs_zig
@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("triple", "cpu", "machine"),
    [
        ("aarch64-linux-musl", "aarch64", 183),
        ("x86_64-linux-musl", "", 62),
        ("arm-linux-musleabihf", "arm", 40),
        ("x86-linux-musl", "i386", 3),
    ],
)
def test_other_cpus(name: str, triple: str, cpu: str, machine: int, tmp_path: Path) -> None:
    """By zig, as programs of the other CPU; they are run where an emulator is."""
    write(tmp_path, name, target="aarch64" if cpu == "aarch64" else "generic")
    compiler = exported.zig("-target", triple, "-mcpu=baseline")
    make(tmp_path, compiler, (), f"AR={compiler[0]} ar")
    head = (tmp_path / "example").read_bytes()[:20]
    assert head[:4] == b"\x7fELF" and int.from_bytes(head[18:20], "little") == machine
    assert head[4] == (2 if "64" in triple else 1)
    emulator = exported.emulator(cpu) if cpu else ""
    if emulator is None:
        pytest.skip(f"built, but not run: there is no qemu-{cpu}")
    for least in (1, 100):
        fed = feeds(name, least)
        expected = session(name, target="generic").run(None, fed)
        for threads in (1, 2):
            how = f"threads={threads}", *dims(name, fed)
            run([*filter(None, [emulator]), *example(tmp_path)], fed, expected, tmp_path, *how, exact=False)


DATA = Path(__file__).parents[2] / "data"


@pytest.mark.sample(1)
@pytest.mark.parametrize("name", sorted(path.name for path in DATA.iterdir()))
@pytest.mark.parametrize("target", ["generic", exported.TARGET])
def test_no_warnings(name: str, target: str, tmp_path: Path) -> None:
    unit = lower_model(str(DATA / name), Options(target=target))
    written = folder.write(unit, tmp_path, Path(name).stem)
    command = ["gcc", "-fsyntax-only", "-std=c11", "-fopenmp-simd", *unit.target.flags, *exported.WARNINGS]
    subprocess.run([*command, *written.names, "main.c"], cwd=tmp_path, check=True)


def test_the_work_of_large_models_is_counted(tmp_path: Path) -> None:
    """Beyond 32 bits, where all sizes are fixed: a compiler would warn of the overflow."""
    text = f"""{exported.HEAD} large (float[1024, 768] x, float[768, 768] w) => (float[1024, 768] z) {{
        y = MatMul (x, w)
        z = MatMul (y, w)
    }}"""
    unit = lower_model(exported.model(text).SerializeToString(), Options(target="generic"))
    folder.write(unit, tmp_path, "large")
    command = ["gcc", "-fsyntax-only", *exported.WARNINGS, "program.c"]
    subprocess.run(command, cwd=tmp_path, check=True)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model without threads, built; without optimisation, which takes less time."""
    path = tmp_path_factory.mktemp("alone") / "static"
    write(path, "static", embed="asm", is_threaded=False)
    make(path, ["gcc"], ["-O0"])
    return path


def test_no_threads(alone: Path) -> None:
    said = subprocess.run(["nm", "example"], cwd=alone, capture_output=True, text=True, check=True).stdout
    assert "static_run" in said and "pthread" not in said and "pool_create" not in said
    assert "pthread" not in (alone / "Makefile").read_text() + (alone / "CMakeLists.txt").read_text()


def test_names_are_its_own(alone: Path, tmp_path: Path) -> None:
    """All global symbols begin with the model's name, so that two models can be one program's."""
    said = subprocess.run(["nm", "-g", "libstatic.a"], cwd=alone, capture_output=True, text=True, check=True).stdout
    defined = ARCHIVE.findall(said)
    assert {"static_run", "static_intaglio_launch"} <= set(defined)
    assert all(each.startswith("static_") for each in defined)

    write(tmp_path, "dynamic", embed="asm", is_threaded=True)
    make(tmp_path, ["gcc"], ["-O0"])
    (tmp_path / "both.c").write_text(
        f"""#include "{alone}/static.h"
        #include "dynamic.h"
        int main(void) {{
            static_model *a; dynamic_model *b;
            if (static_create(&a, 0, 1) || dynamic_create(&b, 0, 2)) return 1;
            static_destroy(a); dynamic_destroy(b);
            return 0;
        }}"""
    )
    command = ["gcc", "both.c", "libdynamic.a", str(alone / "libstatic.a"), "-o", "both", "-lm", "-lpthread"]
    subprocess.run(command, cwd=tmp_path, check=True)
    subprocess.run([tmp_path / "both"], check=True)


def test_one_command_builds(alone: Path, tmp_path: Path) -> None:
    """That of docs/c_export.md; and the header is C++, too."""
    text = (Path(__file__).parents[3] / "docs" / "c_export.md").read_text()
    (command,) = re.findall(r"^cc (.* \*\.c -o example .*)$", text, re.MULTILINE)
    shutil.copytree(alone, tmp_path / "c", ignore=shutil.ignore_patterns("*.o", "*.a", "example"))
    subprocess.run(["bash", "-c", f"gcc {command.replace('-O3', '-O0')}"], cwd=tmp_path / "c", check=True)
    assert subprocess.run(example(tmp_path / "c"), capture_output=True, check=True).stdout
    cpp = ["gcc", "-x", "c++", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "static.h"]
    subprocess.run(cpp, cwd=alone, check=True)


@pytest.mark.skipif(not shutil.which("cmake"), reason="there is no cmake")
def test_cmake(alone: Path, tmp_path: Path) -> None:
    """The folder of a model as a part of a project."""
    (tmp_path / "CMakeLists.txt").write_text(
        f"""cmake_minimum_required(VERSION 3.13)
        project(user C)
        add_subdirectory({alone} static)
        add_executable(user {alone}/main.c)
        target_link_libraries(user static)"""
    )
    environment = {**os.environ, "CC": "gcc", "CFLAGS": "-O0"}
    for command in (["cmake", "-S", ".", "-B", "out"], ["cmake", "--build", "out"]):
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, stdout=subprocess.DEVNULL)
    fed = feeds("static")
    run([str(tmp_path / "out" / "user")], fed, session("static").run(None, fed), tmp_path, exact=False)


@pytest.mark.parametrize("embed", [None, "asm", "plain"])
def test_files(embed: Embedding | None, tmp_path: Path) -> None:
    """Weights are in one place, and main.c is no part of the library."""
    written = write(tmp_path, "static", embed=embed)
    files = {each.name for each in tmp_path.iterdir()}
    assert (WEIGHTS in files, "weights.inc" in files) == (embed != "plain", embed == "plain")
    assert ("weights_file.c" in files, "weights_linked.c" in files) == (embed is None, embed is not None)
    assert {each for each in files if each.endswith(".c")} == {*written.names, "main.c"}
    for name in written.names:
        assert (tmp_path / name).read_text().startswith('#include "names.h"\n')


def test_a_model_without_weights(tmp_path: Path) -> None:
    text = f"{exported.HEAD} g (float[n] x) => (float[n] y) {{ y = Tanh (x) }}"
    unit = lower_model(exported.model(text).SerializeToString(), Options(target=exported.TARGET))
    written = folder.write(unit, tmp_path, "math", embed="asm")
    assert written.interface.prefix == "math_model" and not (tmp_path / WEIGHTS).exists()
    make(tmp_path, ["gcc"], ["-O0"])
    said = subprocess.run([*example(tmp_path), "n=3"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert said.stdout.startswith("y [3] ") and said.stdout.split()[3:] == ["-0.761594", "-0.703906", "-0.635149"]
