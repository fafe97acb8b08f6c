"""onnxruntime's own operators on weights that are quantised in blocks."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from .nodes import Array, assert_same, model, ours, theirs

RNG = np.random.default_rng(0)
Case = tuple[str, list[Any], dict[str, Any]]


def f(*shape: int, dtype: Any = np.float32) -> Array:
    return RNG.standard_normal(shape).astype(dtype)


def u8(*shape: int) -> Array:
    return RNG.integers(0, 256, shape).astype(np.uint8)


def ints(*shape: int, below: int, dtype: Any = np.int32) -> Array:
    return RNG.integers(0, below, shape).astype(dtype)


def nbits(bits: int, inner: int, zeros: Any = None, dtype: Any = np.float32, **more: Any) -> Case:
    """A product with weights of `bits` [5, inner] in blocks of 16."""
    blocks = -(-inner // 16)
    b, scales = u8(5, blocks, 2 * bits), f(5 * blocks, dtype=dtype)
    groups = more.pop("groups", None)
    inputs = [f(3, inner, dtype=dtype), b, scales, zeros, groups, *more.pop("bias", [])]
    while inputs[-1] is None:
        inputs.pop()
    return "MatMulNBits", inputs, {"K": inner, "N": 5, "bits": bits, "block_size": 16, **more}


INDICES = np.array([[0, 3, -1], [2, -4, 1]])
CASES: list[Case] = [
    nbits(2, 40), nbits(4, 40), nbits(8, 40), nbits(2, 40, u8(5)), nbits(4, 40, u8(10)), nbits(8, 32, u8(10)),
    nbits(4, 48, f(5, 3)), nbits(4, 40, bias=[f(5)]), nbits(4, 40, u8(10), np.float16), nbits(4, 32, dtype=np.float16),
    nbits(4, 64, groups=ints(64, below=4)),
    nbits(4, 32, accuracy_level=1),
    *(("MatMulBnb4", [f(2, 3, 24), u8(n * 12), np.abs(f(-(-n * 24 // block)))],
       {"K": 24, "N": n, "quant_type": kind, "block_size": block})
      for n, block in ((5, 16), (3, 32)) for kind in (0, 1)),
    *(("GatherBlockQuantized", [u8(4, 6 * bits), INDICES.astype(t), f(4, 3, dtype=dtype), *zeros],
       {"bits": bits, "block_size": 16})
      for bits, t, dtype, zeros in (
        (2, np.int32, np.float32, []), (4, np.int64, np.float16, []), (8, np.int64, np.float32, []),
        (2, np.int64, np.float32, [u8(4, 1)]), (4, np.int32, np.float16, [u8(4, 2)]),
        (8, np.int32, np.float32, [u8(4, 3)]),
    )),
    ("GatherBlockQuantized", [u8(4, 3, 8), np.array(2), f(4, 3, 1)], {"block_size": 16, "quantize_axis": 2}),
    ("GatherBlockQuantized", [u8(4, 8), np.array([9, 1, -5]), f(4, 1)], {"block_size": 16, "quantize_axis": -1}),
    *(("GatherBlockQuantized",
       [ints(3, 20, 4, below=8).astype(t), ints(2, 2, below=3), f(*shape), *([ints(*shape, below=8).astype(t)] * zero)],
       {"block_size": 16, "quantize_axis": axis, "gather_axis": at})
      for t in (ml_dtypes.uint4, ml_dtypes.int4) for zero in (0, 1) for axis, shape in ((1, (3, 2, 4)), (2, (3, 20, 1)))
      for at in (0, 1, 2)),
    *(("GatherBlockQuantized", [f(3, 20, 4).astype(t), ints(2, 2, below=3), f(*shape)],
       {"block_size": block, "quantize_axis": 1, "gather_axis": at})
      for t in (ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2) for at in (0, 1, 2)
      for block, shape in ((16, (3, 2, 4)), (0, (3, 1, 4)), (16, (1, 2, 1)), (0, (1, 1, 1)))),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_same_as_onnxruntime(case: Case) -> None:
    op, inputs, attrs = case
    fixed = (0, 3) if op == "GatherBlockQuantized" else range(1, len(inputs))
    data, feeds = model(op, inputs, attrs, domain="com.microsoft", fixed=fixed)
    narrow = inputs[2].dtype == np.float16
    assert_same(ours(data, feeds), theirs(data, feeds), *((1e-2, 1e-2) if narrow else (1e-4, 1e-5)))


def test_sizes_that_are_known_when_the_model_runs() -> None:
    for scales in (f(3, 2, 4), f(1, 2, 1)):
        inputs = [f(3, 20, 4).astype(ml_dtypes.float8_e4m3fn), ints(2, 2, below=3), scales]
        attrs = {"block_size": 16, "quantize_axis": 1}
        data, feeds = model("GatherBlockQuantized", inputs, attrs, domain="com.microsoft", symbolic=True)
        constant, fed = model("GatherBlockQuantized", inputs, attrs, domain="com.microsoft", fixed=(0,))
        assert_same(ours(data, feeds, compiled=True), theirs(constant, fed), 1e-4, 1e-5)
    data, feeds = model("GatherBlockQuantized", [*inputs[:2], f(2, 2, 1)], attrs, domain="com.microsoft", symbolic=True)
    assert isinstance(ours(data, feeds, compiled=True), str)


def test_groups_have_zero_points() -> None:
    """onnxruntime's CPU provider leaves packed zero points out where there is g_idx."""
    a, b, scales, zeros, groups = f(3, 64), u8(5, 4, 8), f(5, 4), u8(5, 2), ints(64, below=4)
    op, _, attrs = nbits(4, 64)
    data, feeds = model(op, [a, b, scales, zeros, groups], attrs, domain="com.microsoft", fixed=range(1, 5))
    weights, zero = (np.stack([v & 15, v >> 4], -1).reshape(5, -1).astype(np.float32) for v in (b, zeros))
    real = (weights - zero[:, groups]) * scales[:, groups]
    assert_same(ours(data, feeds), [a @ real.T], rtol=1e-4, atol=1e-4)


