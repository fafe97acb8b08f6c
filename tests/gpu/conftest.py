"""Tests that need a GPU: `python -m pytest tests/gpu`. Elsewhere they are skipped, and say so."""

from __future__ import annotations

import pytest

from intaglio.runtime.device import cuda
from intaglio.runtime.errors import Status


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    try:
        found = cuda.names()
    except Status as error:
        found, reason = [], error.text
    else:
        reason = "there is no GPU"
    for item in items:
        if "tests/gpu" in str(item.path):
            item.add_marker(pytest.mark.gpu)
            if not found:
                item.add_marker(pytest.mark.skip(reason=reason))
