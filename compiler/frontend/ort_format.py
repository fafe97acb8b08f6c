"""Reads onnxruntime's own file format (.ort): bytes in, an ONNX `ModelProto` out, which `load` takes from there.

The format is a FlatBuffer of the schema onnxruntime/core/flatbuffers/schema/ort.fbs; flatbuffer.py reads it safely.
"""

from __future__ import annotations

import onnx

from ...runtime.errors import Fail
from .flatbuffer import Damaged, Table, root

IDENTIFIER = b"ORTM"
# The tables read here have the same meaning in all versions of the format; later ones only added to them.
VERSIONS = ("1", "2", "3", "4", "5", "6")

_TENSOR, _SEQUENCE, _MAP = 1, 2, 3  # TypeInfoValue
_VALUE, _PARAM = 1, 2  # DimensionValueType
_FUSED = 1  # NodeType


def is_ort(data: bytes) -> bool:
    return data[4:8] == IDENTIFIER


def read(data: bytes) -> onnx.ModelProto:
    """The model in a file's bytes. Raises Fail where they are damaged, or of an unknown version."""
    try:
        if not is_ort(data):
            raise Damaged
        table = root(data)
        version = (table.text(0) or b"").decode("utf-8", "replace")
        if version not in VERSIONS:
            raise Fail(f"The ORT format model version [{version}] is not supported; these are: {', '.join(VERSIONS)}.")
        return _model(_required(table, 1, "Model"))
    except Damaged:
        raise Fail("ORT model verification failed.") from None
    except ImportError:
        raise Fail(
            "ORT format models are read with the flatbuffers package, which is not installed: "
            "pip install flatbuffers, or give the ONNX model it was made from."
        ) from None


def _required(table: Table, slot: int, what: str) -> Table:
    child = table.table(slot)
    if child is None:
        raise Fail(f"Missing {what}. Invalid ORT format model.")
    return child


# -- the schema: one function for each table -------------------------------------------------------------------------


def _model(table: Table) -> onnx.ModelProto:
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
    _graph(_required(table, 7, "Graph"), proto.graph)
    if table.text(8):
        proto.graph.doc_string = table.name(8)
    return proto


def _graph(table: Table, proto: onnx.GraphProto) -> None:
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


def _node(table: Table, proto: onnx.NodeProto) -> None:
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


def _attribute(table: Table, proto: onnx.AttributeProto) -> None:
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
        _tensor(_required(table, 6, f"the tensor of attribute '{proto.name}'"), proto.t)
    elif kind == kinds.GRAPH:
        _graph(_required(table, 7, f"the graph of attribute '{proto.name}'"), proto.g)
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


def _tensor(table: Table, proto: onnx.TensorProto) -> None:
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


def _sparse_tensor(table: Table, proto: onnx.SparseTensorProto) -> None:
    _tensor(_required(table, 0, "the values of a sparse initializer"), proto.values)
    _tensor(_required(table, 1, "the indices of a sparse initializer"), proto.indices)
    proto.dims.extend(table.numbers(2, "int64"))


def _type(table: Table, proto: onnx.TypeProto) -> None:
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
        _type(_required(value, 0, "the type of a sequence"), proto.sequence_type.elem_type)
    elif kind == _MAP:
        proto.map_type.key_type = value.number(0, "int32")
        _type(_required(value, 1, "the type of a map"), proto.map_type.value_type)


def _dimension(table: Table, proto: onnx.TensorShapeProto.Dimension) -> None:
    proto.denotation = table.name(1)
    value = table.table(0)
    kind = value.number(0, "uint8") if value is not None else 0
    if value is not None and kind == _VALUE:
        proto.dim_value = value.number(1, "int64")
    elif value is not None and kind == _PARAM:
        proto.dim_param = value.name(2)
