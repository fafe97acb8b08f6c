"""The device of a compiled model: what `Program` asks of a GPU, or of what stands in for one.

In: an artifact with a `device` in its manifest. Out: a `Device`: the model's weights in its memory, and a `Lease` for
each run: memory, and the functions of intaglio_device (templates/c/runtime_abi.h). Knows no GPU itself.
"""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..store.artifact import Artifact
from .memory import Memory

Launch = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64, ctypes.POINTER(ctypes.c_int64),
    ctypes.POINTER(ctypes.c_int64),
)  # fmt: skip
Copy = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32
)
Reserve = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64, ctypes.POINTER(ctypes.c_void_p)
)


class Functions(ctypes.Structure):
    """intaglio_device."""

    _fields_ = (("self", ctypes.c_void_p), ("launch", Launch), ("copy", Copy), ("reserve", Reserve))


@dataclass(frozen=True)
class KernelCode:
    """A kernel in the artifact: types of its arguments ("*fp32", "i32"), its source, and for each GPU its binary."""

    name: str
    arguments: tuple[str, ...]
    source: bytes
    binaries: dict[str, tuple[bytes, dict[str, int]]]

    @property
    def buffers(self) -> int:
        return sum(kind.startswith("*") for kind in self.arguments)


def kernels_of(artifact: Artifact) -> list[KernelCode]:
    """The kernels of an artifact, in the order of their numbers. Raises Corrupt."""
    code = artifact.device_code()

    def part(place: list[int]) -> bytes:
        return code[place[0] : place[0] + place[1]]

    return [
        KernelCode(
            each["name"],
            tuple(each["arguments"]),
            part(each["source"]),
            {gpu: (part(made["at"]), made) for gpu, made in each["binaries"].items()},
        )
        for each in artifact.manifest["device"]["kernels"]
    ]


class Lease(ABC):
    """What one run at a time has of a device: `functions` for the program, and `arena`, an address on the device."""

    functions: Functions
    arena: int

    def run(
        self,
        run: Callable[[int], int],
        frame: Any,
        key: Any,
        inputs: Sequence[int | None],
        outputs: Sequence[int | None],
    ) -> int:
        """Calls the program on a frame (`program.Frame`) and returns its status.

        key: all that the run depends on beside the contents of inputs and outputs: the plan (`program.Plan`) and the
        addresses of what lies on the device; None where the run may not be recorded. inputs, outputs: their sizes in
        bytes where they are the host's, else None.
        """
        return run(frame.address)

    @abstractmethod
    def finish(self) -> None:
        """Waits for the work of the run, and gives back what it reserved. Raises errors of kernels."""

    @abstractmethod
    def error(self, kernel: str, status: int) -> Exception:
        """The exception for a function that returned `status`. kernel: what it was called for, for people."""


class Device(ABC):
    """A device with the code and weights of one model. weights: where they are in its memory."""

    name: str
    weights: int
    memory: Memory

    @abstractmethod
    def lease(self, size: int) -> Lease:
        """Takes what a run with an arena of `size` bytes needs; runs at the same time have leases of their own.

        Raises RuntimeError where the device is closed.
        """

    @abstractmethod
    def give_back(self, lease: Lease) -> None:
        """Ends a lease; the next one may get its memory."""

    @abstractmethod
    def close(self) -> None:
        """Frees what it has; while runs have leases, when the last of these is given back."""


def address_of(structure: Any) -> int:
    """Of a ctypes structure."""
    return int(ctypes.addressof(structure))
