"""The interface that a session gives a model: more outputs, initializers as inputs, tensors of the user.

In: a model as read. Out: a copy with another interface. Also the names of outputs that are no plain tensors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ...runtime.errors import InvalidArgument
from ..scalar.dtype import from_numpy
from .load import PART, UNKNOWN, Array, GraphDef, Model, NodeDef, SparseTensor, Tensor, Type

# Operator -> its attribute for labels that are numbers.
_CLASSIFIERS = {
    ("ai.onnx.ml", "TreeEnsembleClassifier"): "classlabels_int64s",
    ("ai.onnx.ml", "LinearClassifier"): "classlabels_ints",
    ("ai.onnx.ml", "SVMClassifier"): "classlabels_ints",
}
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


def part(name: str, index: int) -> str:
    """The name of the tensor at `index` of an output that is a sequence."""
    return f"{name}{PART}{index}"


def sizes_of(name: str) -> str:
    """The name of the tensor of sizes that belongs to an output whose rank is known only when the model runs."""
    return f"{name}{PART}sizes"


def first_output(node: NodeDef) -> str:
    """The name of a node's first output; "" where it has none, in an invalid model."""
    return node.outputs[0] if node.outputs else ""


def map_outputs(graph: GraphDef) -> dict[str, tuple[str, list[int] | list[str]]]:
    """The outputs of the graph that are outputs of a ZipMap: the name of its input, and the labels of the columns.

    Kernels compute the tensor only; the runtime makes the map of it."""
    read = {name for node in graph.nodes for name in node.inputs}
    outputs = {}
    for node in graph.nodes:
        zips = (node.domain, node.op) == ("ai.onnx.ml", "ZipMap") and node.inputs
        if zips and first_output(node) in graph.outputs.keys() - read:
            labels = node.attrs.get("classlabels_int64s") or node.attrs.get("classlabels_strings")
            if labels:
                outputs[node.outputs[0]] = node.inputs[0], labels
    return outputs


def string_labels(graph: GraphDef) -> dict[str, list[str]]:
    """The outputs of the graph that are string labels of a classifier, with the table of the labels.

    The classifier computes numbers (`with_numbered_labels`), which the runtime looks up. With one label it gives 0 or
    1."""
    read = {name for node in graph.nodes for name in node.inputs}
    return {
        node.outputs[0]: node.attrs["classlabels_strings"] * (2 if len(node.attrs["classlabels_strings"]) == 1 else 1)
        for node in graph.nodes
        if (node.domain, node.op) in _CLASSIFIERS and node.attrs.get("classlabels_strings")
        if node.op != "LinearClassifier" or not node.attrs.get("classlabels_ints")  # it takes one of them, trees both
        if first_output(node) in graph.outputs.keys() - read
    }


def with_numbered_labels(node: NodeDef, words: Mapping[str, list[str]]) -> NodeDef:
    """A classifier of `string_labels` with numbers as its labels; any other node unchanged."""
    if first_output(node) not in words:
        return node
    attrs = {name: value for name, value in node.attrs.items() if name != "classlabels_strings"}
    attrs[_CLASSIFIERS[node.domain, node.op]] = list(range(len(node.attrs["classlabels_strings"])))
    return replace(node, attrs=attrs)


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
