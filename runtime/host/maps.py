"""Maps from strings or integers to numbers or strings, as dicts."""

from __future__ import annotations

from typing import Any

import numpy as np

from .registry import function

Array = np.ndarray[Any, Any]


@function("ZipMap")
def zip_map(rows: Array, *, labels: list[Any]) -> list[dict[Any, Any]]:
    """Each row, [N, labels] or [labels], as a map from the labels."""
    return [dict(zip(labels, row)) for row in rows.reshape(-1, len(labels)).tolist()]


@function("DictVectorizer")
def dict_vectorizer(map: dict[Any, Any], *, vocabulary: list[Any], default: Any, dtype: str) -> Array:
    """[1, vocabulary]: the values of these keys."""
    return np.array([[map.get(key, default) for key in vocabulary]], dtype)


@function("CastMap")
def cast_map(map: dict[int, Any], *, dtype: str, length: int | None = None, default: Any = None) -> Array:
    """[1, n]: the values in the order of the keys. length: n; the keys are positions then, of which others have the
    `default`."""
    values = {key: _cast(value, dtype) for key, value in sorted(map.items())}
    if any(key < 0 for key in values):
        raise ValueError("Negative index values are not permitted")
    row = [*values.values()] if length is None else [values.get(key, default) for key in range(length)]
    return np.array([row], dtype)


def _cast(value: Any, dtype: str) -> Any:
    if dtype == "object":
        return value if isinstance(value, str) else f"{value:.6f}"
    return float(value) if dtype == "float32" else int(float(value))
