"""What a session says of its outputs' shapes before a run, as far as onnxruntime knows them.

Of each operator a case of ONNX's own, whose outputs are declared without shapes, and whose inputs have fixed sizes or a
name for each.
"""

from __future__ import annotations

import warnings
from functools import cache

import onnx
import onnxruntime
import pytest
from onnx.backend.test.loader import load_model_tests

from intaglio.compiler.frontend.importer import import_model
from intaglio.compiler.frontend.load import load_model
from intaglio.compiler.package.manifest import output_shapes
from intaglio.runtime.errors import NotImplemented

Shapes = dict[str, list[int | str | None]]
# Where the two differ, and why.
ELSEWHERE = {
    "Loop": "its body declares sizes", "Scan": "its body declares sizes",
    "PRelu": "onnxruntime says that it has the shape of its input, and broadcasts that all the same",
}  # fmt: skip


@cache
def models() -> dict[str, onnx.ModelProto]:
    """One model of each operator: the first that is not spelled out as a function."""
    found: dict[str, onnx.ModelProto] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the arithmetic of expected values
        for case in load_model_tests(kind="node"):
            if case.model is not None and "_expanded" not in case.name and len(case.model.graph.node) == 1:
                found.setdefault(case.model.graph.node[0].op_type, case.model)
    return found


def theirs(model: onnx.ModelProto) -> Shapes | None:
    """None: onnxruntime does not run it. Without a shape: of unknown rank."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    except Exception:
        return None
    return {each.name: each.shape for each in session.get_outputs() if each.type.startswith("tensor(")}


def ours(model: onnx.ModelProto) -> Shapes | None:
    read = load_model(model.SerializeToString())
    try:
        return output_shapes(read, import_model(read))
    except NotImplemented:
        return None


def named(model: onnx.ModelProto) -> dict[str, int]:
    """Gives each size of an input a name; the sizes by these."""
    sizes = {}
    for i, value in enumerate(model.graph.input):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            name = f"s{i}_{axis}"
            sizes[name] = dim.dim_value
            dim.dim_param = name
    return sizes


@pytest.mark.parametrize("form", ["sizes", "names"])
def test_of_each_operator(form: str) -> None:
    compared, wrong = 0, []
    for op, given in models().items():
        model = onnx.ModelProto()
        model.CopyFrom(given)
        for value in model.graph.output:
            if value.type.HasField("tensor_type"):
                value.type.tensor_type.ClearField("shape")
        sizes = named(model) if form == "names" else {}
        wanted, made = theirs(model), ours(model)
        for name, shape in (wanted or {}).items():
            mine = (made or {}).get(name)
            if mine is None or not shape or op in ELSEWHERE:
                continue
            compared += 1
            differ = (b is not None and sizes.get(str(a), a) != sizes.get(str(b), b) for a, b in zip(mine, shape))
            if len(mine) != len(shape) or any(differ):
                wrong.append((op, name, mine, shape))
    assert not wrong
    assert compared > 90


@pytest.mark.parametrize("form, more", [("sizes", 0), ("names", 0), ("names", 1)])
def test_declared_by_names(form: str, more: int) -> None:
    """Outputs whose dimensions the model gives names, of the right rank or of one axis more, have these where
    onnxruntime's inference knows no number."""
    compared, wrong = 0, []
    for op, given in models().items():
        schema = onnx.defs.get_schema(op, domain=given.graph.node[0].domain)
        if schema.has_function or schema.has_context_dependent_function or op == "Constant":
            continue  # onnxruntime infers once more when it has spelled out the body, or folded the constant
        model = onnx.ModelProto()
        model.CopyFrom(given)
        for value in model.graph.output:
            if value.type.HasField("tensor_type"):
                shape = value.type.tensor_type.shape
                axes = len(shape.dim) + more
                shape.Clear()
                for axis in range(axes):
                    shape.dim.add().dim_param = f"o{axis}"
        if form == "names":
            named(model)
        wanted, made = theirs(model), ours(model)
        for name, shape in (wanted or {}).items():
            mine = (made or {}).get(name)
            if mine is not None:
                compared += 1
                wrong += [] if mine == shape else [(op, name, mine, shape)]
    assert not wrong
    assert compared > 90
