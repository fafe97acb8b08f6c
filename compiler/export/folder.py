"""C by itself: a folder that a C compiler alone makes a library of.

In: a compilation up to its C sources. Out: the folder: the model's header and functions, its program and kernels, what
both need of templates/c, an example, and files for make, CMake and pkg-config. Weights are a file beside the sources,
which the program reads; or they are linked in. Nothing runs a C compiler here, so the target may be any.
"""

from __future__ import annotations

import hashlib
import shutil
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
from ..package.manifest import add_weights
from ..package.writer import Writer
from .interface import Interface, interface

Embedding = Literal["asm", "plain"]
_WORDS = 1 << 16  # elements of weights.inc that are printed at once


@dataclass(frozen=True)
class Folder:
    """A folder that was written: the interface, and the names of its C files without the example."""

    interface: Interface
    names: tuple[str, ...]


def write(
    unit: Compilation, path: Path, stem: str, embed: Embedding | None = None, is_threaded: bool = True
) -> Folder:
    """Writes the folder `path`, which is created if necessary, for a model that is called `stem`.

    embed: how weights are linked in, by the assembler or as an array; None: they are a file. is_threaded: whether there
    can be more threads than the caller's. Raises NotImplemented, InvalidArgument and OSError."""
    assert unit.model and unit.program and unit.sources
    x = interface(unit.model, unit.program, stem)
    path.mkdir(parents=True, exist_ok=True)
    with Writer(path) as writer:
        add_weights(unit.program, writer)
    size = writer.size
    if not size:
        (path / WEIGHTS).unlink()
        embed = None
    data = [WEIGHTS] if embed == "asm" else ["weights.inc"] if embed else []
    texts = {f"{s.name}.c": s.text for s in unit.sources.files}
    names = [s.name for s in unit.sources.files if s.name != "program"]
    names += [f"intaglio_sizes{region}" for region in range(len(unit.program.bound()) + 1)]
    own = ["standalone", *(["threads"] if is_threaded else ["alone"]), *([] if embed else ["weights_file"])]
    for file in [TEMPLATES / "walker.c", *([TEMPLATES / "pool.c"] if is_threaded else [])]:
        texts[file.name] = file.read_text()
    for file in (TEMPLATES / "export" / f"{name}.c" for name in own):
        texts[file.name] = file.read_text()
    texts["api.c"] = render("c/export/api.c.j2", x=x, weights_bytes=size)
    if embed:
        digest = _digest(path / WEIGHTS)
        holes = {"symbol": f"{x.prefix}_weights", "digest": digest, "plain": embed == "plain"}
        texts["weights_linked.c"] = render("c/export/weights_linked.c.j2", **holes)
    if embed == "plain":
        _write_words(path / WEIGHTS, path / "weights.inc")
        (path / WEIGHTS).unlink()
    sources = tuple(sorted(texts))
    flags = Toolchain("cc", ("cc",), "").compile_flags(unit.target.flags)
    libraries = ["-lm", *(["-lpthread"] if is_threaded else [])]
    made = {
        **{name: render("c/export/source.c.j2", text=text) for name, text in texts.items()},
        "names.h": render("c/export/names.h.j2", prefix=x.prefix, names=names),
        f"{x.prefix}.h": render("c/export/model.h.j2", x=x, is_threaded=is_threaded, is_linked=bool(embed) or not size),
        "main.c": render("c/export/main.c.j2", x=x),
    }
    rest = {"prefix": x.prefix, "sources": sources, "flags": flags, "libraries": libraries, "data": data}
    made["Makefile"] = render("c/export/Makefile.j2", **rest)
    made["CMakeLists.txt"] = render("c/export/CMakeLists.txt.j2", **rest, is_threaded=is_threaded)
    made[f"{x.prefix}.pc"] = render("c/export/model.pc.j2", **rest, version=VERSION)
    for name, text in made.items():
        (path / name).write_text(text, encoding="utf-8")
    for file in [*TEMPLATES.glob("*.h"), *(TEMPLATES / "export").glob("*.h")]:
        shutil.copyfile(file, path / file.name)
    return Folder(x, sources)


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _write_words(weights: Path, path: Path) -> None:
    """Writes the bytes of a file, and zeros up to a multiple of 8, as the elements of an array of 64-bit numbers."""
    with open(weights, "rb") as file, open(path, "w", encoding="ascii") as out:
        while block := file.read(8 * _WORDS):
            words = np.frombuffer(block + bytes(-len(block) % 8), "<u8").tolist()
            out.writelines(", ".join(map(hex, words[i : i + 8])) + ",\n" for i in range(0, len(words), 8))
