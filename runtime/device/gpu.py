"""Which GPU there is, and a model's device on it.

In: the environment, the machine, an artifact. Out: names of targets ("cuda:sm_90"), a `Device`. With
TRITON_INTERPRET=1, Triton's own variable, the GPU is its interpreter.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from .. import variables
from ..errors import EPFail, Fail
from ..store.artifact import Artifact
from . import cuda
from .device import Device
from .interpreter import MEMORY, InterpretedDevice
from .memory import Memory

INTERPRETER = "gpu:interpreter"


def interpreted() -> bool:
    """Whether Triton's interpreter stands in for a GPU."""
    return variables.TRITON_INTERPRET.text() == "1"


@lru_cache
def _found() -> tuple[str, ...]:
    try:
        return tuple(cuda.names())
    except (EPFail, Fail):
        return ()


def present() -> tuple[str, ...]:
    """The GPUs of this machine, by their numbers; empty where there is none that can be used."""
    return (INTERPRETER,) if interpreted() else _found()


def memory(number: int) -> Memory:
    """The memory of a GPU. Raises RuntimeError, as onnxruntime does, for one that is not there."""
    if not 0 <= number < len(present()):
        raise RuntimeError("The provided device id doesn't match any available GPUs on the machine.")
    return MEMORY if interpreted() else cuda.memory(number)


def open_device(artifact: Artifact, options: Mapping[str, str]) -> Device:
    """A device with the artifact's code. options: of the provider, where there are some.

    Raises EPFail where this machine has none that it is for.
    """
    number = int(options.get("device_id", "0"))
    there: list[str] = artifact.manifest["device"]["gpus"]
    if interpreted():
        return InterpretedDevice(artifact)
    if all(name == INTERPRETER for name in there):
        raise EPFail(
            "The model is compiled for Triton's interpreter: set TRITON_INTERPRET=1, or compile it for a GPU, such as "
            "with --target cuda:sm_90."
        )
    if number >= len(cuda.names()):
        raise EPFail(f"There is no GPU {number} in this machine, which has {len(cuda.names())}.")
    graphs, stream = options.get("enable_cuda_graph") != "0", int(options.get("user_compute_stream", "0"))
    return cuda.CudaDevice(artifact, number, graphs, stream)
