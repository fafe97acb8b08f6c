"""Calls the code of a compiled model: the Python side of templates/c/runtime_abi.h.

In: an artifact, then arrays that are already checked. Out: new arrays, which the kernels wrote directly; on a GPU
tensors in its memory, too.
`Program.run` is the path on which microseconds count: it touches each array once and calls C once, without the GIL.

INTAGLIO_SPIN_US: how many microseconds an idle thread of the pool polls for work before it sleeps.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import cpus, errors, variables
from ..device.device import Device
from ..device.memory import DeviceTensor, Memory, Tensor
from ..dtypes import OBJECT, is_numbered, stored_dtype
from ..errors import Fail, InvalidArgument, RuntimeException
from ..host.calls import Calls
from ..store.artifact import Artifact, aligned

ABI = 6  # INTAGLIO_ABI
TERMINATED, NO_MEMORY, ABSURD_SIZE, ON_DEVICE, OUTSIDE, ON_HOST = -1, -2, -3, -4, -5, -6
TOO_LARGE = -1  # INTAGLIO_TOO_LARGE
CPUS = 1024  # INTAGLIO_CPUS
DEFAULT_SPIN_US = 200  # how long an idle thread polls before it sleeps

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]

_Output = ctypes.CFUNCTYPE(
    ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32, ctypes.POINTER(ctypes.c_int64), ctypes.c_int32
)


_HostCall = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32, ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_int64)
)


class Host(ctypes.Structure):
    """intaglio_host: how a program asks for an output whose shape depends on data, and for a function of the host."""

    _fields_ = (("self", ctypes.c_void_p), ("output", _Output), ("call", _HostCall))


class Profile(ctypes.Structure):
    """intaglio_profile: what is recorded of a run."""

    _fields_ = (
        ("records", ctypes.c_void_p),
        ("capacity", ctypes.c_int64),
        ("count", ctypes.c_int64),
        ("begin", ctypes.c_int64),
        ("end", ctypes.c_int64),
        ("alone", ctypes.c_int64),
    )


class Call(ctypes.Structure):
    """intaglio_call: one run."""

    _fields_ = (
        ("inputs", ctypes.c_void_p),
        ("outputs", ctypes.c_void_p),
        ("dims", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("arena", ctypes.c_void_p),
        ("arena_bytes", ctypes.c_int64),
        ("scratch_bytes", ctypes.c_int64),
        ("pool", ctypes.c_void_p),
        ("terminate", ctypes.c_void_p),
        ("profile", ctypes.c_void_p),
        ("report", ctypes.c_void_p),
        ("host", ctypes.c_void_p),
        ("device", ctypes.c_void_p),
        ("device_arena", ctypes.c_void_p),
        ("device_weights", ctypes.c_void_p),
        ("resident", ctypes.c_void_p),
        ("threads", ctypes.c_int32),
        ("flags", ctypes.c_int32),
    )


# ---- Addresses of arrays -------------------------------------------------------------------------------------------

_pointer_at = ctypes.c_void_p.from_address
_DATA = object.__basicsize__  # where an array object keeps the address of its data: right behind the object's head


def _slow_address(array: Array) -> int:
    return int(array.ctypes.data)


def _fast_address(array: Array) -> int:
    """The same in an eighth of the time; `data` is the first field of numpy's public array structure."""
    return _pointer_at(id(array) + _DATA).value or 0


def _choose_address() -> Any:
    probe = np.empty(8)
    return _fast_address if _fast_address(probe) == _slow_address(probe) else _slow_address


address = _choose_address()

# ---- The pool ------------------------------------------------------------------------------------------------------

_pool_lock = threading.RLock()  # the handler of a signal may make a session as well
_pool: tuple[int, ctypes.CDLL] | None = None  # its address, and the library that its code is in


def _shared_pool(library: ctypes.CDLL) -> int:
    """The process-wide pool; the first library that asks provides it."""
    global _pool
    with _pool_lock:
        if _pool is None:
            spin = variables.SPIN_US.value()
            library.intaglio_pool_create.restype = ctypes.c_void_p
            library.intaglio_pool_create.argtypes = (ctypes.c_int32, ctypes.c_int64)
            library.intaglio_pool_stop.argtypes = (ctypes.c_void_p,)
            pool = library.intaglio_pool_create(cpus.usable(), (DEFAULT_SPIN_US if spin is None else spin) * 1000)
            if not pool:
                raise MemoryError("no memory for the thread pool")
            _pool = (pool, library)
            atexit.register(library.intaglio_pool_stop, pool)
        return _pool[0]


