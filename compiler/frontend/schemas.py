"""Operators as the ONNX standard defines them: arity, attributes, types, and the body of those that are functions.

Reads `onnx.defs`. In: the name of an operator and the opset. Out: a `Schema`, cached. It never looks at values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import onnx
import onnx.defs
import onnx.helper

from ...runtime.errors import Fail, InvalidGraph
from .load import FunctionDef, NodeDef, Type, attribute_from_bytes, function_from_bytes


@dataclass(frozen=True, slots=True)
class Formal:
    """A formal input: its name, the allowed types, and its type parameter, shared with others ("" for none)."""

    name: str
    types: frozenset[str]
    parameter: str


@dataclass(frozen=True, slots=True)
class Schema:
    name: str
    domain: str
    since: int
    deprecated: bool
    arity: tuple[int, int]
    variadic: bool
    formals: tuple[Formal, ...]
    attributes: Mapping[str, int]  # name -> AttributeProto.AttributeType
    required: frozenset[str]
    max_outputs: int
    handle: Any  # onnx.defs.OpSchema

    @property
    def has_body(self) -> bool:
        return bool(self.handle.has_function or self.handle.has_context_dependent_function)


_ATTRIBUTE_TYPES = {f"AttrType.{name}": number for name, number in onnx.AttributeProto.AttributeType.items()}


@cache
def newest() -> Mapping[str, int]:
    """The newest opset of each known domain, which is the default for domains that a model does not import."""
    ml = max(s.since_version for s in onnx.defs.get_all_schemas() if s.domain == "ai.onnx.ml")
    return {"": onnx.defs.onnx_opset_version(), "ai.onnx.ml": ml, "com.microsoft": 1}


@cache
def find(op: str, domain: str, version: int) -> Schema | None:
    """The schema of an operator in an opset; None where the standard has none."""
    try:
        s = onnx.defs.get_schema(op, version, domain)
    except onnx.defs.SchemaError:
        return None
    variadic = onnx.defs.OpSchema.FormalParameterOption.Variadic
    formals = tuple(
        Formal(i.name, frozenset(i.types), i.type_str if i.is_homogeneous and "(" not in i.type_str else "")
        for i in s.inputs
    )
    return Schema(
        name=s.name,
        domain=domain,
        since=s.since_version,
        deprecated=s.deprecated,
        arity=(s.min_input, s.max_input),
        variadic=bool(s.inputs) and s.inputs[-1].option == variadic,
        formals=formals,
        attributes={name: _ATTRIBUTE_TYPES[str(a.type)] for name, a in s.attributes.items()},
        required=frozenset(name for name, a in s.attributes.items() if a.required),
        max_outputs=s.max_output,
        handle=s,
    )


def signature(node: NodeDef, types: Sequence[Type | None]) -> str:
    """The beginning of onnxruntime's message for an invalid node."""
    ins = ",".join(f'"{n}": {t or ""}' for n, t in zip(node.inputs, types))
    outs = ",".join(f'"{n}"' for n in node.outputs)
    return (
        f'This is an invalid model. In Node, ("{node.name}", {node.op}, "{node.domain}", -1) :'
        f" ({ins}) -> ({outs}) , Error "
    )


