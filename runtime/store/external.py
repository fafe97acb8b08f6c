"""Where the files beside a model may lie that hold its weights. A model is untrusted: it reads nothing else."""

from __future__ import annotations

import os


def homes(folder: str, model: str | None) -> list[str]:
    """Real folders: that of the data, and that of a model which is a symlink (a content store keeps models and their
    data side by side, and hands out links). model: its path, where the data lies beside it."""
    found = [os.path.realpath(folder)]
    return found if model is None else [*found, os.path.dirname(os.path.realpath(model))]


def is_within(path: str, homes: list[str]) -> bool:
    """Whether a file really lies below one of the folders."""
    real = os.path.realpath(path)
    return any(real == home or real.startswith(os.path.join(home, "")) for home in homes)
