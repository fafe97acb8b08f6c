"""Where each element of weights lies in each layout, by what the layout is said to be, and the way back."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.compiler.kernel.packing import READ_ON_DEVICE, READ_ON_HOST, Packing

SHAPES = [(7, 10), (2, 3, 4, 10), (1, 1, 5, 16), (4, 0), (0, 4)]
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("nr", [1, 4, 16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_panels(shape: tuple[int, ...], nr: int, groups: int) -> None:
    w = RNG.standard_normal(shape).astype(np.float32)
    packing, columns = Packing("panels", nr, groups), shape[-1] // groups
    packed, depth = packing.pack(w), int(np.prod(shape[:-1]))
    assert packed.size == packing.elements(shape) and packed.flags.c_contiguous
    np.testing.assert_array_equal(packing.unpack(packed.reshape(-1), shape), w)
    packed, plain = packed.reshape(groups, -(-columns // nr), depth, nr), w.reshape(depth, groups, columns)
    for (g, panel, k, lane), value in np.ndenumerate(packed):
        column = panel * nr + lane
        assert value == (plain[k, g, column] if column < columns else 0)


@pytest.mark.parametrize("sums", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("shape", [*SHAPES, (3, 3, 5, 40), (12, 7)], ids=str)
def test_panels_of_bytes(shape: tuple[int, ...], groups: int, sums: bool) -> None:
    """Four elements of a column side by side, those of the next run after zeros, all below the sums of columns."""
    *outer, columns = (*shape[:-1], shape[-1] - shape[-1] % groups)
    w = RNG.integers(-128, 128, (*outer, columns), np.int8)
    runs, depth, columns = (1 if len(outer) == 1 else outer[0]), int(np.prod(outer)), columns // groups
    packing = Packing("panels", 16, groups, 4, runs, sums)
    packed, run = packing.pack(w), depth // runs
    assert packed.size == packing.elements(w.shape) and packed.flags.c_contiguous and packed.dtype == np.int8
    np.testing.assert_array_equal(packing.unpack(packed.reshape(-1), w.shape), w)
    height = -(-run // 4)
    packed = packed.reshape(groups, -(-columns // 16), sums + runs * height, 16, 4)
    plain = w.reshape(runs, run, groups, columns).astype(np.int64)
    for (g, panel, row, lane, part), value in np.ndenumerate(packed[:, :, int(sums) :]):
        r, k, column = row // height, row % height * 4 + part, panel * 16 + lane
        assert value == (plain[r, k, g, column] if k < run and column < columns else 0)
    if sums:
        heads = np.ascontiguousarray(packed[:, :, 0]).view(np.int32).reshape(groups, -1)[:, :columns]
        np.testing.assert_array_equal(heads, -128 * plain.sum((0, 1)))


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("shape", [(7, 10), (16, 16), (33, 40), (4, 0), (1, 1)], ids=str)
def test_panels_of_words(shape: tuple[int, int], bits: int) -> None:
    """As many rows of a column as there are in 32 bits, the first one in the lowest; zeros beyond the last one."""
    w, rows = RNG.integers(0, 1 << bits, shape, np.uint8), 32 // bits
    packing = Packing("panels", 16, kr=rows, bits=bits)
    packed = packing.pack(w)
    assert packed.size == packing.elements(shape) and packed.flags.c_contiguous and packed.dtype == np.uint8
    np.testing.assert_array_equal(packing.unpack(packed.reshape(-1), shape), w)
    words = packed.reshape(-1).view("<u4").reshape(-(-shape[1] // 16), -(-shape[0] // rows), 16)
    for (panel, row, lane), word in np.ndenumerate(words):
        for part in range(rows):
            k, column = row * rows + part, panel * 16 + lane
            inside = k < shape[0] and column < shape[1]
            assert int(word) >> part * bits & (1 << bits) - 1 == (w[k, column] if inside else 0)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_whole(shape: tuple[int, ...], groups: int) -> None:
    w = RNG.standard_normal(shape).astype(np.float32)
    packing, columns = Packing("whole", shape[-1] // groups, groups), shape[-1] // groups
    packed, depth = packing.pack(w), int(np.prod(shape[:-1]))
    assert packed.shape == (groups, depth, columns) and packed.flags.c_contiguous
    assert packed.size == packing.elements(shape)
    np.testing.assert_array_equal(packing.unpack(packed.reshape(-1), shape), w)
    for g in range(groups):
        np.testing.assert_array_equal(packed[g], w.reshape(depth, shape[-1])[:, g * columns : (g + 1) * columns])


def test_taps() -> None:
    w = RNG.standard_normal((3, 5, 1, 24)).astype(np.float16)
    packed = Packing("taps").pack(w)
    np.testing.assert_array_equal(packed, w.reshape(15, 24))
    np.testing.assert_array_equal(Packing("taps").unpack(packed.reshape(-1), w.shape), w)
    assert packed.size == Packing("taps").elements(w.shape)


def test_winograd() -> None:
    """The product of transformed tiles is the convolution of the tile."""
    w, tile = RNG.standard_normal((3, 3, 5, 10)), RNG.standard_normal((4, 4, 5))
    packing = Packing("winograd", 4)
    packed = packing.pack(w)
    assert packed.shape == (3, 16, 5, 4) and packed.size == packing.elements(w.shape)
    assert (packed[2, :, :, 2:] == 0).all()
    np.testing.assert_allclose(packing.unpack(packed.reshape(-1), w.shape), w, rtol=0, atol=1e-15)
    by_column = np.moveaxis(packed, 0, 2).reshape(16, 5, 12)[..., :10]
    b = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
    a = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])
    products = np.einsum("tc,tcn->tn", np.einsum("ia,abc,jb->ijc", b, tile, b).reshape(16, 5), by_column)
    got = np.einsum("ia,abn,jb->ijn", a, products.reshape(4, 4, 10), a)
    windows = np.lib.stride_tricks.sliding_window_view(tile, (3, 3), (0, 1))
    np.testing.assert_allclose(got, np.einsum("yxcab,abcn->yxn", windows, w), rtol=1e-12, atol=1e-12)


def test_every_layout_has_a_reader() -> None:
    assert {"panels", "winograd", "whole", "taps"} == READ_ON_HOST | READ_ON_DEVICE
    assert [str(Packing("panels", 32, 2)), str(Packing("taps"))] == ["panels of 32 in 2 groups", "taps"]
