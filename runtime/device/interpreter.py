"""A device that is none: the kernels of a model under Triton's interpreter, its memory that of the host.

In: an artifact with sources of kernels. Out: a `Device`. It lets everything up to the driver of a GPU run without one.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import Fail, RuntimeException
from ..store.artifact import Artifact, aligned
from .device import Copy, Device, Functions, Launch, Lease, Reserve, kernels_of
from .memory import Memory
from .triton_interpreter import InterpretedKernel


class _HostMemory(Memory):
    """Memory of the host, in which values are that would be on a GPU: other libraries find them on the CPU."""

    device = (1, 0)  # kDLCPU

    def __init__(self) -> None:
        self._blocks: dict[int, Any] = {}

    def allocate(self, size: int) -> int:
        try:
            block = aligned(size)
        except (MemoryError, ValueError) as error:
            raise RuntimeException(f"Failed to allocate memory for requested buffer: {error}") from None
        address = int(block.ctypes.data)
        self._blocks[address] = block
        return address

    def free(self, address: int) -> None:
        del self._blocks[address]

    def upload(self, to: int, source: int, size: int) -> None:
        ctypes.memmove(to, source, size)

    download = move = upload

    def synchronize(self) -> None:
        """Everything is done when it is called."""


MEMORY = _HostMemory()


class _Lease(Lease):
    """A run under the interpreter: memory of the host, and functions that call back into Python."""

    def __init__(self, kernels: Sequence[tuple[InterpretedKernel, tuple[int, int]]], size: int) -> None:
        self._kernels = kernels
        self._memory = [aligned(max(size, 64))]
        self._failure: Exception | None = None
        self.size = size
        self.arena = int(self._memory[0].ctypes.data)
        self.functions = Functions(None, Launch(self._launch), Copy(self._copy), Reserve(self._reserve))

    def _launch(self, _: int | None, kernel: int, programs: int, buffers: Any, sizes: Any) -> int:
        code, arguments = self._kernels[kernel]
        try:
            code.launch(programs, buffers[: arguments[0]], sizes[: arguments[1]])
        except Exception as error:  # it must not pass through C
            self._failure = error
            return 1
        return 0

    def _copy(self, _: int | None, to: int, source: int, size: int, to_host: int) -> int:
        ctypes.memmove(to, source, size)
        return 0

    def _reserve(self, _: int | None, block: int, size: int, at: Any) -> int:
        try:
            self._memory.append(aligned(max(size, 64)))
        except MemoryError:
            return 2
        at[0] = int(self._memory[-1].ctypes.data)
        return 0

    def finish(self) -> None:
        del self._memory[1:]
        self._failure = None

    def error(self, kernel: str, status: int) -> Exception:
        return Fail(f"{kernel}: {type(self._failure).__name__}: {self._failure}" if self._failure else kernel)


class InterpretedDevice(Device):
    """The GPU that is none."""

    name = "gpu:interpreter"
    memory = MEMORY

    def __init__(self, artifact: Artifact) -> None:
        import tempfile  # slow, and rarely needed

        self._folder = tempfile.TemporaryDirectory(prefix="intaglio-kernels-")
        self._kernels = []
        for code in kernels_of(artifact):
            file = Path(self._folder.name, f"{code.name}.py")
            file.write_bytes(code.source)
            numbers = code.buffers, len(code.arguments) - code.buffers
            self._kernels.append((InterpretedKernel(file, code.name, code.arguments), numbers))
        self.weights = int(artifact.weights.ctypes.data)
        self._leases: list[_Lease] = []
        self._closed = False

    def lease(self, size: int) -> Lease:
        if self._closed:
            raise RuntimeError("The session is closed.")
        try:
            found = self._leases.pop()
        except IndexError:
            return _Lease(self._kernels, size)
        return found if found.size >= size else _Lease(self._kernels, size)

    def give_back(self, lease: Lease) -> None:
        assert isinstance(lease, _Lease)
        if not self._closed:
            self._leases.append(lease)

    def close(self) -> None:
        self._closed = True
        self._leases.clear()
        self._folder.cleanup()  # the kernels are in memory
