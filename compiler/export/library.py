"""A shared library that programs in C link, instead of a folder of sources.

In: a compilation up to its C sources. Out: a folder with the library, its header, a file for pkg-config, and the
weights unless they are linked in. The library is what the sources of folder.py make; it exports the functions of its
header alone.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from ...runtime.store.artifact import WEIGHTS
from ..codegen.c import toolchain
from ..codegen.c.build import Source, library
from ..driver import Compilation
from ..target import ensure_buildable
from . import folder
from .folder import Embedding

Progress = Callable[[int, int], None]


def write(
    unit: Compilation,
    path: Path,
    stem: str,
    embed: Embedding | None,
    is_threaded: bool,
    workspace: Path,
    objects: Path,
    progress: Progress,
) -> None:
    """Writes the folder `path`, which is created if necessary. workspace: an empty folder for the sources; objects:
    that of the object cache. Raises as `folder.write` and `build.library`, and InvalidArgument for a CPU of another
    architecture."""
    ensure_buildable(unit.target)
    sources = folder.write(unit, workspace, stem, embed, is_threaded)
    prefix = sources.interface.prefix
    path.mkdir(parents=True, exist_ok=True)
    files = [Source(Path(name).stem, (workspace / name).read_text()) for name in sources.names]
    output = path / f"lib{prefix}.{'dylib' if sys.platform == 'darwin' else 'so'}"
    library(files, output, toolchain.find(objects), unit.target, objects, progress, workspace)
    for name in (f"{prefix}.h", f"{prefix}.pc", *([] if embed else [WEIGHTS])):
        if (workspace / name).exists():
            shutil.copyfile(workspace / name, path / name)
