"""Large and deep graphs: no stage goes down a graph, or the formula of a size, by Python's stack, and what is printed
stays in proportion to the graph, as does what is done. The time that it takes is measured by `python -m bench scaling`.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from types import CodeType, FrameType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnx.helper import make_node

import intaglio
from bench.scaling import FORMS
from intaglio.compiler.driver import lower_model
from intaglio.compiler.frontend.importer import import_model
from intaglio.compiler.frontend.load import load_model
from intaglio.compiler.graph.conditions import conditions
from intaglio.compiler.options import Options
from intaglio.compiler.passes import PASSES
from intaglio.compiler.scalar.dim import Dim

Nodes = list[NodeProto]
DEEP = 1500  # Python's stack ends at 1000
CONSTANTS = {
    "one": np.array([1]), "last": np.array([-10]), "far": np.array([1 << 40]), "zero": np.array([0]),
    "half": np.float32(0.5), "rows": np.array([8, -1]), "flat": np.array([-1]),
}  # fmt: skip
POINTWISE = ("Tanh", "Sigmoid", "Neg", "Abs", "Sqrt")


def chain(step: Callable[[int, str, str], Nodes], count: int = DEEP) -> Nodes:
    """`step` makes the nodes from a value to the next one."""
    names = ["x", *(f"v{i}" for i in range(1, count)), "y"]
    return [node for i in range(count) for node in step(i, names[i], names[i + 1])]


def one(*ops: str, **attrs: Any) -> Callable[[int, str, str], Nodes]:
    return lambda i, a, b: [make_node(ops[i % len(ops)], [a], [b], **attrs)]


def twice(op: str) -> Callable[[int, str, str], Nodes]:
    """A value that is read twice: an expression of it is twice as long."""
    return lambda i, a, b: [make_node(op, [a, a], [f"d{i}"]), make_node("Mul", [f"d{i}", "half"], [b])]


def turned(i: int, a: str, b: str) -> Nodes:
    """A value that is read at two places, so that each step has twice as many."""
    return [
        make_node("Slice", [a, "flat", "back", "zero", "flat"], [f"t{i}"]), make_node("Sub", [a, f"t{i}"], [f"d{i}"]),
        make_node("Tanh", [f"d{i}"], [b]),
    ]  # fmt: skip


def reshaped(i: int, a: str, b: str) -> Nodes:
    return [
        make_node("Shape", [a], [f"s{i}"]), make_node("Reshape", [a, "flat"], [f"f{i}"]),
        make_node("Reshape", [f"f{i}", f"s{i}"], [b]),
    ]  # fmt: skip


def wide(count: int, join: str, **attrs: Any) -> Nodes:
    branches = [make_node(POINTWISE[i % 4], ["x"], [f"b{i}"]) for i in range(count)]
    return [*branches, make_node(join, [f"b{i}" for i in range(count)], ["y"], **attrs)]


def in_a_loop(count: int) -> Nodes:
    value, flag = helper.make_tensor_value_info, helper.make_tensor_value_info("go", TensorProto.BOOL, [])
    inside = [*chain(one(*POINTWISE), count), make_node("Identity", ["go"], ["on"])]
    body = helper.make_graph(
        inside, "body", [value("i", TensorProto.INT64, []), flag, value("x", TensorProto.FLOAT, None)],
        [value("on", TensorProto.BOOL, []), value("y", TensorProto.FLOAT, None)],
    )  # fmt: skip
    return [make_node("Loop", ["trips", "", "x"], ["y"], body=body)]


def growing(i: int, a: str, b: str) -> Nodes:
    """The last rows once more, in front: each size is a formula of all before it."""
    return [make_node("Slice", [a, "last", "far"], [f"s{i}"]), make_node("Concat", [f"s{i}", a], [b], axis=0)]


def growing_from_data(i: int, a: str, b: str) -> Nodes:
    if i > 0:
        return growing(i, a, b)
    return [
        make_node("ReduceMax", [a], ["most"], axes=[1], keepdims=0), make_node("Greater", ["most", "half"], ["is"]),
        make_node("Compress", [a, "is"], ["some"], axis=0), *growing(i, "some", b),
    ]  # fmt: skip


GROWING: dict[str, Callable[[], Nodes]] = {  # what is printed of sizes grows with their squares
    "growing": lambda: chain(growing, 25),
    "growing from data": lambda: chain(growing_from_data, 25),
}
GRAPHS: dict[str, Callable[[], Nodes]] = {
    "pointwise": lambda: chain(one(*POINTWISE)),
    "one operator": lambda: chain(lambda i, a, b: [make_node("Add", [a, "half"], [b])]),
    "softmax": lambda: chain(one("Softmax"), 400),
    "transposes": lambda: chain(one("Transpose")),
    "reshapes": lambda: chain(lambda i, a, b: [make_node("Reshape", [a, ("rows", "flat")[i % 2]], [b])]),
    "slices": lambda: chain(lambda i, a, b: [make_node("Slice", [a, "one", "far"], [b])], 400),
    "windows": lambda: chain(
        lambda i, a, b: [
            make_node("Transpose", [a], [f"t{i}"]), make_node("Unsqueeze", [f"t{i}", "zero"], [f"u{i}"]),
            make_node("MaxPool", [f"u{i}"], [f"p{i}"], kernel_shape=[2]),
            make_node("Squeeze", [f"p{i}", "zero"], [f"s{i}"]), make_node("Transpose", [f"s{i}"], [b]),
        ],
        40,
    ),
    "shapes": lambda: chain(reshaped, 500),
    "sizes from data": lambda: chain(
        lambda i, a, b: [
            make_node("NonZero", [a], [f"z{i}"]), make_node("Cast", [f"z{i}"], [b], to=TensorProto.FLOAT),
        ],
        40,
    ),
    "doubled": lambda: chain(twice("Add")),
    "at two places": lambda: chain(turned, 100),
    "products": lambda: chain(
        lambda i, a, b: [make_node("MatMul", [a, "w"], [f"m{i}"]), make_node("Tanh", [f"m{i}"], [b])], 300
    ),
    "a sum of many": lambda: wide(DEEP, "Sum"),
    "a concat of many": lambda: wide(300, "Concat", axis=0),
    "a loop's body": lambda: in_a_loop(DEEP),
}  # fmt: skip


# A sequence that grows by its last rows again and again: each size is made of all those before it.
def model(nodes: Sequence[NodeProto], dtype: int = TensorProto.FLOAT) -> bytes:
    constants = CONSTANTS | {"back": np.array([-(1 << 40)]), "w": np.eye(8, dtype=np.float32), "trips": np.array(3)}
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", dtype, ["n", 8])], [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()


@pytest.mark.parametrize("kind", GRAPHS)
def test_what_is_printed_is_in_proportion(kind: str) -> None:
    nodes = GRAPHS[kind]()
    unit = lower_model(model(nodes), Options())
    assert unit.sources is not None
    assert sum(len(source.text) for source in unit.sources.files) < 4000 * len(nodes) + 80_000


def calls(data: bytes) -> Counter[CodeType]:
    """How often each Python function is called, and each generator resumed, while a model is lowered."""
    count: Counter[CodeType] = Counter()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            count[frame.f_code] += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        lower_model(data, Options())
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize(
    "form, size", [("reductions", 100), ("products", 120), ("convolutions", 120), ("transformer", 4)]
)
def test_what_is_done_is_in_proportion(form: str, size: int) -> None:
    """No function is called eight times as often for four times as many layers; for each pair it were sixteen times."""
    make = FORMS[form][0]
    lower_model(make(size), Options())  # what is remembered of sizes afterwards
    few, many = calls(make(size)), calls(make(4 * size))
    nodes = 30 * size if form == "transformer" else size
    over = {code: (few[code], n) for code, n in many.items() if n > 8 * few[code] + 30 * nodes}
    assert not over


@pytest.mark.parametrize("kind", [*GRAPHS, *GROWING])
def test_no_text_of_a_size_is_written_where_nothing_is_wrong(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of sizes may be exponentially longer than the graph."""

    def text(size: Dim) -> str:
        raise AssertionError("a text is written")

    read = load_model(model((GRAPHS | GROWING)[kind]()))
    monkeypatch.setattr(Dim, "__str__", text)
    monkeypatch.setattr(Dim, "__repr__", text)
    graph = import_model(read)
    conditions(graph)
    for _, rewrite in PASSES:
        graph = rewrite(graph)


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    "kind",
    [
        "pointwise", "doubled", "at two places", "slices", "a sum of many", "a loop's body", "growing",
        "growing from data",
    ],
)  # fmt: skip
def test_numbers(kind: str) -> None:
    ort = pytest.importorskip("onnxruntime")
    data = model((GRAPHS | GROWING)[kind]())
    x = np.random.default_rng(1).standard_normal((2000, 8)).astype(np.float32)
    (want,) = ort.InferenceSession(data).run(None, {"x": x})
    (got,) = intaglio.InferenceSession(data).run(None, {"x": x})
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["deep", "wide"])
def test_many_nodes(kind: str, count: int) -> None:
    nodes = chain(one(*POINTWISE), count) if kind == "deep" else wide(count, "Sum")
    unit = lower_model(model(nodes), Options())
    assert unit.program is not None
    assert 0.003 * count < len(unit.program.launches) < 0.01 * count
