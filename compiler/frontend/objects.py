"""Values that are no numbers, as the graph has them: each object of a run has a number (graph/ops/host.py).

In: values, lists of them, `Object`s. Out: the same, from functions of the runtime. At the end of an import, `numbered`
replaces strings by their numbers, so that what follows knows no strings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np

from ..errors import Reason, Unsupported, not_implemented
from ..graph.ir import Graph, Node, Trait, Value, constant, input_value, make, subgraphs
from ..graph.ops.host import OBJECT
from ..scalar.dim import Dim, Size
from ..scalar.dtype import BY_ORT, I64, STRING, DType
from .load import UNKNOWN, GraphDef, Type, text
from .registry import Imported, Object, Shaped
from .values import bound

# Beside views, the operations that strings may have a part in; what `map` does to them, its primitives say.
_MOVES = {"constant", "concat", "gather", "map", "branch", "loop", "host"}
Result = tuple["DType | None", "tuple[Size, ...]"]  # dtype and shape of a result; None: an object


def host(function: str, inputs: Sequence[Value | Object], /, *results: Result, **arguments: Any) -> tuple[Value, ...]:
    """The results of a function of runtime/host. arguments: constants; lists become tuples, None is left out."""
    takes = tuple(OBJECT if isinstance(x, Object) else x.dtype.ort for x in inputs)
    gives = tuple(OBJECT if dtype is None else dtype.ort for dtype, _ in results)
    values = [x.value if isinstance(x, Object) else x for x in inputs]
    signatures = tuple((shape, dtype or STRING) for dtype, shape in results)
    given = tuple((name, _frozen(value)) for name, value in arguments.items() if value is not None)
    return make("host", values, function=function, arguments=given, takes=takes, gives=gives, results=signatures)


def host_object(type: Type, function: str, inputs: Sequence[Value | Object], **arguments: Any) -> Object:
    """The object that a function of runtime/host returns."""
    return Object(host(function, inputs, (None, ()), **arguments)[0], type)


def custom(
    name: str, inputs: Sequence[Imported], outputs: Sequence[tuple[str, int]], attributes: Mapping[str, Any]
) -> list[Value]:
    """The results of a function of Python. outputs: the ONNX type and the rank of each.

    Raises Unsupported for attributes that are no numbers, strings or tensors."""
    for attribute, value in attributes.items():
        if any(isinstance(x, (GraphDef, Type)) for x in (value if isinstance(value, list) else [value])):
            raise Unsupported(f"attribute '{attribute}'")
    things = [x if isinstance(x, Value) else as_object(x) for x in inputs]
    made = host(name, things, *[(None, ()) for _ in outputs], **attributes)
    types = [tensor_type(BY_ORT[type], rank) for type, rank in outputs]
    return [tensor(Object(value, type)) for value, type in zip(made, types)]


def _frozen(value: Any) -> Any:
    """A constant of JSON, which can be compared."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return tuple(map(_frozen, value)) if isinstance(value, (list, tuple)) else value


# -- objects ---------------------------------------------------------------------------------------------------------


def tensor_type(dtype: DType | None, rank: int | None) -> Type:
    return Type("tensor", dtype, None if rank is None else (None,) * rank)


def type_of(x: Imported) -> Type:
    """The type of a value, with the rank of tensors."""
    if isinstance(x, Object):
        return x.type
    if isinstance(x, Value):
        return tensor_type(x.dtype, x.rank)
    return sequence_type(x) if isinstance(x, list) else Type("optional", element=UNKNOWN)


def sequence_type(items: Sequence[Imported]) -> Type:
    """The type of a sequence of these values."""
    return Type("sequence", element=reduce(joined, map(type_of, items), UNKNOWN))


def is_open(type: Type) -> bool:
    """Whether a part of the type is unknown."""
    if type.kind in ("sequence", "optional", "map"):
        return type.element is None or is_open(type.element)
    return type.dtype is None


def joined(a: Type, b: Type) -> Type:
    """The type of what is of one of two types; UNKNOWN is the type of nothing. Raises ValueError where none is."""
    if UNKNOWN in (a, b):
        return b if a == UNKNOWN else a
    if "optional" in (a.kind, b.kind) and a.kind != b.kind:
        a, b = (t.element or UNKNOWN if t.kind == "optional" else t for t in (a, b))
        return Type("optional", element=joined(a, b))
    if a.kind != b.kind or (a.dtype and b.dtype and a.dtype != b.dtype):
        raise ValueError(f"values of the types {a} and {b}")
    same_rank = a.shape is not None and b.shape is not None and len(a.shape) == len(b.shape)
    shape = tuple(x if x == y else None for x, y in zip(a.shape or (), b.shape or ())) if same_rank else None
    element = joined(a.element or UNKNOWN, b.element or UNKNOWN) if a.element or b.element else None
    return Type(a.kind, a.dtype or b.dtype, shape, element)


