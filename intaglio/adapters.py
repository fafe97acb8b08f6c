"""`AdapterFormat` and `LoraAdapter`: tensors that take the place of a model's initializers for single runs.

A model is made ready for this by initializers that are inputs as well. `RunOptions.add_active_adapter` feeds them.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

from .compiler.frontend import adapter_format
from .compiler.frontend.adapter_format import Adapter, Parameter
from .runtime.values.value import OrtValue


class AdapterFormat:
    """Makes and reads adapter files. AdapterFormat(other): another handle of the same adapter."""

    def __init__(self, adapter: AdapterFormat | None = None) -> None:
        self._adapter: Adapter = Adapter() if adapter is None else adapter._adapter

    @staticmethod
    def read_adapter(file_path: str | os.PathLike[str]) -> AdapterFormat:
        """Raises RuntimeError for what is no adapter file."""
        made = AdapterFormat()
        made._adapter = _read(file_path)
        return made

    def export_adapter(self, file_path: str | os.PathLike[str]) -> None:
        """Writes the adapter. Raises RuntimeError where that cannot be."""
        try:
            Path(file_path).write_bytes(adapter_format.write(self._adapter))
        except OSError:
            raise RuntimeError(f'Failed to open file:"{os.fspath(file_path)}" for writing.') from None

    def get_format_version(self) -> int:
        return self._adapter.format_version

    def set_adapter_version(self, adapter_version: int) -> None:
        self._adapter.adapter_version = adapter_version

    def get_adapter_version(self) -> int:
        return self._adapter.adapter_version

    def set_model_version(self, model_version: int) -> None:
        self._adapter.model_version = model_version

    def get_model_version(self) -> int:
        return self._adapter.model_version

    def set_parameters(self, params: dict[str, OrtValue]) -> None:
        """Tensors by the names of the initializers they stand for."""
        values = {name: value._ortvalue for name, value in params.items()}
        self._adapter.parameters = {
            name: Parameter(v.element_type(), tuple(v.shape()), v.memory()) for name, v in values.items()
        }

    def get_parameters(self) -> dict[str, OrtValue]:
        return _values(self._adapter)


class LoraAdapter:
    """An adapter for runs."""

    def __init__(self) -> None:
        self._values: dict[str, OrtValue] = {}

    def Load(self, path: str) -> None:
        """Reads a file. Raises RuntimeError for what is no adapter file."""
        self._values = _values(_read(path))

    def values(self) -> dict[str, OrtValue]:
        return self._values


def _read(path: str | os.PathLike[str]) -> Adapter:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise RuntimeError(f"[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : {error}") from None
    return adapter_format.read(data)


def _values(adapter: Adapter) -> dict[str, OrtValue]:
    """Raises RuntimeError where the data of a parameter does not have the size of its shape."""
    values = {}
    for name, each in adapter.parameters.items():
        count = math.prod(each.shape)
        # Before anything is allocated: no element takes less than half a byte.
        if min(each.shape, default=0) < 0 or count > 2 * each.data.nbytes:
            raise RuntimeError(f"The data of parameter {name} has not the size of its shape {list(each.shape)}")
        value = OrtValue.ortvalue_from_shape_and_type(each.shape, each.type)
        memory = value.memory()
        if memory.nbytes != each.data.nbytes:
            raise RuntimeError(f"The data of parameter {name} has not the size of its shape {list(each.shape)}")
        memory[:] = each.data
        values[name] = value
    return values
