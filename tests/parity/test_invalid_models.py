"""Models that cannot be loaded: the same class of exception as onnxruntime's, and the same text, from bytes and paths.

What is taken out of the texts stands in differences.py, or beside the case here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
from onnx import TensorProto as T
from onnx import helper

import intaglio


def info(name: str, element: int = T.FLOAT, shape: Any = ("n", 3)) -> Any:
    return helper.make_tensor_value_info(name, element, shape)


def node(op: str, inputs: str, name: str = "rl", **attributes: Any) -> Any:
    return helper.make_node(op, inputs.split(), ["y"], name=name, **attributes)


def model(
    nodes: Any, inputs: Any = None, outputs: Any = None, weights: Any = (), opset: int = 17, ir: int = 8, more: Any = ()
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "g", inputs or [info("t")], outputs or [info("y")], list(weights))
    opsets = [helper.make_opsetid("", opset), *more]
    made: onnx.ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=ir)
    return made


def without_opsets() -> onnx.ModelProto:
    made = model([node("Relu", "t")])
    del made.opset_import[:]
    return made


RELU = [node("Relu", "t")]
TYPED = {element: ([info("t", element)], [info("y", element)]) for element in (T.COMPLEX64, T.UNDEFINED, T.INT16)}
CASES: dict[str, onnx.ModelProto] = {
    "IR version": model(RELU, ir=99),
    "opset": model(RELU, opset=99),
    "no opset": without_opsets(),
    "unknown operator": model([node("Nope", "t")]),
    "unknown domain": model([node("Relu", "t", domain="my.dom")]),
    "custom operator": model([node("Relu", "t", domain="my.dom")], more=[helper.make_opsetid("my.dom", 1)]),
    "dangling input": model([node("Relu", "zzz")]),
    "dangling output": model(RELU, outputs=[info("zzz")]),
    "two nodes of a name": model([helper.make_node("Relu", ["t"], ["m"], name="rl"), node("Relu", "m")]),
    "two values of a name": model([node("Relu", "t", "a"), node("Relu", "t", "b")]),
    "cycle": model([helper.make_node("Add", ["t", "y"], ["m"]), node("Relu", "m")]),
    "unsorted": model([node("Relu", "m"), helper.make_node("Relu", ["t"], ["m"], name="before")]),
    "attribute": model([node("Relu", "t", foo=1)]),
    "number of inputs": model([node("Relu", "t t")]),
    "shapes": model(
        [node("MatMul", "t w")], weights=[helper.make_tensor("w", T.FLOAT, [4, 2], [0] * 8)],
        outputs=[info("y", shape=("n", 2))],
    ),
    "types": model([node("MatMul", "t u")], [info("t"), info("u", T.INT64, (3, 2))], [info("y", shape=("n", 2))]),
    "type of an output": model(RELU, outputs=[info("y", T.INT64)]),
    "shape of an output": model(RELU, outputs=[info("y", shape=(7, 7))]),
    "complex": model([node("Identity", "t")], *TYPED[T.COMPLEX64]),
    "undefined": model([node("Identity", "t")], *TYPED[T.UNDEFINED]),
    "no graph": onnx.ModelProto(),
}  # fmt: skip


def reduced(text: str) -> str:
    text = re.sub(r"/onnxruntime_src/\S+:\d+ .*?\) (?=Unsupported|ONNX|Missing|This)", "", text, flags=re.S)
    text = re.sub(r"(support for this is limited\.).*(Current)", r"\1 \2", text, flags=re.S)
    text = re.sub(r"(max supported IR version: |till opset )\d+", r"\1#", text)  # ours are newer
    text = re.sub(r" : \(.*?\) -> \(.*?\) , Error", " Error", text)  # the types of a node's arguments
    return re.sub(r"\[ShapeInferenceError\].*", "[ShapeInferenceError]", text, flags=re.S).strip()  # ours has the sizes


@pytest.mark.parametrize("form", ["bytes", "path"])
@pytest.mark.parametrize("name", CASES)
def test_same(name: str, form: str, tmp_path: Path) -> None:
    source: Any = CASES[name].SerializeToString()
    if form == "path":
        (tmp_path / "m.onnx").write_bytes(source)
        source = str(tmp_path / "m.onnx")
    told = []
    for engine in (onnxruntime, intaglio):
        try:
            engine.InferenceSession(source)
            told.append(("", "it loads"))
        except Exception as error:
            told.append((type(error).__name__, reduced(str(error))))
    if name == "no opset":  # ours says what to do about it
        told = [(kind, text.partition(" All ModelProtos")[0]) for kind, text in told]
    if name == "types":  # the order in which the types are named
        told = [(kind, text.partition("(tensor")[0]) for kind, text in told]
    assert told[1] == told[0]
