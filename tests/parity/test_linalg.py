"""Determinants and inverses of matrices of any size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from .nodes import Array, assert_same, model, ours, theirs

RNG = np.random.default_rng(0)
SHAPES = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (9, 9), (2, 3, 6, 6), (0, 5, 5), (3, 1, 1)]


def f(shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    return RNG.standard_normal(shape).astype(dtype)


def permuted(size: int) -> Array:
    """A matrix in which each column needs another row as its pivot."""
    return np.eye(size, dtype=np.float32)[RNG.permutation(size)] * np.arange(1, size + 1, dtype=np.float32)


def check(op: str, x: Array, symbolic: bool, compiled: bool = False) -> None:
    domain = "com.microsoft" if op == "Inverse" else ""
    data, feeds = model(op, [x], {}, domain=domain, symbolic=symbolic)
    wanted = theirs(data, feeds)
    assert isinstance(wanted, list), wanted
    assert_same(ours(data, feeds, compiled), wanted, *((5e-2, 5e-2) if x.dtype == np.float16 else (1e-3, 1e-4)))


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("op, dtype", [("Det", np.float32), ("Inverse", np.float32), ("Inverse", np.float64)])
@pytest.mark.parametrize("shape", SHAPES)
def test_same_as_onnxruntime(op: str, shape: tuple[int, ...], dtype: Any, symbolic: bool) -> None:
    check(op, f(shape, dtype), symbolic)


@pytest.mark.parametrize("op", ["Det", "Inverse"])
def test_pivots(op: str) -> None:
    check(op, np.stack([permuted(7) for _ in range(5)]), symbolic=False)
    check(op, permuted(7), symbolic=True, compiled=True)


def test_singular_matrices() -> None:
    x = f((6, 6))
    x[3] = 0
    check("Det", x, symbolic=False)
    check("Det", np.zeros((5, 5), np.float32), symbolic=True)


def test_half_precision() -> None:
    check("Inverse", np.float16([[4, 7], [2, 6]]), symbolic=False)


@pytest.mark.parametrize("shape", [(3,), (), (2, 3)])
@pytest.mark.parametrize("op", ["Det", "Inverse"])
def test_what_is_no_square_matrix(op: str, shape: tuple[int, ...]) -> None:
    domain = "com.microsoft" if op == "Inverse" else ""
    data, feeds = model(op, [f(shape)], {}, domain=domain, symbolic=True)
    made = ours(data, feeds, compiled=True)
    assert isinstance(made, str), made
