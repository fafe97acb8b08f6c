"""Reads onnxruntime's own file format (.ort): bytes in, an ONNX `ModelProto` out, which `load` reads on.

The format is a FlatBuffer of the schema onnxruntime/core/flatbuffers/schema/ort.fbs. A file is untrusted: every offset
and length is checked against the bytes that are there before it is followed, the depth of tables is limited, and so
is the work: a small file cannot claim to be a huge one by naming its parts again and again.
Needs the `flatbuffers` package, which is imported only when there is such a file to read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from ...runtime.errors import Fail

IDENTIFIER = b"ORTM"
# The tables that are read kept their meaning from the first version of the format on; later ones only added to it.
VERSIONS = ("1", "2", "3", "4", "5", "6")
MAX_DEPTH = 64  # of tables in tables, as in the FlatBuffers verifier
MAX_SHARING = 64  # how many times the size of the file may be read: names are shared, little else

_TENSOR, _SEQUENCE, _MAP = 1, 2, 3  # TypeInfoValue
_VALUE, _PARAM = 1, 2  # DimensionValueType
_FUSED = 1  # NodeType


def is_ort(data: bytes) -> bool:
    return data[4:8] == IDENTIFIER


def read(data: bytes) -> onnx.ModelProto:
    """The model in a file's bytes. Raises Fail where they are damaged, or of an unknown version."""
    if not is_ort(data):
        raise _damaged()
    root = _root(data)
    version = (root.text(0) or b"").decode("utf-8", "replace")
    if version not in VERSIONS:
        raise Fail(f"The ORT format model version [{version}] is not supported; these are: {', '.join(VERSIONS)}.")
    return _model(root.required(1, "Model"))


def _damaged() -> Fail:
    return Fail("ORT model verification failed.")


# -- FlatBuffers -----------------------------------------------------------------------------------------------------


class _File:
    """The bytes, and checked access to them. `fuel`: how many more of them may be read."""

    def __init__(self, data: bytes) -> None:
        try:
            from flatbuffers import encode, packer
        except ImportError:
            raise Fail(
                "ORT format models are read with the flatbuffers package, which is not installed: "
                "pip install flatbuffers, or give the ONNX model it was made from."
            ) from None
        self.data = data
        self.fuel = MAX_SHARING * len(data)
        self._get = encode.Get
        self._kinds = {
            "uint8": packer.uint8, "uint16": packer.uint16, "uint32": packer.uint32, "int32": packer.int32,
            "int64": packer.int64, "float32": packer.float32,
        }  # fmt: skip

    def number(self, kind: str, position: int) -> Any:
        packer = self._kinds[kind]
        if not 0 <= position <= len(self.data) - packer.size:
            raise _damaged()
        return self._get(packer, self.data, position)

    def indirect(self, position: int) -> int:
        """What the offset stored at `position` points to; offsets point forward."""
        return int(position + self.number("uint32", position))

    def vector(self, position: int, itemsize: int) -> tuple[int, int]:
        """Where the vector begins that the offset at `position` points to, and how many elements it has."""
        start = self.indirect(position)
        length = self.number("uint32", start)
        self.spend(length * itemsize)
        if length * itemsize > len(self.data) - (start + 4):
            raise _damaged()
        return start + 4, length

    def text(self, position: int) -> bytes:
        start, length = self.vector(position, 1)
        return self.data[start : start + length]

    def spend(self, nbytes: int) -> None:
        self.fuel -= nbytes
        if self.fuel < 0:
            raise _damaged()


