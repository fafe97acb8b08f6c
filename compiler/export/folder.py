"""C by itself: a folder that a C compiler alone makes a library of.

In: a compilation up to its C sources. Out: the folder: the model's header and functions, its program and kernels, what
both need of templates/c, an example, and files for make, CMake and pkg-config. Weights are a file beside the sources,
which the program reads; or they are linked in. Nothing runs a C compiler here, so the target may be any.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ...runtime import VERSION
from ...runtime.store.artifact import WEIGHTS
from ..codegen.c.build import TEMPLATES
from ..codegen.c.toolchain import Toolchain
from ..codegen.render import render
from ..driver import Compilation
from ..kernel.program import Program
from ..package.manifest import add_weights
from ..package.writer import Writer
from .interface import Interface, interface

Embedding = Literal["asm", "plain"]
EXPORT = TEMPLATES / "export"
WORDS = "weights.inc"  # the weights as the elements of an array
_AT_ONCE = 1 << 16  # of them are printed


@dataclass(frozen=True)
class Folder:
    """A folder that was written: the interface, and the names of its C files without the example."""

    interface: Interface
    names: tuple[str, ...]


def write(unit: Compilation, path: Path, stem: str, embed: Embedding | None = None, is_threaded: bool = True) -> Folder:
    """Writes the folder `path`, which is created if necessary, for a model that is called `stem`.

    embed: how weights are linked in, by the assembler or as an array; None: they are a file. is_threaded: whether there
    can be more threads than the caller's. Raises NotImplemented, InvalidArgument and OSError."""
    assert unit.model and unit.program and unit.sources
    x = interface(unit.model, unit.program, stem)
    path.mkdir(parents=True, exist_ok=True)
    size = _write_weights(unit.program, path)
    how = embed if size else None
    texts = {f"{s.name}.c": s.text for s in unit.sources.files} | {
        p.name: p.read_text() for p in _parts(how, is_threaded)
    }
    texts["api.c"] = render("c/export/api.c.j2", x=x, weights_bytes=size)
    if how:
        holes = {"symbol": f"{x.prefix}_weights", "digest": _digest(path / WEIGHTS), "plain": how == "plain"}
        texts["weights_linked.c"] = render("c/export/weights_linked.c.j2", **holes)
    if how == "plain":
        _write_words(path / WEIGHTS, path / WORDS)
        (path / WEIGHTS).unlink()
    made = {name: render("c/export/source.c.j2", text=text) for name, text in texts.items()}
    made |= _beside(unit, x, tuple(sorted(texts)), how, is_threaded, size)
    for name, text in made.items():
        (path / name).write_text(text, encoding="utf-8")
    for file in [*TEMPLATES.glob("*.h"), *EXPORT.glob("*.h")]:
        shutil.copyfile(file, path / file.name)
    return Folder(x, tuple(sorted(texts)))


def _parts(embed: Embedding | None, is_threaded: bool) -> list[Path]:
    """The C files that are the same for all models."""
    threads = [TEMPLATES / "pool.c", EXPORT / "threads.c"] if is_threaded else [EXPORT / "alone.c"]
    return [TEMPLATES / "walker.c", EXPORT / "standalone.c", *threads, *([] if embed else [EXPORT / "weights_file.c"])]


def _beside(
    unit: Compilation, x: Interface, sources: Sequence[str], embed: Embedding | None, is_threaded: bool, size: int
) -> dict[str, str]:
    """What is written beside the C files of the library: headers, the example, files for make, CMake and pkg-config.

    size: the bytes of the weights."""
    assert unit.program and unit.sources
    functions = [s.name for s in unit.sources.files if s.name != "program"]
    functions += [f"intaglio_sizes{region}" for region in range(len(unit.program.bound()) + 1)]
    holes = {
        "prefix": x.prefix,
        "sources": sources,
        "flags": Toolchain("cc", ("cc",), "").compile_flags(unit.target.flags),
        "libraries": ["-lm", *(["-lpthread"] if is_threaded else [])],
        "data": {"asm": [WEIGHTS], "plain": [WORDS], None: []}[embed],
        "is_threaded": is_threaded,
        "version": VERSION,
    }
    return {
        "names.h": render("c/export/names.h.j2", prefix=x.prefix, names=functions),
        f"{x.prefix}.h": render("c/export/model.h.j2", x=x, is_threaded=is_threaded, is_linked=bool(embed) or not size),
        "main.c": render("c/export/main.c.j2", x=x),
        "Makefile": render("c/export/Makefile.j2", **holes),
        "CMakeLists.txt": render("c/export/CMakeLists.txt.j2", **holes),
        f"{x.prefix}.pc": render("c/export/model.pc.j2", **holes),
    }


def _write_weights(program: Program, path: Path) -> int:
    """Writes the file of the weights, unless there are none; returns its size."""
    with Writer(path) as writer:
        add_weights(program, writer)
    if not writer.size:
        (path / WEIGHTS).unlink()
    return writer.size


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _write_words(weights: Path, path: Path) -> None:
    """Writes the bytes of a file, and zeros up to a multiple of 8, as the elements of an array of 64-bit numbers."""
    with open(weights, "rb") as file, open(path, "w", encoding="ascii") as out:
        while block := file.read(8 * _AT_ONCE):
            words = np.frombuffer(block + bytes(-len(block) % 8), "<u8").tolist()
            out.writelines(", ".join(map(hex, words[i : i + 8])) + ",\n" for i in range(0, len(words), 8))
