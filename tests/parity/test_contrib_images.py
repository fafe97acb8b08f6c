"""onnxruntime's own operators on images: pooling, crops, samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from .nodes import Array, assert_same, model, ours, theirs

RNG = np.random.default_rng(0)
Case = tuple[str, list[Any], dict[str, Any]]


def f(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def images(*shape: int, dtype: Any = np.uint8) -> Array:
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max, shape, endpoint=True).astype(dtype)


def longs(*values: int, dtype: Any = np.int64) -> Array:
    return np.array(values, dtype)


BOXES = np.float32([[0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9], [-0.5, 0.3, 1.2, 0.4], [0.9, 0.8, 0.1, 0.2]])
IMAGES = longs(0, 1, 1, 0, dtype=np.int32)
GRID = np.float32(RNG.uniform(-1.4, 1.4, (2, 4, 3, 2)))
CASES: list[Case] = [
    *(("NhwcMaxPool", [images(*shape, dtype=t)], attrs) for t in (np.uint8, np.int8) for shape, attrs in (
        ((2, 7, 3), {"kernel_shape": [3]}),
        ((1, 9, 8, 5), {"kernel_shape": [3, 2], "strides": [2, 3], "pads": [1, 0, 2, 1]}),
        ((1, 9, 8, 5), {"kernel_shape": [3, 2], "strides": [2, 3], "ceil_mode": 1, "dilations": [2, 1]}),
        ((1, 9, 8, 5), {"kernel_shape": [3, 2], "strides": [2, 3], "auto_pad": "SAME_LOWER"}),
        ((1, 5, 6, 4, 2), {"kernel_shape": [2, 3, 2], "auto_pad": "VALID"}),
    )),
    *(("GridSample", [f(2, 3, 5, 6), GRID], {"mode": mode, "padding_mode": padding, "align_corners": aligned})
      for mode in ("bilinear", "nearest", "bicubic") for padding in ("zeros", "border", "reflection")
      for aligned in (0, 1)),
    ("GridSample", [f(2, 3, 5, 6), GRID], {}),
    ("MaxpoolWithMask", [f(1, 1, 6), longs(1, 1, 0, 1, 1, 1, dtype=np.int32).reshape(1, 1, 6)], {"kernel_shape": [3]}),
    ("MaxpoolWithMask", [f(1, 1, 5, 6), (RNG.random((1, 1, 5, 6)) > 0.2).astype(np.int32)],
     {"kernel_shape": [2, 3], "pads": [1, 1, 0, 0]}),
    ("UnfoldTensor", [f(3, 9)], {"size": 4, "step": 2}),
    ("UnfoldTensor", [f(3, 9, 2)], {"size": 3, "dim": 1}),
    ("UnfoldTensor", [longs(*range(12)).reshape(6, 2)], {"size": 6, "dim": -2}),
    ("ConvTransposeWithDynamicPads", [f(1, 2, 4, 5), f(2, 3, 3, 2), longs(1, 0, 2, 1), f(3)], {"strides": [2, 3]}),
    ("ConvTransposeWithDynamicPads", [f(1, 2, 4), f(2, 3, 3), longs(0, 2)], {"dilations": [2]}),
    *(("CropAndResize", [f(2, 3, 5, 7), BOXES, IMAGES, longs(*size, dtype=np.int32)], {"mode": mode, **more})
      for size in ((3, 4), (1, 5), (2, 1)) for mode, more in (
        ("bilinear", {}), ("nearest", {}), ("bilinear", {"extrapolation_value": 7.5}),
    )),
    ("CropAndResize", [f(2, 3, 5, 7), f(0, 4), longs(dtype=np.int32), longs(2, 2, dtype=np.int32)], {}),
]  # fmt: skip


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_same_as_onnxruntime(case: Case, symbolic: bool) -> None:
    op, inputs, attrs = case
    fixed = (1,) if op == "ConvTransposeWithDynamicPads" else ()
    data, feeds = model(op, inputs, attrs, domain="com.microsoft", fixed=fixed, symbolic=symbolic)
    assert_same(ours(data, feeds), theirs(data, feeds), rtol=1e-4, atol=1e-5)


def test_size_of_a_crop_is_data_of_another_node() -> None:
    x, size = f(1, 2, 5, 7), longs(4, 3, dtype=np.int32)
    data, feeds = model("CropAndResize", [x, BOXES[:2], IMAGES[:1].repeat(2), size], {}, domain="com.microsoft")
    assert_same(ours(data, feeds, compiled=True), theirs(data, feeds), rtol=1e-4, atol=1e-5)


REFUSED: list[Case] = [
    ("NhwcMaxPool", [images(1, 9, 8, 5)], {"kernel_shape": [3]}),
    ("CropAndResize", [f(2, 3, 5, 7), BOXES, longs(0, 1, 2, 0, dtype=np.int32), longs(2, 2, dtype=np.int32)], {}),
    ("CropAndResize", [f(2, 3, 5, 7), BOXES, longs(0, 1, -1, 0, dtype=np.int32), longs(2, 2, dtype=np.int32)], {}),
    ("CropAndResize", [f(2, 3, 5, 7), BOXES, IMAGES, longs(2, 0, dtype=np.int32)], {}),
    ("CropAndResize", [f(2, 3, 5, 7), BOXES[:3], IMAGES, longs(2, 2, dtype=np.int32)], {}),
    ("MaxpoolWithMask", [f(1, 1, 5, 6), np.ones((1, 1, 4, 6), np.int32)], {"kernel_shape": [2, 3]}),
    ("ConvTransposeWithDynamicPads", [f(1, 2, 4, 5), f(2, 3, 3, 2), longs(1, 0, 2)], {}),
    ("UnfoldTensor", [f(3, 9)], {"size": 10}),
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case[0])
def test_refused_as_by_onnxruntime(case: Case) -> None:
    op, inputs, attrs = case
    data, feeds = model(op, inputs, attrs, domain="com.microsoft", symbolic=True)
    made, wanted = ours(data, feeds, compiled=True), theirs(data, feeds)
    assert isinstance(made, str), made
    assert isinstance(wanted, str), wanted
