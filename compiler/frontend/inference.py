"""The types of a model's outputs as onnxruntime's NodeArgs tell them: the declared ones merged with ONNX's inference.

In: a model as read. Out: types. Of the weights it reads small integer tensors only, which may be shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod

import onnx
import onnx.shape_inference

from .load import Model, Type, names_of_dims, type_of
from .schemas import type_proto

MAX_BYTES = 1 << 30  # of all nodes: protobuf limits the size of the model that the inference gets
MAX_SHAPE_ELEMENTS = 1024  # of an initializer that may be a shape, or axes; of others the type is enough


def declared_outputs(model: Model, fixed: Mapping[str, int]) -> dict[str, Type]:
    """The types of the model's outputs; those declared without a shape stay without one.

    fixed: sizes of named dimensions of inputs."""
    graph = model.graph
    if all(type.shape is None for type in graph.outputs.values()):
        return graph.outputs
    if sum(node.proto.ByteSize() for node in graph.nodes) > MAX_BYTES:
        return graph.outputs
    try:
        inferred = onnx.shape_inference.infer_shapes(_typed(model, fixed)).graph.output
    except Exception:  # models are untrusted, and declared shapes are only shown
        return graph.outputs
    names = names_of_dims((*graph.inputs.values(), *graph.outputs.values(), *graph.types.values()))
    types = {each.name: type_of(each.type) for each in inferred}
    return {name: _merged(type, types.get(name, type), names) for name, type in graph.outputs.items()}


def _merged(declared: Type, inferred: Type, names: set[str]) -> Type:
    """The two types merged as onnxruntime does: numbers before names, and no dims where the ranks differ.

    names: the dim names of the model, as opposed to those that the inference invents."""
    if declared.shape is None or inferred.shape is None:
        return declared
    if len(declared.shape) != len(inferred.shape):
        return replace(declared, shape=())
    dims = [
        found if isinstance(found, int) or (stated is None and found in names) else stated
        for stated, found in zip(declared.shape, inferred.shape)
    ]
    return replace(declared, shape=tuple(dims))


def _sized(type: Type, fixed: Mapping[str, int]) -> Type:
    dims = tuple(fixed.get(d, d) if isinstance(d, str) else d for d in type.shape or ())
    return type if type.shape is None else replace(type, shape=dims)


def _typed(model: Model, fixed: Mapping[str, int]) -> onnx.ModelProto:
    """The model with large initializers as inputs, that is, without their contents."""
    graph = model.graph
    proto = onnx.ModelProto(ir_version=model.ir_version, functions=model.function_protos)
    proto.opset_import.extend(onnx.helper.make_opsetid(domain, version) for domain, version in model.opsets.items())
    proto.graph.name = graph.name or "graph"
    proto.graph.node.extend(node.proto for node in graph.nodes)
    inputs = {name: _sized(type, fixed) for name, type in graph.inputs.items()}
    for name, tensor in graph.initializers.items():
        if prod(tensor.shape) <= MAX_SHAPE_ELEMENTS and tensor.dtype.is_integer:
            proto.graph.initializer.append(onnx.numpy_helper.from_array(tensor.array, name))
        else:
            inputs[name] = Type("tensor", tensor.dtype, tensor.shape)
    outputs = {name: replace(type, shape=None) for name, type in graph.outputs.items()}
    parts = ((proto.graph.input, inputs), (proto.graph.output, outputs), (proto.graph.value_info, graph.types))
    for infos, types in parts:
        infos.extend(onnx.ValueInfoProto(name=name, type=type_proto(type)) for name, type in types.items())
    return proto
