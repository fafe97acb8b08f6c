"""`IOBinding`: inputs and outputs that stay where they are from run to run, in the memory of the host or of a GPU.

`SessionIOBinding` is the native interface of onnxruntime's, which programs reach through `IOBinding._iobinding`.
A binding belongs to one session and is used by one thread at a time.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..device.memory import DeviceTensor, Memory, Tensor
from ..dtypes import FOUR_BITS
from ..errors import InvalidArgument, Status
from ..run.feeds import boxed
from ..values import devices
from ..values.devices import OrtDevice
from ..values.value import OrtValue, OrtValueVector

if TYPE_CHECKING:
    from .options import RunOptions
    from .session import Session

Array = np.ndarray[Any, Any]


class _Target:
    """Where an output goes: memory of the user's, or (value is None) whatever the run makes, kept for the next run.

    memory: of the GPU on which the run is to make it.
    """

    __slots__ = ("fixed", "memory", "value")

    def __init__(self, value: OrtValue | None, memory: Memory | None = None):
        self.value, self.memory = value, memory
        self.fixed = value is not None


class SessionIOBinding:
    """SessionIOBinding(session._sess)"""

    def __init__(self, session: Session):
        self._session = session
        self._inputs: dict[str, OrtValue] = {}
        self._outputs: dict[str, _Target] = {}

    def bind_input(self, name: str, *where: Any) -> None:
        """bind_input(name, array) or bind_input(name, device, element_type, shape, buffer_ptr)"""
        if len(where) == 1:
            if not isinstance(where[0], np.ndarray):
                raise RuntimeError("Unable to create OrtValue from the given python object")
            if name not in self._session._fed:
                raise RuntimeError(f"Failed to find NodeArg with name: {name} in the def list")
            self._inputs[name] = OrtValue.ortvalue_from_numpy(where[0])
            return
        device, element_type, shape, buffer_ptr = where
        memory = device.memory()
        if memory is None and device.device_type() != devices.CPU:
            raise RuntimeError(
                "Error when binding input: There's no data transfer registered for copying tensors from "
                f"{device} to {OrtDevice.make('cpu', 0)}"
            )
        self.bind_ortvalue_input(name, OrtValue.at(buffer_ptr, element_type, shape, memory))

    def bind_ortvalue_input(self, name: str, value: OrtValue) -> None:
        if name not in self._session._fed:
            raise RuntimeError(f"Error when binding input: Failed to find input name in the mapping: {name}")
        self._inputs[name] = value

    def bind_output(self, name: str, *where: Any) -> None:
        """bind_output(name, device) or bind_output(name, device, element_type, shape, buffer_ptr)"""
        memory = where[0].memory()
        value = OrtValue.at(where[3], where[1], where[2], memory) if len(where) == 4 else None
        self._outputs[name] = _Target(value, memory)

    def bind_ortvalue_output(self, name: str, value: OrtValue) -> None:
        self._outputs[name] = _Target(value)

    def synchronize_inputs(self) -> None:
        """Waits for what other libraries have told a GPU to do with inputs there."""
        for memory in {v._memory.memory for v in self._inputs.values() if isinstance(v._memory, DeviceTensor)}:
            memory.synchronize()

    def synchronize_outputs(self) -> None:
        """A run returns when its outputs are there, on a GPU as well: there is nothing to wait for."""

    def get_outputs(self) -> OrtValueVector:
        """The outputs of the last run, in the order they were bound; empty before."""
        return OrtValueVector(t.value for t in self._outputs.values() if t.value is not None)

    def copy_outputs_to_cpu(self) -> list[Any]:
        """The outputs of the last run as arrays of their own, or lists of these."""
        return [np.array(v.numpy()) if v.is_tensor() else copy.deepcopy(v.content()) for v in self.get_outputs()]

    def clear_binding_inputs(self) -> None:
        self._inputs.clear()

    def clear_binding_outputs(self) -> None:
        self._outputs.clear()

    def run(self, options: RunOptions | None) -> None:
        """Runs the session. Raises RuntimeError for whatever is wrong, as onnxruntime does."""
        try:
            self._run(options)
        except Status as error:
            raise RuntimeError(f"Error in execution: {error.text}") from None

    def _run(self, options: RunOptions | None) -> None:
        if not self._outputs:
            raise InvalidArgument("At least one output should be requested.")
        feeds = {n: v.tensor() if v.is_tensor() else boxed(v.content()) for n, v in self._inputs.items()}
        given: dict[str, Tensor | Memory] = {}
        taken = list(feeds.values())
        for name, target in self._outputs.items():
            if target.memory is not None:
                given[name] = target.memory
            if target.value is not None:
                self._check(name, target)
                memory = target.value._memory
                # Kernels need not expect that their inputs change, or what they have written: such outputs are copied
                # in the end, in the order in which they were bound.
                shared = any(_overlap(memory, each) for each in taken)
                taken.append(memory)
                if not shared and target.value._element not in FOUR_BITS:
                    given[name] = memory
                elif isinstance(memory, DeviceTensor):
                    given[name] = memory.memory
        names = list(self._outputs)
        for name, result in zip(names, self._session._execute(names, feeds, options, given, ": ")):
            target = self._outputs[name]
            if isinstance(result, list):  # a sequence
                target.value = OrtValue.of(result)
                continue
            array = _on(target.memory, result)
            if target.value is None or (not target.fixed and target.value.shape() != list(array.shape)):
                target.value = OrtValue.of_array(array)
            elif target.value.shape() != list(array.shape):
                raise InvalidArgument(
                    f"The output OrtValue provided for output '{name}' has shape {_braces(target.value.shape())} but "
                    f"the computed output shape for this run is {_braces(array.shape)}. When calling Run() with "
                    "pre-allocated output OrtValues on a model with dynamic output shapes, either supply unallocated "
                    "output OrtValues or ensure the pre-allocated shapes match the expected output shapes for each run."
                )
            elif result is not given.get(name):
                target.value.update_inplace(OrtValue.of_array(array))

    def _check(self, name: str, target: _Target) -> None:
        """The element type of memory that the user gave for an output."""
        declared = self._session._output_types.get(name)
        actual = target.value.data_type() if target.value is not None else declared
        if declared is not None and actual != declared:
            raise InvalidArgument(f"Unexpected output data type. Actual: ({actual}) , expected: ({declared})")


class IOBinding:
    """What of a session's inputs and outputs stays in place between runs; see `Session.io_binding`."""

    def __init__(self, session: Session):
        self._session = session
        self._iobinding = SessionIOBinding(session)

    def bind_cpu_input(self, name: str, arr_on_cpu: Array) -> None:
        """Shares the memory of a C-contiguous array, copies others. Raises RuntimeError for unknown names."""
        self._iobinding.bind_input(name, arr_on_cpu)

    def bind_input(
        self, name: str, device_type: str, device_id: int, element_type: Any, shape: Sequence[int], buffer_ptr: int
    ) -> None:
        """Reads from an address. element_type: a numpy type, or ONNX's number."""
        device = OrtDevice.make(device_type, device_id)
        self._iobinding.bind_input(name, device, element_type, shape, buffer_ptr)

    def bind_ortvalue_input(self, name: str, ortvalue: OrtValue) -> None:
        self._iobinding.bind_ortvalue_input(name, ortvalue._ortvalue)

    def bind_output(
        self, name: str, device_type: str = "cpu", device_id: int = 0, element_type: Any = None,
        shape: Sequence[int] | None = None, buffer_ptr: int | None = None,
    ) -> None:  # fmt: skip
        """Writes to an address, or, without one, to memory that the run makes and the next run uses again.

        Raises ValueError for an address without element type and shape.
        """
        devices.kind(device_type)
        device = OrtDevice.make(device_type, device_id)
        if buffer_ptr is None:
            self._iobinding.bind_output(name, device)
        elif element_type is None or shape is None:
            raise ValueError("`element_type` and `shape` are to be provided if pre-allocated memory is provided")
        else:
            self._iobinding.bind_output(name, device, element_type, shape, buffer_ptr)

    def bind_ortvalue_output(self, name: str, ortvalue: OrtValue) -> None:
        """Writes into a value, which has to have the right shape when the session runs."""
        self._iobinding.bind_ortvalue_output(name, ortvalue._ortvalue)

    def synchronize_inputs(self) -> None:
        self._iobinding.synchronize_inputs()

    def synchronize_outputs(self) -> None:
        self._iobinding.synchronize_outputs()

    def get_outputs(self) -> list[OrtValue]:
        """The outputs of the last run, in the order they were bound; without a copy."""
        return list(self._iobinding.get_outputs())

    def get_outputs_as_ortvaluevector(self) -> OrtValueVector:
        return self._iobinding.get_outputs()

    def copy_outputs_to_cpu(self) -> list[Any]:
        return self._iobinding.copy_outputs_to_cpu()

    def clear_binding_inputs(self) -> None:
        self._iobinding.clear_binding_inputs()

    def clear_binding_outputs(self) -> None:
        self._iobinding.clear_binding_outputs()


def _overlap(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors may share memory."""
    if isinstance(one, DeviceTensor):
        return one.overlaps(other)
    return isinstance(other, np.ndarray) and np.may_share_memory(one, other)


def _on(memory: Memory | None, result: Tensor) -> Tensor:
    """A result in the memory that it was bound to; strings are the host's alone."""
    if memory is None or not isinstance(result, np.ndarray) or result.dtype.kind == "O":
        return result
    return memory.holding(result)


def _braces(shape: Sequence[int]) -> str:
    return "{" + ",".join(str(n) for n in shape) + "}"
