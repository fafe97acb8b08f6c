"""Fixtures: the hand-written artifacts, and a cache folder of each test's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import handmade
import pytest

from intaglio.runtime.store import fingerprint


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("objects")


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory, objects: Path) -> dict[str, Path]:
    """Name of the program -> directory."""
    folder = tmp_path_factory.mktemp("artifacts")
    return {name: handmade.write(name, folder / name, objects) for name in handmade.MANIFESTS}


@pytest.fixture
def cache_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "cache"
    monkeypatch.setenv("INTAGLIO_CACHE_DIR", str(root))
    return root


@pytest.fixture
def compiler(tmp_path: Path, objects: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The fake compiler; returns how often it ran."""
    log = tmp_path / "compilations"
    monkeypatch.setattr(fingerprint, "compiler", lambda memory: "fake")
    monkeypatch.setitem(sys.modules, "intaglio.compiler.driver", sys.modules.get("intaglio.compiler.driver"))
    handmade.fake_compiler(log, objects)
    return lambda: len(log.read_text().splitlines()) if log.exists() else 0
