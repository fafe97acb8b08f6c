"""Adapter files of onnxruntime (LoRA): bytes in, named tensors out, and back.

The format is a FlatBuffer of the schema onnxruntime/lora/adapter_format/adapter_schema.fbs, with the identifier TORT.
Needs the `flatbuffers` package.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .flatbuffer import Damaged, Table, root

IDENTIFIER = b"TORT"
VERSION = 1
ALIGNMENT = 8  # bytes, of the data of a parameter


@dataclass
class Parameter:
    """type: a number of TensorProto.DataType; data: the elements as ONNX lays them out, little-endian."""

    type: int
    shape: tuple[int, ...]
    data: npt.NDArray[np.uint8]


@dataclass
class Adapter:
    format_version: int = VERSION
    adapter_version: int = 0
    model_version: int = 0
    parameters: dict[str, Parameter] = field(default_factory=dict)


def read(data: bytes) -> Adapter:
    """Reads an adapter. Raises RuntimeError for other bytes or another version, ImportError without flatbuffers."""
    if data[4:8] != IDENTIFIER:
        raise RuntimeError("The buffer does not appear to be a valid lora parameter format")
    try:
        table = root(data)
        version, adapter, model = (table.number(slot, "int32") for slot in range(3))
        parameters = {each.name(0): _parameter(each) for each in table.tables(3)}
    except Damaged:
        raise RuntimeError("The buffer fails lora adapter format verification") from None
    if version != VERSION:
        raise RuntimeError("Unsupported lora format version")
    return Adapter(version, adapter, model, parameters)


def _parameter(table: Table) -> Parameter:
    content = table.array(3, "uint8")
    if content is None:
        content = np.zeros(0, np.uint8)
    return Parameter(table.number(2, "int32"), tuple(table.numbers(1, "int64")), content)


def write(adapter: Adapter) -> bytes:
    """The bytes of an adapter file. Raises ImportError without flatbuffers."""
    from flatbuffers import Builder

    builder = Builder(1 << 12)
    offsets = []
    for name, parameter in adapter.parameters.items():
        content = np.ascontiguousarray(parameter.data)
        builder.StartVector(1, len(content), ALIGNMENT)
        builder.head -= len(content)
        builder.Bytes[builder.head : builder.head + len(content)] = content.tobytes()
        data = builder.EndVector()
        shape = builder.CreateNumpyVector(np.asarray(parameter.shape, np.int64))
        text = builder.CreateString(name)
        builder.StartObject(4)
        builder.PrependUOffsetTRelativeSlot(0, text, 0)
        builder.PrependUOffsetTRelativeSlot(1, shape, 0)
        builder.PrependInt32Slot(2, parameter.type, 0)
        builder.PrependUOffsetTRelativeSlot(3, data, 0)
        offsets.append(builder.EndObject())
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    parameters = builder.EndVector()
    builder.StartObject(4)
    for slot, number in enumerate((adapter.format_version, adapter.adapter_version, adapter.model_version)):
        builder.PrependInt32Slot(slot, number, 0)
    builder.PrependUOffsetTRelativeSlot(3, parameters, 0)
    builder.Finish(builder.EndObject(), file_identifier=IDENTIFIER)
    return bytes(builder.Output())