REFUSED: list[Case] = [
    nbits(4, 32, groups=np.int32([0] * 31 + [2])),
    ("MatMulBnb4", [f(3, 24), u8(59), f(8)], {"K": 24, "N": 5, "quant_type": 1, "block_size": 16}),
    ("MatMulBnb4", [f(3, 24), u8(60), f(7)], {"K": 24, "N": 5, "quant_type": 1, "block_size": 16}),
    ("GatherBlockQuantized", [u8(4, 8), np.array([0]), f(4, 2)], {"block_size": 16}),
    ("GatherBlockQuantized", [u8(4, 8), np.array([0]), f(4, 1), u8(4, 2)], {"block_size": 16}),
    ("GatherBlockQuantized", [u8(4, 8), np.array([0]), f(4, 1)], {"block_size": 16, "gather_axis": 1}),
    ("GatherBlockQuantized", [u8(4, 8), np.array([0]), f(4, 1)], {"block_size": 8}),
    ("GatherBlockQuantized", [u8(4, 8), np.array([0]), f(4, 1, dtype=np.float64)], {"block_size": 16}),
    ("GatherBlockQuantized", [u8(4, 8), np.array([0]), f(4, 1), ints(4, 1, below=8)], {"block_size": 16}),
    ("GatherBlockQuantized", [ints(4, 8, below=8), np.array([0]), f(4, 1)], {"block_size": 16}),
    ("GatherBlockQuantized", [u8(4, 8), np.int16([0]), f(4, 1)], {"block_size": 16}),
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case[0])
def test_refused_as_by_onnxruntime(case: Case) -> None:
    op, inputs, attrs = case
    data, feeds = model(op, inputs, attrs, domain="com.microsoft")
    made = ours(data, feeds, compiled=True)
    assert isinstance(made, str), made
    if op != "MatMulNBits":  # there it reads beyond the scales
        assert isinstance(theirs(data, feeds), str)