class _Table:
    """A table: fields by their number in the schema. What is not there is None, 0 or empty."""

    def __init__(self, file: _File, position: int, depth: int) -> None:
        self._file = file
        self._position = position
        self._depth = depth
        file.spend(4)
        if depth > MAX_DEPTH:
            raise _damaged()
        self._vtable = position - file.number("int32", position)
        self._fields = (file.number("uint16", self._vtable) - 4) // 2
        self._size = file.number("uint16", self._vtable + 2)
        if self._fields < 0 or self._size < 4:
            raise _damaged()

    def _field(self, slot: int) -> int | None:
        """The position of a field's value."""
        if slot >= self._fields:
            return None
        offset = self._file.number("uint16", self._vtable + 4 + 2 * slot)
        if offset >= self._size and offset:
            raise _damaged()
        return self._position + offset if offset else None

    def number(self, slot: int, kind: str, default: int = 0) -> Any:
        position = self._field(slot)
        return default if position is None else self._file.number(kind, position)

    def text(self, slot: int) -> bytes | None:
        position = self._field(slot)
        return None if position is None else self._file.text(position)

    def name(self, slot: int) -> str:
        """A text that is a name; "" where there is none."""
        return _name(self.text(slot) or b"")

    def table(self, slot: int) -> _Table | None:
        position = self._field(slot)
        return None if position is None else _Table(self._file, self._file.indirect(position), self._depth + 1)

    def required(self, slot: int, what: str) -> _Table:
        table = self.table(slot)
        if table is None:
            raise Fail(f"Missing {what}. Invalid ORT format model.")
        return table

    def _offsets(self, slot: int) -> Iterator[int]:
        """The positions of the elements of a vector of offsets."""
        position = self._field(slot)
        if position is not None:
            start, length = self._file.vector(position, 4)
            yield from range(start, start + 4 * length, 4)

    def tables(self, slot: int) -> Iterator[_Table]:
        for position in self._offsets(slot):
            yield _Table(self._file, self._file.indirect(position), self._depth + 1)

    def texts(self, slot: int) -> list[bytes]:
        return [self._file.text(position) for position in self._offsets(slot)]

    def names(self, slot: int) -> list[str]:
        return [_name(each) for each in self.texts(slot)]

    def array(self, slot: int, dtype: str) -> npt.NDArray[Any] | None:
        """A vector of numbers, little-endian; shares the memory of the file."""
        position = self._field(slot)
        if position is None:
            return None
        stored = np.dtype(dtype).newbyteorder("<")
        start, length = self._file.vector(position, stored.itemsize)
        return np.frombuffer(self._file.data, stored, length, start)

    def numbers(self, slot: int, dtype: str) -> list[Any]:
        found = self.array(slot, dtype)
        return [] if found is None else found.tolist()


def _root(data: bytes) -> _Table:
    file = _File(data)
    return _Table(file, file.indirect(0), 0)


