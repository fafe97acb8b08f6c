"""`python -m tests.tour`: runs the commands of docs/tour.md, and writes their outputs into it.

In: the document. A console block holds commands, lines that begin with `$ `, each followed by its output. Out: the
document with the outputs of this source tree. The commands run in order, in one shell, in a folder that holds the files
of its Python blocks.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.documents import BLOCK, FILE, ROOT, environment

TOUR = ROOT / "docs" / "tour.md"
PROMPT = "$ "
_END = "\x1e"  # of a command's output


def refreshed(document: str) -> str:
    """The document with the outputs that its commands have now. Raises CalledProcessError if one of them fails."""
    blocks = BLOCK.findall(document)
    with tempfile.TemporaryDirectory(prefix="intaglio-tour-") as name:
        for language, text in blocks:
            if language == "python" and (file := FILE.match(text)):
                Path(name, file[1]).write_text(text)
        commands = [command for language, text in blocks if language == "console" for command in _commands(text)]
        outputs = iter(_run(commands, Path(name)))

    def block(match: re.Match[str]) -> str:
        if match[1] != "console":
            return match[0]
        lines = (f"{PROMPT}{command}\n{next(outputs)}" for command in _commands(match[2]))
        return f"```console\n{''.join(lines)}```"

    return BLOCK.sub(block, document)


def _commands(text: str) -> list[str]:
    """Those of a console block."""
    return [line.removeprefix(PROMPT) for line in text.splitlines() if line.startswith(PROMPT)]


def _run(commands: Sequence[str], folder: Path) -> list[str]:
    """What each command prints, in whole lines."""
    lines = ["set -euo pipefail", *(f"{command}\nprintf '{_END}'" for command in commands)]
    (folder / "tour.sh").write_text("\n".join(lines))
    kept = ("INTAGLIO_CACHE_DIR", "INTAGLIO_CC", "INTAGLIO_JOBS")
    given = {k: v for k, v in environment().items() if not k.startswith(("INTAGLIO_", "TRITON_")) or k in kept}
    given["INTAGLIO_TUNING"] = os.devnull  # what was measured on this machine is not in the texts
    done = subprocess.run(
        ["bash", "tour.sh"], cwd=folder, env=given | {"LC_ALL": "C"}, check=True, stdout=subprocess.PIPE, text=True
    )
    outputs = done.stdout.split(_END)[:-1]
    return [output if output.endswith("\n") or not output else output + "\n" for output in outputs]


if __name__ == "__main__":
    TOUR.write_text(refreshed(TOUR.read_text()))
