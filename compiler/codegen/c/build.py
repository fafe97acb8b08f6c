"""C sources in, a library out: compiles each source to an object, in parallel, and links them.

An object is kept in the object cache under the hash of its source, the flags and the compiler, so equal kernels share
it within a model and across models. It must never put anything of a model into a command line or a file name: names of
sources are symbols that the compiler made.
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
from ..objects import intact, keep, used
from .toolchain import Toolchain

TEMPLATES = Path(__file__).resolve().parents[3] / "templates" / "c"

Progress = Callable[[int, int], None]  # how many of how many sources are done


@dataclass(frozen=True)
class Source:
    """A C file. name: a C identifier; used for messages and the names of kept files."""

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
    """Writes the library made of `sources` and of the thread pool (templates/c/pool.c) to `output`.

    objects: the folder of the object cache. Sources may include the headers of templates/c. Raises Fail when the
    compiler refuses a source, which is then kept for a look at it, and OSError when the disk is full.
    """
    objects.mkdir(parents=True, exist_ok=True)
    flags = toolchain.compile_flags(target.flags)
    paths = {}
    for source in (*sources, part("pool")):
        key = _key(source, flags, toolchain)
        paths[objects / key[:2] / f"{key[2:]}.o"] = source
    with Processes(objects) as running, running.needed:
        _compile(paths, toolchain, flags, running, progress)
        command = toolchain.link(list(paths), output)
        if _run(command, toolchain, running)[0]:
            # An object may be gone: make all of them anew, and then a failure is ours.
            for path in paths:
                path.unlink(missing_ok=True)
            _compile(paths, toolchain, flags, running, None)
            failed, message = _run(command, toolchain, running)
            if failed:
                raise Fail(f"The C compiler ({toolchain.name}) cannot link the model:\n{_excerpt(message)}")
    for path in paths:
        used(path)


def _compile(
    paths: dict[Path, Source],
    toolchain: Toolchain,
    flags: Sequence[str],
    running: Processes,
    progress: Progress | None,
) -> None:
    """Makes the objects that do not exist yet; the long sources first, so that the last ones to finish are short."""
    todo = sorted((path for path in paths if not intact(path)), key=lambda path: -len(paths[path].text))
    done = len(paths) - len(todo)
    if progress:
        progress(done, len(paths))

    def compile_one(path: Path) -> None:
        _compile_one(paths[path], path, toolchain, flags, running)

    for _ in running.each(compile_one, todo, environment().jobs):
        done += 1
        if progress:
            progress(done, len(paths))


def _compile_one(source: Source, path: Path, toolchain: Toolchain, flags: Sequence[str], running: Processes) -> None:
    file = running.folder / f"{path.stem}.c"
    result = running.folder / f"{path.stem}.o"
    file.write_text(source.text, encoding="utf-8")
    failed, message = _run(toolchain.compile(file, result, flags, TEMPLATES), toolchain, running)
    if failed:
        kept = Path(tempfile.mkdtemp(prefix="intaglio-failed-"), f"{source.name}.c")
        shutil.copyfile(file, kept)
        command = " ".join(toolchain.compile(kept, Path(os.devnull), flags, TEMPLATES))
        raise Fail(
            f"The C compiler ({toolchain.name}) failed on kernel {source.name}. Its source is kept; to see it again:\n"
            f"  {command}\n{_excerpt(message.replace(str(file), str(kept)))}"
        )
    keep(result, path)


def _run(command: list[str], toolchain: Toolchain, running: Processes) -> tuple[bool, str]:
    """Runs a command; returns whether it failed, and what it said."""
    code, said = running.run(command, toolchain.environ())
    if code and "No space left on device" in said:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), command[-1])
    if code < 0:
        return True, f"{said}\nended by signal {-code} (out of memory?)"
    return code != 0, said


def _excerpt(message: str, lines: int = 12) -> str:
    """The first lines that tell of errors, or just the first lines."""
    all_lines = message.splitlines()
    errors = [line for line in all_lines if "error" in line or "signal" in line]
    return "\n".join((errors or all_lines)[:lines])


def _key(source: Source, flags: Sequence[str], toolchain: Toolchain) -> str:
    parts = (toolchain.identity, " ".join(flags), _headers() if '#include "' in source.text else "", source.text)
    return hashlib.sha256(os.fsencode("\0".join(parts))).hexdigest()[:40]


@lru_cache
def _headers() -> str:
    """What sources can include, as a digest."""
    whole = hashlib.sha256()
    for path in sorted(TEMPLATES.glob("*.h")):
        whole.update(path.name.encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()


@lru_cache
def part(name: str) -> Source:
    """A C file of templates/c that is no template: "pool", which is part of every library, or "cuda"."""
    return Source(name, (TEMPLATES / f"{name}.c").read_text())
