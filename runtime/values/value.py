"""`OrtValue`: a tensor (or a sequence, or a sparse tensor) that keeps its memory across runs.

In and out: numpy arrays, DLPack tensors and raw addresses, sharing memory wherever it is C-contiguous; a value on a GPU
shares what lies there, and its arrays are copies. Elements that numpy lacks are arrays of ml_dtypes; 4-bit types are
held as ONNX lays them out, two elements a byte, low half first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..device.memory import DeviceTensor, Memory, Tensor
from ..dtypes import BY_NUMBER, FOUR_BITS, NUMBERS, numpy_dtype, type_name
from ..enums import OrtDeviceVendorId
from ..store.artifact import aligned
from . import devices, dlpack

if TYPE_CHECKING:
    from .sparse import SparseTensor

Array = np.ndarray[Any, Any]
_ARRAYS_ONLY = "Creation of OrtValues is currently only supported from non-string numpy arrays"


class OrtValue:
    """A value of a graph. Sessions read it and, when it is bound to an output, write it.

    OrtValue(other): another handle of the same memory.
    """

    __slots__ = ("__weakref__", "_element", "_memory", "_other", "_session", "_shape")

    _memory: Tensor  # of the ml_dtypes or numpy dtype, of shape _shape; or flat bytes for 4-bit types
    _element: str  # "float"; "" where this is no tensor
    _shape: tuple[int, ...]
    _other: Any  # a SparseTensor, or a list of arrays, or None
    _session: Any

    def __init__(self, ortvalue: OrtValue, numpy_obj: Array | None = None, session: Any = None):
        if not isinstance(ortvalue, OrtValue):
            raise ValueError(
                "`Provided ortvalue` needs to be of type `onnxruntime.capi.onnxruntime_pybind11_state.OrtValue`"
            )
        self._memory, self._element, self._shape = ortvalue._memory, ortvalue._element, ortvalue._shape
        self._other, self._session = ortvalue._other, session

    # ---- Makers ---------------------------------------------------------------------------------------------------

    @classmethod
    def _of(cls, memory: Tensor, element: str, shape: tuple[int, ...], other: Any = None) -> OrtValue:
        made = cls.__new__(cls)
        made._memory, made._element, made._shape = memory, element, shape
        made._other, made._session = other, None
        return made

    def _on(self, memory: Memory) -> OrtValue:
        """A copy on a GPU."""
        made = memory.new(self._memory.shape, self._memory.dtype)
        made.fill(self._memory)
        return self._of(made, self._element, self._shape)

    @classmethod
    def of(cls, result: Any) -> OrtValue:
        """The value of an output of a run: a tensor, or a sequence."""
        if isinstance(result, (np.ndarray, DeviceTensor)):
            return cls.of_array(result)
        return cls._of(np.empty(0), "", (), result)

    @classmethod
    def of_array(cls, array: Tensor) -> OrtValue:
        """The value of a tensor that a run made (strings and ml_dtypes included); shares C-contiguous memory."""
        name = type_name(array.dtype)
        if name is None:
            raise RuntimeError(f"Numpy_type {array.dtype.num} can't be converted to MLDataType.")
        element = name[7:-1]
        if isinstance(array, DeviceTensor):
            packed = array.memory.holding(_packed(array.numpy())) if element in FOUR_BITS else array
            return cls._of(packed, element, array.shape)
        in_order = array.flags.c_contiguous and array.flags.aligned
        shared: Array = array if in_order else array.copy("C")
        return cls._of(_packed(shared) if element in FOUR_BITS else shared, element, array.shape)

    @classmethod
    def ortvalue_from_numpy(
        cls, numpy_obj: Array, /, device_type: str = "cpu", device_id: int = 0, vendor_id: int | OrtDeviceVendorId = -1
    ) -> OrtValue:
        """Shares the memory of a C-contiguous array, copies others (big-endian ones swapped); a copy on a GPU.

        Raises RuntimeError for what is no array of numbers, and for devices that are not there.
        """
        memory = devices.OrtDevice.make(device_type, device_id, vendor_id).memory()
        refusal = devices.kind(device_type).from_numpy
        if refusal and memory is None:
            raise RuntimeError(refusal)
        if not isinstance(numpy_obj, np.ndarray) or numpy_obj.dtype.kind in "OSUT":
            raise RuntimeError(_ARRAYS_ONLY)
        value = cls.of_array(_native(np.asarray(numpy_obj)))
        return value if memory is None else value._on(memory)

    @classmethod
    def ortvalue_from_numpy_with_onnx_type(cls, data: Array, /, onnx_element_type: int) -> OrtValue:
        """The bits of `data` as elements of an ONNX type of the same size; 4-bit types take as many leading bytes of
        the data as its shape needs. Shares the memory."""
        element = _element_name(onnx_element_type)
        if element in FOUR_BITS:
            count = (data.size + 1) // 2
            return cls._of(np.ascontiguousarray(data).reshape(-1).view(np.uint8)[:count], element, data.shape)
        dtype = numpy_dtype(element)
        if data.dtype.itemsize != dtype.itemsize:
            raise RuntimeError(
                f"Items size in the incoming array: {data.dtype.itemsize} specified by onnxtype: {dtype.itemsize}"
            )
        return cls._of(np.ascontiguousarray(data).reshape(data.shape).view(dtype), element, data.shape)

    @classmethod
    def ortvalue_from_shape_and_type(
        cls,
        shape: Sequence[int],
        element_type: Any,
        device_type: str = "cpu",
        device_id: int = 0,
        vendor_id: int | OrtDeviceVendorId = -1,
        memory_info: devices.OrtMemoryInfo | None = None,
    ) -> OrtValue:
        """New memory, not initialized, at a multiple of 64. element_type: a numpy type or its name, or ONNX's number.

        Raises RuntimeError for types that cannot be held, and for devices that are not there.
        """
        element = _element_name(element_type)
        if element == "string":
            raise RuntimeError(_ARRAYS_ONLY)
        memory = devices.OrtDevice.make(device_type, device_id, vendor_id).memory()
        refusal = devices.kind(device_type).from_shape
        if refusal and memory is None:
            raise RuntimeError(refusal)
        dims = tuple([int(n) for n in shape])
        if min(dims, default=0) < 0:
            raise RuntimeError(f"Tensor shape cannot contain any negative value: {list(dims)}")
        count = int(np.prod(dims, dtype=np.int64))
        if element in FOUR_BITS:
            return cls._of(_new(memory, ((count + 1) // 2,), np.dtype(np.uint8)), element, dims)
        return cls._of(_new(memory, dims, numpy_dtype(element)), element, dims)

    @classmethod
    def ort_value_from_sparse_tensor(cls, sparse_tensor: SparseTensor) -> OrtValue:
        element = sparse_tensor.data_type()[14:-1]
        return cls._of(np.empty(0), element, tuple(sparse_tensor.dense_shape()), sparse_tensor)

    @classmethod
    def at(cls, address: int, element_type: Any, shape: Sequence[int], memory: Memory | None) -> OrtValue:
        """The tensor at an address of the host's memory, or of a GPU's, which has to stay valid for as long as the
        value is used. Raises RuntimeError for strings."""
        element, dims = _element_name(element_type), tuple([int(n) for n in shape])
        if element == "string":
            raise RuntimeError("Only binding of non-string Tensors is currently supported")
        dtype, stored = numpy_dtype(element), dims
        if element in FOUR_BITS:
            dtype, stored = np.dtype(np.uint8), ((math.prod(dims) + 1) // 2,)
        if memory is None:
            return cls._of(dlpack.array_at(address, dtype, stored), element, dims)
        return cls._of(DeviceTensor(memory, address, stored, dtype), element, dims)

    @classmethod
    def from_dlpack(cls, data: Any, /) -> OrtValue:
        """Shares the memory of a tensor of another library. Raises RuntimeError unless it is C-contiguous."""
        array = dlpack.read(data)
        if isinstance(array, np.ndarray) and not array.flags.c_contiguous:
            raise RuntimeError("ORT only supports contiguous tensor for now.")
        return cls.of_array(array)

    # ---- What it is -----------------------------------------------------------------------------------------------

    @property
    def _ortvalue(self) -> OrtValue:
        """onnxruntime's programs reach for its native object; here it is this one."""
        return self

    def _get_c_value(self) -> OrtValue:
        return self

    def shape(self) -> list[int]:
        return list(self._shape)

    def data_type(self) -> str:
        """`tensor(float)`"""
        if isinstance(self._other, list):
            inner = (type_name(self._other[0].dtype) if self._other else None) or "tensor(float)"
            return f"seq({inner})"
        return f"tensor({self._element})" if self._other is None else f"sparse_tensor({self._element})"

    def element_type(self) -> int:
        """ONNX's number of the element type."""
        return NUMBERS[self._element]

    def device_name(self) -> str:
        return "cuda" if isinstance(self._memory, DeviceTensor) else "cpu"

    def has_value(self) -> bool:
        return True

    def is_tensor(self) -> bool:
        return self._other is None

    def is_sparse_tensor(self) -> bool:
        return self._other is not None and not isinstance(self._other, list)

    def is_tensor_sequence(self) -> bool:
        return isinstance(self._other, list)

    def data_ptr(self) -> int:
        """The address of the first element; 0 where there is none."""
        tensor = self._tensor()
        if not tensor.nbytes:
            return 0
        return tensor.address if isinstance(tensor, DeviceTensor) else int(tensor.ctypes.data)

    def tensor_size_in_bytes(self) -> int:
        return int(self._tensor().nbytes)

    def memory(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The bytes of the tensor as ONNX lays them out, of a GPU's a copy. Raises RuntimeError where this is none."""
        tensor = self._tensor()
        array = tensor.numpy() if isinstance(tensor, DeviceTensor) else tensor
        bytes_: np.ndarray[Any, np.dtype[np.uint8]] = array.reshape(-1).view(np.uint8)
        return bytes_

    def _tensor(self) -> Tensor:
        if self._other is not None:
            raise RuntimeError("Only OrtValues that are Tensors/SparseTensors are currently supported")
        return self._memory

    # ---- Its contents ---------------------------------------------------------------------------------------------

    def numpy(self) -> Array:
        """The elements as an array that shares the memory, but for 4-bit types, which are unpacked, and those of a GPU,
        which are copied.

        Raises RuntimeError where this is no tensor.
        """
        tensor = self.tensor()
        return tensor.numpy() if isinstance(tensor, DeviceTensor) else tensor

    def tensor(self) -> Tensor:
        """The same, left where it is if that is the memory of a GPU."""
        if self._other is not None:
            raise RuntimeError("Only OrtValues that are Tensors are convertible to Numpy objects")
        if self._element in FOUR_BITS:
            return _unpacked(self.memory(), self._element, self._shape)
        return self._memory

    def content(self) -> Any:
        """What a feed would be: a tensor, a list of arrays or a SparseTensor."""
        return self.tensor() if self._other is None else self._other

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            if copy is False:
                raise ValueError("Unable to avoid copy while creating an array as requested.")
            return array.astype(dtype)
        return array.copy() if copy else array

    def __dlpack__(self, *, stream: int | None = None) -> Any:
        return dlpack.write(self._tensor())

    def to_dlpack(self) -> Any:
        """A capsule, as of onnxruntime's native values."""
        return self.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return dlpack.device_of(self._tensor())

    def as_sparse_tensor(self) -> SparseTensor:
        """Raises RuntimeError where this is none."""
        if not self.is_sparse_tensor():
            raise RuntimeError("This OrtValue does not contain SparseTensor. Check data_type() value.")
        sparse: SparseTensor = self._other
        return sparse

    def update_inplace(self, data: Array | OrtValue) -> None:
        """Overwrites the memory. Raises RuntimeError where the sizes in bytes differ."""
        source: Tensor
        if isinstance(data, OrtValue):
            source = data._tensor()
        elif isinstance(data, np.ndarray):
            source = _native(data)
        else:
            raise TypeError("data must be a numpy.ndarray or an OrtValue.")
        target = self._tensor()
        if source.nbytes != target.nbytes:
            raise RuntimeError("The input size of numpy arrays does not match the size of the OrtValue.")
        if isinstance(target, DeviceTensor):
            target.fill(source)
            return
        array = source.numpy() if isinstance(source, DeviceTensor) else source
        self.memory()[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)


class OrtValueVector:
    """onnxruntime's list of values, as its native interface hands it out."""

    def __init__(self, values: Iterable[OrtValue] = ()):
        self._values = list(values)

    def push_back(self, value: OrtValue | Array) -> None:
        self._values.append(value if isinstance(value, OrtValue) else OrtValue.of_array(value))

    def push_back_batch(
        self, torch_tensors: Sequence[Any], data_ptrs: Sequence[int], element_types: Sequence[Any],
        shapes: Sequence[Sequence[int]], devices: Sequence[Any],
    ) -> None:  # fmt: skip
        """Values at addresses, which have to stay valid. torch_tensors: what owns the memory; not looked at."""
        for address, element_type, shape, device in zip(data_ptrs, element_types, shapes, devices):
            self.push_back(OrtValue.at(address, element_type, shape, device.memory()))

    def element_type_at(self, index: int) -> int:
        """ONNX's number of the element type."""
        return self._values[index].element_type()

    def bool_tensor_indices(self) -> list[int]:
        """Where tensors of truth values are."""
        return [i for i, value in enumerate(self._values) if value.data_type() == "tensor(bool)"]

    def dlpack_at(self, index: int) -> Any:
        """A DLPack capsule of a value."""
        return self._values[index].to_dlpack()

    def to_dlpacks(self, to_tensor: Callable[[Any], Any] | None) -> list[Any]:
        """Capsules of all values, or what `to_tensor` makes of each."""
        capsules = [value.to_dlpack() for value in self._values]
        return capsules if to_tensor is None else [to_tensor(each) for each in capsules]

    def reserve(self, size: int) -> None:
        """Room for `size` values; a list needs no telling."""

    def shrink_to_fit(self) -> None:
        """See reserve."""

    def clear(self) -> None:
        self._values.clear()

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[OrtValue]:
        return iter(self._values)

    def __getitem__(self, index: int) -> OrtValue:
        return self._values[index]

    def __setitem__(self, index: int, value: OrtValue) -> None:
        self._values[index] = value

    def __bool__(self) -> bool:
        return bool(self._values)


def copy_tensors(src: Sequence[OrtValue], dst: Sequence[OrtValue], stream: Any = None) -> None:
    """Copies tensors into tensors of the same size in bytes, one by one."""
    if len(src) != len(dst):
        raise RuntimeError("src and dst must have the same length.")
    for source, target in zip(src, dst):
        target.update_inplace(source)


def _new(memory: Memory | None, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Tensor:
    """Not initialized."""
    if memory is not None:
        return memory.new(shape, dtype)
    return aligned(math.prod(shape) * dtype.itemsize).view(dtype).reshape(shape)


def _native(array: Array) -> Array:
    """In the byte order of the machine."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _element_name(element_type: Any) -> str:
    """`float` for np.float32, "float32", dtype("float32") and 1. Raises RuntimeError."""
    if isinstance(element_type, (int, np.integer)) and not isinstance(element_type, bool):
        if element_type not in BY_NUMBER:
            raise RuntimeError(f"tensor type {element_type} is not supported")
        return BY_NUMBER[int(element_type)]
    try:
        dtype = np.dtype(element_type)
    except TypeError:
        raise RuntimeError("Not a valid numpy type") from None
    name = type_name(dtype)
    if name is None:
        raise RuntimeError(f"Numpy_type {dtype.num} can't be converted to MLDataType.")
    return name[7:-1]


def _packed(array: Array) -> Array:
    """Elements of a 4-bit type, one a byte, as two a byte."""
    low = array.reshape(-1).view(np.uint8) & 15
    if len(low) % 2:
        low = np.append(low, np.uint8(0))
    packed: Array = low[0::2] | low[1::2] << 4
    return packed


def _unpacked(memory: Array, element: str, shape: tuple[int, ...]) -> Array:
    count = int(np.prod(shape, dtype=np.int64))
    each = np.stack([memory & 15, memory >> 4], -1).reshape(-1)[:count]
    if element == "int4":
        each = (each.view(np.int8) ^ 8) - 8
    dtype = numpy_dtype(element)
    return (each.view(dtype) if element == "float4e2m1" else each.astype(dtype)).reshape(shape)
