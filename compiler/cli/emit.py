"""`intaglio compile --emit c | so`: a model for programs in C, which need neither Python nor Intaglio to run it.

In: a compilation up to its C sources. Out: a folder, with sources (compiler/export/folder.py) or with a library
(compiler/export/library.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...runtime.store import cache
from ..driver import Compilation
from ..export import folder, library
from ..export.folder import Embedding

KINDS = ("c", "so")


@dataclass(frozen=True)
class Wanted:
    """kind: of KINDS; path: of the folder; embed, is_threaded: see folder.write."""

    kind: str
    path: Path
    embed: Embedding | None
    is_threaded: bool


def write(unit: Compilation, wanted: Wanted, stem: str, progress: Callable[..., None]) -> None:
    """Writes what is wanted of a model that is called `stem`. Raises as folder.write and library.write."""
    if wanted.kind == "c":
        folder.write(unit, wanted.path, stem, wanted.embed, wanted.is_threaded)
        return

    def report(done: int, total: int) -> None:
        progress("build", done, total)

    with cache.workspace() as sources:
        objects = cache.objects(sources)
        how = wanted.embed, wanted.is_threaded
        library.write(unit, wanted.path, stem, *how, sources, objects, report)
