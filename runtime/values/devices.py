"""Where values live and what is there: `OrtDevice`, `OrtMemoryInfo`, `OrtArenaCfg`, `OrtEpDevice`.

Values can be placed on the CPU and, where there is one, on an NVIDIA GPU. Other devices can be named, as with
onnxruntime's CPU package, but nothing can be placed on them.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, NamedTuple

from .. import VERSION, cpus
from ..device import gpu
from ..device.memory import Memory
from ..enums import (
    OrtAllocatorType,
    OrtDeviceMemoryType,
    OrtDeviceVendorId,
    OrtHardwareDeviceType,
    OrtMemoryInfoDeviceType,
    OrtMemType,
)


class _Kind(NamedTuple):
    """type, vendor: onnxruntime's numbers. from_numpy, from_shape: why no value can be placed on such a device."""

    type: int
    vendor: int
    from_numpy: str
    from_shape: str


CPU, GPU, NPU = 0, 1, 3  # types
_NO_PLACE = "Unsupported device: Cannot place the OrtValue on this device"


def _package(device: str, package: str) -> str:
    return (
        f"Can't allocate memory on the {device}using this package of OnnxRuntime. "
        f"Please use the {package} of OnnxRuntime {{}}to use this feature."
    )


_ANY = _package("device ", "appropriate package").format("for your hardware ")
_CUDA = _package("CUDA device ", "CUDA package").format("")
_CANN = _package("CANN device ", "CANN package").format("")
_DML = _package("DirectML device ", "DirectML package").format("")
_KINDS = {
    "cpu": _Kind(CPU, OrtDeviceVendorId.NONE, "", ""),
    "cuda": _Kind(GPU, OrtDeviceVendorId.NVIDIA, _ANY, _CUDA),
    "gpu": _Kind(GPU, OrtDeviceVendorId.NONE, _ANY, _CUDA),
    "webgpu": _Kind(GPU, OrtDeviceVendorId.NONE, _ANY, _CUDA),
    "dml": _Kind(GPU, OrtDeviceVendorId.MICROSOFT, _ANY, _DML),
    "cann": _Kind(NPU, OrtDeviceVendorId.HUAWEI, _CANN, _NO_PLACE),
    "npu": _Kind(NPU, OrtDeviceVendorId.NONE, _NO_PLACE, _NO_PLACE),
}


def kind(device_type: str) -> _Kind:
    """Raises Exception, as onnxruntime does, for a name that is no device."""
    if device_type not in _KINDS:
        raise Exception(f"Unsupported device type: {device_type}")
    return _KINDS[device_type]


class OrtDevice:
    """A device: `OrtDevice(type, memory, id)` or `OrtDevice(type, memory, vendor, id)` by onnxruntime's numbers."""

    def __init__(self, c_ort_device: Any, *args: Any):
        """One argument: another OrtDevice. Raises ValueError for what is none, TypeError for other numbers of them."""
        numbers = (c_ort_device, *args)
        if len(numbers) == 1:
            if not isinstance(numbers[0], OrtDevice):
                raise ValueError("`Provided object` needs to be of type `OrtDevice`")
            numbers = numbers[0]._numbers
        elif len(numbers) == 3:
            numbers = (*numbers[:2], 0, numbers[2])
        if len(numbers) != 4:
            raise TypeError("__init__(): incompatible constructor arguments: a type, a memory and an id are needed")
        self._numbers: tuple[int, int, int, int] = tuple(map(operator.index, numbers))  # type: ignore[assignment]
        self._type, self._memory, self._vendor, self._id = self._numbers

    @staticmethod
    def make(ort_device_name: str, device_id: int, vendor_id: int | OrtDeviceVendorId = -1) -> OrtDevice:
        """Raises Exception for an unknown name."""
        chosen = kind(ort_device_name)
        vendor = int(chosen.vendor if vendor_id < 0 else vendor_id)
        return OrtDevice(chosen.type, OrtDevice.default_memory(), vendor, device_id)

    @staticmethod
    def cpu() -> int:
        return CPU

    @staticmethod
    def gpu() -> int:
        return GPU

    cuda = webgpu = gpu  # to onnxruntime these are GPUs of some vendor, and one of DirectML is not

    @staticmethod
    def dml() -> int:
        return 4

    @staticmethod
    def fpga() -> int:
        return 2

    @staticmethod
    def npu() -> int:
        return NPU

    cann = npu

    @staticmethod
    def default_memory() -> int:
        return 0

    def device_id(self) -> int:
        return self._id

    def device_type(self) -> int:
        return self._type

    def device_vendor_id(self) -> int:
        return self._vendor

    def device_mem_type(self) -> int:
        return self._memory

    vendor_id, mem_type = device_vendor_id, device_mem_type

    def _get_c_device(self) -> OrtDevice:
        return self

    def memory(self) -> Memory | None:
        """Of a GPU that is used here; None for all other devices. Raises RuntimeError for a GPU that is not there."""
        if (self._type, self._vendor) != (GPU, OrtDeviceVendorId.NVIDIA) or not gpu.present():
            return None
        return gpu.memory(self._id)

    def __str__(self) -> str:
        """As onnxruntime's messages write it."""
        memory, vendor = f"MemoryType:{self._memory}", f"VendorId:{self._vendor}"
        return f"Device:[DeviceType:{self._type} {memory} {vendor} DeviceId:{self._id} Alignment:0]"


