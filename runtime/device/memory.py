"""Tensors in the memory of a GPU, and that memory: what values, bindings and feeds hold in place of arrays.

In: a `Memory`, which cuda.py or interpreted.py provides. Out: tensors at addresses of it, and copies from and to
arrays. Copies are done when a function returns. Knows no GPU itself.
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

ALIGNMENT = 16  # of the addresses that kernels take


class Memory(ABC):
    """The memory of one GPU. There is one object of each GPU at a time: what lies in the same memory has the same.

    device: the GPU as DLPack tells it, its kind and its number.
    """

    device: tuple[int, int]

    @abstractmethod
    def allocate(self, size: int) -> int:
        """The address of new memory, for any kernel. Raises RuntimeException where there is not that much."""

    @abstractmethod
    def free(self, address: int) -> None:
        """Gives back what `allocate` returned, when no kernel uses it any more."""

    @abstractmethod
    def upload(self, to: int, source: int, size: int) -> None:
        """Copies bytes of the host into this memory."""

    @abstractmethod
    def download(self, to: int, source: int, size: int) -> None:
        """Copies bytes of this memory to the host."""

    @abstractmethod
    def move(self, to: int, source: int, size: int) -> None:
        """Copies bytes within this memory."""

    @abstractmethod
    def synchronize(self) -> None:
        """Waits for whatever the GPU has been told to do in this process, by other libraries too."""

    def new(self, shape: Sequence[int], dtype: np.dtype[Any]) -> DeviceTensor:
        """A tensor, not initialized, whose memory is freed with it."""
        size = math.prod(shape) * dtype.itemsize
        block = _Block(self, max(size, 1))
        return DeviceTensor(self, block.address, shape, dtype, block)

    def holding(self, array: Array) -> DeviceTensor:
        """A new tensor with the contents of an array of numbers."""
        made = self.new(array.shape, array.dtype)
        made.fill(array)
        return made


class _Block:
    """Memory that is freed with the last tensor in it."""

    __slots__ = ("_memory", "address")

    def __init__(self, memory: Memory, size: int) -> None:
        self.address = memory.allocate(size)
        self._memory = memory

    def __del__(self) -> None:
        if hasattr(self, "_memory") and not sys.is_finalizing():  # then the driver may be gone already
            self._memory.free(self.address)


class DeviceTensor:
    """A C-contiguous tensor at an address in the memory of a GPU. It keeps `owner` alive, which frees the memory; where
    that is None, whoever gave the address does."""

    __slots__ = ("address", "dtype", "memory", "owner", "shape")

    def __init__(
        self, memory: Memory, address: int, shape: Sequence[int], dtype: np.dtype[Any], owner: object = None
    ) -> None:
        self.memory, self.address, self.owner = memory, address, owner
        self.shape: tuple[int, ...] = tuple(shape)
        self.dtype: np.dtype[Any] = dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def aligned(self) -> bool:
        """Whether kernels can use it where it is."""
        return self.address % ALIGNMENT == 0

    def numpy(self) -> Array:
        """A copy in the host's memory."""
        array = np.empty(self.shape, self.dtype)
        if self.nbytes:
            self.memory.download(array.ctypes.data, self.address, self.nbytes)
        return array

    def fill(self, source: Array | DeviceTensor) -> None:
        """Overwrites the memory with as many bytes of an array, or of a tensor in any memory."""
        if isinstance(source, DeviceTensor) and source.memory is not self.memory:
            source = source.numpy()
        if not self.nbytes:
            return
        if isinstance(source, DeviceTensor):
            self.memory.move(self.address, source.address, self.nbytes)
        else:
            source = np.ascontiguousarray(source)
            self.memory.upload(self.address, source.ctypes.data, self.nbytes)

    def overlaps(self, other: Array | DeviceTensor) -> bool:
        """Whether two tensors share memory."""
        if not isinstance(other, DeviceTensor) or other.memory is not self.memory:
            return False
        return self.address < other.address + other.nbytes and other.address < self.address + self.nbytes


Tensor = Array | DeviceTensor
