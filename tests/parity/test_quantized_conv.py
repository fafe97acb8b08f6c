"""Convolutions of narrow integers: exact sums, over every form of them, by packed kernels."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import intaglio
from intaglio.compiler.frontend.importer import import_model
from intaglio.compiler.frontend.load import load_model
from intaglio.compiler.passes import at_level

Array = np.ndarray[Any, Any]
# spatial sizes, channels in, channels out, groups, kernel, and attributes
FORMS: dict[str, tuple[tuple[int, ...], int, int, int, tuple[int, ...], dict[str, Any]]] = {
    "3x3": ((7, 6), 5, 9, 1, (3, 3), {"pads": [1, 1, 1, 1]}),
    "strided": ((9, 8), 16, 33, 1, (3, 2), {"strides": [2, 3]}),
    "dilated": ((9, 9), 3, 4, 1, (3, 3), {"dilations": [2, 2], "pads": [2, 1, 0, 2]}),
    "grouped": ((5, 6), 6, 8, 2, (3, 3), {"pads": [1, 1, 1, 1]}),
    "depthwise": ((6, 7), 20, 20, 20, (3, 3), {"pads": [1, 1, 1, 1]}),
    "one point": ((4, 5), 17, 70, 1, (1, 1), {}),
    "1d": ((11,), 4, 5, 1, (3,), {"pads": [2, 0]}),
    "3d": ((3, 4, 5), 3, 5, 1, (2, 2, 2), {}),
    "long sums": ((3, 3), 700, 3, 1, (3, 3), {}),
}


def exact(x: Array, w: Array, groups: int, attrs: dict[str, Any]) -> Array:
    """The convolution in int64: a sum over taps of products of shifted inputs."""
    rank = w.ndim - 2
    strides, dilations = attrs.get("strides", [1] * rank), attrs.get("dilations", [1] * rank)
    pads = attrs.get("pads", [0] * 2 * rank)
    x = np.pad(x, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:])])
    out = [(d - (k - 1) * s - 1) // t + 1 for d, k, s, t in zip(x.shape[2:], w.shape[2:], dilations, strides)]
    xs, ws = x.reshape(len(x), groups, -1, *x.shape[2:]), w.reshape(groups, -1, *w.shape[1:])
    y = np.zeros((len(x), groups, ws.shape[1], *out), np.int64)
    for tap in np.ndindex(*w.shape[2:]):
        part = tuple(slice(k * s, k * s + (n - 1) * t + 1, t) for k, s, n, t in zip(tap, dilations, out, strides))
        y += np.einsum("bgc...,goc->bgo...", xs[(..., *part)], ws[(..., *tap)])
    return y.reshape(len(x), -1, *out)


def of_type(kind: str, *shape: int) -> Array:
    limits = np.iinfo(kind)
    return np.random.default_rng(sum(shape)).integers(limits.min, limits.max + 1, shape).astype(kind)


def convolution(form: str, x_type: str, w_type: str) -> tuple[bytes, Array, Array]:
    """A model with zero points of x and of each channel of w, its input, and its output."""
    sizes, in_c, out_c, groups, kernel, attrs = FORMS[form]
    x, w = of_type(x_type, 2, in_c, *sizes), of_type(w_type, out_c, in_c // groups, *kernel)
    x_zero, w_zero = of_type(x_type, 1)[0], of_type(w_type, out_c)
    wide = w.astype(np.int64) - w_zero.reshape(-1, *[1] * (w.ndim - 1))
    node = helper.make_node("ConvInteger", ["x", "w", "xz", "wz"], ["y"], group=groups, **attrs)
    names = ["n", in_c, *(f"s{i}" for i in range(len(sizes)))]
    entry = helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), names)
    constants = {"w": w, "xz": x_zero, "wz": w_zero}
    graph = helper.make_graph(
        [node], "g", [entry], [helper.make_tensor_value_info("y", TensorProto.INT32, None)],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return model.SerializeToString(), x, exact(x.astype(np.int64) - int(x_zero), wide, groups, attrs)


@pytest.mark.sample(4)
@pytest.mark.parametrize(("x_type", "w_type"), list(itertools.product(["uint8", "int8"], repeat=2)))
@pytest.mark.parametrize("form", FORMS)
def test_sums_are_exact(form: str, x_type: str, w_type: str) -> None:
    model, x, expected = convolution(form, x_type, w_type)
    (y,) = intaglio.InferenceSession(model).run(None, {"x": x})
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("form", FORMS)
def test_kernels_are_packed(form: str) -> None:
    graph = import_model(load_model(convolution(form, "uint8", "int8")[0]))
    for _, run in at_level(3):
        graph = run(graph)
    assert {"conv", "matmul"} & {node.op.name for node in graph.nodes()}


@pytest.mark.sample(2)
@pytest.mark.parametrize("form", ["3x3", "grouped", "depthwise"])
def test_on_a_gpu(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    model, x, expected = convolution(form, "uint8", "int8")
    session = intaglio.InferenceSession(model, providers=["CUDAExecutionProvider", "CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], expected)
