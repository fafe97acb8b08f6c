"""The C compiler: finds one, and composes the commands that compile an object file and link a library.

In: the environment and PATH. Out: a `Toolchain`, with an identity for cache keys, for which the compiler does not run.
It never passes -ffast-math: NaN and infinity behave as ONNX says.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from ....runtime.errors import NotFound
from ...options import environment

# Loops are vectorised where `#pragma omp simd` says so; there is no OpenMP runtime. -ffp-contract: fused multiply-add.
_COMPILE = (
    "-O3", "-std=c11", "-fPIC", "-fvisibility=hidden", "-ffunction-sections", "-fdata-sections", "-fopenmp-simd",
    "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast",
)  # fmt: skip
_CHECKED = ("-DINTAGLIO_CHECKED", "-O2", "-fno-openmp-simd")
_LINK_ELF = ("-shared", "-s", "-Wl,--gc-sections", "-Wl,-z,noexecstack")
_LINK_DARWIN = ("-dynamiclib", "-Wl,-dead_strip")
_CANDIDATES = ("gcc", "clang", "cc")


@dataclass(frozen=True)
class Toolchain:
    """A C compiler.

    command: its path, and first arguments; identity: part of the keys of objects, changes when the compiler does;
    variables: environment variables that it needs; flags: for compiling and linking; extra: the same, but last.
    """

    name: str
    command: tuple[str, ...]
    identity: str
    variables: tuple[tuple[str, str], ...] = ()
    flags: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """What the compiler calls itself, the same on all machines; it runs for that, once in a process."""
        return _version(self.command)

    def instrumented(self, checked: bool, sanitize: str) -> Toolchain:
        """The same compiler with flags for tests.

        checked: kernels check every access (templates/c/bounds.h); sanitize: the argument of -fsanitize=. Such code is
        not vectorised, as compiling would take as long as the tests; it computes the same numbers, since products and
        sums are fused nevertheless."""
        sanitizer = (f"-fsanitize={sanitize}", "-g", "-O1", "-fexpensive-optimizations")
        extra = (*_CHECKED * checked, *sanitizer * bool(sanitize))
        return replace(self, extra=extra)

    def compile_flags(self, target_flags: Sequence[str]) -> tuple[str, ...]:
        """Every flag that changes an object file."""
        return (*self.flags, *_COMPILE, *target_flags, *self.extra)

    def compile(self, source: Path, output: Path, flags: Sequence[str], include: Path) -> list[str]:
        """The command that compiles one file."""
        return [*self.command, *flags, f"-I{include}", "-c", str(source), "-o", str(output)]

    def link(self, objects: Sequence[Path], output: Path) -> list[str]:
        """The command that links objects to a library."""
        flags = _LINK_DARWIN if sys.platform == "darwin" else _LINK_ELF
        ends = ("-o", str(output), "-lm", "-lpthread")
        return [*self.command, *self.flags, *flags, *self.extra, *map(str, objects), *ends]

    def environ(self) -> dict[str, str]:
        """The environment of the commands: messages in English, as some are recognised; and the compiler's folder on
        PATH, where it finds assembler and linker."""
        path = os.pathsep.join(filter(None, (os.environ.get("PATH"), os.path.dirname(self.command[0]))))
        return {**os.environ, **dict(self.variables), "LC_ALL": "C", "PATH": path}


def find(cache: Path) -> Toolchain:
    """The C compiler to use: $INTAGLIO_CC, $CC, gcc, clang, cc, else zig from the package `ziglang`.

    cache: a folder where the compiler may keep files. Raises NotFound if there is no compiler.
    """
    setting = environment().cc
    if setting:
        command = shlex.split(setting)
        path = shutil.which(command[0]) if command else None
        if path is None:
            raise NotFound(f"The C compiler '{setting}' that INTAGLIO_CC or CC names does not exist.")
        return _toolchain((path, *command[1:]), cache)
    for name in _CANDIDATES:
        path = shutil.which(name)
        if path:
            return _toolchain((path,), cache)
    zig = _zig()
    if zig:
        return _toolchain((zig, "cc"), cache)
    raise NotFound(
        "Compiling a model needs a C compiler, and there is none: neither $INTAGLIO_CC or $CC, nor gcc, clang or cc on "
        "PATH. `pip install intaglio[cc]` installs one as a Python package; or install gcc or clang with the system's "
        "package manager; or run a model that was compiled elsewhere with `intaglio compile`."
    )


def _zig() -> str | None:
    """The zig binary of the package `ziglang`; calling it directly saves a start of Python each time."""
    spec = importlib.util.find_spec("ziglang")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, "zig.exe" if sys.platform == "win32" else "zig")
        if path.exists():
            return str(path)
    return None


@lru_cache
def _version(command: tuple[str, ...]) -> str:
    done = subprocess.run([*command, "--version"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return done.stdout.decode("utf-8", "replace").partition("\n")[0].strip()


def _toolchain(command: tuple[str, ...], cache: Path) -> Toolchain:
    """The toolchain of a command; its identity is the file's real path, size and time, which a new version changes."""
    real = os.path.realpath(command[0])
    stat = os.stat(real)
    identity = f"{real} {stat.st_size} {stat.st_mtime_ns} {' '.join(command[1:])}"
    name = os.path.basename(command[0])
    if name.startswith("zig") and command[1:2] == ("cc",):
        folder = str(cache / "zig")
        variables = (("ZIG_GLOBAL_CACHE_DIR", folder), ("ZIG_LOCAL_CACHE_DIR", folder))
        # zig generates code for this CPU and instruments it for undefined behaviour unless told otherwise.
        return Toolchain("zig", command, identity, variables, ("-mcpu=baseline", "-fno-sanitize=undefined"))
    return Toolchain(name, command, identity)
