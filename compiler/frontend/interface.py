"""The interface that a session gives a model: more outputs, initializers as inputs, tensors of the user.

In: a model as read. Out: a copy with another interface.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ...runtime.errors import InvalidArgument
from ..scalar.dtype import from_numpy
from .load import UNKNOWN, Array, Model, SparseTensor, Tensor, Type

FIRST_OVERRIDABLE_IR = 4  # in earlier versions an initializer that is listed as an input is a constant


class UserTensor(Tensor):
    """A tensor of the user, in the place of an initializer."""

    def __init__(self, name: str, array: Array) -> None:
        self.proto = None
        self.name = name
        self.dtype = from_numpy(array.dtype)
        self.shape = array.shape
        self.array = array


def adjust(
    model: Model, outputs: Iterable[str], fed: Iterable[str], tensors: Mapping[str, Array], denoted: Mapping[str, int]
) -> Model:
    """The model with another interface.

    outputs: names of values in its graph that become outputs as well; fed: names of initializers that become inputs;
    tensors: replacements of initializers; denoted: sizes for the dimensions of a denotation (such as DATA_BATCH).
    Raises InvalidArgument for names that the model does not have.
    """
    graph = model.graph
    initializers: dict[str, Tensor | SparseTensor] = dict(graph.initializers)
    for name, array in tensors.items():
        if name in initializers:  # others are ignored, as by onnxruntime
            initializers[name] = UserTensor(name, array)
    for name in fed:
        if name not in overridable(model):
            raise InvalidArgument(f"Invalid input name: {name}")
        del initializers[name]
    known = set(values(model))
    for name in outputs:
        if name not in known:
            raise InvalidArgument(f"Invalid output name:{name}")
    inputs = {name: _fixed(type, graph.denotations.get(name, ()), denoted) for name, type in graph.inputs.items()}
    more = dict.fromkeys(outputs, UNKNOWN)
    return replace(
        model, graph=replace(graph, inputs=inputs, outputs={**graph.outputs, **more}, initializers=initializers)
    )


def overridable(model: Model) -> dict[str, Type]:
    """The initializers that are inputs as well, which a feed may override."""
    if model.ir_version < FIRST_OVERRIDABLE_IR:
        return {}
    return {name: type for name, type in model.graph.inputs.items() if name in model.graph.initializers}


def values(model: Model) -> list[str]:
    """The names of all outputs of the graph's nodes."""
    return [name for node in model.graph.nodes for name in node.outputs if name]


def _fixed(type: Type, denotations: tuple[str, ...], sizes: Mapping[str, int]) -> Type:
    if type.shape is None or not sizes:
        return type
    dims: list[Any] = list(type.shape)
    for axis, denotation in enumerate(denotations):
        if denotation in sizes and not isinstance(dims[axis], int):
            dims[axis] = sizes[denotation]
    return replace(type, shape=tuple(dims))
