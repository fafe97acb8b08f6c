"""The element types at the border: onnxruntime's type names and the numpy dtypes that carry them.

It must never import ml_dtypes before an array of such a type is asked for.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_NUMPY = {
    "float": "float32", "double": "float64", "float16": "float16",
    "int8": "int8", "int16": "int16", "int32": "int32", "int64": "int64",
    "uint8": "uint8", "uint16": "uint16", "uint32": "uint32", "uint64": "uint64",
    "bool": "bool", "string": "object", "complex64": "complex64", "complex128": "complex128",
}  # fmt: skip
_ML_DTYPES = {
    "bfloat16": "bfloat16", "float8e4m3fn": "float8_e4m3fn", "float8e4m3fnuz": "float8_e4m3fnuz",
    "float8e5m2": "float8_e5m2", "float8e5m2fnuz": "float8_e5m2fnuz", "float8e8m0": "float8_e8m0fnu",
    "float4e2m1": "float4_e2m1fn", "int4": "int4", "uint4": "uint4", "int2": "int2", "uint2": "uint2",
}  # fmt: skip
# TensorProto.DataType
NUMBERS = {
    "float": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "string": 8, "bool": 9,
    "float16": 10, "double": 11, "uint32": 12, "uint64": 13, "complex64": 14, "complex128": 15, "bfloat16": 16,
    "float8e4m3fn": 17, "float8e4m3fnuz": 18, "float8e5m2": 19, "float8e5m2fnuz": 20, "uint4": 21, "int4": 22,
    "float4e2m1": 23, "float8e8m0": 24, "uint2": 25, "int2": 26,
}  # fmt: skip
BY_NUMBER = {number: name for name, number in NUMBERS.items()}
OBJECT = "object"  # the type of what is no tensor, or one of unknown rank
FOUR_BITS = frozenset(["int4", "uint4", "float4e2m1"])  # two elements a byte in memory that ONNX lays out
_NAMES = {numpy: name for name, numpy in (_NUMPY | _ML_DTYPES).items()}


def numpy_dtype(type_name: str) -> np.dtype[Any]:
    """The numpy dtype of `tensor(float)` and the like; 4-bit types take one byte an element. Raises KeyError."""
    element = type_name.removeprefix("tensor(").removesuffix(")")
    if element in _NUMPY:
        return np.dtype(_NUMPY[element])
    import ml_dtypes

    dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, _ML_DTYPES[element]))
    return dtype


def type_of_name(type: str) -> str | None:
    """The element of a tensor's type; None for what is no tensor, or of no type."""
    element = type.removeprefix("tensor(").removesuffix(")")
    return element if type == f"tensor({element})" and element in NUMBERS else None


def is_object(type: str) -> bool:
    """Whether a value of this ONNX type is no tensor: a sequence, a map, an optional."""
    return not type.startswith("tensor(")


def is_numbered(type: str) -> bool:
    """Whether a program has numbers of objects for a value of this ONNX type."""
    return type == "tensor(string)" or is_object(type)


def stored_dtype(type: str) -> np.dtype[Any]:
    """The dtype of what a program has for a value of an ONNX type."""
    return np.dtype(np.int64) if is_numbered(type) else numpy_dtype(type)


def type_name(dtype: np.dtype[Any]) -> str | None:
    """onnxruntime's name of an array's type, such as `tensor(double)`; None where ONNX has no such type."""
    if dtype.kind in "OSUV" and dtype.name not in _NAMES:
        return "tensor(string)"
    name = _NAMES.get(dtype.name)
    return f"tensor({name})" if name else None
