"""Building a library: compiles C sources to objects, in parallel, and links them.

An object is cached under a hash of its source, the flags and the compiler, so equal kernels share it within a model and
across models. Nothing of a model may get into a command line or a file name: names of sources are generated.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ....runtime.errors import Fail
from ...options import environment
from ...processes import Processes
from ...target import Target
from ..objects import intact, keep, touch
from .toolchain import Toolchain

TEMPLATES = Path(__file__).resolve().parents[3] / "templates" / "c"

Progress = Callable[[int, int], None]  # how many of how many sources are done


@dataclass(frozen=True)
class Source:
    """A C file; name: a C identifier, which is part of messages and names of files."""

    name: str
    text: str


def build(
    sources: Sequence[Source],
    output: Path,
    toolchain: Toolchain,
    target: Target,
    objects: Path,
    progress: Progress | None = None,
) -> None:
    """Writes the library of a program's `sources`, the walker and the thread pool (templates/c/) to `output`.

    Sources may include the headers of templates/c. Otherwise as `library`.
    """
    library([*sources, part("walker"), part("pool")], output, toolchain, target, objects, progress)


def library(
    sources: Sequence[Source],
    output: Path,
    toolchain: Toolchain,
    target: Target,
    objects: Path,
    progress: Progress | None = None,
    include: Path = TEMPLATES,
) -> None:
    """Writes the library of `sources` to `output`.

    objects: the folder of the object cache; include: that of headers. Raises Fail if the compiler rejects a source,
    which is then kept for inspection, and OSError if the disk is full.
    """
    objects.mkdir(parents=True, exist_ok=True)
    flags = toolchain.compile_flags(target.flags)
    paths = {}
    for source in sources:
        key = _key(source, flags, toolchain, include)
        paths[objects / key[:2] / f"{key[2:]}.o"] = source
    with Processes(objects) as running, running.needed:
        _compile(paths, toolchain, flags, include, running, progress)
        command = toolchain.link(list(paths), output)
        if _run(command, toolchain, running)[0]:
            # An object may have disappeared meanwhile. If linking fails with new ones, too, the error is ours.
            for path in paths:
                path.unlink(missing_ok=True)
            _compile(paths, toolchain, flags, include, running, None)
            failed, message = _run(command, toolchain, running)
            if failed:
                raise Fail(f"The C compiler ({toolchain.name}) cannot link the model:\n{_excerpt(message)}")
    for path in paths:
        touch(path)


def _compile(
    paths: dict[Path, Source],
    toolchain: Toolchain,
    flags: Sequence[str],
    include: Path,
    running: Processes,
    progress: Progress | None,
) -> None:
    """Compiles the objects that do not exist yet; long sources first, so that the last ones to finish are short."""
    todo = sorted((path for path in paths if not intact(path)), key=lambda path: -len(paths[path].text))
    done = len(paths) - len(todo)
    if progress:
        progress(done, len(paths))

    def compile_one(path: Path) -> None:
        _compile_one(paths[path], path, toolchain, flags, include, running)

    for _ in running.each(compile_one, todo, environment().jobs):
        done += 1
        if progress:
            progress(done, len(paths))


def _compile_one(
    source: Source, path: Path, toolchain: Toolchain, flags: Sequence[str], include: Path, running: Processes
) -> None:
    file = running.folder / f"{path.stem}.c"
    result = running.folder / f"{path.stem}.o"
    file.write_text(source.text, encoding="utf-8")
    failed, message = _run(toolchain.compile(file, result, flags, include), toolchain, running)
    if failed:
        kept = Path(tempfile.mkdtemp(prefix="intaglio-failed-"), f"{source.name}.c")
        shutil.copyfile(file, kept)
        command = " ".join(toolchain.compile(kept, Path(os.devnull), flags, include))
        raise Fail(
            f"The C compiler ({toolchain.name}) failed on kernel {source.name}. Its source is kept; to see it again:\n"
            f"  {command}\n{_excerpt(message.replace(str(file), str(kept)))}"
        )
    keep(result, path)


def _run(command: list[str], toolchain: Toolchain, running: Processes) -> tuple[bool, str]:
    """Runs a command; returns whether it failed, and its output."""
    code, output = running.run(command, toolchain.environ())
    if code and "No space left on device" in output:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), command[-1])
    if code < 0:
        return True, f"{output}\nended by signal {-code} (out of memory?)"
    return code != 0, output


def _excerpt(message: str, lines: int = 12) -> str:
    """The first lines with errors, else the first lines."""
    all_lines = message.splitlines()
    errors = [line for line in all_lines if "error" in line or "signal" in line]
    return "\n".join((errors or all_lines)[:lines])


def _key(source: Source, flags: Sequence[str], toolchain: Toolchain, include: Path) -> str:
    parts = (toolchain.identity, " ".join(flags), _headers(include) if '#include "' in source.text else "", source.text)
    return hashlib.sha256(os.fsencode("\0".join(parts))).hexdigest()[:40]


@lru_cache
def _headers(folder: Path) -> str:
    """A digest of the headers in a folder, which sources can include."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.h")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@lru_cache
def part(name: str) -> Source:
    """A C file of templates/c that is not a template: "walker" or "pool", which all models have, or "cuda"."""
    return Source(name, (TEMPLATES / f"{name}.c").read_text())
