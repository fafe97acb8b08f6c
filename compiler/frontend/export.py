"""The model of a session as an ONNX file that any other runtime reads: `SessionOptions.optimized_model_filepath`.

In: a model and its options. Out: a file of that model with constants folded, nodes removed that no output depends on,
and the user's tensors and sizes inserted. Fusion and layouts cannot be expressed in ONNX, and are not in the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ...runtime.errors import InvalidArgument
from ..graph.interp import constant_array
from ..graph.ir import Value, reachable, static_nodes
from .importer import import_values
from .load import Model, NodeDef, Tensor, Type

BASIC = 1  # the lowest graph optimization level that changes the model
MAX_FOLDED_BYTES = 1 << 20  # of constants that a node folds to, unless they are no larger than its inputs


def write(
    model: Model,
    path: str,
    level: int = 99,
    sizes: Mapping[str, int] | None = None,
    external: str = "",
    threshold: int = 1024,
) -> None:
    """Writes the optimised model to `path`. Raises InvalidArgument where the file cannot be written.

    sizes: values of named dimensions. external: the name of a file beside it for initializers of `threshold` or more
    bytes.
    """
    proto = proto_of(model, _folded(model, sizes or {}) if level >= BASIC else None, sizes or {})
    try:
        if external:
            Path(path).with_name(external).unlink(missing_ok=True)  # onnx would append to it
            onnx.save(proto, path, save_as_external_data=True, location=external, size_threshold=threshold)
        else:
            Path(path).write_bytes(proto.SerializeToString())
    except OSError as error:
        raise InvalidArgument.of_system(error.errno or 0) from None


def _folded(model: Model, sizes: Mapping[str, int]) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of values that depend on constants alone, unless they are too large."""
    values = {name: v for name, v in import_values(model, sizes).items() if isinstance(v, Value)}
    static = static_nodes(list(reachable(values.values())))
    folded = {}
    for node in model.graph.nodes:
        outputs = {name: values[name] for name in node.outputs if name in values}
        if len(outputs) == len(list(filter(None, node.outputs))) and all(v.node in static for v in outputs.values()):
            arrays = {name: constant_array(v) for name, v in outputs.items()}
            read = sum(_bytes(model, name) for name in node.inputs)
            if sum(a.nbytes for a in arrays.values()) <= max(MAX_FOLDED_BYTES, read):
                folded.update(arrays)
    return folded


def _bytes(model: Model, name: str) -> int:
    tensor = model.graph.initializers.get(name)
    return tensor.array.nbytes if tensor is not None else 0


def proto_of(
    model: Model, folded: Mapping[str, np.ndarray[Any, Any]] | None = None, sizes: Mapping[str, int] = {}
) -> onnx.ModelProto:
    """The model as protobuf, with its initializers inside. folded: the values of nodes to replace, if any are; what no
    output then depends on is left out. sizes: values of named dimensions."""
    graph = model.graph
    nodes = [node for node in in_order(graph.nodes) if folded is None or not _known(node, folded)]
    if folded is not None:
        nodes = _needed(nodes, set(graph.outputs))
    read = {name for node in nodes for name in reads(node.proto)} | set(graph.outputs)
    kept = {name: t for name, t in graph.initializers.items() if folded is None or name in read | set(graph.inputs)}
    constants = [_tensor(name, t.array, t) for name, t in kept.items()]
    constants += [_tensor(name, array) for name, array in (folded or {}).items() if name in read]
    new_graph = helper.make_graph(
        [node.proto for node in nodes], graph.name,
        [onnx.ValueInfoProto(name=name, type=_type(t, sizes)) for name, t in graph.inputs.items()],
        [onnx.ValueInfoProto(name=name, type=_type(t, sizes)) for name, t in graph.outputs.items()],
        constants, model.graph_description,
    )  # fmt: skip
    imports = [helper.make_opsetid(domain, version) for domain, version in model.opsets.items()]
    proto = helper.make_model(
        new_graph, opset_imports=imports, ir_version=model.ir_version, producer_name=model.producer,
        producer_version=model.producer_version, domain=model.domain, model_version=model.model_version,
        doc_string=model.description,
    )  # fmt: skip
    proto.functions.extend(model.function_protos)
    helper.set_model_props(proto, model.metadata)
    return proto


def _known(node: NodeDef, folded: Mapping[str, Any]) -> bool:
    outputs = list(filter(None, node.outputs))
    return bool(outputs) and all(name in folded for name in outputs)


def _needed(nodes: list[NodeDef], outputs: set[str]) -> list[NodeDef]:
    """The nodes that the outputs depend on."""
    live, needed = set(outputs), []
    for node in reversed(nodes):
        if live.intersection(node.outputs):
            live.update(reads(node.proto))
            needed.append(node)
    return needed[::-1]


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """The names that a node and its sub-graphs read, including those of the sub-graphs' own values."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            yield from (value.name for value in graph.output)
            for inner in graph.node:
                yield from reads(inner)


def in_order(nodes: list[NodeDef]) -> list[NodeDef]:
    """The nodes in topological order, which models need not keep."""
    producer = {name: node for node in nodes for name in node.outputs if name}
    order: dict[int, NodeDef] = {}
    for root in nodes:
        stack = [(root, False)]
        while stack:
            node, expanded = stack.pop()
            if expanded:
                order.setdefault(id(node), node)
            elif id(node) not in order:
                stack.append((node, True))
                before = [producer[name] for name in reads(node.proto) if producer.get(name, node) is not node]
                stack.extend((each, False) for each in reversed(before) if id(each) not in order)
    return list(order.values())


def tensor_to_bytes(name: str, array: np.ndarray[Any, Any]) -> bytes:
    """A tensor of any type as a TensorProto, as `.pb` files have it."""
    return bytes(_tensor(name, array).SerializeToString())


def _tensor(name: str, array: np.ndarray[Any, Any], stored: Any = None) -> onnx.TensorProto:
    """The stored protobuf where the model has one with its data inside, else a new one."""
    if isinstance(stored, Tensor) and stored.proto is not None and not stored.proto.external_data:
        return stored.proto
    return numpy_helper.from_array(np.asarray(array), name)


def _type(type: Type, sizes: Mapping[str, int]) -> onnx.TypeProto:
    if type.kind in ("sequence", "optional") and type.element is not None:
        make = helper.make_sequence_type_proto if type.kind == "sequence" else helper.make_optional_type_proto
        return make(_type(type.element, sizes))
    if type.kind != "tensor" or type.dtype is None:
        return onnx.TypeProto()
    shape = None if type.shape is None else [sizes.get(d, d) if isinstance(d, str) else d for d in type.shape]
    return helper.make_tensor_type_proto(type.dtype.onnx, shape)
