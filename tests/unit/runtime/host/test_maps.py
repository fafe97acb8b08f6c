"""Functions of maps."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.runtime.host import maps


def test_zip_map() -> None:
    rows = np.array([[0.5, 1], [2, 3]], np.float32)
    assert maps.zip_map(rows, labels=["a", "b"]) == [{"a": 0.5, "b": 1.0}, {"a": 2.0, "b": 3.0}]
    assert maps.zip_map(rows[0], labels=[7, 8]) == [{7: 0.5, 8: 1.0}]
    assert maps.zip_map(rows[:0], labels=[7, 8]) == []


def test_casts_of_maps() -> None:
    fed = {2: "1.5", 0: "3"}
    assert maps.cast_map(fed, dtype="float32").tolist() == [[3.0, 1.5]]
    assert maps.cast_map(fed, dtype="int64", length=4, default=0).tolist() == [[3, 0, 1, 0]]
    with pytest.raises(ValueError, match="Negative"):
        maps.cast_map({-1: 2.0}, dtype="float32")
