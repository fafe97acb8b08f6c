"""Resize and Upsample compute what onnxruntime computes, in all modes, for all ways in which sizes are given.

Where onnxruntime and ONNX's reference differ, ONNX's decides; these are left out here, each with its reason.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

import intaglio
from intaglio.runtime import errors
from parity.cases import CONSTANT, FIXED, SYMBOLIC, Case, difference, onnxruntimes, ours, references

Array = np.ndarray[Any, Any]
POSITIONS = ["half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners", "half_pixel_symmetric"]
ROUNDINGS = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
SCALES = [0.3, 1 / 3, 0.5, 0.6, 0.7, 1.0, 1.3, 1.5, 2.0, 2.5, 2.7, 4.0]


def image(rng: random.Random, dtype: Any, shape: tuple[int, ...]) -> Array:
    numbers = np.random.default_rng(rng.randrange(1 << 32))
    if np.dtype(dtype).kind == "f":
        return numbers.standard_normal(shape).astype(dtype)
    info = np.iinfo(dtype) if np.dtype(dtype).itemsize == 1 else np.iinfo(np.int16)
    return numbers.integers(info.min, info.max + 1, shape).astype(dtype)


def case(rng: random.Random) -> Case:
    opset = rng.choice([11, 13, 18, 19])
    mode = rng.choice(["nearest", "linear", "cubic"])
    positions = [p for p in POSITIONS if opset >= 19 or p != "half_pixel_symmetric"]
    attrs: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": rng.choice(positions)}
    dtype = np.float32 if mode == "cubic" else rng.choice([np.float32, np.uint8, np.int8, np.int32])
    x = image(rng, dtype, (1, 2, rng.randint(1, 8), rng.randint(1, 8)))
    # onnxruntime clips int8 to what uint8 holds.
    antialias = opset >= 18 and mode != "nearest" and dtype != np.int8 and rng.random() < 0.5
    if antialias:
        attrs["antialias"] = 1
    if mode == "nearest":
        attrs["nearest_mode"] = rng.choice(ROUNDINGS)
    elif mode == "cubic":
        attrs["cubic_coeff_a"] = rng.choice([-0.75, -0.5])
    if (mode == "cubic" or antialias) and rng.random() < 0.4:
        attrs["exclude_outside"] = 1
    axes = opset >= 18 and rng.random() < 0.5
    if axes:
        attrs["axes"] = [2, 3]
    # By scales, onnxruntime aligns corners of the rounded size, and ONNX's tests those of the size before that.
    aligned = attrs["coordinate_transformation_mode"] == "align_corners"
    by_scales = not aligned and rng.random() < 0.5
    # onnxruntime copies along an axis whose size stays, whatever the scale is.
    chosen = [rng.choice([s for s in SCALES if s == 1 or int(np.float32(s) * d) != d]) for d in x.shape[2:]]
    factors = np.array([1, 1, *chosen], np.float32)[2 if axes else 0 :]
    sizes = np.array([1, 2, rng.randint(1, 13), rng.randint(1, 13)])[2 if axes else 0 :]
    if axes and not by_scales and not aligned and rng.random() < 0.6:
        attrs["keep_aspect_ratio_policy"] = rng.choice(["not_larger", "not_smaller"])
    none = np.array([], np.float32) if opset < 13 else None
    given = [x, none, factors] if by_scales else [x, none, none, sizes]
    other = rng.choice([CONSTANT, FIXED])
    return Case("Resize", given, attrs, opset, [rng.choice([FIXED, SYMBOLIC]), CONSTANT, *[other] * 2])


@pytest.mark.parametrize("seed", range(4))
def test_random_configurations(seed: int) -> None:
    rng = random.Random(seed)
    compared = 0
    for _ in range(50):
        each = case(rng)
        wanted = onnxruntimes(each)
        if isinstance(wanted, str):  # e.g. an output without elements
            continue
        compared += 1
        made = ours(each)
        if each.inputs[0].dtype.kind in "iu" and not isinstance(made, str):  # type: ignore[union-attr]
            # A fraction is cut off: sums that are whole but for their last bit may be one apart.
            assert made[0].shape == wanted[0].shape, str(each)
            apart = np.abs(made[0].astype(np.int64) - wanted[0].astype(np.int64))
            assert apart.max(initial=0) <= 1 and (apart != 0).sum() <= 0.1 * apart.size, str(each)
        else:
            assert not difference(made, wanted, 1e-3), f"{each}: {difference(made, wanted, 1e-3)}"
    assert compared >= 30


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("by_scales", [False, True])
def test_every_nearest_element_is_the_same(position: str, rounding: str, by_scales: bool) -> None:
    """Positions between two elements are decided by the last bits."""
    if by_scales and position == "align_corners":
        pytest.skip("ONNX's tests differ from onnxruntime")
    attrs = {"mode": "nearest", "coordinate_transformation_mode": position, "nearest_mode": rounding}
    for size in (3, 7, 10, 13, 20):
        x = np.arange(size, dtype=np.float32)
        targets = SCALES[:8] if by_scales else [2, 3, 6, 9, 14, 19, 26, 31]
        for target in targets:
            if by_scales and int(np.float32(target) * np.float32(size)) == size:
                continue  # copied by onnxruntime
            to = np.array([target], np.float32 if by_scales else np.int64)
            given = [x, None, to] if by_scales else [x, None, None, to]
            each = Case("Resize", given, attrs, 19, [FIXED, *[CONSTANT] * 3])
            wanted = onnxruntimes(each)
            assert not difference(ours(each), wanted), f"{each}: {difference(ours(each), wanted)}"


@pytest.mark.parametrize("kind", [CONSTANT, FIXED])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("roi", [None, [0, 0, 0.2, 0.1, 1, 1, 0.8, 0.9], [0, 0, -0.2, 0.1, 1, 1, 1.3, 0.9]])
def test_crop_and_resize(mode: str, roi: list[float] | None, kind: str) -> None:
    x = image(random.Random(7), np.float32, (1, 2, 5, 6))
    part = None if roi is None else np.array(roi, np.float32)
    attrs = {"mode": mode, "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 2.5}
    for sizes in ([1, 2, 7, 4], [1, 2, 1, 9], [1, 2, 3, 1]):
        each = Case("Resize", [x, part, None, np.array(sizes)], attrs, 13, [FIXED, kind, kind, kind])
        assert not difference(ours(each), onnxruntimes(each)), str(each)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int32])
@pytest.mark.parametrize("kind", [CONSTANT, FIXED])
def test_before_opset_11(mode: str, dtype: Any, kind: str) -> None:
    x = image(random.Random(8), dtype, (1, 2, 4, 8))
    for scales in ([1, 1, 2, 4], [1, 1, 1, 1.5], [1, 1, 0.5, 0.75]):
        given = [x, np.array(scales, np.float32)]
        each = Case("Resize", given, {"mode": mode}, 10, [SYMBOLIC, kind])
        assert not difference(ours(each), onnxruntimes(each)), str(each)
        if min(scales) >= 1:
            assert not difference(ours(each), ours(Case("Upsample", given, {"mode": mode}, 9, [SYMBOLIC, kind])))
            plain = Case("Upsample", [x], {"mode": mode, "scales": [float(s) for s in scales]}, 7)
            assert not difference(ours(each), ours(plain))


def test_antialias_by_scales_that_are_not_constant() -> None:
    """What is compiled serves every scale."""
    x = image(random.Random(9), np.float32, (1, 1, 9, 12))
    for mode in ("linear", "cubic"):
        for scales in ([1, 1, 0.3, 0.5], [1, 1, 1.0, 0.21], [1, 1, 1.5, 0.9]):
            each = Case("Resize", [x, None, np.array(scales, np.float32)], {"mode": mode, "antialias": 1}, 19)
            wanted = onnxruntimes(each)
            assert not difference(ours(each), wanted), f"{each}: {difference(ours(each), wanted)}"


def test_the_reference_agrees_where_onnxruntime_refuses() -> None:
    """Cubic on integers and f64, linear over any axes."""
    x = image(random.Random(10), np.float64, (3, 4, 2, 5))
    for mode in ("linear", "cubic"):
        each = Case("Resize", [x, None, None, np.array([2, 7, 3, 5])], {"mode": mode}, 19, [SYMBOLIC, *[CONSTANT] * 3])
        assert not difference(ours(each), references(each)), str(each)


@pytest.mark.parametrize("kind", [CONSTANT, FIXED])
@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan])
def test_scales_that_are_none(scale: float, kind: str) -> None:
    given = [np.ones((2, 3), np.float32), None, np.array([1, scale], np.float32)]
    each = Case("Resize", given, opset=19, kinds=[FIXED, kind, kind])
    assert isinstance(onnxruntimes(each), str)
    with pytest.raises((errors.Fail, errors.InvalidArgument)):
        intaglio.InferenceSession(each.model().SerializeToString()).run(None, each.feeds())
