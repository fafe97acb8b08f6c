"""NVIDIA GPUs through the CUDA driver: what a `Device` is there. Needs neither triton nor torch, only the driver.

In: an artifact with cubins. Out: a `Device`. Kernels are started by templates/c/cuda.c, which is part of the model's
library; Python loads them, owns the memory, and captures a run as a graph once its sizes have come twice.

INTAGLIO_LIBCUDA: the driver's library; libcuda.so.1 where unset.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
import threading
import weakref
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from .. import variables
from ..errors import EPFail, Fail, RuntimeException
from ..store.artifact import Artifact
from .device import Copy, Device, Functions, KernelCode, Launch, Lease, Reserve, address_of, kernels_of
from .memory import Memory

OLDEST = 12000  # of drivers: the first that knows stream-ordered memory and graphs as they are used here
MAX_GRAPHS = 16  # captured runs of a stream, each with memory of its own; then the oldest is dropped
MAX_SEEN = 64  # runs that are remembered, to be captured when they come again

_OUT_OF_MEMORY = 2
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
_MAX_SHARED = 97  # CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
_FUNCTION_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING
_RELAXED = 2  # CU_STREAM_CAPTURE_MODE_RELAXED: a value may be freed by the collector of garbage meanwhile
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
    return Driver(variables.LIBCUDA.text() or "libcuda.so.1")


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


class CudaMemory(Memory):
    """The memory of a GPU; keeps the context alive that everything of this process on that GPU shares."""

    def __init__(self, number: int) -> None:
        self._driver = driver()
        self._number = number
        self._context = _Pointer()
        self._driver("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), number)
        self.device = 2, number  # kDLCUDA

    def enter(self) -> None:
        """Makes the GPU the one of the calling thread."""
        self._driver("cuCtxSetCurrent", self._context)

    @contextlib.contextmanager
    def _entered(self) -> Iterator[None]:
        """For a while: values are made and freed on threads that use another GPU otherwise."""
        self._driver("cuCtxPushCurrent_v2", self._context)
        try:
            yield
        finally:
            self._driver("cuCtxPopCurrent_v2", ctypes.byref(_Pointer()))

    def allocate(self, size: int) -> int:
        at = _Address()
        with self._entered():
            self._driver("cuMemAlloc_v2", ctypes.byref(at), ctypes.c_size_t(size))
        return at.value

    def free(self, address: int) -> None:
        with self._entered():
            self._driver("cuMemFree_v2", _Address(address))

    def upload(self, to: int, source: int, size: int) -> None:
        with self._entered():
            self._driver("cuMemcpyHtoD_v2", _Address(to), _Pointer(source), ctypes.c_size_t(size))
            self._driver("cuStreamSynchronize", None)  # of pageable memory, the last bytes may still be under way

    def download(self, to: int, source: int, size: int) -> None:
        with self._entered():
            self._driver("cuMemcpyDtoH_v2", _Pointer(to), _Address(source), ctypes.c_size_t(size))

    def move(self, to: int, source: int, size: int) -> None:
        with self._entered():
            self._driver("cuMemcpyDtoD_v2", _Address(to), _Address(source), ctypes.c_size_t(size))
            self._driver("cuStreamSynchronize", None)  # it is asynchronous, and other streams do not wait for it

    def synchronize(self) -> None:
        with self._entered():
            self._driver("cuCtxSynchronize")

    def __del__(self) -> None:
        if getattr(self, "device", None) and not sys.is_finalizing():  # then the driver may be gone already
            self._driver("cuDevicePrimaryCtxRelease_v2", self._number)


_memories: weakref.WeakValueDictionary[int, CudaMemory] = weakref.WeakValueDictionary()
_memories_lock = threading.Lock()


def memory(number: int) -> CudaMemory:
    """The memory of a GPU, as CUDA counts them."""
    with _memories_lock:
        found = _memories.get(number)
        if found is None:
            found = _memories[number] = CudaMemory(number)
        return found


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
    """A captured run: inputs and outputs of the host's lie in pinned memory, which graphs copy from and to."""

    def __init__(self, executable: int, inputs: list[int | None], outputs: list[int | None], pinned: list[int]):
        self.executable, self.inputs, self.outputs, self.pinned = executable, inputs, outputs, pinned