def as_object(x: Imported) -> Object:
    """A value as one object: a tensor, a sequence, an optional."""
    if isinstance(x, Object):
        return x
    if isinstance(x, list):
        return host_object(type_of(x), "sequence", x)
    return host_object(type_of(x), "optional", [] if x is None else [x])


def whole(x: Imported | Shaped) -> Object:
    """`as_object`, also of a tensor of unknown rank."""
    if isinstance(x, Shaped):
        return host_object(Type("tensor", x.flat.dtype), "reshape", [x.flat, x.sizes])
    return as_object(x)


def tensor(x: Object, known: Sequence[Size] = ()) -> Value:
    """An object that is a tensor of a known rank as a value. known: its first dimensions."""
    assert x.type.dtype is not None and x.type.shape is not None
    dims = [*known, *x.type.shape[len(known) :]]
    shape: list[Size] = [d if isinstance(d, (int, Dim)) else -1 for d in dims]
    if -1 in shape:
        (sizes,) = host("sizes", [x], (I64, (len(shape),)))
        shape = [bound(sizes.narrow(0, i, 1)) if d == -1 else d for i, d in enumerate(shape)]
    return host("tensor", [x], (x.type.dtype, tuple(shape)))[0]


def value_of(x: Object) -> Imported:
    """An object as what operators take: tensors of a known rank are values."""
    if is_open(x.type) and x.type.kind in ("", "tensor"):
        raise Unsupported("an element of a sequence of an unknown type")
    return tensor(x) if x.type.kind == "tensor" and x.type.shape is not None else x


# -- numbers of strings ----------------------------------------------------------------------------------------------


def numbered(graph: Graph, number: Callable[[str], int]) -> Graph:
    """The graph with numbers, i64, in the place of strings; `number` gives those of constants."""
    if not _has_strings(graph):
        return graph
    new: dict[Value, Value] = {}
    for v in graph.inputs:
        new[v] = input_value(v.name, v.shape, I64) if v.dtype == STRING else v
    for node in graph.nodes():
        if node.op.name != "input":
            for old, value in zip(node.outputs, _numbered(node, [new[v] for v in node.inputs], number)):
                value.name = value.name or old.name
                new[old] = value
    outputs = [new[v] for v in graph.outputs]
    bindings = {s: new[v] for s, v in graph.bindings.items()}
    return replace(graph, inputs=[new[v] for v in graph.inputs], outputs=outputs, bindings=bindings)


def _has_strings(graph: Graph) -> bool:
    return any(v.dtype == STRING for v in graph.inputs) or any(
        v.dtype == STRING for node in graph.nodes() for v in (*node.inputs, *node.outputs)
    ) or any(_has_strings(inner) for node in graph.nodes() for inner in subgraphs(node))  # fmt: skip


def _numbered(node: Node, inputs: list[Value], number: Callable[[str], int]) -> Sequence[Value]:
    if any(v.dtype == STRING for v in (*node.inputs, *node.outputs)) and not _moves(node):
        raise not_implemented([Reason(", ".join(node.origin), node.op.name, 0, "arithmetic on strings")])
    attrs = dict(node.attrs)
    strings = bool(node.outputs) and node.outputs[0].dtype == STRING
    if node.op.name == "constant" and strings:
        numbers = [number(text(x) if isinstance(x, bytes) else str(x)) for x in attrs["data"].reshape(-1)]
        return [constant(np.array(numbers, np.int64).reshape(attrs["data"].shape))]
    if attrs.get("prim") == "cast" and (strings or node.inputs[0].dtype == STRING):
        return inputs  # between a string and its number
    if node.op.name == "pad" and strings:
        attrs["value"] = number(attrs["value"] or "")
    if node.op.name == "host":
        attrs["results"] = tuple((shape, I64 if dtype == STRING else dtype) for shape, dtype in attrs["results"])
    for name, attr in attrs.items():
        if isinstance(attr, Graph):
            attrs[name] = numbered(attr, number)
    if attrs == node.attrs and all(a is b for a, b in zip(inputs, node.inputs)):
        return node.outputs
    outputs = make(node.op.name, inputs, **attrs)
    outputs[0].node.origin = node.origin
    return outputs


def _moves(node: Node) -> bool:
    """Whether strings may have a part in a node: their numbers mean nothing themselves."""
    if node.op.name == "scatter":
        return node.attrs["combine"] is None
    return Trait.VIEW in node.op.traits or node.op.name in _MOVES