class OrtMemoryInfo:
    """A kind of memory. Raises RuntimeError for a device name that onnxruntime does not know."""

    name: str
    device_id: int
    mem_type: OrtMemType
    allocator_type: OrtAllocatorType
    device_mem_type: OrtDeviceMemoryType
    device_vendor_id: int
    _NAMES = ("Cpu", "Cuda", "CudaPinned", "DML", "OpenVINO_CPU", "OpenVINO_GPU", "WebGPU_Buffer", "Cann", "CannPinned")

    def __init__(self, name: str, allocator_type: OrtAllocatorType, device_id: int, mem_type: OrtMemType):
        if name not in self._NAMES:
            raise RuntimeError("Specified device is not supported. Try CreateMemoryInfo_V2.")
        self._fill(name, device_id, mem_type, allocator_type, OrtDeviceMemoryType.DEFAULT, 0)

    @staticmethod
    def create_v2(
        name: str, device_type: OrtMemoryInfoDeviceType, vendor_id: int, device_id: int,
        device_mem_type: OrtDeviceMemoryType, alignment: int, allocator_type: OrtAllocatorType,
    ) -> OrtMemoryInfo:  # fmt: skip
        made = OrtMemoryInfo.__new__(OrtMemoryInfo)
        made._fill(name, device_id, OrtMemType.DEFAULT, allocator_type, device_mem_type, vendor_id)
        return made

    def _fill(self, *values: Any) -> None:
        names = ("name", "device_id", "mem_type", "allocator_type", "device_mem_type", "device_vendor_id")
        for name, value in zip(names, values):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"property of 'OrtMemoryInfo' object has no setter: {name}")


def cpu_memory() -> OrtMemoryInfo:
    return OrtMemoryInfo("Cpu", OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, OrtMemType.DEFAULT)


def gpu_memory(number: int) -> OrtMemoryInfo:
    return OrtMemoryInfo("Cuda", OrtAllocatorType.ORT_ARENA_ALLOCATOR, number, OrtMemType.DEFAULT)


class OrtArenaCfg:
    """Limits of an arena: `(max_mem, arena_extend_strategy, initial_chunk_size_bytes, max_dead_bytes_per_chunk)` or
    a dict of them. Kept, and otherwise of no meaning here: the arena of a run is as large as its plan says."""

    max_mem = 0
    arena_extend_strategy = initial_chunk_size_bytes = max_dead_bytes_per_chunk = -1
    initial_growth_chunk_size_bytes = max_power_of_two_extend_bytes = -1
    _FIELDS = (
        "max_mem", "arena_extend_strategy", "initial_chunk_size_bytes", "max_dead_bytes_per_chunk",
        "initial_growth_chunk_size_bytes", "max_power_of_two_extend_bytes",
    )  # fmt: skip

    def __init__(self, *values: Any):
        given = values[0] if len(values) == 1 else dict(zip(self._FIELDS, values))
        if not isinstance(given, Mapping) or len(values) not in (1, 4):
            raise TypeError("OrtArenaCfg takes a dict, or four numbers")
        for name, value in given.items():
            if name not in self._FIELDS:
                raise RuntimeError(f"Invalid OrtArenaCfg option: {name}")
            setattr(self, name, int(value))


class OrtHardwareDevice:
    """A processor."""

    type = OrtHardwareDeviceType.CPU
    vendor_id = 0
    device_id = 0

    def __init__(self) -> None:
        raise TypeError(f"{type(self).__name__}: No constructor defined!")

    @property
    def vendor(self) -> str:
        return cpus.vendor()

    @property
    def metadata(self) -> dict[str, str]:
        return {}


class OrtEpDevice:
    """The CPU as an execution provider sees it."""

    ep_name = "CPUExecutionProvider"
    ep_vendor = "Intaglio"

    def __init__(self) -> None:
        raise TypeError(f"{type(self).__name__}: No constructor defined!")

    @property
    def ep_metadata(self) -> dict[str, str]:
        return {"version": VERSION}

    @property
    def ep_options(self) -> dict[str, str]:
        return {}

    @property
    def device(self) -> OrtHardwareDevice:
        return OrtHardwareDevice.__new__(OrtHardwareDevice)

    def memory_info(self, memory_type: OrtDeviceMemoryType) -> OrtMemoryInfo | None:
        return cpu_memory() if memory_type == OrtDeviceMemoryType.DEFAULT else None

    def create_sync_stream(self) -> Any:
        raise RuntimeError("The CPU has no streams.")


_cpu = OrtEpDevice.__new__(OrtEpDevice)


def get_hardware_devices() -> list[OrtHardwareDevice]:
    """The processors of this build: the CPU."""
    return [_cpu.device]


def get_ep_devices() -> list[OrtEpDevice]:
    """The devices of this build: the CPU."""
    return [_cpu]
