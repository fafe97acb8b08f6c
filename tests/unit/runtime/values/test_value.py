"""Values: shared memory, DLPack both ways, elements that numpy lacks."""

from __future__ import annotations

import ctypes
import gc

import numpy as np
import pytest

from intaglio.runtime.values import dlpack
from intaglio.runtime.values.value import OrtValue, OrtValueVector, copy_tensors

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_memory_is_shared() -> None:
    mine = X.copy()
    value = OrtValue.ortvalue_from_numpy(mine)
    mine[0, 0] = 9
    assert value.data_ptr() == mine.ctypes.data and value.numpy()[0, 0] == 9
    assert np.shares_memory(OrtValue(value).numpy(), mine)
    assert not np.shares_memory(OrtValue.ortvalue_from_numpy(mine[:, ::2]).numpy(), mine)


def test_byte_order() -> None:
    assert np.array_equal(OrtValue.ortvalue_from_numpy(X.astype(">f4")).numpy(), X)


def test_new_memory_is_aligned() -> None:
    for count in (1, 7, 1000):
        assert OrtValue.ortvalue_from_shape_and_type([count], np.float64).data_ptr() % 64 == 0


@pytest.mark.parametrize("number", [21, 22, 23])
def test_four_bits(number: int) -> None:
    """Two elements a byte, the first in the low half; arrays have one a byte."""
    value = OrtValue.ortvalue_from_shape_and_type([3], number)
    assert value.tensor_size_in_bytes() == 2
    ctypes.memmove(value.data_ptr(), b"\x21\x0f", 2)
    array = value.numpy()
    expected = {21: [1, 2, 15], 22: [1, 2, -1], 23: [0.5, 1, -6]}[number]
    assert array.astype(np.float32).tolist() == expected
    again = OrtValue.of_array(array)
    assert again.element_type() == number and ctypes.string_at(again.data_ptr(), 2) == b"\x21\x0f"


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "float16", "float64", "bool"])
def test_dlpack(dtype: str) -> None:
    array = np.ones((2, 3), dtype)
    value = OrtValue.from_dlpack(array)
    assert value.data_ptr() == array.ctypes.data and value.numpy().dtype == array.dtype
    assert np.array_equal(np.from_dlpack(value), array)  # type: ignore[arg-type]


def test_dlpack_strides_and_scalars() -> None:
    assert np.array_equal(dlpack.read(X[:, ::2]), X[:, ::2])
    assert np.array_equal(dlpack.read(X.T), X.T)
    assert dlpack.read(np.array(3.0)).shape == () and dlpack.read(np.zeros((0, 3))).shape == (0, 3)


def test_dlpack_owners() -> None:
    """The exporter's memory lives as long as the array; ours as long as the capsule or what was made of it."""

    value = OrtValue.ortvalue_from_numpy(X.copy())
    array = np.from_dlpack(value)  # type: ignore[arg-type]
    del value
    gc.collect()
    assert np.array_equal(array, X)
    del array
    gc.collect()
    unused = OrtValue.ortvalue_from_numpy(X.copy()).to_dlpack()
    count = len(dlpack._exported)
    del unused
    gc.collect()
    assert len(dlpack._exported) == count - 1


def test_copies() -> None:
    source, target = OrtValue.ortvalue_from_numpy(X), OrtValue.ortvalue_from_shape_and_type([2, 3], np.float32)
    copy_tensors([source], [target])
    assert np.array_equal(target.numpy(), X)
    with pytest.raises(RuntimeError, match="same length"):
        copy_tensors([source], [])


def test_vectors() -> None:
    vector = OrtValueVector()
    vector.push_back(X)
    vector.push_back(OrtValue.ortvalue_from_numpy(X))
    assert len(vector) == 2 and [each.shape() for each in vector] == [[2, 3]] * 2
    vector.clear()
    assert not vector
