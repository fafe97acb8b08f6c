"""What "the same results" means: of arrays, of words, of the maps that classifiers give, and of what programs print.

Numbers agree where |a - b| <= 1e-4 + 1e-3 |b|, as in the other tests of whole models: both engines sum float32 in an
order of their own. Everything else is the same exactly.

A model that quantises what it computes, when it runs, makes a whole step of 1/255 of a difference in the last bit, and
carries it on: onnxruntime's own results change as much where an input is scaled by 1.0000001, or where it has two
threads instead of one. There the norm of the difference has to be below 3 % of the norm of the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

RTOL, ATOL = 1e-3, 1e-4
ROUNDED = 0.03


def difference(got: Sequence[Any], expected: Sequence[Any], rounds: bool = False) -> str:
    """Empty where the outputs of two engines are the same, else where they are not. rounds: of such a model."""
    if len(got) != len(expected):
        return f"{len(got)} outputs instead of {len(expected)}"
    found = (_output(a, b, rounds) for a, b in zip(got, expected))
    return "; ".join(f"output {i}: {text}" for i, text in enumerate(found) if text)


def _output(a: Any, b: Any, rounds: bool) -> str:
    if isinstance(b, list):  # maps of a ZipMap, tensors of a sequence
        if not isinstance(a, list) or len(a) != len(b):
            return f"{type(a).__name__} instead of a list of {len(b)}"
        if b and isinstance(b[0], dict):
            if [list(each) for each in a] != [list(each) for each in b]:
                return "the maps have other keys"
            a, b = (np.array([list(each.values()) for each in maps]) for maps in (a, b))
        else:
            return next(filter(None, (_output(x, y, rounds) for x, y in zip(a, b))), "")
    if a.shape != b.shape or a.dtype != b.dtype:
        return f"{a.dtype}{list(a.shape)} instead of {b.dtype}{list(b.shape)}"
    if b.dtype.kind != "f":
        return f"{np.mean(a != b):.2%} of the elements differ" if (a != b).any() else ""
    a, b = a.astype(np.float64), b.astype(np.float64)
    wrong = ~np.isclose(a, b, RTOL, ATOL, equal_nan=True)
    if not wrong.any() or (rounds and np.linalg.norm(a - b) <= ROUNDED * np.linalg.norm(b)):
        return ""
    worst = np.abs(a - b)[wrong].max()
    return f"{wrong.mean():.2%} of the elements differ, by up to {worst:.3g}"


def unlike(a: Any, b: Any, where: str = "") -> str:
    """The first place where what two programs found differs, of JSON; empty where nothing does."""
    if isinstance(a, float) or isinstance(b, float):
        return "" if np.isclose(a, b, RTOL, ATOL, equal_nan=True) else f"{where}: {a} instead of {b}"
    if type(a) is not type(b) or (isinstance(a, (list, dict)) and len(a) != len(b)):
        return f"{where}: {str(a)[:200]} instead of {str(b)[:200]}"
    if isinstance(a, dict):
        return next(filter(None, (unlike(a.get(key), b[key], f"{where}.{key}") for key in b)), "")
    if isinstance(a, list):
        return next(filter(None, (unlike(x, y, f"{where}[{i}]") for i, (x, y) in enumerate(zip(a, b)))), "")
    return "" if a == b else f"{where}: {a!r} instead of {b!r}"
