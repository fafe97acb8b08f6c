"""Reads ONNX: a path or bytes in, a plain `Model` out. The only file that parses protobuf.

It checks that a model is well formed, not what it means. A model is untrusted: every size it claims is checked against
the bytes that are there before anything is allocated, and external data may not leave the model's folder. Weights are
not copied where possible (a view of the parsed bytes, or a memory map).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError

from ...runtime.errors import Fail, InvalidArgument, InvalidProtobuf, NoSuchFile
from ..scalar.dtype import BY_ONNX, DType
from . import ort_format
from .external import ExternalFiles

Array = npt.NDArray[Any]
MAX_STORED_ELEMENTS = 1 << 40  # of one tensor: more is an attack or an accident
MAX_DENSE = 1 << 31  # bytes of a sparse initializer once expanded


@dataclass(frozen=True, slots=True)
class Type:
    """kind: tensor, sparse_tensor, sequence, optional, map, or "" where the model does not say.

    shape: None where the rank is unknown; a dim is an int, a name, or None where it is unknown.
    """

    kind: str
    dtype: DType | None = None
    shape: tuple[int | str | None, ...] | None = None
    element: Type | None = None

    def __str__(self) -> str:
        if self.kind in ("sequence", "optional"):
            return f"{'seq' if self.kind == 'sequence' else self.kind}({self.element})"
        if self.kind == "map":
            return f"map({self.dtype.ort[7:-1] if self.dtype else '?'},{self.element})"
        return self.dtype.ort if self.dtype else "?"


UNKNOWN = Type("")


class Tensor:
    """A stored tensor; decoded on first use."""

    def __init__(self, proto: onnx.TensorProto, files: ExternalFiles) -> None:
        self.proto: onnx.TensorProto | None = proto
        self._files = files
        self.name = _name(proto.name)
        self.dtype = dtype_of(proto.data_type)
        self.shape: tuple[int, ...] = tuple(proto.dims)

    @cached_property
    def array(self) -> Array:
        """The values, read-only by convention. Raises Fail where the stored bytes do not fit the shape."""
        assert self.proto is not None
        return _decode(self.proto, self.dtype, self.shape, self._files)


class SparseTensor:
    """A stored sparse tensor; `array` is its dense form."""

    def __init__(self, proto: onnx.SparseTensorProto, files: ExternalFiles) -> None:
        self._values = Tensor(proto.values, files)
        self._indices = Tensor(proto.indices, files)
        self.name = _name(proto.values.name)
        self.dtype = self._values.dtype
        self.shape: tuple[int, ...] = tuple(proto.dims)

    @cached_property
    def array(self) -> Array:
        size = _count(self.shape, self.name)
        if size * self.dtype.itemsize > MAX_DENSE:
            raise Fail(f"sparse initializer '{self.name}' of shape {list(self.shape)} is too large to expand")
        values, indices = self._values.array, self._indices.array
        if indices.ndim == 2:  # one coordinate per axis
            if indices.shape != (len(values), len(self.shape)) or ((indices < 0) | (indices >= self.shape)).any():
                raise Fail(f"sparse initializer '{self.name}' has bad indices")
            indices = np.ravel_multi_index(tuple(indices.T), self.shape) if len(values) else np.zeros(0, np.int64)
        if indices.shape != values.shape or ((indices < 0) | (indices >= size)).any():
            raise Fail(f"sparse initializer '{self.name}' has bad indices")
        dense = np.zeros(size, values.dtype)
        dense[indices] = values
        return dense.reshape(self.shape)


@dataclass(slots=True)
class NodeDef:
    """A node.

    attrs: Python values (int, float, str, lists of them, Tensor, GraphDef, Type);
    refs: attributes that take the value of an attribute of the enclosing function."""

    op: str
    domain: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attrs: dict[str, Any]
    refs: dict[str, str]
    overload: str
    proto: onnx.NodeProto = field(repr=False)

    def __str__(self) -> str:
        return f"node '{self.name}' ({self.domain + '.' if self.domain else ''}{self.op})"


@dataclass(slots=True)
class GraphDef:
    name: str
    nodes: list[NodeDef]
    inputs: dict[str, Type]
    outputs: dict[str, Type]
    types: dict[str, Type]  # declared types of intermediate values
    initializers: dict[str, Tensor | SparseTensor]
    denotations: dict[str, tuple[str, ...]] = field(default_factory=dict)  # of the dims of inputs: DATA_BATCH, ...

    def dim_names(self) -> set[str]:
        """The names of the inputs' dims."""
        return names_of_dims(self.inputs.values())


