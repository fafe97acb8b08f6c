"""onnxruntime's own operators: the graph that we make of a node computes what onnxruntime computes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from onnx import helper

from intaglio import InferenceSession
from intaglio.compiler.frontend.importer import import_model
from intaglio.compiler.frontend.load import load_model
from intaglio.compiler.graph import interp
from intaglio.runtime import errors

ort = pytest.importorskip("onnxruntime")
Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(0)


def f(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def u8(*shape: int) -> Array:
    return RNG.integers(0, 256, shape).astype(np.uint8)


def i8(*shape: int) -> Array:
    return RNG.integers(-128, 128, shape).astype(np.int8)


def one(value: float, dtype: Any = np.float32) -> Array:
    return np.array(value, dtype)


def ints(*values: int, dtype: Any = np.int32) -> Array:
    return np.array(values, dtype)


def angles(length: int, width: int) -> tuple[Array, Array]:
    angle = np.outer(np.arange(length), 1.0 / 10 ** np.arange(width))
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


Q = (one(0.02), one(128, np.uint8))  # a scale and a zero point
COS, SIN = angles(16, 4)
MASK = ints(1, 1, 1, 0, 1, 1, 1, 1, 0, 0).reshape(2, 5)
IDS, SEGMENTS = ints(1, 2, 3, 4, 5, 6).reshape(2, 3), ints(0, 1, 0, 1, 1, 0).reshape(2, 3)
# Weights of 8 bits are halved where onnxruntime's sums of two products saturate at 16 bits on some CPUs.
# operator, inputs (None: omitted; "w": prefix of those that are initializers), attributes, number of outputs
CASES: list[tuple[str, list[Any], dict[str, Any], int]] = [
    ("Unique", [RNG.integers(0, 9, 40).astype(np.float32)], {}, 3),
    ("Unique", [f(0)], {}, 3),
    ("FusedMatMul", [f(2, 3, 4), f(2, 5, 4)], {"transB": 1, "alpha": 0.5}, 1),
    ("FusedMatMul", [f(2, 4, 3), f(2, 4, 5)], {"transA": 1}, 1),
    ("FusedMatMul", [f(3, 2, 4), f(2, 4, 5)], {"transBatchA": 1}, 1),
    ("FusedGemm", [f(3, 4), f(4, 5), f(5)], {"activation": "Relu"}, 1),
    ("FusedGemm", [f(3, 4), f(4, 5), f(5)], {"activation": "LeakyRelu", "activation_alpha": 0.3}, 1),
    ("FusedConv", [f(1, 3, 6, 6), f(4, 3, 3, 3), f(4)], {"activation": "Sigmoid"}, 1),
    ("FusedConv", [f(1, 3, 6, 6), f(4, 3, 3, 3), f(4), f(1, 4, 4, 4)], {"activation": "Relu"}, 1),
    ("FusedConv", [f(1, 3, 6, 6), f(4, 3, 3, 3)], {"activation": "Clip", "activation_params": [-0.5, 0.5]}, 1),
    ("Gelu", [f(4, 5)], {}, 1),
    ("BiasGelu", [f(4, 5), f(5)], {}, 1),
    ("FastGelu", [f(4, 5), f(5)], {}, 1),
    ("QuickGelu", [f(4, 5)], {"alpha": 1.5}, 1),
    ("SkipLayerNormalization", [f(2, 3, 8), f(2, 3, 8), f(8), f(8), f(8)], {"epsilon": 1e-5}, 4),
    ("SkipLayerNormalization", [f(2, 3, 8), f(2, 3, 8), f(8)], {}, 1),
    ("SkipSimplifiedLayerNormalization", [f(2, 3, 8), f(2, 3, 8), f(8)], {"epsilon": 1e-5}, 1),
    (
        "EmbedLayerNormalization",
        [
            ints(1, 2, 3, 4, 5, 6).reshape(2, 3), ints(0, 1, 0, 1, 1, 0).reshape(2, 3), f(9, 8), f(4, 8), f(2, 8),
            f(8), f(8), ints(1, 1, 0, 1, 1, 1).reshape(2, 3),
        ],
        {"epsilon": 1e-5}, 2,
    ),
    ("Attention", [f(2, 5, 8), f(8, 24), f(24)], {"num_heads": 2}, 1),
    ("Attention", [f(2, 5, 8), f(8, 24), f(24), MASK], {"num_heads": 2}, 1),
    ("Attention", [f(2, 5, 8), f(8, 24), f(24), ints(3, 5)], {"num_heads": 2}, 1),
    ("Attention", [f(2, 5, 8), f(8, 24), f(24), ints(3, 9, -1, 2)], {"num_heads": 2}, 1),
    ("Attention", [f(2, 5, 8), f(8, 24), f(24), None, f(2, 2, 2, 3, 4)], {"num_heads": 2, "unidirectional": 1}, 2),
    ("Attention", [f(2, 5, 8), f(8, 24), f(24), None, None, f(2, 2, 5, 5)], {"num_heads": 2, "scale": 0.3}, 1),
    ("MultiHeadAttention", [f(2, 5, 8), f(2, 6, 8), f(2, 6, 8)], {"num_heads": 2}, 1),
    ("MultiHeadAttention", [f(2, 5, 8), f(2, 5, 8), f(2, 5, 8), f(24), MASK], {"num_heads": 2}, 3),
    (
        "MultiHeadAttention",
        [f(2, 5, 8), f(2, 5, 8), f(2, 5, 8), None, None, f(1, 2, 5, 8), f(2, 2, 3, 4), f(2, 2, 3, 4)],
        {"num_heads": 2, "unidirectional": 1}, 3,
    ),
    ("RotaryEmbedding", [f(2, 3, 16), np.arange(6).reshape(2, 3), COS, SIN], {}, 1),
    ("RotaryEmbedding", [f(2, 2, 3, 8), np.array([5]), COS, SIN], {"interleaved": 1}, 1),
    (
        "GroupQueryAttention",
        [
            f(1, 3, 32), f(1, 3, 16), f(1, 3, 16), f(1, 1, 4, 16), f(1, 1, 4, 16), ints(6), one(7, np.int32),
            *angles(9, 8),
        ],
        {"num_heads": 2, "kv_num_heads": 1, "do_rotary": 1}, 3,
    ),
    (
        "GroupQueryAttention",
        [f(1, 1, 64), None, None, f(1, 2, 4, 8), f(1, 2, 4, 8), ints(4), one(5, np.int32)],
        {"num_heads": 4, "kv_num_heads": 2, "local_window_size": 3}, 3,
    ),
    ("QLinearAdd", [u8(2, 5), *Q, u8(5), one(0.03), one(120, np.uint8), one(0.05), one(100, np.uint8)], {}, 1),
    ("QLinearMul", [i8(2, 5), one(0.02), one(3, np.int8), i8(2, 5), one(0.03), one(-7, np.int8), one(0.02)], {}, 1),
    ("QLinearSigmoid", [u8(2, 5), *Q, one(1 / 256), one(0, np.uint8)], {}, 1),
    ("QLinearLeakyRelu", [u8(2, 5), *Q, *Q], {"alpha": 0.1}, 1),
    ("QLinearSoftmax", [u8(2, 5), *Q, one(1 / 256), one(0, np.uint8)], {"axis": -1, "opset": 13}, 1),
    ("QLinearSoftmax", [u8(4, 3, 9), *Q, one(0.0077), one(0, np.uint8)], {"axis": 1, "opset": 13}, 1),
    ("QLinearSoftmax", [u8(4, 3, 9), *Q, one(0.0077), one(0, np.uint8)], {"axis": 1, "opset": 12}, 1),
    ("QLinearGlobalAveragePool", [u8(2, 3, 4, 5), *Q, *Q], {}, 1),
    ("QLinearAveragePool", [u8(1, 3, 6, 6), *Q, *Q], {"kernel_shape": [3, 3], "strides": [2, 2]}, 1),
    ("QLinearConcat", [*Q, u8(2, 3), *Q, u8(2, 4), one(0.01), one(100, np.uint8)], {"axis": 1}, 1),
    ("MatMulIntegerToFloat", [u8(3, 4), i8(4, 5), one(0.02), f(5), one(7, np.uint8), None, f(5)], {}, 1),
    ("DynamicQuantizeMatMul", [f(3, 4), i8(4, 5), np.float32([0.02]), np.int8([3])], {}, 1),
    (
        "QGemm",
        [u8(3, 4), *Q, i8(4, 5), np.abs(f(5)) / 50, i8(5), ints(1, 2, 3, 4, 5), one(0.1), one(100, np.uint8)],
        {"alpha": 1.0}, 1,
    ),
    *(
        ("QAttention",
         [x, w, f(24), one(0.02), scale, mask, one(zero, x.dtype), w_zero, *past],
         {"num_heads": 2, "unidirectional": causal}, 1 + len(past))
        for x, w, zero, w_zero in (
            (u8(2, 5, 8), i8(8, 24) // 2, 128, one(0, np.int8)), (u8(2, 5, 8), u8(8, 24), 120, one(128, np.uint8)),
        )
        for scale in (one(0.01), np.abs(f(24)) / 50) for mask, past, causal in (
            (None, [], 0), (ints(3, 5), [], 0), (MASK, [], 0), (None, [f(2, 2, 2, 3, 4)], 1),
        )
    ),
    *(
        ("QEmbedLayerNormalization",
         [
             IDS, SEGMENTS if kinds else None, u8(9, 8), u8(4, 8), u8(2, 8) if kinds else None, u8(8), u8(8), mask,
             *[one(0.02), one(0.03), one(0.01) if kinds else None, one(0.01), one(0.04)],
             *[one(z, np.uint8) if z else None for z in (120, 128, 3 * kinds, 9, 7)],
         ], {"epsilon": 1e-5}, 2)
        for kinds in (False, True) for mask in (None, ints(1, 1, 0, 1, 1, 1).reshape(2, 3))
    ),
    *(
        ("QLinearConv",
         [
             x, *Q, i8(4, 3, 3, 3) // 2, np.abs(f(4)) / 50, np.zeros(4, np.int8), one(0.9), one(120, np.uint8), *bias,
         ],
         {"channels_last": last, "pads": [1, 0, 0, 1], "strides": [2, 1]}, 1)
        for last, x in ((0, u8(1, 3, 6, 7)), (1, u8(1, 6, 7, 3))) for bias in ([], [ints(5, -9, 80, 0)])
    ),
    ("MatMulNBits", [f(3, 40), u8(5, 3, 8), f(15)], {"K": 40, "N": 5, "bits": 4, "block_size": 16}, 1),
    ("MatMulNBits", [f(3, 40), u8(5, 3, 8), f(15), u8(10)], {"K": 40, "N": 5, "bits": 4, "block_size": 16}, 1),
    ("MatMulNBits", [f(3, 32), u8(5, 2, 16), f(10)], {"K": 32, "N": 5, "bits": 8, "block_size": 16}, 1),
    ("Trilu", [f(4, 4), one(1, np.int64)], {"upper": 0}, 1),
    ("QuantizeLinear", [f(3, 4), one(0.05), one(20000, np.uint16)], {}, 1),
    ("DequantizeLinear", [i8(3, 4), np.abs(f(3)), i8(3)], {"axis": 0}, 1),
]  # fmt: skip
# Parameters that onnxruntime wants as constants.
CONSTANT = {
    "QLinearConv": tuple(range(1, 9)), "QLinear": (1, 2, 3, 4, 5, 6, 7), "QGemm": (1, 2, 3, 4, 5, 7, 8),
    "MatMulNBits": (1, 2, 3), "DynamicQ": (1, 2, 3),
    "MatMulIntegerToFloat": (1, 3), "QAttention": (1, 2, 4, 7), "QEmbed": (2, 3, 4, 5, 6, *range(8, 18)),
}  # fmt: skip


def build(op: str, inputs: list[Any], attrs: Mapping[str, Any], outputs: int) -> tuple[bytes, dict[str, Array]]:
    fixed = next((places for prefix, places in CONSTANT.items() if op.startswith(prefix)), ())
    if op == "QLinearConcat":
        fixed = (0, 1, 3, 4, 6, 7)
    names = ["" if v is None else f"x{i}" for i, v in enumerate(inputs)]
    given = {n: (i, v) for i, (n, v) in enumerate(zip(names, inputs)) if n}
    node = helper.make_node(op, names, [f"y{i}" for i in range(outputs)], "node", domain="com.microsoft", **attrs)
    types = {n: helper.np_dtype_to_tensor_dtype(v.dtype) for n, (_, v) in given.items()}
    graph = helper.make_graph(
        [node], "g",
        [helper.make_tensor_value_info(n, types[n], v.shape) for n, (i, v) in given.items() if i not in fixed],
        [helper.make_value_info(f"y{i}", helper.make_tensor_type_proto(0, None)) for i in range(outputs)],
        [helper.make_tensor(n, types[n], v.shape, v.tobytes(), raw=True) for n, (i, v) in given.items() if i in fixed],
    )  # fmt: skip
    for value in graph.output:
        value.ClearField("type")
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    return model.SerializeToString(), {n: v for n, (i, v) in given.items() if i not in fixed}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_same_as_onnxruntime(case: tuple[str, list[Any], dict[str, Any], int]) -> None:
    data, feeds = build(*case)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    wanted = ort.InferenceSession(data, options).run(None, feeds)
    graph = import_model(load_model(data))
    made = interp.evaluate(graph, [feeds[v.name] for v in graph.inputs])
    for a, b in zip(made, wanted, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        if a.dtype.kind in "iu":
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


REFUSED: list[tuple[str, list[Any], dict[str, Any], int]] = [
    ("FusedMatMul", [f(2, 3, 4), f(4, 5)], {"transBatchA": 1}, 1),
    ("FusedMatMul", [f(3, 4), f(4, 5)], {"transBatchB": 1}, 1),
    ("MatMulNBits", [f(3, 40), u8(5, 24), f(15)], {"K": 40, "N": 5, "bits": 4, "block_size": 16}, 1),
    ("MatMulNBits", [f(3, 48), u8(5, 2, 12), f(10)], {"K": 48, "N": 5, "bits": 4, "block_size": 24}, 1),
    ("Attention", [f(2, 5, 8), f(8, 24), f(24), ints(3, -1)], {"num_heads": 2}, 1),
    ("Attention", [f(2, 5, 8), f(8, 24), f(24), ints(-3, 1, 0, 0)], {"num_heads": 2}, 1),
    ("Attention", [f(2, 5, 8), f(8, 24), f(24), ints(3, 1, 2)], {"num_heads": 2}, 1),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case[0])
def test_refused_as_by_onnxruntime(case: tuple[str, list[Any], dict[str, Any], int]) -> None:
    data, feeds = build(*case)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    with pytest.raises(Exception, match="ONNXRuntimeError"):
        ort.InferenceSession(data, options).run(None, feeds)
    with pytest.raises(errors.Status):
        InferenceSession(data).run(None, feeds)