def pin(sets: Sequence[Sequence[int]]) -> None:
    """Lets the i-th thread of the pool run on the CPUs of the i-th set only. Nothing happens where there is no pool."""
    with _pool_lock:
        if _pool is None:
            return
        pool, library = _pool
        bits = bytearray(CPUS // 8 * len(sets))
        for number, cpus_of in enumerate(sets):
            for cpu in (c for c in cpus_of if c < CPUS):
                bits[number * CPUS // 8 + cpu // 8] |= 1 << cpu % 8
        library.intaglio_pool_pin.argtypes = (ctypes.c_void_p, ctypes.c_int32, ctypes.c_char_p)
        library.intaglio_pool_pin(pool, len(sets), bytes(bits))


# ---- Programs ------------------------------------------------------------------------------------------------------


class Arena:
    """Memory of one run at a time."""

    __slots__ = ("address", "memory", "size")

    def __init__(self, size: int):
        self.memory = aligned(size)
        self.size = size
        self.address = address(self.memory)


class Frame:
    """The call structure of one run at a time, all of it filled in but for the addresses of that run's arrays."""

    __slots__ = ("address", "call", "inputs", "outputs", "report")

    def __init__(self, plan: Plan, template: Call, inputs: int):
        self.inputs = (ctypes.c_void_p * max(inputs, 1))()
        self.outputs = (ctypes.c_void_p * max(len(plan.outputs), 1))()
        self.report = (ctypes.c_int64 * 4)()
        self.call = Call.from_buffer_copy(template)
        self.call.inputs = ctypes.addressof(self.inputs)
        self.call.outputs = ctypes.addressof(self.outputs)
        self.call.report = ctypes.addressof(self.report)
        self.call.dims = ctypes.addressof(plan.dims)
        self.call.arena_bytes = plan.arena_bytes
        self.call.scratch_bytes = plan.scratch_bytes
        self.call.threads = plan.threads
        if plan.threads == 1:
            self.call.pool = None
        self.address = ctypes.addressof(self.call)


class Plan:
    """What is known of a run once the sizes of its inputs are: kept by the session, one for each combination.

    outputs: shape and dtype of each; the shape is None where it depends on data. bytes: of the arena, scratch included;
    device_bytes: of that on the device.
    """

    __slots__ = ("arena_bytes", "bytes", "device_bytes", "dims", "frames", "outputs", "scratch_bytes", "threads")

    def __init__(self, dims: Any, told: list[int], outputs: list[tuple[Shape | None, Any]], threads: int):
        self.dims = dims
        self.arena_bytes, self.scratch_bytes, suggested, self.device_bytes = told
        self.threads = min(threads, suggested) if suggested > 0 else threads
        self.bytes = self.arena_bytes + self.scratch_bytes * self.threads
        self.outputs = outputs
        self.frames: list[Frame] = []


class Program:
    """A loaded model. `run` may be called from any number of threads at once."""

    def __init__(
        self,
        artifact: Artifact,
        threads: int,
        flags: int = 0,
        device: Device | None = None,
        operators: Mapping[str, Callable[..., Any]] | None = None,
    ):
        library = artifact.library
        if (abi := library.intaglio_abi()) != ABI:
            raise InvalidArgument(
                f"This model is compiled for runtime interface {abi}, and this version of Intaglio has {ABI}. "
                "Compile the ONNX model again."
            )
        self._artifact = artifact  # owns the weights and the code
        self._threads = threads
        self._device = device
        self._run = library.intaglio_run
        self._run.argtypes, self._run.restype = (ctypes.c_void_p,), ctypes.c_int32
        self._plan = library.intaglio_plan
        self._plan.argtypes, self._plan.restype = (ctypes.c_void_p, ctypes.c_void_p), ctypes.c_int32
        manifest = artifact.manifest
        self._symbols: list[str] = [s["name"] for s in manifest["symbols"]]
        self._input_types: list[str] = [i["type"] for i in manifest["inputs"]]
        self._output_types = [OBJECT if o.get("object") else o["type"] for o in manifest["outputs"]]
        ranks = [o.get("rank", len(o["shape"])) for o in manifest["outputs"]]
        self._outputs = [(rank, stored_dtype(type)) for rank, type in zip(ranks, self._output_types)]
        self._calls: Calls | None = None
        if "host" in manifest or any(map(is_numbered, self._input_types + self._output_types)):
            self._calls = Calls(manifest.get("host", ()), manifest.get("strings", ()), operators)
        self._inputs = len(manifest["inputs"])
        facts = manifest.get("device", {})  # what the host has to find in its own memory
        self._host_inputs = frozenset(facts.get("host_inputs", ()))
        self._host_outputs = frozenset(facts.get("host_outputs", ()))
        self._template = Call(
            weights=address(artifact.weights) if artifact.weights.size else None,
            pool=_shared_pool(library) if threads > 1 else None,
            flags=flags,
            device_weights=device.weights if device else None,
        )
        self._arenas: list[Arena] = []  # not in use; each grows to what runs need

    def plan(self, dims: Sequence[int]) -> Plan:
        """The plan for these values of the manifest's symbols. Raises what its asserts say for sizes it forbids."""
        values = (ctypes.c_int64 * max(len(dims), 1))(*dims)
        told = (ctypes.c_int64 * (4 + sum(rank for rank, _ in self._outputs)))()
        if refused := self._plan(ctypes.addressof(values), ctypes.addressof(told)):
            entry = self._artifact.manifest["asserts"][refused - 1]
            raise errors.BY_NAME[entry["type"]](_filled(entry["text"], dict(zip(self._symbols, dims))))
        if told[0] < 0 or told[3] < 0:
            sizes = ", ".join(f"{name} = {value}" for name, value in zip(self._symbols, dims))
            raise RuntimeException(f"Failed to allocate memory for requested buffer: no memory is that large ({sizes})")
        outputs: list[tuple[Shape | None, Any]] = []
        position = 4
        for rank, dtype in self._outputs:
            shape = tuple(told[position : position + rank])
            outputs.append((None if min(shape, default=0) < 0 else shape, dtype))
            position += rank
        return Plan(values, told[:4], outputs, self._threads)

    def placed(self, index: int, tensor: Tensor) -> Tensor:
        """Input `index` where the program can read it: itself, or a copy."""
        if isinstance(tensor, np.ndarray):
            return tensor
        if self._device is None or tensor.memory is not self._device.memory or index in self._host_inputs:
            return tensor.numpy()
        if tensor.aligned:
            return tensor
        copied = tensor.memory.new(tensor.shape, tensor.dtype)
        copied.fill(tensor)
        return copied

    def run(
        self, plan: Plan, arrays: Sequence[Tensor], terminate: int | None = None, profile: int | None = None
    ) -> list[Tensor]:
        """Runs the model on C-contiguous arrays of the right dtypes, whose shapes are those of `plan`.

        terminate, profile: addresses, see intaglio_call. Returns new arrays in the order of the manifest's outputs.
        """
        if self._device is not None or self._calls is not None:
            return self.run_into(plan, arrays, [None] * len(plan.outputs), terminate, profile)
        try:
            frame = plan.frames.pop()
        except IndexError:
            frame = Frame(plan, self._template, self._inputs)
        call, cells = frame.call, frame.inputs
        for index, array in enumerate(arrays):
            cells[index] = address(array)
        cells = frame.outputs
        results: list[Tensor] = []
        arena = None
        try:
            for index, (shape, dtype) in enumerate(plan.outputs):
                if shape is None:
                    return self.run_into(plan, arrays, [None] * len(plan.outputs), terminate, profile)
                array = np.empty(shape, dtype)
                cells[index] = address(array)
                results.append(array)
            if plan.bytes:
                arena = self._take_arena(plan.bytes)
                call.arena = arena.address
        except (MemoryError, ValueError) as error:  # more than there is, or than addresses can tell
            raise RuntimeException(f"Failed to allocate memory for requested buffer: {error}") from None
        if terminate is not None or profile is not None:
            call.terminate, call.profile = terminate, profile
            status = self._run(frame.address)
            call.terminate = call.profile = None
        else:
            status = self._run(frame.address)
        if arena is not None:
            self._arenas.append(arena)
        if status:
            raise self._error(status, frame)
        plan.frames.append(frame)
        return results

    def run_into(
        self,
        plan: Plan,
        arrays: Sequence[Tensor],
        given: Sequence[Tensor | Memory | None],
        terminate: int | None = None,
        profile: int | None = None,
    ) -> list[Tensor]:
        """`run` on what `placed` returned, which writes outputs into the tensors of `given`, where there is one of the
        right shape and dtype that the program can write to; and makes outputs in a memory where that is given.

        The program allocates outputs itself whose shapes depend on data.
        """
        frame = Frame(plan, self._template, self._inputs)
        table = None if self._calls is None else self._calls.table()
        if table is not None:
            arrays = [table.fed(x, t) for x, t in zip(arrays, self._input_types)]
        for index, fed in enumerate(arrays):
            frame.inputs[index] = _place(fed)
        homes = [self._home(index, each) for index, each in enumerate(given)]
        results: list[Tensor | None] = []
        try:
            for index, (shape, dtype) in enumerate(plan.outputs):
                made = given[index]
                if shape is None:
                    made = None
                elif not _fits(made, homes[index], shape, dtype):
                    made = _new(homes[index], shape, dtype)
                assert not isinstance(made, Memory)
                results.append(made)
                frame.outputs[index] = None if made is None else _place(made)
            arena = self._take_arena(plan.bytes)
        except (MemoryError, ValueError) as error:
            raise RuntimeException(f"Failed to allocate memory for requested buffer: {error}") from None

        def output(_: int | None, index: int, shape: Any, rank: int) -> int | None:
            try:
                made = _new(homes[index], tuple(shape[:rank]), self._outputs[index][1])
            except (MemoryError, ValueError, RuntimeException):
                return None
            results[index] = made
            return _place(made)

        failures: list[BaseException] = []

        def function(_: int | None, number: int, buffers: Any, sizes: Any) -> int:
            assert self._calls is not None and table is not None
            try:
                self._calls.run(number, table, buffers, sizes)
            except BaseException as error:  # goes on where C has returned
                failures.append(error)
            return len(failures)

        host = Host(None, _Output(output), _HostCall() if table is None else _HostCall(function))
        call = frame.call
        call.arena, call.host = arena.address, ctypes.addressof(host)
        call.terminate, call.profile = terminate, profile
        if self._device is None:
            status = self._run(frame.address)
        else:
            outputs = [home is not None for home in homes]
            resident = bytes([*(isinstance(fed, DeviceTensor) for fed in arrays), *outputs])
            call.resident = ctypes.cast(ctypes.c_char_p(resident), ctypes.c_void_p)
            known = all(each is not None for each in results)
            recorded = known and profile is None  # the flag `terminate` is only looked at while work is handed out
            status = self._run_on(self._device, frame, plan if recorded else None, plan.device_bytes, arrays, results)
        self._arenas.append(arena)
        if status == ON_HOST:
            raise failures[0]
        if status:
            raise self._error(status, frame)
        found = [each for each in results if each is not None]
        if table is None:
            return found
        pairs = zip(found, self._output_types)
        return [x if isinstance(x, DeviceTensor) else table.loaded(x, t) for x, t in pairs]

    def _home(self, index: int, given: Tensor | Memory | None) -> Memory | None:
        """The device's memory, where output `index` is wanted there and the program can write it there."""
        memory = given.memory if isinstance(given, DeviceTensor) else given
        if self._device is None or memory is not self._device.memory or index in self._host_outputs:
            return None
        return self._device.memory

    def _run_on(
        self,
        device: Device,
        frame: Frame,
        plan: Plan | None,
        arena: int,
        inputs: Sequence[Tensor],
        outputs: Sequence[Tensor | None],
    ) -> int:
        """The status of a run with steps on a device. plan: where the run may be recorded; arena: bytes on the device.
        Raises what the device says went wrong."""
        lease = device.lease(arena)
        try:
            call = frame.call
            call.device, call.device_arena = ctypes.addressof(lease.functions), lease.arena
            there = tuple([t.address if isinstance(t, DeviceTensor) else 0 for t in (*inputs, *outputs)])
            key = None if plan is None else (plan, there)
            try:
                status = lease.run(self._run, frame, key, _staged(inputs), _staged(outputs))
                if status == ON_DEVICE:
                    where, said = self._step(frame.report[0]), frame.report[1]
                    if said == TOO_LARGE:
                        raise Fail(f"A buffer of {where} has more elements than the device's 32-bit indices can tell.")
                    raise lease.error(where, said)
            except Exception:
                with contextlib.suppress(Exception):  # what has begun still uses the memory of the run
                    lease.finish()
                raise
            lease.finish()
            return status
        finally:
            device.give_back(lease)

    def _step(self, number: int) -> str:
        """What a step is, for people: its kernel, and its ONNX nodes."""
        if number < 0:
            return "a copy" if number == -1 else "memory whose size depends on data"
        step = self._artifact.notes()["steps"][number]
        return f"kernel {step['kernel']} ({', '.join(step['nodes']) or 'no node'})"

    def _outside(self, step: int, name: int, index: int, size: int) -> str:
        """What a checked access to memory found. name: address of the name that the kernel has for a pointer."""
        pointer = ctypes.string_at(name).decode()
        buffers = self._artifact.notes()["steps"][step].get("buffers", [])
        number = int(pointer[1:]) if pointer[:1] == "b" and pointer[1:].isdecimal() else len(buffers)
        what = f"{buffers[number]} ({pointer})" if number < len(buffers) else f"its own {pointer}"
        return f"Out of bounds: {self._step(step)} accesses element {index} of {size} of {what}."

    def _take_arena(self, size: int) -> Arena:
        """An arena that no other run uses. There are as many as there ever were runs at the same time."""
        try:
            arena = self._arenas.pop()
        except IndexError:
            return Arena(size)
        return arena if arena.size >= size else Arena(size)

    def close(self) -> None:
        """Gives back what the program has of a device; it cannot run there any more."""
        if self._device is not None:
            self._device.close()

    def shrink(self) -> None:
        """Gives the memory between runs back to the system."""
        self._arenas.clear()

    def _error(self, status: int, frame: Frame) -> Exception:
        if status == TERMINATED:
            return Fail("Exiting due to terminate flag being set to true.")
        if status == NO_MEMORY:
            return Fail("Failed to allocate memory for a buffer whose size depends on data.")
        if status == ABSURD_SIZE:
            return InvalidArgument(f"A dimension that depends on data is {frame.report[0]}.")
        if status == OUTSIDE:
            return RuntimeException(self._outside(*frame.report))
        entry = self._artifact.manifest["errors"][status - 1]
        numbers = {str(index): value for index, value in enumerate(frame.report)}
        return errors.BY_NAME[entry["type"]](_filled(entry["text"], numbers))


def _place(tensor: Tensor) -> int:
    """The address of the first element."""
    return tensor.address if isinstance(tensor, DeviceTensor) else int(address(tensor))


def _new(home: Memory | None, shape: Shape, dtype: Any) -> Tensor:
    return np.empty(shape, dtype) if home is None else home.new(shape, dtype)


def _fits(given: Tensor | Memory | None, home: Memory | None, shape: Shape, dtype: Any) -> bool:
    """Whether an output can be written to what was given for it."""
    if given is None or isinstance(given, Memory) or given.shape != shape or given.dtype != dtype:
        return False
    return isinstance(given, np.ndarray) or (home is not None and given.aligned)


def _staged(tensors: Sequence[Tensor | None]) -> list[int | None]:
    """The sizes in bytes of what is not on the device."""
    return [None if isinstance(t, DeviceTensor) else 0 if t is None else t.nbytes for t in tensors]


def _filled(text: str, values: dict[str, int]) -> str:
    """`text` with each {name} replaced; names come from a model, so str.format would be too powerful."""
    for name, value in values.items():
        text = text.replace("{" + name + "}", str(value))
    return text
