"""The table of ONNX's element types. The whole compiler uses `DType`s; their columns say how numpy, ONNX and memory
represent them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class DType:
    """One element type.

    name: short name used in dumps, such as `f32`; onnx: the number of TensorProto.DataType;
    numpy: the name of the numpy (or ml_dtypes) type that holds it in Python; bits: storage bits of one element
    in a buffer (4-bit types are stored one to a byte, so 8); kind: f float, i signed, u unsigned, b bool,
    s string, c complex; ort: onnxruntime's type name.
    """

    name: str
    onnx: int
    numpy: str
    bits: int
    kind: str
    ort: str

    @property
    def itemsize(self) -> int:
        """Bytes of one element in a buffer."""
        return self.bits // 8

    @property
    def is_float(self) -> bool:
        return self.kind == "f"

    @property
    def is_integer(self) -> bool:
        return self.kind in "iu"

    @property
    def compute(self) -> DType:
        """The dtype that arithmetic is done in: f32 for narrow floats, 8 bits for integers of 2 or 4 bits."""
        if self.kind == "f" and self.bits < 32:
            return F32
        return {"i4": I8, "u4": U8, "i2": I8, "u2": U8}.get(self.name, self)

    def to_numpy(self) -> np.dtype[np.generic]:
        """The numpy dtype; imports ml_dtypes for the types that numpy lacks."""
        if self.numpy.startswith("ml:"):
            import ml_dtypes

            extension: np.dtype[np.generic] = np.dtype(getattr(ml_dtypes, self.numpy[3:]))
            return extension
        return np.dtype(self.numpy)

    def __repr__(self) -> str:
        return self.name


_TABLE = [
    #      name        onnx  numpy                bits kind ort
    DType("f32", 1, "float32", 32, "f", "tensor(float)"),
    DType("u8", 2, "uint8", 8, "u", "tensor(uint8)"),
    DType("i8", 3, "int8", 8, "i", "tensor(int8)"),
    DType("u16", 4, "uint16", 16, "u", "tensor(uint16)"),
    DType("i16", 5, "int16", 16, "i", "tensor(int16)"),
    DType("i32", 6, "int32", 32, "i", "tensor(int32)"),
    DType("i64", 7, "int64", 64, "i", "tensor(int64)"),
    DType("string", 8, "object", 64, "s", "tensor(string)"),
    DType("bool", 9, "bool", 8, "b", "tensor(bool)"),
    DType("f16", 10, "float16", 16, "f", "tensor(float16)"),
    DType("f64", 11, "float64", 64, "f", "tensor(double)"),
    DType("u32", 12, "uint32", 32, "u", "tensor(uint32)"),
    DType("u64", 13, "uint64", 64, "u", "tensor(uint64)"),
    DType("c64", 14, "complex64", 64, "c", "tensor(complex64)"),
    DType("c128", 15, "complex128", 128, "c", "tensor(complex128)"),
    DType("bf16", 16, "ml:bfloat16", 16, "f", "tensor(bfloat16)"),
    DType("f8e4m3fn", 17, "ml:float8_e4m3fn", 8, "f", "tensor(float8e4m3fn)"),
    DType("f8e4m3fnuz", 18, "ml:float8_e4m3fnuz", 8, "f", "tensor(float8e4m3fnuz)"),
    DType("f8e5m2", 19, "ml:float8_e5m2", 8, "f", "tensor(float8e5m2)"),
    DType("f8e5m2fnuz", 20, "ml:float8_e5m2fnuz", 8, "f", "tensor(float8e5m2fnuz)"),
    DType("u4", 21, "ml:uint4", 8, "u", "tensor(uint4)"),
    DType("i4", 22, "ml:int4", 8, "i", "tensor(int4)"),
    DType("f4e2m1", 23, "ml:float4_e2m1fn", 8, "f", "tensor(float4e2m1)"),
    DType("f8e8m0", 24, "ml:float8_e8m0fnu", 8, "f", "tensor(float8e8m0)"),
    DType("u2", 25, "ml:uint2", 8, "u", "tensor(uint2)"),
    DType("i2", 26, "ml:int2", 8, "i", "tensor(int2)"),
]

DTYPES: dict[str, DType] = {d.name: d for d in _TABLE}
BY_ONNX: dict[int, DType] = {d.onnx: d for d in _TABLE}
BY_ORT: dict[str, DType] = {d.ort: d for d in _TABLE}
_BY_NUMPY: dict[str, DType] = {d.numpy.removeprefix("ml:"): d for d in _TABLE}

F16, BF16, F32, F64 = (DTYPES[n] for n in ("f16", "bf16", "f32", "f64"))
I8, I16, I32, I64 = (DTYPES[n] for n in ("i8", "i16", "i32", "i64"))
U8, U16, U32, U64 = (DTYPES[n] for n in ("u8", "u16", "u32", "u64"))
BOOL, STRING = DTYPES["bool"], DTYPES["string"]


def from_numpy(dtype: np.dtype[np.generic]) -> DType:
    """The DType of a numpy dtype; any string or object dtype is `string`. Raises KeyError for others."""
    if dtype.kind in "OSUT":
        return STRING
    return _BY_NUMPY[dtype.name]
