"""NVIDIA GPUs through the CUDA driver: what a `Device` is there. Needs neither triton nor torch, only the driver.

In: an artifact with cubins. Out: a `Device`. Kernels are started by templates/c/cuda.c, which is part of the model's
library; Python loads them, owns the memory, and captures a run as a graph once its sizes have come twice.

INTAGLIO_LIBCUDA: the driver's library; libcuda.so.1 where unset.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from functools import lru_cache
from typing import Any

from .artifact import Artifact
from .device import Copy, Device, Functions, KernelCode, Launch, Lease, Reserve, address_of, kernels_of
from .errors import EPFail, Fail, RuntimeException

OLDEST = 12000  # of drivers: the first that knows stream-ordered memory and graphs as they are used here
MAX_GRAPHS = 16  # captured runs of a stream, each with memory of its own; then the oldest is dropped

_OUT_OF_MEMORY = 2
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
_MAX_SHARED = 97  # CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
_MEMORY_TYPE, _MEMORY_TYPE_DEVICE = 2, 2
_FUNCTION_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING
_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
_STATIC_SHARED = 48 << 10  # bytes of shared memory that a kernel may have without asking

_Pointer = ctypes.c_void_p
_Address = ctypes.c_uint64


class Driver:
    """The functions of the driver's library; each raises what the driver says, in onnxruntime's classes."""

    def __init__(self, path: str) -> None:
        try:
            self._library = ctypes.CDLL(path)
        except OSError as error:
            raise EPFail(
                f"The CUDA driver's library cannot be loaded ({error}). Install NVIDIA's driver, or leave "
                "CUDAExecutionProvider out of the providers."
            ) from None
        self("cuInit", 0)
        version = ctypes.c_int()
        self("cuDriverGetVersion", ctypes.byref(version))
        if version.value < OLDEST:
            raise EPFail(
                f"The CUDA driver is of version {_version(version.value)}; {_version(OLDEST)} or newer is needed. "
                "Update NVIDIA's driver, or leave CUDAExecutionProvider out of the providers."
            )

    def __call__(self, function: str, *arguments: Any) -> None:
        """Calls a function; raises RuntimeException where memory is short, Fail for other errors."""
        status = getattr(self._library, function)(*arguments)
        if status:
            raise self.error(status, function)

    def error(self, status: int, where: str) -> Exception:
        text = ctypes.c_char_p()
        known = not self._library.cuGetErrorString(status, ctypes.byref(text)) and text.value
        said = text.value.decode() if known and text.value else f"error {status}"
        if status == _OUT_OF_MEMORY:
            return RuntimeException(
                f"Failed to allocate memory for requested buffer: the GPU has no more ({where}: {said}). Use a smaller "
                "batch, or close other sessions."
            )
        return Fail(f"CUDA error {status} in {where}: {said}")

    def function(self, name: str) -> int:
        """The address of a function, for C."""
        return ctypes.cast(getattr(self._library, name), _Pointer).value or 0

    def attribute(self, number: int, device: int) -> int:
        value = ctypes.c_int()
        self("cuDeviceGetAttribute", ctypes.byref(value), number, device)
        return value.value


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


@lru_cache
def driver() -> Driver:
    """The driver. Raises EPFail where there is none, or an old one."""
    return Driver(os.environ.get("INTAGLIO_LIBCUDA") or "libcuda.so.1")


def names() -> list[str]:
    """The GPUs of this machine by the names of targets, such as "cuda:sm_90"; raises EPFail."""
    count = ctypes.c_int()
    driver()("cuDeviceGetCount", ctypes.byref(count))
    return [f"cuda:sm_{_capability(device)}" for device in range(count.value)]


def _capability(device: int) -> int:
    return 10 * driver().attribute(_CAPABILITY_MAJOR, device) + driver().attribute(_CAPABILITY_MINOR, device)


def best_code(names: list[str], capability: int) -> str | None:
    """Of the GPUs that there is code for, the one whose code runs best on a capability: cubins run on newer minors."""
    fitting = [int(n[8:]) for n in names if n.startswith("cuda:sm_") and int(n[8:]) // 10 == capability // 10]
    return max((f"cuda:sm_{n}" for n in fitting if n <= capability), default=None)


class _Kernel(ctypes.Structure):
    """intaglio_cuda_kernel."""

    _fields_ = (
        ("function", _Pointer),
        ("threads", ctypes.c_int32),
        ("shared", ctypes.c_int32),
        ("buffers", ctypes.c_int32),
        ("sizes", ctypes.c_int32),
    )


class _State(ctypes.Structure):
    """intaglio_cuda."""

    _fields_ = (
        ("launch", _Pointer),
        ("copy", _Pointer),
        ("synchronize", _Pointer),
        ("stream", _Pointer),
        ("kernels", _Pointer),
        ("capturing", ctypes.c_int32),
    )


class _Graph:
    """A captured run: its inputs and outputs lie in pinned memory, which graphs copy from and to."""

    def __init__(self, executable: int, inputs: list[int | None], outputs: list[int | None], pinned: list[int]):
        self.executable, self.inputs, self.outputs, self.pinned = executable, inputs, outputs, pinned


class CudaLease(Lease):
    """A stream, an arena in its order, and the graphs that were captured with these."""

    def __init__(self, device: CudaDevice, size: int) -> None:
        self._device = device
        self._driver = device.driver
        self._stream = _Pointer()
        self._driver("cuStreamCreate", ctypes.byref(self._stream), _NON_BLOCKING)
        self._blocks: dict[int, tuple[int, int]] = {}
        self._graphs: dict[Any, _Graph] = {}
        self.size = size
        self.arena = self._allocate(size) if size else 0
        self._state = _State(
            self._driver.function("cuLaunchKernel"),
            self._driver.function("cuMemcpyAsync"),
            self._driver.function("cuStreamSynchronize"),
            self._stream.value,
            address_of(device.table),
            0,
        )
        library = device.library
        self.functions = Functions(
            address_of(self._state),
            ctypes.cast(library.intaglio_cuda_launch, Launch),
            ctypes.cast(library.intaglio_cuda_copy, Copy),
            Reserve(self._reserve),
        )

    def _allocate(self, size: int) -> int:
        at = _Address()
        self._driver("cuMemAllocAsync", ctypes.byref(at), ctypes.c_size_t(size), self._stream)
        return at.value

    def _free(self, at: int) -> None:
        self._driver("cuMemFreeAsync", _Address(at), self._stream)

    def _reserve(self, _: int | None, block: int, size: int, at: Any) -> int:
        there, capacity = self._blocks.get(block, (0, 0))
        try:
            if size > capacity:
                if there:
                    self._free(there)
                    del self._blocks[block]
                there = self._allocate(size)
                self._blocks[block] = there, size
        except RuntimeException:
            return _OUT_OF_MEMORY
        except Fail:
            return 999  # CUDA_ERROR_UNKNOWN
        at[0] = there
        return 0

    def run(self, run: Any, frame: Any, key: Any, inputs: list[int], outputs: list[int]) -> int:
        """Runs the program directly at first; from the second time that `key` comes on, as a graph."""
        if key is None or not self._device.graphs:
            return int(run(frame.address))
        graph = self._graphs.get(key)
        if graph is None and key.runs:
            graph = self._captured(run, frame, inputs, outputs)
            if graph is not None:
                if len(self._graphs) >= MAX_GRAPHS:
                    self._drop(self._graphs.pop(next(iter(self._graphs))))
                self._graphs[key] = graph
        key.runs += 1
        if graph is None:
            return int(run(frame.address))
        for index, (pinned, size) in enumerate(zip(graph.inputs, inputs)):
            if pinned is not None:
                ctypes.memmove(pinned, frame.inputs[index], size)
        self._driver("cuGraphLaunch", _Pointer(graph.executable), self._stream)
        self._driver("cuStreamSynchronize", self._stream)
        for index, (pinned, size) in enumerate(zip(graph.outputs, outputs)):
            if pinned is not None and frame.outputs[index]:
                ctypes.memmove(frame.outputs[index], pinned, size)
        return 0

    def _captured(self, run: Any, frame: Any, inputs: list[int], outputs: list[int]) -> _Graph | None:
        """The run as a graph on pinned memory; None where the driver will not capture it."""
        pinned: list[int] = []

        def staged(cells: Any, sizes: list[int]) -> list[int | None]:
            addresses: list[int | None] = []
            for index, size in enumerate(sizes):
                there = _Pointer()
                self._driver("cuMemHostAlloc", ctypes.byref(there), ctypes.c_size_t(max(size, 1)), 0)
                pinned.append(there.value or 0)
                addresses.append(there.value)
                cells[index] = there.value
            return addresses

        before = [list(frame.inputs), list(frame.outputs)]
        graph, executable = _Pointer(), _Pointer()
        try:
            made = _Graph(0, staged(frame.inputs, inputs), staged(frame.outputs, outputs), pinned)
            self._driver("cuStreamBeginCapture", self._stream, _THREAD_LOCAL)
            self._state.capturing = 1
            status = run(frame.address)
            self._state.capturing = 0
            self._driver("cuStreamEndCapture", self._stream, ctypes.byref(graph))
            if status or not graph.value:
                self._unpinned(pinned)
                return None
            self._driver("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_uint64(0))
            self._driver("cuGraphDestroy", graph)
            made.executable = executable.value or 0
            return made
        except (Fail, RuntimeException):
            self._unpinned(pinned)
            return None
        finally:
            self._state.capturing = 0
            for cells, values in zip((frame.inputs, frame.outputs), before):
                for index, value in enumerate(values):
                    cells[index] = value

    def _unpinned(self, pinned: list[int]) -> None:
        for at in pinned:
            self._driver("cuMemFreeHost", _Pointer(at))

    def _drop(self, graph: _Graph) -> None:
        self._driver("cuGraphExecDestroy", _Pointer(graph.executable))
        self._unpinned(graph.pinned)

    def finish(self) -> None:
        self._driver("cuStreamSynchronize", self._stream)

    def error(self, kernel: str, status: int) -> Exception:
        return self._driver.error(status, kernel)

    def close(self) -> None:
        for graph in self._graphs.values():
            self._drop(graph)
        self._graphs.clear()
        for at, _ in self._blocks.values():
            self._free(at)
        if self.arena:
            self._free(self.arena)
        self._driver("cuStreamSynchronize", self._stream)
        self._driver("cuStreamDestroy", self._stream)


class CudaDevice(Device):
    """One GPU. number: as CUDA counts them; graphs: whether runs are captured."""

    def __init__(self, artifact: Artifact, number: int = 0, graphs: bool = True) -> None:
        self.driver = driver()
        self._number = number
        self._context = _Pointer()
        self.driver("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), number)
        self._lock = threading.Lock()
        self._closed = False
        self._leases: list[CudaLease] = []
        self._modules: list[_Pointer] = []
        self.library = artifact.library
        self.graphs = graphs and bool(artifact.manifest["device"].get("straight"))
        self.weights = 0
        self._enter()
        capability = _capability(number)
        self.name = f"cuda:sm_{capability}"
        there = artifact.manifest["device"]["gpus"]
        code = best_code(there, capability)
        if code is None:
            raise EPFail(
                f"The model is compiled for {', '.join(there)}, and this GPU is {self.name}: compile it again with "
                f"--target {self.name}."
            )
        kernels = kernels_of(artifact)
        self.table = (_Kernel * max(len(kernels), 1))(*(self._loaded(kernel, code) for kernel in kernels))
        if size := artifact.weights.size:
            at = _Address()
            self.driver("cuMemAlloc_v2", ctypes.byref(at), ctypes.c_size_t(size))
            self.weights = at.value
            source = _Pointer(artifact.weights.ctypes.data)
            self.driver("cuMemcpyHtoD_v2", at, source, ctypes.c_size_t(size))

    def _enter(self) -> None:
        self.driver("cuCtxSetCurrent", self._context)

    def _loaded(self, kernel: KernelCode, code: str) -> _Kernel:
        binary, facts = kernel.binaries[code]
        most = self.driver.attribute(_MAX_SHARED, self._number)
        if facts["shared"] > most:
            raise EPFail(
                f"Kernel {kernel.name} needs {facts['shared']} bytes of shared memory, and this GPU has {most}: "
                f"compile the model for it (--target {self.name}), or leave CUDAExecutionProvider out of the providers."
            )
        module, function = _Pointer(), _Pointer()
        self.driver("cuModuleLoadData", ctypes.byref(module), binary)
        self._modules.append(module)
        self.driver("cuModuleGetFunction", ctypes.byref(function), module, kernel.name.encode())
        if facts["shared"] > _STATIC_SHARED:
            self.driver("cuFuncSetAttribute", function, _FUNCTION_SHARED, facts["shared"])
        sizes = len(kernel.arguments) - kernel.buffers
        return _Kernel(function.value, facts["threads"], facts["shared"], kernel.buffers, sizes)

    def lease(self, size: int) -> Lease:
        self._enter()
        with self._lock:
            fitting = [x for x in self._leases if x.size >= size]
            if fitting:
                self._leases.remove(fitting[-1])
                return fitting[-1]
        return CudaLease(self, size)

    def give_back(self, lease: Lease) -> None:
        assert isinstance(lease, CudaLease)
        with self._lock:
            if self._closed:
                lease.close()
                return
            smaller = [x for x in self._leases if x.size < lease.size]
            self._leases = [x for x in self._leases if x.size >= lease.size] + [lease]
        for each in smaller:
            each.close()

    def holds(self, address: int) -> bool:
        kind = ctypes.c_uint()
        try:
            self.driver("cuPointerGetAttribute", ctypes.byref(kind), _MEMORY_TYPE, _Address(address))
        except Fail:  # memory that the driver does not know
            return False
        return kind.value == _MEMORY_TYPE_DEVICE

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._enter()
        for lease in self._leases:
            lease.close()
        self._leases.clear()
        if self.weights:
            self.driver("cuMemFree_v2", _Address(self.weights))
        for module in self._modules:
            self.driver("cuModuleUnload", module)
        self.driver("cuDevicePrimaryCtxRelease_v2", self._number)

    def __del__(self) -> None:
        if not getattr(self, "_closed", True) and not sys.is_finalizing():  # then the driver may be gone already
            self.close()
