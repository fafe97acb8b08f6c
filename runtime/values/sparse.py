"""`SparseTensor`: values and where they are, in coordinates (COO) or compressed rows (CSR). The CPU's memory only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dtypes import type_name
from ..enums import OrtSparseFormat
from .devices import OrtDevice

Array = np.ndarray[Any, Any]


class SparseCooView:
    def __init__(self, indices: Array):
        self._indices = indices

    def indices(self) -> Array:
        """One linear index for each value, or one row of coordinates."""
        return self._indices


class SparseCsrView:
    def __init__(self, inner: Array, outer: Array):
        self._inner, self._outer = inner, outer

    def inner(self) -> Array:
        """The column of each value."""
        return self._inner

    def outer(self) -> Array:
        """Where each row's values begin; one more for the end."""
        return self._outer


class SparseTensor:
    """SparseTensor(other): another handle of the same memory."""

    def __init__(self, sparse_tensor: SparseTensor):
        if not isinstance(sparse_tensor, SparseTensor):
            raise ValueError(
                "`Provided object` needs to be of type `onnxruntime.capi.onnxruntime_pybind11_state.SparseTensor`"
            )
        self.__dict__.update(sparse_tensor.__dict__)

    _shape: tuple[int, ...]
    _values: Array
    _format: OrtSparseFormat
    _indices: tuple[Array, ...]

    @classmethod
    def _of(
        cls, shape: Sequence[int] | Array, values: Array, format: OrtSparseFormat, indices: tuple[Array, ...]
    ) -> SparseTensor:
        made = cls.__new__(cls)
        made._shape, made._format = tuple(int(n) for n in shape), format
        made._values = _read_only(values)
        made._indices = tuple(_read_only(np.asarray(each, np.int64)) for each in indices)
        return made

    @classmethod
    def sparse_coo_from_numpy(
        cls, dense_shape: Array, values: Array, coo_indices: Array, ort_device: OrtDevice
    ) -> SparseTensor:
        """indices: linear, or one row of two coordinates for each value. Raises RuntimeError for other counts."""
        count = np.asarray(coo_indices).size
        if count not in (len(values), 2 * len(values)):
            raise RuntimeError(f"Index size: {count} must be equal to or twice the values size: {len(values)}")
        return cls._of(dense_shape, values, OrtSparseFormat.ORT_SPARSE_COO, (coo_indices,))

    @classmethod
    def sparse_csr_from_numpy(
        cls, dense_shape: Array, values: Array, inner_indices: Array, outer_indices: Array, ort_device: OrtDevice
    ) -> SparseTensor:
        return cls._of(dense_shape, values, OrtSparseFormat.ORT_SPARSE_CSRC, (inner_indices, outer_indices))

    def _get_c_tensor(self) -> SparseTensor:
        return self

    def values(self) -> Array:
        """Read-only."""
        return self._values

    def as_coo_view(self) -> SparseCooView:
        self._expect(OrtSparseFormat.ORT_SPARSE_COO, "COO")
        return SparseCooView(*self._indices)

    def as_csrc_view(self) -> SparseCsrView:
        self._expect(OrtSparseFormat.ORT_SPARSE_CSRC, "CSR(C)")
        return SparseCsrView(*self._indices)

    def as_blocksparse_view(self) -> Any:
        """Raises RuntimeError: nothing makes a tensor of this format."""
        self._expect(OrtSparseFormat.ORT_SPARSE_BLOCK_SPARSE, "BlockSparse")

    def _expect(self, format: OrtSparseFormat, name: str) -> None:
        if self._format != format:
            raise RuntimeError(f"This sparse tensor does not contain {name} format")

    def to_cuda(self, ort_device: OrtDevice) -> SparseTensor:
        raise RuntimeError("Cuda is not available in this build")

    def format(self) -> OrtSparseFormat:
        return self._format

    def dense_shape(self) -> list[int]:
        return list(self._shape)

    def data_type(self) -> str:
        """`sparse_tensor(float)`"""
        return f"sparse_{type_name(self._values.dtype)}"

    def device_name(self) -> str:
        return "cpu"


def _read_only(array: Array) -> Array:
    if array.dtype.kind in "US":
        array = array.astype(object)  # strings, as in outputs
    view: Array = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view
