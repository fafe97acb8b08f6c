"""Convolutions, pools and normalisation by channels: shapes, counts, indices and numbers are onnxruntime's."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from parity.cases import CONSTANT, FIXED, SYMBOLIC, Case, difference, onnxruntimes, ours

Array = np.ndarray[Any, Any]
SINCE = {"AveragePool": (10, 19), "MaxPool": (10, 10), "LpPool": (18, 18)}  # of ceil_mode, of dilations


def normal(rng: random.Random, *shape: int) -> Array:
    return np.random.default_rng(rng.randrange(1 << 32)).standard_normal(shape).astype(np.float32)


def pool(rng: random.Random) -> Case:
    """Kernels that fit into the image: of others onnxruntime makes one window (ONNX: none). SAME without dilation and

    with strides up to the kernel: else it pads by negative amounts, or says that it cannot."""
    op = rng.choice(list(SINCE))
    rank, opset = rng.randint(1, 3), rng.choice([11, 18, 19, 22])
    ceil, dilate = (opset >= since for since in SINCE[op])
    kernel = [rng.randint(1, 3) for _ in range(rank)]
    same = rng.random() < 0.3
    attrs: dict[str, Any] = {"kernel_shape": kernel, "strides": [rng.randint(1, k if same else 3) for k in kernel]}
    dilations = [rng.randint(1, 3) if dilate and not same else 1 for _ in kernel]
    if dilate:
        attrs["dilations"] = dilations
    sizes = [rng.randint((k - 1) * d + 1, 9) for k, d in zip(kernel, dilations)]
    if same:
        attrs["auto_pad"] = rng.choice(["SAME_UPPER", "SAME_LOWER"])
    elif rng.random() < 0.7:
        attrs["pads"] = [rng.randint(0, k - 1) for k in kernel * 2]
    if ceil and not same and rng.random() < 0.5:
        attrs["ceil_mode"] = 1
    x = normal(rng, 2, 2, *sizes)
    outputs = 1
    if op == "AveragePool":
        attrs["count_include_pad"] = rng.randint(0, 1)
    elif op == "LpPool":
        attrs["p"] = rng.randint(1, 3)
    else:
        outputs = rng.randint(1, 2)
        if outputs == 2:
            attrs["storage_order"] = rng.randint(0, 1)
        if opset >= 12 and rng.random() < 0.5:
            x = np.clip(x * 2 + 2, 0, 4).astype(rng.choice([np.uint8, np.int8]))  # with many that are equal
    return Case(op, [x], attrs, opset, [rng.choice([FIXED, SYMBOLIC])], outputs)


@pytest.mark.parametrize("seed", range(4))
def test_pools(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        each = pool(rng)
        wanted = onnxruntimes(each)
        assert not difference(ours(each), wanted), f"{each}: {difference(ours(each), wanted)}"


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.float32])
@pytest.mark.parametrize("pads", [[1, 1, 1, 1], [1, 0, 0, 1]])
def test_a_maximum_is_never_in_the_border(dtype: Any, pads: list[int]) -> None:
    least = -np.inf if dtype == np.float32 else np.iinfo(dtype).min
    attrs = {"kernel_shape": [2, 2], "pads": pads, "strides": [2, 1]}
    each = Case("MaxPool", [np.full((1, 2, 3, 4), least, dtype)], attrs, 12, outputs=2)
    made, wanted = ours(each), onnxruntimes(each)
    assert not difference(made, wanted), difference(made, wanted)


def test_a_window_beside_the_image() -> None:
    attrs = {"kernel_shape": [2], "pads": [1, 1], "strides": [1], "dilations": [4]}
    each = Case("MaxPool", [np.ones((1, 1, 3), np.float32)], attrs, 12, outputs=2)
    assert not difference(ours(each), onnxruntimes(each))


def convolution(rng: random.Random) -> Case:
    op, rank, groups = rng.choice(["Conv", "ConvTranspose"]), rng.randint(1, 3), rng.randint(1, 2)
    kernel = [rng.randint(1, 3) for _ in range(rank)]
    same = rng.random() < 0.25
    dilations = [1 if same else rng.randint(1, 3) for _ in kernel]
    strides = [rng.randint(1, k if same else 3) for k in kernel]
    attrs: dict[str, Any] = {"group": groups, "strides": strides, "dilations": dilations}
    of, to = rng.randint(1, 2) * groups, rng.randint(1, 2) * groups
    sizes = [rng.randint((k - 1) * d + 1, 9) for k, d in zip(kernel, dilations)]
    w = normal(rng, *((to, of // groups) if op == "Conv" else (of, to // groups)), *kernel)
    bias = normal(rng, to if rng.random() < 0.7 else rng.randint(1, 4))
    if same:
        attrs["auto_pad"] = rng.choice(["SAME_UPPER", "SAME_LOWER"])
    elif rng.random() < 0.5:
        attrs["pads"] = [rng.randint(0, 3) for _ in kernel * 2]
    if op == "ConvTranspose" and rng.random() < 0.5:
        attrs["output_padding"] = [rng.randint(0, s - 1) for s in strides]
    if op == "ConvTranspose" and rng.random() < 0.3:
        attrs.pop("pads", None)
        whole = [(d - 1) * s + (k - 1) * e + 1 for d, s, k, e in zip(sizes, strides, kernel, dilations)]
        extra = attrs.get("output_padding", [0] * rank)
        attrs["output_shape"] = [rng.randint(max(1, n - 3), n + e) for n, e in zip(whole, extra)]
    kinds = [rng.choice([FIXED, SYMBOLIC]), rng.choice([FIXED, CONSTANT]), rng.choice([CONSTANT, FIXED, SYMBOLIC])]
    return Case(op, [normal(rng, 2, of, *sizes), w, bias if rng.random() < 0.6 else None], attrs, 11, kinds)


@pytest.mark.parametrize("seed", range(4))
def test_convolutions(seed: int) -> None:
    """A bias of another length than there are channels fails in both."""
    rng = random.Random(seed)
    for _ in range(50):
        each = convolution(rng)
        wanted = onnxruntimes(each)
        if isinstance(wanted, str) and ("<= 0" in wanted or "Invalid input shape" in wanted):  # ONNX: an empty result
            continue
        assert not difference(ours(each), wanted, 1e-3), f"{each}: {difference(ours(each), wanted, 1e-3)}"


@pytest.mark.parametrize("kind", [CONSTANT, FIXED])
def test_sizes_of_unpooled_images(kind: str) -> None:
    x, index = normal(random.Random(2), 1, 1, 2, 2), np.array([[[[5, 7], [13, 15]]]])
    for shape in ([1, 1, 4, 4], [1, 1, 3, 4], [1, 2, 4, 4], [2, 1, 4, 4]):
        given = [x, index, np.array(shape)]
        each = Case("MaxUnpool", given, {"kernel_shape": [2, 2], "strides": [2, 2]}, 11, [SYMBOLIC, SYMBOLIC, kind])
        assert not difference(ours(each), onnxruntimes(each)), str(each)


@pytest.mark.parametrize("length", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", [CONSTANT, FIXED, SYMBOLIC])
@pytest.mark.parametrize("which", range(1, 5))
def test_statistics_of_channels(which: int, kind: str, length: int) -> None:
    x = normal(random.Random(3), 1, 3, 4)
    given = [x, *(np.ones(length if i == which else 3, np.float32) for i in range(1, 5))]
    each = Case("BatchNormalization", given, opset=15, kinds=[SYMBOLIC, *[kind] * 4])
    assert isinstance(ours(each), str) == isinstance(onnxruntimes(each), str) == (length != 3)


@pytest.mark.parametrize("align", [0, 1])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_samples_at_any_place(mode: str, padding: str, align: int, dtype: Any) -> None:
    """NaN, infinities, and numbers that are no index are the first border."""
    places = [np.nan, np.inf, -np.inf, 1e20, -1e20, 1e30, 5.1, -5.1, 1.0, -1.0, 0.0, 0.3]
    attrs = {"mode": mode, "padding_mode": padding, "align_corners": align}
    for rank in (2, 3):
        if rank == 3 and mode == "cubic":  # not in onnxruntime
            continue
        rng = random.Random(rank)
        x = normal(rng, 1, 2, *(3, 4, 5)[:rank]).astype(dtype)
        grid = np.array([rng.choice(places) for _ in range(30 * rank)], dtype).reshape(1, *[1] * (rank - 1), 30, rank)
        each = Case("GridSample", [x, grid], attrs, 20)
        assert not difference(ours(each), onnxruntimes(each)), f"{each}: {difference(ours(each), onnxruntimes(each))}"


@pytest.mark.parametrize("kind", [CONSTANT, FIXED])
def test_grids(kind: str) -> None:
    theta = normal(random.Random(1), 2, 2, 3)
    for size in ([2, 1, 3, 4], [2, 1, 1, 5], [2, 1, 4, 1], [3, 1, 3, 4], [1, 1, 3, 4], [2, 1, 0, 4], [2, 1, 3, 0]):
        for align in (0, 1):
            each = Case("AffineGrid", [theta, np.array(size)], {"align_corners": align}, 20, [SYMBOLIC, kind])
            if align and 1 in size[2:]:  # its corners are one point: the first one, by the reference
                plain = np.array([[[1, 0, 0], [0, 1, 0]]] * size[0], np.float32)
                each = Case("AffineGrid", [plain, np.array(size)], {"align_corners": align}, 20, [SYMBOLIC, kind])
                (grid,) = ours(each)
                for place, count in enumerate(reversed(size[2:])):
                    assert count != 1 or (grid[..., place] == -1).all(), str(each)
                continue
            assert not difference(ours(each), onnxruntimes(each)), str(each)


@pytest.mark.parametrize("ratio", [0, 1, 3])
@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("opset", [10, 16])
def test_regions(opset: int, mode: str, ratio: int) -> None:
    """Without a ratio, the number of samples depends on the region."""
    rng = np.random.default_rng(opset + ratio)
    for count in (0, 1, 4):
        corner, extent = rng.uniform(-2, 6, (count, 2)), rng.uniform(0.1, 9, (count, 2))
        rois = np.concatenate([corner, corner + extent], 1).astype(np.float32)
        x = rng.standard_normal((2, 3, 5, 7)).astype(np.float32)
        attrs = {"mode": mode, "output_height": 2, "output_width": 3, "sampling_ratio": ratio, "spatial_scale": 0.75}
        for half in ("half_pixel", "output_half_pixel")[: 1 if opset == 10 else 2]:
            more = {} if opset == 10 else {"coordinate_transformation_mode": half}
            each = Case("RoiAlign", [x, rois, rng.integers(0, 2, count)], attrs | more, opset)
            made, wanted = ours(each), onnxruntimes(each)
            assert not difference(made, wanted), f"{each}: {difference(made, wanted)}"


@pytest.mark.parametrize("kind", [FIXED, SYMBOLIC])
def test_regions_of_whole_pixels(kind: str) -> None:
    rng = np.random.default_rng(4)
    for scale in (1.0, 0.5, 0.3):
        rois = rng.integers(-3, 12, (6, 5)).astype(np.float32)
        rois[:, 0] = rng.integers(0, 2, 6)
        x = rng.standard_normal((2, 3, 5, 7)).astype(np.float32)
        each = Case("MaxRoiPool", [x, rois], {"pooled_shape": [2, 3], "spatial_scale": scale}, 11, [kind, kind])
        assert not difference(ours(each), onnxruntimes(each)), str(each)