class CudaLease(Lease):
    """A stream, an arena in its order, and the graphs that were captured with these."""

    def __init__(self, device: CudaDevice, size: int) -> None:
        self._device = weakref.proxy(device)  # which has the leases: memory of a GPU is not to wait for the collector
        self._driver = device.driver
        self._stream = _Pointer()
        self._driver("cuStreamCreate", ctypes.byref(self._stream), _NON_BLOCKING)
        self._blocks: dict[int, tuple[int, int]] = {}
        self._graphs: dict[Any, _Graph] = {}
        self.size = size
        try:
            self.arena = self._allocate(size) if size else 0
        except (Fail, RuntimeException):
            self._driver("cuStreamDestroy_v2", self._stream)
            raise
        self._state = _State(
            self._driver.function("cuLaunchKernel"),
            self._driver.function("cuMemcpyAsync"),
            self._driver.function("cuStreamSynchronize"),
            self._stream.value,
            address_of(device.table),
            0,
        )
        library, mine = device.library, weakref.proxy(self)
        self.functions = Functions(
            address_of(self._state),
            ctypes.cast(library.intaglio_cuda_launch, Launch),
            ctypes.cast(library.intaglio_cuda_copy, Copy),
            Reserve(lambda _, block, bytes, at: mine._reserve(block, bytes, at)),
        )

    def _allocate(self, size: int) -> int:
        at = _Address()
        self._driver("cuMemAllocAsync", ctypes.byref(at), ctypes.c_size_t(size), self._stream)
        return at.value

    def _free(self, at: int) -> None:
        self._driver("cuMemFreeAsync", _Address(at), self._stream)

    def _reserve(self, block: int, size: int, at: Any) -> int:
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

    def run(self, run: Any, frame: Any, key: Any, inputs: Sequence[int | None], outputs: Sequence[int | None]) -> int:
        """Runs the program directly at first; from the second time that `key` comes on, as a graph."""
        if key is None or not self._device.graphs:
            return int(run(frame.address))
        graph = self._graphs.get(key)
        if graph is None and self._device.seen(key):
            graph = self._captured(run, frame, inputs, outputs)
            if graph is not None:
                if len(self._graphs) >= MAX_GRAPHS:
                    self._drop(self._graphs.pop(next(iter(self._graphs))))
                self._graphs[key] = graph
        if graph is None:
            return int(run(frame.address))
        for index, (pinned, size) in enumerate(zip(graph.inputs, inputs)):
            if pinned is not None:
                ctypes.memmove(pinned, frame.inputs[index], size or 0)
        self._driver("cuGraphLaunch", _Pointer(graph.executable), self._stream)
        self._driver("cuStreamSynchronize", self._stream)
        for index, (pinned, size) in enumerate(zip(graph.outputs, outputs)):
            if pinned is not None and frame.outputs[index]:
                ctypes.memmove(frame.outputs[index], pinned, size or 0)
        return 0

    def _captured(
        self, run: Any, frame: Any, inputs: Sequence[int | None], outputs: Sequence[int | None]
    ) -> _Graph | None:
        """The run as a graph, on pinned memory and on what the device has; None where it cannot be captured."""
        pinned: list[int] = []

        def staged(cells: Any, sizes: Sequence[int | None]) -> list[int | None]:
            addresses: list[int | None] = []
            for index, size in enumerate(sizes):
                if size is None:
                    addresses.append(None)
                    continue
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
            self._driver("cuStreamBeginCapture_v2", self._stream, _RELAXED)
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
        self._driver("cuStreamDestroy_v2", self._stream)


class CudaDevice(Device):
    """One GPU. number: as CUDA counts them; graphs: whether runs are captured; stream: of the user, runs come after the
    work in it."""

    def __init__(self, artifact: Artifact, number: int, graphs: bool, stream: int) -> None:
        self.driver = driver()
        self.memory: CudaMemory = memory(number)
        self._number, self._after = number, stream
        self._lock = threading.Lock()
        self._closed, self._lent = False, 0
        self._seen: dict[Any, None] = {}
        self._leases: list[CudaLease] = []
        self._modules: list[_Pointer] = []
        self.library = artifact.library
        self.graphs = graphs and bool(artifact.manifest["device"].get("straight"))
        self.weights = 0
        self.memory.enter()
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
            self.weights = self.memory.allocate(size)
            self.memory.upload(self.weights, artifact.weights.ctypes.data, size)

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
        self.memory.enter()
        if self._after:
            self.driver("cuStreamSynchronize", _Pointer(self._after))
        with self._lock:
            if self._closed:
                raise RuntimeError("The session is closed.")
            self._lent += 1
            fitting = [x for x in self._leases if x.size >= size]
            if fitting:
                self._leases.remove(fitting[-1])
                return fitting[-1]
        try:
            return CudaLease(self, size)
        except Exception:
            self._returned([])
            raise

    def seen(self, key: Any) -> bool:
        """Whether there was a run with this key before."""
        with self._lock:
            if key in self._seen:
                return True
            if len(self._seen) >= MAX_SEEN:
                del self._seen[next(iter(self._seen))]
            self._seen[key] = None
            return False

    def give_back(self, lease: Lease) -> None:
        assert isinstance(lease, CudaLease)
        with self._lock:
            dropped = [lease] if self._closed else [x for x in self._leases if x.size < lease.size]
            if not self._closed:
                self._leases = [x for x in self._leases if x.size >= lease.size] + [lease]
        self._returned(dropped)

    def _returned(self, dropped: list[CudaLease]) -> None:
        """One lease less is lent out; closes those that nobody needs any more."""
        for each in dropped:
            each.close()
        with self._lock:
            self._lent -= 1
            last = self._closed and not self._lent
        if last:
            self._free()

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            idle, self._leases = self._leases, []
            last = not self._lent
        self.memory.enter()
        for lease in idle:
            lease.close()
        if last:
            self._free()

    def _free(self) -> None:
        """What no run uses any more: weights and code."""
        self.memory.enter()
        if self.weights:
            self.memory.free(self.weights)
        for module in self._modules:
            self.driver("cuModuleUnload", module)

    def __del__(self) -> None:
        if not getattr(self, "_closed", True) and not sys.is_finalizing():  # then the driver may be gone already
            self.close()
