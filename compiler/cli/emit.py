"""`intaglio compile --emit c`: the complete generated C, to be read, or built by hand.

In: a compilation and its artifact. Out: a folder with program.c, a file for each kernel, the thread pool, the headers,
weights.bin, manifest.json, and build.sh, which builds model.so.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

from ...runtime.store.artifact import MANIFEST, WEIGHTS
from ..codegen.c.build import TEMPLATES
from ..codegen.c.toolchain import Toolchain
from ..driver import Compilation
from ..target import Target

_HEAD = """#!/bin/sh
# Makes model.so; its functions are described in runtime_abi.h, its inputs and outputs in manifest.json.
set -e
cd "$(dirname "$0")"
"""


def write_c(unit: Compilation, artifact: Path, folder: Path) -> None:
    """Writes the sources into `folder`, which is created if necessary. Raises OSError."""
    assert unit.sources
    folder.mkdir(parents=True, exist_ok=True)
    for source in unit.sources.files:
        (folder / f"{source.name}.c").write_text(source.text)
    for path in [TEMPLATES / "pool.c", *TEMPLATES.glob("*.h"), artifact / WEIGHTS, artifact / MANIFEST]:
        if path.exists():
            shutil.copy(path, folder)
    script = folder / "build.sh"
    script.write_text(_HEAD + _commands(["pool", *(s.name for s in unit.sources.files)], unit.target))
    script.chmod(0o755)


def _commands(names: Sequence[str], target: Target) -> str:
    """The commands of the build stage, with $CC as the C compiler."""
    compiler = Toolchain("cc", ("cc",), "")
    flags = compiler.compile_flags(target.flags)
    commands = [compiler.compile(Path(f"{n}.c"), Path(f"{n}.o"), flags, Path(".")) for n in names]
    commands.append(compiler.link([Path(f"{n}.o") for n in names], Path("model.so")))
    return "".join(f'"${{CC:-cc}}" {shlex.join(command[1:])}\n' for command in commands)
