"""Permutes sink, meet and cancel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnx.helper import make_node

from intaglio.compiler.driver import lower_model
from intaglio.compiler.graph.ir import Value, constant, input_value, make
from intaglio.compiler.options import Options
from intaglio.compiler.passes import layout, simplify
from intaglio.compiler.passes.layout import blocks
from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import F32, I64

B, H = Symbol("b"), Symbol("h", 1)
RNG = np.random.default_rng(3)
SIZES = {B: 2, H: 6}


def conv(x: Value, out: int) -> Value:
    """As the frontend writes a 3x3 convolution of channels-first data."""
    w = constant(RNG.standard_normal((3, 3, x.shape[1], out)).astype(np.float32))
    attrs = {"strides": (1, 1), "dilations": (1, 1), "pads_low": (1, 1), "pads_high": (1, 1), "groups": 1}
    return x.permute(0, 2, 3, 1).emit("conv", [x.permute(0, 2, 3, 1), w], **attrs)[0].permute(0, 3, 1, 2)


def channels(n: int) -> Value:
    return constant(RNG.standard_normal((1, n, 1, 1)).astype(np.float32))


def permutes(check: Any, ops: Any, value: Value) -> int:
    return int(ops(check(value, layout.run, simplify.run, sizes=SIZES)).count("permute"))


@pytest.fixture
def image() -> Value:
    return input_value("x", (B, 3, H, 8), F32)


def test_residual_block_with_pooling_and_gate(check: Any, ops: Any, image: Value) -> None:
    x = (conv(image, 4) + channels(4)).map("max", 0.0)
    x = x + (conv(x, 4) * channels(4))
    pooled = x.pad((0, 0, 1, 1), (0, 0, 1, 1), -1.0).window([2, 3], [3, 3], [2, 2], [1, 1]).max([4, 5])
    gate = pooled.mean([2, 3], keepdims=True).map("sigmoid")
    y = make("concat", [pooled * gate, pooled], axis=1)[0].narrow(1, 1, 4)
    assert permutes(check, ops, conv(y, 2).mean([2, 3])) == 1, "the one at the entry"


def test_layer_norm_in_channels_last(check: Any, ops: Any, image: Value) -> None:
    x = conv(image, 4)
    y = x.permute(0, 2, 3, 1)
    y = (y - y.mean(-1, keepdims=True)).permute(0, 3, 1, 2)
    assert permutes(check, ops, conv(x + y, 4)) == 2, "entry and exit"


def test_tokens_of_patches(check: Any, ops: Any, image: Value) -> None:
    x = conv(image, 4)
    tokens = x.reshape(B, 4, H * 8).permute(0, 2, 1)
    mixed = tokens.exp().permute(0, 2, 1).reshape(B, 4, H, 8)
    assert permutes(check, ops, conv(mixed, 4)) == 2


def test_resize_by_gathers(check: Any, ops: Any, image: Value) -> None:
    twice = constant(np.arange(16) // 2)
    assert permutes(check, ops, conv(conv(image, 4).take(twice, 3), 4)) == 2


def test_sums_of_two_orders_keep_one_permute(check: Any, ops: Any) -> None:
    a, b = input_value("a", (B, 3, 4), F32), input_value("b", (B, 4, 3), F32)
    assert ops(check((a + b.permute(0, 2, 1)).exp(), layout.run, sizes=SIZES)).count("permute") == 1


def test_scan_sort_and_argmax(check: Any, ops: Any) -> None:
    x = input_value("x", (2, 3, 4), I64).permute(2, 0, 1)
    summed = make("scan", [x], kind="add", axis=1, exclusive=False, reverse=False)[0]
    first = make("sort", [summed], axis=2, descending=True, k=2)[0]
    best = make("argreduce", [x], kind="max", axis=0, last=False)[0]
    check([first, best], layout.run)


def test_merged_heads_stay(check: Any, ops: Any) -> None:
    heads = input_value("x", (B, 4, H, 8), F32)
    assert ops(check(heads.permute(0, 2, 1, 3).reshape(B, H, 32), layout.run, sizes=SIZES)) == ["permute", "reshape"]


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ((B, 4, H, 8), (B, 4, H * 8), [([0], [0]), ([1], [1]), ([2, 3], [2])]),
        ((B, H, 12), (B, H, 3, 4), [([0], [0]), ([1], [1]), ([2], [2, 3])]),
        ((4 * B, H), (B, 4, H), [([0], [0, 1]), ([1], [2])]),
        ((6, 4), (4, 6), [([0, 1], [0, 1])]),
        ((B, 1, 4), (B, 4), [([0, 1], [0]), ([2], [1])]),
        ((2, 3), (2, 1, 3, 1), [([0], [0, 1]), ([1], [2, 3])]),
    ],
)
def test_blocks(source: Any, target: Any, expected: Any) -> None:
    assert blocks(source, target) == expected


BETWEEN = {
    "nothing": [],
    "Relu": [make_node("Relu", ["v"], ["v"])],
    "MaxPool": [make_node("MaxPool", ["v"], ["v"], kernel_shape=[2, 2])],
    "AveragePool": [make_node("AveragePool", ["v"], ["v"], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)],
    "ConvTranspose": [make_node("ConvTranspose", ["v", "weights"], ["v"], strides=[2, 2], output_padding=[1, 1])],
    "Resize": [make_node("Resize", ["v", "", "scales"], ["v"], mode="linear")],
    "Pad": [make_node("Pad", ["v", "pads"], ["v"])],
    "Split": [make_node("Split", ["v"], ["v", "other"], axis=2, num_outputs=2)],
    "Expand": [make_node("Expand", ["v", "ones"], ["v"])],
    "InstanceNormalization": [make_node("InstanceNormalization", ["v", "four", "four"], ["v"])],
}  # fmt: skip


@pytest.mark.parametrize("op", BETWEEN)
def test_sizes_that_are_not_known_cost_no_permutes(op: str) -> None:
    """What operators demand of them does not stand in the way: one permute at the entry, and one at the exit."""
    between = [make_node("Conv", ["x", "weights"], ["v"]), *BETWEEN[op], make_node("Conv", ["v", "weights"], ["v"])]
    nodes: list[NodeProto] = []
    for i, node in enumerate(between):  # each node's "v" is a value of its own
        named = {"v": f"v{i}"}
        nodes.append(make_node(node.op_type, [named.get(n, n) for n in node.input], []))
        nodes[-1].attribute.extend(node.attribute)
        nodes[-1].output.extend(f"v{i + 1}" if n == "v" else n for n in node.output)
    constants = {
        "weights": np.ones((4, 4, 3, 3), np.float32), "scales": np.float32([1, 1, 2, 2]), "ones": np.int64([1] * 4),
        "pads": np.int64([0, 0, 1, 2, 0, 0, 2, 1]), "four": np.ones(4, np.float32),
    }  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, "h", "w"])],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    lowered = lower_model(model.SerializeToString(), Options())
    assert lowered.graph is not None
    assert layout.permutes(lowered.graph) == {"permute -> conv": 1, "permute -> output": 1}