def check(node: NodeDef, schema: Schema, types: Sequence[Type | None]) -> None:
    """Checks arity, attributes and input types; `types` has None for omitted inputs. Raises InvalidGraph or Fail."""
    low, high = schema.arity
    count = len(node.inputs)
    if schema.deprecated:
        raise InvalidGraph(f"{signature(node, types)}Op {node.op} is deprecated in domain_version of {schema.since}")
    if not low <= count <= high:
        raise InvalidGraph(
            f"{signature(node, types)}Node({node.name}) with schema({node.domain}::{node.op}:{schema.since})"
            f" has input size {count} not in range [min={low}, max={high}]."
        )
    if len(node.outputs) > schema.max_outputs:
        raise InvalidGraph(
            f"{signature(node, types)}Node({node.name}) with schema({node.domain}::{node.op}:{schema.since})"
            f" has output size {len(node.outputs)} not in range [min=1, max={schema.max_outputs}]."
        )
    for name in (*node.attrs, *node.refs):
        if name not in schema.attributes:
            raise InvalidGraph(f"{signature(node, types)}Unrecognized attribute: {name} for operator {node.op}")
    for a in node.proto.attribute:
        if a.type and a.type != schema.attributes[a.name]:
            raise InvalidGraph(f"{signature(node, types)}Mismatched attribute type in '{node.name} : {a.name}'")
    for name in schema.required:
        if name not in node.attrs and name not in node.refs:
            raise Fail(f"Node ({node.name}) Op ({node.op}) Required attribute '{name}' is missing.")
    bound: dict[str, str] = {}
    for i, type in enumerate(types):
        if type is None or not type.kind or not schema.formals:
            continue
        formal = schema.formals[min(i, len(schema.formals) - 1)]
        type_name = str(type)
        if type_name not in formal.types:
            raise InvalidGraph(
                f"This is an invalid model. Type Error: Type '{type_name}' of input parameter ({node.inputs[i]})"
                f" of operator ({node.op}) in node ({node.name}) is invalid."
            )
        if formal.parameter and bound.setdefault(formal.parameter, type_name) != type_name:
            raise Fail(
                f"Type Error: Type parameter ({formal.parameter}) of Optype ({node.op}) bound to different types"
                f" ({bound[formal.parameter]} and {type_name} in node ({node.name})."
            )


def body(
    node: NodeDef, schema: Schema, version: int, types: Sequence[Type | None], attrs: Mapping[str, Any]
) -> FunctionDef | None:
    """The function that defines an operator in opset `version` for these input types, or None.

    attrs: the values of all attributes, also of those that refer to an enclosing function."""
    handle = schema.handle
    fitting = [v for v in handle.function_opset_versions if v <= version]
    if fitting:
        return function_from_bytes(handle.get_function_with_opset_version(max(fitting)))
    fitting = [v for v in handle.context_dependent_function_opset_versions if v <= version]
    if not fitting:
        return None
    proto = onnx.NodeProto()
    proto.CopyFrom(node.proto)
    del proto.attribute[:]
    proto.attribute.extend(a for a in node.proto.attribute if not a.ref_attr_name)
    proto.attribute.extend(onnx.helper.make_attribute(name, attrs[name]) for name in node.refs if name in attrs)
    protos = [type_proto(t).SerializeToString() for t in types]
    data = handle.get_context_dependent_function_with_opset_version(max(fitting), proto.SerializeToString(), protos)
    return function_from_bytes(data) if data else None


def defaults(schema: Schema) -> dict[str, Any]:
    """The default values of an operator's attributes, which its body may refer to."""
    protos = {name: a.default_value for name, a in schema.handle.attributes.items()}
    return {name: attribute_from_bytes(a.SerializeToString()) for name, a in protos.items() if a.name}


def type_proto(type: Type | None) -> onnx.TypeProto:
    """The protobuf form of a type; an empty one for None, and for what is unknown."""
    proto = onnx.TypeProto()
    if type is not None and type.kind in ("sequence", "optional"):
        inner = proto.sequence_type if type.kind == "sequence" else proto.optional_type
        inner.elem_type.CopyFrom(type_proto(type.element))
    elif type is not None and type.kind == "map" and type.dtype is not None:
        proto.map_type.key_type = type.dtype.onnx
        proto.map_type.value_type.CopyFrom(type_proto(type.element))
    elif type is not None and type.dtype is not None:
        proto.tensor_type.elem_type = type.dtype.onnx
        if type.shape is not None:
            proto.tensor_type.shape.SetInParent()
            for d in type.shape:
                dim = proto.tensor_type.shape.dim.add()
                if isinstance(d, int):
                    dim.dim_value = d
                elif d is not None:
                    dim.dim_param = d
    return proto
