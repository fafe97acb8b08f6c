"""DLPack capsules to and from numpy arrays, for the element types that numpy's own exchange refuses (bfloat16, bool),
and tensors in the memory of a GPU.

Source: dlpack.h of the DLPack project, version 0.8; a capsule "dltensor" holds a DLManagedTensor.
Memory is shared: the array keeps the exporter's tensor alive, and the capsule keeps the array alive. What other
libraries have told a GPU to do with a tensor is done when it is read here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..device import gpu
from ..device.memory import DeviceTensor, Tensor
from ..dtypes import numpy_dtype

Array = np.ndarray[Any, Any]
CPU, CUDA = 1, 2
INT, UINT, FLOAT, BFLOAT, BOOL = 0, 1, 2, 4, 6


class _Tensor(ctypes.Structure):
    """DLTensor"""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class Managed(ctypes.Structure):
    """DLManagedTensor"""

    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_api = ctypes.pythonapi
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", _api))
_rename = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_SetName", _api))
_new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(("PyCapsule_New", _api))
_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", _api))
_raw_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_GetPointer", _api))
_NEW, _USED = b"dltensor", b"used_dltensor"


class _Owner:
    """Calls the exporter's deleter when the last array of its memory is gone."""

    def __init__(self, address: int, deleter: int | None):
        self._address, self._deleter = address, deleter

    def __del__(self) -> None:
        if self._deleter:
            _Deleter(self._deleter)(self._address)


def read(exporter: Any) -> Tensor:
    """The memory of a tensor of another library (or of a capsule), without a copy.

    Raises RuntimeError for other devices, element types that ONNX has not, and strides on a GPU.
    """
    capsule = exporter.__dlpack__() if hasattr(exporter, "__dlpack__") else exporter
    address = _pointer(capsule, _NEW)
    managed = Managed.from_address(address)
    tensor = managed.tensor
    if tensor.device_type != CPU and not (tensor.device_type == CUDA and gpu.present() and not gpu.interpreted()):
        raise RuntimeError(f"A tensor on a device of DLPack type {tensor.device_type} cannot be read here.")
    dtype = _dtype(tensor.code, tensor.bits, tensor.lanes)
    shape = tuple(tensor.shape[: tensor.ndim])
    if tensor.device_type == CUDA:
        if tensor.strides and not _contiguous(shape, tensor.strides[: tensor.ndim]):
            raise RuntimeError("ORT only supports contiguous tensor for now.")
        there = gpu.memory(tensor.device_id)
        there.synchronize()
        _rename(capsule, _USED)
        address_of_data = (tensor.data or 0) + tensor.byte_offset
        return DeviceTensor(there, address_of_data, shape, dtype, _Owner(address, managed.deleter))
    strides = None
    if tensor.strides:
        strides = tuple(step * dtype.itemsize for step in tensor.strides[: tensor.ndim])
    _rename(capsule, _USED)
    owner = _Owner(address, managed.deleter)
    extent = sum(step * (n - 1) for step, n in zip(strides, shape)) // dtype.itemsize + 1 if strides else 0
    count = 0 if 0 in shape else max(extent, int(np.prod(shape, dtype=np.int64)))
    if count == 0:
        return np.empty(shape, dtype)
    flat = memory((tensor.data or 0) + tensor.byte_offset, count * dtype.itemsize, owner).view(dtype)
    return np.lib.stride_tricks.as_strided(flat, shape, strides) if strides else flat.reshape(shape)


def _contiguous(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether elements lie in the order of C; where dimensions are 1, strides mean nothing."""
    expected = 1
    for n, step in zip(reversed(shape), reversed(strides)):
        if n != 1 and step != expected:
            return 0 in shape
        expected *= n
    return True


def memory(address: int, size: int, owner: object = None) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The bytes at an address, which keep `owner` alive."""
    cells: Any = (ctypes.c_char * size).from_address(address)
    cells._owner = owner
    return np.frombuffer(cells, np.uint8)


def is_uint8(capsule: Any) -> bool:
    """Whether a capsule holds 8-bit unsigned integers, as which some libraries hand out truth values."""
    tensor = Managed.from_address(_pointer(capsule, _NEW)).tensor
    return bool((tensor.code, tensor.bits) == (UINT, 8))


def array_at(address: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """The C-contiguous array at an address, which has to stay valid for as long as the array is used."""
    count = int(np.prod(shape, dtype=np.int64))
    if count == 0:
        return np.empty(shape, dtype)
    return memory(address, count * dtype.itemsize).view(dtype).reshape(shape)


def _dtype(code: int, bits: int, lanes: int) -> np.dtype[Any]:
    names = {INT: "int", UINT: "uint", FLOAT: "float", BFLOAT: "bfloat", BOOL: "bool"}
    name = f"{names.get(code, '?')}{bits}"
    if lanes == 1 and name == "bool8":
        return np.dtype(np.bool_)
    if lanes == 1 and name == "bfloat16":
        return numpy_dtype("bfloat16")
    if lanes == 1 and code in (INT, UINT, FLOAT) and bits in (8, 16, 32, 64):
        return np.dtype(name)
    raise RuntimeError(f"Unsupported code {code} with {bits} bits")


_exported: dict[int, tuple[Any, ...]] = {}  # address of a Managed -> what has to live as long as its capsule


def _delete(address: int | None) -> None:
    _exported.pop(address or 0, None)


def _drop(capsule: int | None) -> None:
    """The capsule itself goes: nobody may have taken the tensor out of it."""
    if _valid(capsule, _NEW):
        _delete(_raw_pointer(capsule, _NEW))


_delete_c, _drop_c = _Deleter(_delete), _Deleter(_drop)


def device_of(tensor: Tensor) -> tuple[int, int]:
    """DLPack's kind and number of the device on which a tensor is."""
    return tensor.memory.device if isinstance(tensor, DeviceTensor) else (CPU, 0)


def write(array: Tensor) -> Any:
    """A capsule that shares the memory of a C-contiguous tensor. Raises RuntimeError for types that DLPack has not."""
    codes = {"i": INT, "u": UINT, "f": FLOAT, "b": BOOL}
    code = BFLOAT if array.dtype.name == "bfloat16" else codes.get(array.dtype.kind)
    if code is None:
        raise RuntimeError(f"Unexpected data type of {array.dtype.name}")
    shape = (ctypes.c_int64 * max(array.ndim, 1))(*array.shape)
    dims = ctypes.cast(shape, ctypes.POINTER(ctypes.c_int64))
    data = array.address if isinstance(array, DeviceTensor) else array.ctypes.data
    tensor = _Tensor(data, *device_of(array), array.ndim, code, array.dtype.itemsize * 8, 1, dims, None, 0)
    managed = Managed(tensor, None, ctypes.cast(_delete_c, ctypes.c_void_p))
    address = ctypes.addressof(managed)
    _exported[address] = managed, shape, array
    return _new(address, _NEW, ctypes.cast(_drop_c, ctypes.c_void_p))
