"""The table of element types agrees with onnx's, onnxruntime's and numpy's."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest

from intaglio.compiler.scalar.dtype import BY_ONNX, DTYPES, F16, F32, F64, STRING, DType, from_numpy
from intaglio.runtime.dtypes import NUMBERS, numpy_dtype


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_a_row(dtype: DType) -> None:
    assert BY_ONNX[dtype.onnx] is dtype
    assert onnx.helper.tensor_dtype_to_np_dtype(dtype.onnx) == dtype.to_numpy() or dtype is STRING
    assert NUMBERS[dtype.ort.removeprefix("tensor(").removesuffix(")")] == dtype.onnx
    assert numpy_dtype(dtype.ort) == dtype.to_numpy()
    assert from_numpy(dtype.to_numpy()) is dtype
    assert dtype.itemsize == dtype.to_numpy().itemsize
    kinds = {"f": dtype.is_float, "i": dtype.is_integer, "u": dtype.is_integer}
    assert kinds.get(dtype.kind, True)


MISSING = {"tensor(float6e2m3)", "tensor(float6e3m2)"}  # of six bits, in casts and quantization alone


def test_all_that_operators_take() -> None:
    taken = {t for s in onnx.defs.get_all_schemas() for c in s.type_constraints for t in c.allowed_type_strs}
    assert {t for t in taken if t.startswith("tensor(")} - MISSING == {dtype.ort for dtype in DTYPES.values()}


def test_where_arithmetic_is_done() -> None:
    assert F16.compute is F32 and F64.compute is F64
    assert all(d.compute.compute is d.compute for d in DTYPES.values())
    assert [DTYPES[n].compute.name for n in ("bf16", "f8e5m2", "i4", "u2", "i16")] == ["f32", "f32", "i8", "u8", "i16"]


def test_of_numpy() -> None:
    assert from_numpy(np.dtype("U5")) is from_numpy(np.dtype(object)) is STRING
    assert from_numpy(np.dtype(ml_dtypes.bfloat16)).name == "bf16"
    with pytest.raises(KeyError):
        from_numpy(np.dtype("datetime64[s]"))