def names_of_dims(types: Iterable[Type]) -> set[str]:
    return {dim for type in types for dim in type.shape or () if isinstance(dim, str)}


@dataclass(slots=True)
class FunctionDef:
    """A model-local function, or the body of an operator that the standard defines as a function."""

    name: str
    domain: str
    inputs: list[str]
    outputs: list[str]
    attrs: list[str]
    defaults: dict[str, Any]
    nodes: list[NodeDef]
    opsets: dict[str, int]


FunctionKey = tuple[str, str, str]  # domain, name, overload


@dataclass(slots=True)
class Model:
    graph: GraphDef
    ir_version: int
    opsets: dict[str, int]
    functions: dict[FunctionKey, FunctionDef]
    metadata: dict[str, str]
    producer: str
    producer_version: str
    domain: str
    model_version: int
    description: str
    graph_description: str
    path: Path | None = None
    function_protos: list[onnx.FunctionProto] = field(default_factory=list, repr=False)


def load_model(
    source: str | os.PathLike[str] | bytes,
    folder: str | os.PathLike[str] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> Model:
    """Reads a model file, or the bytes of one.

    folder: where the external data lies (default: beside the model; the current folder for bytes).
    files: external data given in memory, by location.
    Raises NoSuchFile, InvalidProtobuf, InvalidArgument (no graph inside), Fail (malformed contents, reserved
    names).
    """
    if isinstance(source, bytes):
        return _parse(source, ExternalFiles(Path(folder or "."), None, files or {}), None)
    path = Path(source)
    prefix = f"Load model from {path} failed:"
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise NoSuchFile(f"{prefix}Load model {path} failed. File doesn't exist") from None
    except (IsADirectoryError, PermissionError):
        raise InvalidProtobuf(f"{prefix}Protobuf parsing failed.") from None
    external = ExternalFiles(Path(folder) if folder else path.parent, path if not folder else None, files or {})
    return _parse(data, external, path)


def _parse(data: bytes, files: ExternalFiles, path: Path | None) -> Model:
    prefix = f"Load model from {path} failed:" if path else ""
    if ort_format.is_ort(data):
        proto = ort_format.read(data)
    else:
        proto = onnx.ModelProto()
        try:
            proto.ParseFromString(data)
        except DecodeError:
            reason = "Protobuf parsing failed." if path else "Failed to load model because protobuf parsing failed."
            raise InvalidProtobuf(prefix + reason) from None
    if not proto.HasField("graph"):
        raise InvalidArgument(f"{prefix}No graph was found in the protobuf.")
    functions = [_function(f, files) for f in proto.functions]
    return Model(
        graph=_graph(proto.graph, files),
        ir_version=proto.ir_version,
        opsets=_opsets(proto.opset_import),
        functions={(f.domain, f.name, _name(p.overload)): f for f, p in zip(functions, proto.functions)},
        metadata={_name(p.key): _name(p.value) for p in proto.metadata_props},
        producer=_name(proto.producer_name),
        producer_version=_name(proto.producer_version),
        domain=_name(proto.domain),
        model_version=proto.model_version,
        description=_name(proto.doc_string),
        graph_description=_name(proto.graph.doc_string),
        path=path,
        function_protos=list(proto.functions),
    )


def function_from_bytes(data: bytes) -> FunctionDef:
    """A serialized FunctionProto, as `onnx.defs` hands out the bodies of operators."""
    return _function(onnx.FunctionProto.FromString(data), ExternalFiles(Path("."), None, {}))


def attribute_from_bytes(data: bytes) -> Any:
    """The value of a serialized AttributeProto, such as the defaults of `onnx.defs`."""
    return _attribute(onnx.AttributeProto.FromString(data), ExternalFiles(Path("."), None, {}))


def tensor_from_bytes(data: bytes) -> Tensor:
    """A serialized TensorProto, such as the .pb files of ONNX's test data. Raises InvalidProtobuf."""
    try:
        return Tensor(onnx.TensorProto.FromString(data), ExternalFiles(Path("."), None, {}))
    except DecodeError:
        raise InvalidProtobuf("Protobuf parsing failed.") from None


def dtype_of(number: int) -> DType:
    """The DType of a TensorProto.DataType. Raises InvalidArgument for an unknown number."""
    if number not in BY_ONNX:
        raise InvalidArgument(f"Failed to load model with error: Invalid tensor data type {number}.")
    return BY_ONNX[number]


# -- structure -------------------------------------------------------------------------------------------------------


def domain_of(domain: str) -> str:
    """The domain, with both spellings of the default one as ""."""
    return "" if domain == "ai.onnx" else domain


def _opsets(imports: Iterable[onnx.OperatorSetIdProto]) -> dict[str, int]:
    return {domain_of(_name(o.domain)): o.version for o in imports}


def _graph(proto: onnx.GraphProto, files: ExternalFiles) -> GraphDef:
    initializers: dict[str, Tensor | SparseTensor] = {t.name: t for t in (Tensor(t, files) for t in proto.initializer)}
    initializers.update((t.name, t) for t in (SparseTensor(t, files) for t in proto.sparse_initializer))
    inputs = {_name(v.name): type_of(v.type) for v in proto.input}
    return GraphDef(
        name=_name(proto.name),
        nodes=_constants_first([_node(n, files) for n in proto.node], inputs, initializers),
        inputs=inputs,
        outputs={_name(v.name): type_of(v.type) for v in proto.output},
        types={_name(v.name): type_of(v.type) for v in proto.value_info},
        initializers=initializers,
        denotations={
            _name(v.name): tuple(_name(d.denotation) for d in v.type.tensor_type.shape.dim) for v in proto.input
        },
    )


def _constants_first(nodes: list[NodeDef], inputs: Collection[str], initializers: dict[str, Any]) -> list[NodeDef]:
    """The nodes, Constants first: to onnxruntime they are initializers, of which the last one of a name counts.

    A Constant with the name of an input is added to `initializers` instead."""
    last = {name: node for node in nodes if node.op == "Constant" for name in node.outputs}
    initializers.update((name, n.attrs["value"]) for name, n in last.items() if name in inputs and "value" in n.attrs)
    constants = [
        node for node in nodes
        if node.op == "Constant" and all(last[name] is node and name not in inputs for name in node.outputs)
    ]  # fmt: skip
    return [*constants, *(node for node in nodes if node.op != "Constant")]


def _function(proto: onnx.FunctionProto, files: ExternalFiles) -> FunctionDef:
    return FunctionDef(
        name=_name(proto.name),
        domain=domain_of(_name(proto.domain)),
        inputs=[_name(n) for n in proto.input],
        outputs=[_name(n) for n in proto.output],
        attrs=[_name(n) for n in (*proto.attribute, *(a.name for a in proto.attribute_proto))],
        defaults={_name(a.name): _attribute(a, files) for a in proto.attribute_proto},
        nodes=[_node(n, files) for n in proto.node],
        opsets=_opsets(proto.opset_import),
    )


def _node(proto: onnx.NodeProto, files: ExternalFiles) -> NodeDef:
    attrs, refs = {}, {}
    for a in proto.attribute:
        if a.ref_attr_name:
            refs[_name(a.name)] = _name(a.ref_attr_name)
        else:
            attrs[_name(a.name)] = _attribute(a, files)
    return NodeDef(
        op=_name(proto.op_type),
        domain=domain_of(_name(proto.domain)),
        name=_name(proto.name),
        inputs=[_name(n) for n in proto.input],
        outputs=[_name(n) for n in proto.output],
        attrs=attrs,
        refs=refs,
        overload=_name(proto.overload),
        proto=proto,
    )


_ATTRIBUTE: dict[int, Callable[[onnx.AttributeProto, Any], Any]] = {
    onnx.AttributeProto.FLOAT: lambda a, files: a.f,
    onnx.AttributeProto.INT: lambda a, files: a.i,
    onnx.AttributeProto.STRING: lambda a, files: text(a.s),
    onnx.AttributeProto.TENSOR: lambda a, files: Tensor(a.t, files),
    onnx.AttributeProto.SPARSE_TENSOR: lambda a, files: SparseTensor(a.sparse_tensor, files),
    onnx.AttributeProto.GRAPH: lambda a, files: _graph(a.g, files),
    onnx.AttributeProto.TYPE_PROTO: lambda a, files: type_of(a.tp),
    onnx.AttributeProto.FLOATS: lambda a, files: list(a.floats),
    onnx.AttributeProto.INTS: lambda a, files: list(a.ints),
    onnx.AttributeProto.STRINGS: lambda a, files: [text(s) for s in a.strings],
    onnx.AttributeProto.TENSORS: lambda a, files: [Tensor(t, files) for t in a.tensors],
    onnx.AttributeProto.GRAPHS: lambda a, files: [_graph(g, files) for g in a.graphs],
    onnx.AttributeProto.TYPE_PROTOS: lambda a, files: [type_of(t) for t in a.type_protos],
}

_FIELD_TYPES = {
    "f": "FLOAT", "i": "INT", "s": "STRING", "t": "TENSOR", "g": "GRAPH", "floats": "FLOATS", "ints": "INTS",
    "strings": "STRINGS", "tensors": "TENSORS", "graphs": "GRAPHS",
}  # fmt: skip


def _attribute(proto: onnx.AttributeProto, files: ExternalFiles) -> Any:
    kind = proto.type
    if kind == onnx.AttributeProto.UNDEFINED:  # written before IR version 2: the set field tells
        present = [f.name for f, _ in proto.ListFields() if f.name in _FIELD_TYPES]
        kind = getattr(onnx.AttributeProto, _FIELD_TYPES[present[0]]) if present else kind
    if kind not in _ATTRIBUTE:
        raise Fail(f"attribute '{proto.name}' has no known type ({proto.type})")
    return _ATTRIBUTE[kind](proto, files)


def type_of(proto: onnx.TypeProto) -> Type:
    """The `Type` of a TypeProto; UNKNOWN where it is empty."""
    kind = proto.WhichOneof("value")
    if kind in ("tensor_type", "sparse_tensor_type"):
        tensor = getattr(proto, kind)
        dtype = dtype_of(tensor.elem_type)
        return Type(kind[:-5], dtype, _shape(tensor.shape) if tensor.HasField("shape") else None)
    if kind == "sequence_type":
        return Type("sequence", element=type_of(proto.sequence_type.elem_type))
    if kind == "optional_type":
        return Type("optional", element=type_of(proto.optional_type.elem_type))
    if kind == "map_type":
        return Type("map", dtype_of(proto.map_type.key_type), element=type_of(proto.map_type.value_type))
    return UNKNOWN


def _shape(proto: onnx.TensorShapeProto) -> tuple[int | str | None, ...]:
    dims: list[int | str | None] = []
    for d in proto.dim:
        kind = d.WhichOneof("value")
        dims.append(d.dim_value if kind == "dim_value" and d.dim_value >= 0 else _name(d.dim_param) or None)
    return tuple(dims)


def _name(stored: str | bytes) -> str:
    """A string field: protobuf returns bytes where it is no UTF-8, which onnxruntime accepts too."""
    return stored if isinstance(stored, str) else stored.decode("utf-8", "backslashreplace")


def text(data: bytes) -> str:
    """ONNX strings are UTF-8; other bytes survive a round trip."""
    return data.decode("utf-8", "surrogateescape")


# -- tensors ---------------------------------------------------------------------------------------------------------


def _count(shape: tuple[int, ...], name: str) -> int:
    """The number of elements. Raises Fail for impossible shapes."""
    size = math.prod(shape)
    if any(not 0 <= d <= MAX_STORED_ELEMENTS for d in shape) or size > MAX_STORED_ELEMENTS:
        raise Fail(f"initializer '{name}' has an impossible shape {list(shape)}")
    return size


def _decode(proto: onnx.TensorProto, dtype: DType, shape: tuple[int, ...], files: ExternalFiles) -> Array:
    size = _count(shape, proto.name)
    packed = _packed_bits(dtype)
    if dtype.kind == "s":
        strings = [text(s) for s in proto.string_data]
        _check_count(len(strings), size, proto.name)
        array = np.empty(size, object)
        array[:] = strings
        return array.reshape(shape)
    nbytes = (size * packed + 7) // 8 if packed else size * dtype.itemsize
    if proto.data_location == onnx.TensorProto.EXTERNAL:
        data = files.read(proto.name, {_name(e.key): _name(e.value) for e in proto.external_data}, nbytes)
    elif proto.HasField("raw_data"):
        data = np.frombuffer(proto.raw_data, np.uint8)
    else:
        data = _typed_data(proto, dtype)
    if len(data) != nbytes:
        raise Fail(
            f"initializer '{proto.name}' of type {dtype.ort} and shape {list(shape)} needs {nbytes} bytes,"
            f" the model holds {len(data)}"
        )
    if packed:
        return _unpack(data, size, packed, dtype).reshape(shape)
    if dtype.kind == "b":
        return np.not_equal(data, 0).reshape(shape)
    return data.view(dtype.to_numpy()).reshape(shape)


def _check_count(actual: int, expected: int, name: str) -> None:
    if actual != expected:
        raise Fail(f"initializer '{name}' needs {expected} elements, the model holds {actual}")


def _packed_bits(dtype: DType) -> int:
    """The bits of an element where several are stored in a byte, else 0."""
    return {"i4": 4, "u4": 4, "f4e2m1": 4, "i2": 2, "u2": 2}.get(dtype.name, 0)


def _typed_data(proto: onnx.TensorProto, dtype: DType) -> Array:
    """The values of the typed fields (float_data and so on), as bytes."""
    if dtype.name in ("f32", "c64"):
        values = np.asarray(proto.float_data, np.float32)
    elif dtype.name in ("f64", "c128"):
        values = np.asarray(proto.double_data, np.float64)
    elif dtype.name == "i64":
        values = np.asarray(proto.int64_data, np.int64)
    elif dtype.name in ("u32", "u64"):
        values = np.asarray(proto.uint64_data, np.uint64).astype(dtype.to_numpy())
    else:  # everything narrower lies in int32_data as bits
        bits = np.dtype(f"u{dtype.itemsize}")
        values = np.asarray(proto.int32_data, np.int32).astype(bits)
    return values.view(np.uint8)


def _unpack(data: Array, size: int, bits: int, dtype: DType) -> Array:
    """2- and 4-bit elements, lowest bits first, into one byte each."""
    per_byte = 8 // bits
    shifts = np.arange(per_byte, dtype=np.uint8) * bits
    values = ((data[:, None] >> shifts) & ((1 << bits) - 1)).reshape(-1)[:size]
    if dtype.kind == "f":
        return values.view(dtype.to_numpy())
    if dtype.kind == "i":
        sign = 1 << (bits - 1)
        return ((values ^ sign).astype(np.int8) - sign).astype(dtype.to_numpy())
    return values.astype(dtype.to_numpy())
