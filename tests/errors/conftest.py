"""Fixtures: hand-written artifacts, whose errors do not depend on the compiler."""

from __future__ import annotations

from pathlib import Path

import handmade
import pytest


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name of the program -> directory."""
    folder = tmp_path_factory.mktemp("artifacts")
    return {name: handmade.write(name, folder / name, folder / "objects") for name in handmade.MANIFESTS}