def _name(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise _damaged() from None


# -- The schema: one function for each table ---------------------------------------------------------------------------


def _model(table: _Table) -> onnx.ModelProto:
    proto = onnx.ModelProto(
        ir_version=table.number(0, "int64"),
        producer_name=table.name(2),
        producer_version=table.name(3),
        domain=table.name(4),
        model_version=table.number(5, "int64"),
        doc_string=table.name(6),
    )
    for each in table.tables(1):
        proto.opset_import.add(domain=each.name(0), version=each.number(1, "int64"))
    for each in table.tables(9):
        proto.metadata_props.add(key=each.name(0), value=each.name(1))
    _graph(table.required(7, "Graph"), proto.graph)
    if table.text(8):
        proto.graph.doc_string = table.name(8)
    return proto


def _graph(table: _Table, proto: onnx.GraphProto) -> None:
    proto.SetInParent()
    for each in table.tables(0):
        _tensor(each, proto.initializer.add())
    for each in table.tables(7):
        _sparse_tensor(each, proto.sparse_initializer.add())
    stored = {t.name for t in proto.initializer} | {t.values.name for t in proto.sparse_initializer}
    infos = {each.name(0): each for each in table.tables(1)}
    inputs, outputs = table.names(5), table.names(6)
    for names, into in (
        (inputs, proto.input),
        (outputs, proto.output),
        ([name for name in infos if name not in {*inputs, *outputs, *stored, ""}], proto.value_info),
    ):
        for name in names:
            if name not in infos:
                raise Fail(f"Missing the type of '{name}'. Invalid ORT format model.")
            value = into.add(name=name, doc_string=infos[name].name(1))
            if (type := infos[name].table(2)) is not None:
                _type(type, value.type)
    for each in table.tables(2):
        _node(each, proto.node.add())


def _node(table: _Table, proto: onnx.NodeProto) -> None:
    proto.name, proto.doc_string = table.name(0), table.name(1)
    proto.domain, proto.op_type = table.name(2), table.name(5)
    if not proto.op_type:
        raise Fail(f"Missing the operator of node '{proto.name}'. Invalid ORT format model.")
    if table.number(6, "int32") == _FUSED:
        raise Fail(
            f"node '{proto.name}' was compiled for {table.name(7) or 'another provider'}; give the ONNX model "
            "it was made from."
        )
    proto.input.extend(table.names(8))
    proto.output.extend(table.names(9))
    for each in table.tables(10):
        _attribute(each, proto.attribute.add())


def _attribute(table: _Table, proto: onnx.AttributeProto) -> None:
    kinds = onnx.AttributeProto
    proto.name, proto.doc_string = table.name(0), table.name(1)
    kind = table.number(2, "int32")  # numbered as in ONNX
    if kind == kinds.FLOAT:
        proto.f = table.number(3, "float32")
    elif kind == kinds.INT:
        proto.i = table.number(4, "int64")
    elif kind == kinds.STRING:
        proto.s = table.text(5) or b""
    elif kind == kinds.TENSOR:
        _tensor(table.required(6, f"the tensor of attribute '{proto.name}'"), proto.t)
    elif kind == kinds.GRAPH:
        _graph(table.required(7, f"the graph of attribute '{proto.name}'"), proto.g)
    elif kind == kinds.FLOATS:
        proto.floats.extend(table.numbers(8, "float32"))
    elif kind == kinds.INTS:
        proto.ints.extend(table.numbers(9, "int64"))
    elif kind == kinds.STRINGS:
        proto.strings.extend(table.texts(10))
    elif kind == kinds.TENSORS:
        for each in table.tables(11):
            _tensor(each, proto.tensors.add())
    elif kind == kinds.GRAPHS:
        for each in table.tables(12):
            _graph(each, proto.graphs.add())
    else:
        raise Fail(f"attribute '{proto.name}' has no known type ({kind})")
    proto.type = kind


def _tensor(table: _Table, proto: onnx.TensorProto) -> None:
    proto.name, proto.doc_string = table.name(0), table.name(1)
    proto.dims.extend(table.numbers(2, "int64"))
    proto.data_type = table.number(3, "int32")  # numbered as in ONNX
    if proto.data_type == onnx.TensorProto.STRING:
        proto.string_data.extend(table.texts(5))
        return
    data = table.array(4, "uint8")
    if data is None and table.number(6, "int64", -1) >= 0:
        raise Fail(f"initializer '{proto.name}' lies in another file, which the ORT format does not name")
    proto.raw_data = b"" if data is None else data.tobytes()


def _sparse_tensor(table: _Table, proto: onnx.SparseTensorProto) -> None:
    _tensor(table.required(0, "the values of a sparse initializer"), proto.values)
    _tensor(table.required(1, "the indices of a sparse initializer"), proto.indices)
    proto.dims.extend(table.numbers(2, "int64"))


def _type(table: _Table, proto: onnx.TypeProto) -> None:
    proto.denotation = table.name(0)
    kind, value = table.number(1, "uint8"), table.table(2)
    if value is None:
        return
    if kind == _TENSOR:
        proto.tensor_type.elem_type = value.number(0, "int32")
        if (shape := value.table(1)) is not None:
            proto.tensor_type.shape.SetInParent()
            for each in shape.tables(0):
                _dimension(each, proto.tensor_type.shape.dim.add())
    elif kind == _SEQUENCE:
        _type(value.required(0, "the type of a sequence"), proto.sequence_type.elem_type)
    elif kind == _MAP:
        proto.map_type.key_type = value.number(0, "int32")
        _type(value.required(1, "the type of a map"), proto.map_type.value_type)


def _dimension(table: _Table, proto: onnx.TensorShapeProto.Dimension) -> None:
    proto.denotation = table.name(1)
    value = table.table(0)
    kind = value.number(0, "uint8") if value is not None else 0
    if value is not None and kind == _VALUE:
        proto.dim_value = value.number(1, "int64")
    elif value is not None and kind == _PARAM:
        proto.dim_param = value.name(2)
