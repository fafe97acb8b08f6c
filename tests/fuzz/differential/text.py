"""A case as a Python script, and as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, NodeProto, helper, numpy_helper

from . import judge
from .judge import Array
from .subject import Outcome
from .world import Case


def script(case: Case) -> str:
    """Makes the model with onnx.helper, and runs it."""
    lines = ["import ml_dtypes, numpy as np, onnx, intaglio", "from numpy import array, inf, nan",
             "from onnx import helper, numpy_helper, TensorProto", "", "arrays = {"]  # fmt: skip
    lines += [f"    {name!r}: {_array(name, array)}," for name, array in case.arrays.items()]
    lines += ["}", f"constants = {sorted(set(case.arrays) & case.constants)}", "nodes = ["]
    lines += [f"    {_node(node)}," for node in case.nodes]
    lines += ["]", "inputs = ["]
    for name, array in case.feeds().items():
        dims = case.dims.get(name, list(array.shape))
        lines.append(f"    helper.make_tensor_value_info({name!r}, {judge.element_type(array)}, {dims}),")
    lines += ["]", "outputs = ["]
    for name in case.outputs:
        kind = judge.element_type(case.values[name].array)
        lines.append(f"    helper.make_tensor_value_info({name!r}, {kind}, None),")
    opsets = [f"helper.make_opsetid({each.domain!r}, {each.version})" for each in judge.opsets_of(case.opset)]
    lines += [
        "]",
        'graph = helper.make_graph(nodes, "g", inputs, outputs,'
        " [numpy_helper.from_array(arrays[name], name) for name in constants])",
        f"model = helper.make_model(graph, opset_imports=[{', '.join(opsets)}], ir_version=10)",
        "options = intaglio.SessionOptions()",
        f"options.graph_optimization_level = intaglio.GraphOptimizationLevel({case.level})",
        "session = intaglio.InferenceSession(model.SerializeToString(), options)",
        "print(session.run(None, {name: value for name, value in arrays.items() if name not in constants}))",
    ]
    for name in case.outputs:
        value = case.values[name].array
        if value.size <= 64:
            lines.append(f"# expected of {name}: {_array(name, value)}")
    return "\n".join(lines) + "\n"


def _array(name: str, array: Array) -> str:
    if array.size > 200:
        return f'np.load("inputs.npz")[{name!r}].view({_dtype(array)})'
    wide = array.astype(np.float64) if judge.is_float(array) else array
    return f"np.array({wide.tolist()}, {_dtype(array)}).reshape({list(array.shape)})"


def _dtype(array: Array) -> str:
    return "ml_dtypes.bfloat16" if array.dtype.name == "bfloat16" else f"'{array.dtype.name}'"


def _node(node: NodeProto) -> str:
    parts = [repr(node.op_type), repr(list(node.input)), repr(list(node.output))]
    if node.domain:
        parts.append(f"domain={node.domain!r}")
    parts += [f"{each.name}={_attribute(each)}" for each in node.attribute]
    return f"helper.make_node({', '.join(parts)})"


def _attribute(attribute: AttributeProto) -> str:
    value = helper.get_attribute_value(attribute)
    if attribute.type == AttributeProto.TENSOR:
        return f"numpy_helper.from_array({_array(attribute.name, numpy_helper.to_array(value))})"
    if attribute.type == AttributeProto.GRAPH:
        return _graph(value)
    return repr(
        list(value) if attribute.type in (AttributeProto.INTS, AttributeProto.FLOATS, AttributeProto.STRINGS) else value
    )


def _graph(graph: GraphProto) -> str:
    def infos(entries: list[onnx.ValueInfoProto]) -> str:
        made = []
        for each in entries:
            kind = each.type.tensor_type
            shape = [d.dim_value for d in kind.shape.dim] if kind.HasField("shape") else None
            made.append(f"helper.make_tensor_value_info({each.name!r}, {kind.elem_type}, {shape})")
        return ", ".join(made)

    nodes = ", ".join(map(_node, graph.node))
    return f"helper.make_graph([{nodes}], {graph.name!r}, [{infos(graph.input)}], [{infos(graph.output)}])"


def write(folder: Path, case: Case, outcome: Outcome) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(case.model(), folder / "model.onnx")
    np.savez(folder / "inputs.npz", **case.arrays)
    (folder / "model.py").write_text(script(case))
    (folder / "note.txt").write_text(f"{outcome.status} of seed {outcome.seed}, at {outcome.output}: {outcome.text}\n")
