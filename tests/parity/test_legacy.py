"""Operators that onnxruntime keeps in the standard's domain though the standard has dropped or renamed them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from .nodes import Array, assert_same, model, ours, theirs

RNG = np.random.default_rng(3)


def f(*shape: int, dtype: Any = np.float32) -> Array:
    return (RNG.standard_normal(shape) * 2 + 0.5).astype(dtype)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def _cases() -> list[tuple[str, list[Array | None], dict[str, Any], int]]:
    x = f(2, 3, 4, 5)
    made: list[tuple[str, list[Array | None], dict[str, Any], int]] = [
        (op, [f(3, 4)], attrs, 1)
        for op in ("Affine", "ScaledTanh", "ParametricSoftplus")
        for attrs in ({}, {"alpha": 0.7}, {"beta": -1.3}, {"alpha": -0.4, "beta": 2.0})
    ]
    made += [("ThresholdedRelu", [f(9)], attrs, 1) for attrs in ({}, {"alpha": -0.5}, {"alpha": 0.4})]
    made += [("Scale", [f(9)], attrs, 1) for attrs in ({}, {"scale": 0.3})]
    made += [("ImageScaler", [f(3, 4)], {"bias": [1.0]}, 1)]
    made += [("ParametricSoftplus", [f(9) * 60], {"alpha": 2.0, "beta": 3.0}, 1)]
    made += [("ImageScaler", [x], {"bias": bias, **more}, 1)
             for bias in ([1.0, -2.0, 3.0], [1.0], [1.0, 2.0]) for more in ({}, {"scale": 0.5})]  # fmt: skip
    made += [
        ("Crop", [x], {"border": border, **({} if scale is None else {"scale": scale})}, 1)
        for border in ([0, 0, 0, 0], [1, 2, 1, 0], [3, 1, 1, 1], [5, 0, 0, 0], [-1, 0, 0, 0], [0, 2, 9, 9], [1, 1])
        for scale in (None, [2, 2], [0, 1], [4, 5], [2], [-1, 2])
    ]
    made += [("Crop", [f(4, 5)], {"border": [1, 1, 1, 1]}, 1), ("Crop", [x], {}, 1)]
    made += [
        ("MeanVarianceNormalization", [f(2, 3, 4, 5)], {"across_channels": a, "normalize_variance": b}, 1)
        for a in (0, 1) for b in (0, 1)
    ]  # fmt: skip
    made += [
        ("DynamicSlice", [x, ints(*starts), ints(*ends), axes], {}, 1)
        for starts, ends, axes in (
            ([1], [3], None), ([0, 1], [2, -1], None), ([-3, 1], [100, 3], ints(3, 1)), ([1], [2], ints(-2)),
            ([5], [7], ints(2)), ([0, 0], [1], None),
        )
    ]  # fmt: skip
    made += [
        ("LayerNormalization", [f(2, 3, 4), f(*shape), bias, ], {"axis": axis, "epsilon": 1e-3}, outputs)
        for axis, shape in ((-1, (4,)), (1, (3, 4)), (2, (4,)))
        for bias in (None, f(*shape)) for outputs in (1, 2, 3)
    ]  # fmt: skip
    return made


@pytest.mark.parametrize("case", _cases(), ids=lambda case: case[0])
@pytest.mark.parametrize("opset", (1, 7, 9, 10, 16))
def test_same_as_onnxruntime(case: Any, opset: int) -> None:
    data, feeds = model(*case, opset=opset)
    assert_same(ours(data, feeds), theirs(data, feeds), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", (np.float16, np.float64))
def test_layer_normalization_of_other_types(dtype: Any) -> None:
    data, feeds = model("LayerNormalization", [f(3, 8, dtype=dtype), f(8, dtype=dtype)], {}, 3, opset=11)
    made, wanted = ours(data, feeds), theirs(data, feeds)
    assert_same(made, wanted, *((2e-3, 2e-3) if dtype == np.float16 else (1e-6, 1e-6)))


@pytest.mark.parametrize("opset", (7, 8, 9, 13))
@pytest.mark.parametrize("outputs, attrs", ((1, {}), (5, {}), (5, {"momentum": 0.5, "epsilon": 1e-2})))
def test_batch_normalization_trains_for_its_five_outputs(opset: int, outputs: int, attrs: dict[str, Any]) -> None:
    inputs = [f(2, 3, 4), f(3), f(3), f(3), np.abs(f(3))]
    data, feeds = model("BatchNormalization", inputs, attrs, outputs, opset=opset)
    wanted = theirs(data, feeds)
    assert isinstance(wanted, list), wanted
    assert_same(ours(data, feeds), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", ((2, 3, 4), (3, 1, 2), (2, 3, 4, 5)))
def test_batch_normalization_of_each_position(shape: tuple[int, ...]) -> None:
    inputs = [f(*shape), *(f(*shape[1:]) for _ in range(3)), np.abs(f(*shape[1:]))]
    data, feeds = model("BatchNormalization", inputs, {"spatial": 0}, opset=7)
    assert_same(ours(data, feeds), theirs(data, feeds), rtol=1e-4, atol=1e-5)
    data, feeds = model("BatchNormalization", [inputs[0], f(3), *inputs[2:]], {"spatial": 0}, opset=7)
    assert isinstance(ours(data, feeds), str)


@pytest.mark.parametrize("imported", (("",), ("com.microsoft",), ("ai.onnx.ml",), ("", "com.microsoft", "ai.onnx.ml")))
@pytest.mark.parametrize(
    "op, domain, attrs",
    (
        ("Gelu", "com.microsoft", {}),
        ("Scaler", "ai.onnx.ml", {"scale": [2.0], "offset": [0.5]}),
        ("HardSwish", "", {}),
        ("Nothing", "", {}),
        ("Nothing", "ai.onnx.ml", {}),
        ("Gelu", "of.nobody", {}),
    ),
)
def test_domains_that_are_not_imported(op: str, domain: str, attrs: dict[str, Any], imported: tuple[str, ...]) -> None:
    x = f(2, 3)
    graph = helper.make_graph(
        [helper.make_node(op, ["x"], ["y"], "node", domain=domain, **attrs)], "g",
        [helper.make_tensor_value_info("x", 1, x.shape)], [onnx.ValueInfoProto(name="y")],
    )  # fmt: skip
    versions = {"": 17, "com.microsoft": 1, "ai.onnx.ml": 3}
    imports = [helper.make_opsetid(name, versions[name]) for name in imported]
    data = helper.make_model(graph, opset_imports=imports, ir_version=10).SerializeToString()
    assert_same(ours(data, {"x": x}), theirs(data, {"x": x}))


@pytest.mark.parametrize("domain", ("", "ai.onnx.ml", "com.microsoft"))
def test_opsets_from_the_future(domain: str) -> None:
    data, feeds = model("Relu", [f(2)], {})
    proto = onnx.load_from_string(data)
    next(o for o in proto.opset_import if o.domain == domain).version = 99
    data = proto.SerializeToString()
    assert ours(data, feeds) == theirs(data, feeds) == "Fail"
