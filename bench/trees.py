"""Another commit's compiler beside this one's, each in processes of its own.

In: a commit, or a source tree. Out: a checkout for as long as it is needed; the environment of a process that imports
the `intaglio` of a source tree instead of the installed one.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """The source tree of a commit. Raises CalledProcessError where git does not know it."""
    with tempfile.TemporaryDirectory(prefix="intaglio-checkout-") as folder:
        tree = Path(folder) / "tree"
        _git("worktree", "add", "--quiet", "--detach", str(tree), commit)
        try:
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


def environment(tree: Path, folder: Path) -> dict[str, str]:
    """Of a process that imports the package of `tree`, by links in `folder` that look like it. Without variables that
    change what is compiled."""
    package = folder / "intaglio"
    package.mkdir(parents=True)
    for part in [*(tree / "intaglio").iterdir(), *(tree / part for part in ("compiler", "runtime", "templates"))]:
        (package / part.name).symlink_to(part)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("INTAGLIO_", "TRITON_"))}
    return kept | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "INTAGLIO_TUNING": os.devnull}


def _git(*arguments: str) -> None:
    subprocess.run(["git", "-C", str(ROOT), *arguments], check=True)
