"""What is computed for the first operand of a product alone is computed in its kernel: with onnxruntime's numbers."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

import intaglio
from intaglio.compiler import driver
from intaglio.compiler.kernel.ir import Conv, Launch, Matmul
from intaglio.compiler.options import Options

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(5)
CHANNELS = 24


def numbers(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def node(op: str, inputs: str, output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(op, inputs.split(), [output], f"{op} {output}", **attributes)


@dataclass(frozen=True)
class Prologue:
    """Nodes from "x" to "a", the constants that they read, and the type of x."""

    nodes: Sequence[NodeProto]
    constants: Mapping[str, Array] = field(default_factory=dict)
    dtype: type = np.float32


@dataclass(frozen=True)
class Product:
    """One node from "a" to "y": the shapes of a (declared, and in the run), and its constants."""

    node: NodeProto
    declared: Sequence[int | str]
    shape: Sequence[int]
    constants: Mapping[str, Array]


PROLOGUES = {
    "relu": Prologue([node("Relu", "x", "a")]),
    "of a half": Prologue([node("Cast", "x", "a", to=TensorProto.FLOAT)], dtype=np.float16),
    "of bytes": Prologue([node("DequantizeLinear", "x s z", "a")],
                         {"s": np.array(0.03, np.float32), "z": np.array(131, np.uint8)}, np.uint8),
    "scaled": Prologue([node("Mul", "x g", "m"), node("Add", "m b", "a")],
                       {"g": numbers(CHANNELS), "b": numbers(CHANNELS)}),
    "one value twice": Prologue([node("Mul", "x c", "m"), node("Mul", "x m", "a")], {"c": np.array(0.3, np.float32)}),
}  # fmt: skip
EXPENSIVE = {"swish": Prologue([node("Sigmoid", "x", "m"), node("Mul", "x m", "a")])}


def _convolution(channels: int, *taps: int, groups: int = 1, **attributes: Any) -> Product:
    w = numbers(channels, CHANNELS // groups, *taps)
    size = [9, 11, 6][: len(taps)]
    made = node("Conv", "a w", "y", group=groups, **attributes)
    return Product(made, ["n", CHANNELS, *(f"s{i}" for i in range(len(taps)))], [2, CHANNELS, *size], {"w": w})


PRODUCTS = {
    "rows": Product(node("MatMul", "a w", "y"), ["n", CHANNELS], [37, CHANNELS], {"w": numbers(CHANNELS, 70)}),
    "no rows": Product(node("MatMul", "a w", "y"), ["n", CHANNELS], [0, CHANNELS], {"w": numbers(CHANNELS, 70)}),
    "one row": Product(node("MatMul", "a w", "y"), [1, CHANNELS], [1, CHANNELS], {"w": numbers(CHANNELS, 70)}),
    "batches": Product(node("MatMul", "a w", "y"), ["b", "n", CHANNELS], [3, 5, CHANNELS], {"w": numbers(CHANNELS, 7)}),
    "a matrix each": Product(node("MatMul", "a w", "y"), [4, "n", CHANNELS], [4, 6, CHANNELS],
                             {"w": numbers(4, CHANNELS, 9)}),
    "biased": Product(node("Gemm", "a w bias", "y", transB=1), ["n", CHANNELS], [9, CHANNELS],
                      {"w": numbers(30, CHANNELS), "bias": numbers(30)}),
}  # fmt: skip
CONVOLUTIONS = {
    "1x1": _convolution(40, 1, 1),
    "1x1 with strides": _convolution(40, 1, 1, strides=[2, 2]),
    "3x3": _convolution(40, 3, 3, pads=[1, 1, 1, 1]),
    "3x3 with strides": _convolution(40, 3, 3, pads=[1, 1, 0, 2], strides=[2, 1]),
    "groups": _convolution(40, 3, 3, groups=4, dilations=[2, 1]),
    "one axis": _convolution(8, 5, pads=[2, 2]),
    "three axes": _convolution(8, 3, 1, 2),
}
CASES = [
    *((p, c) for p in PROLOGUES for c in (*PRODUCTS, *CONVOLUTIONS)),
    *((p, c) for p in EXPENSIVE for c in (*PRODUCTS, "1x1")),
]


def model(prologue: Prologue, product: Product) -> bytes:
    """x -> a -> y. For a convolution x is made by one that others read, so that channels are last where it is read. Its
    sums are exact, as x is narrow: engines would else round some of it differently."""
    nodes, constants = [*prologue.nodes, product.node], {**prologue.constants, **product.constants}
    declared = {"x": prologue.dtype}, {"y": np.float32}
    axes = product.constants["w"].ndim - 2 if product.node.op_type == "Conv" else 0
    if axes:
        to = helper.np_dtype_to_tensor_dtype(np.dtype(prologue.dtype))
        fits = "Abs" if prologue.dtype == np.uint8 else "Identity"
        nodes[:0] = [
            node("Conv", "given first", "f"), node(fits, "f", "v"), node("Cast", "v", "x", to=to),
            node("Identity", "f", "other"),
        ]  # fmt: skip
        constants |= {name: a.reshape(-1, *[1] * axes) for name, a in prologue.constants.items() if a.size == CHANNELS}
        constants["first"] = np.abs(np.round(numbers(CHANNELS, CHANNELS, *[1] * axes) * 5)) / 16
        declared = {"given": np.float32}, {"y": np.float32, "other": np.float32}
    inputs, outputs = (
        [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
         for name, dtype in types.items()]
        for types, shape in zip(declared, (product.declared, None))
    )  # fmt: skip
    initializers = [numpy_helper.from_array(a, name) for name, a in constants.items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, initializers)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return bytes(made.SerializeToString())


def _cases() -> list[Any]:
    return [pytest.param((PROLOGUES | EXPENSIVE)[p], (PRODUCTS | CONVOLUTIONS)[c], id=f"{p}-{c}") for p, c in CASES]


@pytest.mark.sample(12)
@pytest.mark.parametrize(("prologue", "product"), _cases())
def test_agrees_with_onnxruntime(prologue: Prologue, product: Product) -> None:
    made = model(prologue, product)
    unit = driver.lower_model(made, Options())
    launches = [s for s in unit.program.steps if isinstance(s, Launch) and isinstance(s.kernel.body, (Matmul, Conv))]
    assert {n.name for n in (*prologue.nodes, product.node)} <= set(launches[-1].origin)
    _compare(intaglio.InferenceSession(made), made, product)


@pytest.mark.sample(7)
@pytest.mark.skipif(not importlib.util.find_spec("triton"), reason="there is no triton for this system")
@pytest.mark.parametrize(("prologue", "product"), _cases())
def test_on_a_gpu(prologue: Prologue, product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    made = model(prologue, product)
    gpu = ("CUDAExecutionProvider", {"use_tf32": "0"})
    _compare(intaglio.InferenceSession(made, providers=[gpu, "CPUExecutionProvider"]), made, product)


def _compare(session: intaglio.InferenceSession, made: bytes, product: Product) -> None:
    given = session.get_inputs()[0]
    dtype = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}[given.type]
    x = np.round(np.random.default_rng(1).uniform(-9, 9, product.shape) * 8) / 8
    feeds = {given.name: (x * 10 + 128 if dtype == np.uint8 else x).astype(dtype)}
    theirs = onnxruntime.InferenceSession(made, providers=["CPUExecutionProvider"]).run(None, feeds)
    for ours, expected in zip(session.run(None, feeds), theirs, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=2e-5, atol=2e-5 * np.abs(expected).max(initial=1))
