"""All models by name: those of packages that are installed, and those that installed trainers make."""

from __future__ import annotations

import importlib.metadata
from importlib.util import find_spec

from . import published, trained
from .entries import Entry

TRAINERS = ("scikit-learn", "skl2onnx", "onnxmltools", "lightgbm", "xgboost-cpu", "catboost")


def _installed(package: str) -> bool:
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


_entries = published.entries() + (trained.entries() if find_spec("sklearn") and find_spec("skl2onnx") else [])
TABLE: dict[str, Entry] = {entry.name: entry for entry in _entries if _installed(entry.package)}
MISSING = [p for p in dict.fromkeys([*(e.package for e in _entries), *TRAINERS]) if not _installed(p)]
