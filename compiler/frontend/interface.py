"""What a session asks of a model beyond the file: other outputs, initializers as inputs, tensors of the user's.

In: a model as it was read. Out: the same model with another interface. Nothing of the given model is changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ...runtime.errors import InvalidArgument
from ..scalar.dtype import from_numpy
from .load import PART, UNKNOWN, Array, GraphDef, Model, NodeDef, SparseTensor, Tensor, Type

# The attribute for labels that are numbers.
_CLASSIFIERS = {
    ("ai.onnx.ml", "TreeEnsembleClassifier"): "classlabels_int64s",
    ("ai.onnx.ml", "LinearClassifier"): "classlabels_ints",
    ("ai.onnx.ml", "SVMClassifier"): "classlabels_ints",
}
FIRST_OVERRIDABLE_IR = 4  # below, an initializer that is listed as an input is a constant


class Given(Tensor):
    """A tensor of the user's, in the place of one of the model's."""

    def __init__(self, name: str, array: Array) -> None:
        self.proto = None
        self.name = name
        self.dtype = from_numpy(array.dtype)
        self.shape = array.shape
        self.array = array


def adjust(
    model: Model, outputs: Iterable[str], fed: Iterable[str], tensors: Mapping[str, Array], denoted: Mapping[str, int]
) -> Model:
    """The model with more outputs (values of any name in its graph), with the initializers `fed` as inputs, with
    `tensors` as initializers, and with the dimensions of a denotation (DATA_BATCH, say) fixed.

    Raises InvalidArgument for names that the model has not.
    """
    graph = model.graph
    initializers: dict[str, Tensor | SparseTensor] = dict(graph.initializers)
    for name, array in tensors.items():
        if name in initializers:  # others are ignored, as by onnxruntime
            initializers[name] = Given(name, array)
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
    """The name of one tensor of an output that is a sequence."""
    return f"{name}{PART}{index}"


def sizes_of(name: str) -> str:
    """The name of the tensor of sizes beside an output whose rank is known when the model runs."""
    return f"{name}{PART}sizes"


def first_output(node: NodeDef) -> str:
    """The name of a node's first output; "" where it has none, in a model that is wrong."""
    return node.outputs[0] if node.outputs else ""


def zipped(graph: GraphDef) -> dict[str, tuple[str, list[int] | list[str]]]:
    """Outputs of the graph that ZipMap makes: from which tensor, and the labels of its columns.

    A map is nothing that a kernel could compute; the runtime makes it of the tensor."""
    read = {name for node in graph.nodes for name in node.inputs}
    found = {}
    for node in graph.nodes:
        zips = (node.domain, node.op) == ("ai.onnx.ml", "ZipMap") and node.inputs
        if zips and first_output(node) in graph.outputs.keys() - read:
            labels = node.attrs.get("classlabels_int64s") or node.attrs.get("classlabels_strings")
            if labels:
                found[node.outputs[0]] = node.inputs[0], labels
    return found


def worded(graph: GraphDef) -> dict[str, list[str]]:
    """Outputs of the graph that are labels of a classifier, as words: the table of these.

    The classifier then gives numbers, and the runtime looks them up. A classifier of one label gives 0 and 1."""
    read = {name for node in graph.nodes for name in node.inputs}
    return {
        node.outputs[0]: node.attrs["classlabels_strings"] * (2 if len(node.attrs["classlabels_strings"]) == 1 else 1)
        for node in graph.nodes
        if (node.domain, node.op) in _CLASSIFIERS and node.attrs.get("classlabels_strings")
        if node.op != "LinearClassifier" or not node.attrs.get("classlabels_ints")  # which is wrong; trees take words
        if first_output(node) in graph.outputs.keys() - read
    }


def numbered(node: NodeDef, words: Mapping[str, list[str]]) -> NodeDef:
    """A classifier of `worded` that gives the numbers of its labels; any other node as it is."""
    if first_output(node) not in words:
        return node
    attrs = {name: value for name, value in node.attrs.items() if name != "classlabels_strings"}
    attrs[_CLASSIFIERS[node.domain, node.op]] = list(range(len(node.attrs["classlabels_strings"])))
    return replace(node, attrs=attrs)


def overridable(model: Model) -> dict[str, Type]:
    """The initializers that are inputs as well."""
    if model.ir_version < FIRST_OVERRIDABLE_IR:
        return {}
    return {name: type for name, type in model.graph.inputs.items() if name in model.graph.initializers}


def values(model: Model) -> list[str]:
    """The names of all values that nodes of the graph make."""
    return [name for node in model.graph.nodes for name in node.outputs if name]


def _fixed(type: Type, denotations: tuple[str, ...], sizes: Mapping[str, int]) -> Type:
    if type.shape is None or not sizes:
        return type
    dims: list[Any] = list(type.shape)
    for axis, denotation in enumerate(denotations):
        if denotation in sizes and not isinstance(dims[axis], int):
            dims[axis] = sizes[denotation]
    return replace(type, shape=tuple(dims))
