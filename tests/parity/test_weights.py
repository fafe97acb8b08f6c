"""The quantizers of weights give what onnxruntime's native ones give, to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as theirs

from intaglio.capi import onnxruntime_pybind11_state as ours

SHAPES = [(64, 8, 32), (64, 4, 16), (70, 5, 32), (33, 3, 16), (128, 6, 128), (96, 4, 32)]  # K, N, size of a block


def matrix(rows: int, columns: int, dtype: Any) -> np.ndarray[Any, Any]:
    found = np.random.default_rng(rows * columns).standard_normal((rows, columns)).astype(dtype)
    found[:16, 0] = 0  # a block of nothing
    found[:, 1] = np.abs(found[:, 1])
    return found


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_blocks(shape: tuple[int, int, int], bits: int, dtype: Any, symmetric: bool) -> None:
    rows, columns, size = shape
    blocks, each = -(-rows // size), 8 // bits
    source = np.pad(matrix(rows, columns, dtype), ((0, blocks * size - rows), (0, 0)))
    results = []
    for engine in (theirs, ours):
        codes = np.zeros((columns, blocks, size // each), np.uint8)
        scales = np.zeros((columns, blocks), dtype)
        zeros = np.zeros((columns, -(-blocks // each)), np.uint8)
        getattr(engine, f"quantize_matmul_{bits}bits")(codes, source, scales, zeros, size, columns, rows, symmetric)
        whole = codes.reshape(columns, -1)[:, : rows // each]  # bits of rows that are not there may be anything
        results.append((whole, scales, zeros))
    for a, b in zip(*results):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("shape", [(64, 8, 32), (32, 4, 16), (64, 6, 64), (70, 6, 32)], ids=str)
def test_dequantize_linear(shape: tuple[int, int, int], dtype: Any, symmetric: bool) -> None:
    rows, columns, size = shape
    blocks = -(-rows // size)
    results = []
    for engine in (theirs, ours):
        codes, scales = np.zeros(rows * columns // 2, np.uint8), np.zeros((blocks, columns), dtype)
        zeros = np.zeros((blocks * columns + 1) // 2, np.uint8)
        source = matrix(rows, columns, dtype)
        signed = engine.quantize_qdq_matmul_4bits(codes, source, scales, zeros, size, columns, rows, symmetric)
        results.append((np.array(signed), codes, scales, zeros))
    for a, b in zip(*results):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("shape", [(64, 8, 16), (33, 7, 64), (50, 3, 32), (512, 64, 128)], ids=str)
def test_bnb4(shape: tuple[int, int, int], dtype: Any, kind: int) -> None:
    rows, columns, size = shape
    results = []
    for engine in (theirs, ours):
        codes = np.zeros((rows * columns + 1) // 2, np.uint8)
        largest = np.zeros(-(-rows * columns // size), dtype)
        engine.quantize_matmul_bnb4(codes, matrix(columns, rows, dtype), largest, size, kind, columns, rows)
        results.append((codes, largest))
    for a, b in zip(*results):
        assert np.array_equal(a, b)
