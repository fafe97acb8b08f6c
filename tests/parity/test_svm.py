"""Support vector machines of ai.onnx.ml: the graph that we make of a node computes what onnxruntime computes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

import intaglio

from .test_ml import Array, assert_same, run_both

RNG = np.random.default_rng(5)
KERNELS = {"LINEAR": [0.5, 0.1, 3.0], "POLY": [0.3, 0.4, 3.0], "RBF": [0.6, 0.0, 0.0], "SIGMOID": [0.4, -0.2, 0.0]}
TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")


def some(*shape: int) -> list[float]:
    return RNG.standard_normal(shape).ravel().tolist()  # type: ignore[no-any-return]


def rows(features: int, count: int = 9) -> Array:
    return RNG.standard_normal((count, features)).astype(np.float32)


def vectors(classes: int, features: int) -> dict[str, Any]:
    each = RNG.integers(1, 5, classes).tolist()
    total, pairs = sum(each), classes * (classes - 1) // 2
    return {
        "vectors_per_class": each, "support_vectors": some(total, features), "rho": some(pairs),
        "coefficients": some(classes - 1, total), "classlabels_ints": RNG.permutation(50)[:classes].tolist(),
    }  # fmt: skip


@pytest.mark.parametrize("kernel", KERNELS)
def test_regressor(kernel: str) -> None:
    """With support vectors and without, of one class, of each degree."""
    for supports, one, degree, transform in itertools.product((0, 1, 6), (0, 1), (1.0, 2.0, 3.0, 4.0), TRANSFORMS[:2]):
        features = int(RNG.integers(1, 6))
        attrs = {
            "kernel_type": kernel, "kernel_params": [*KERNELS[kernel][:2], degree], "n_supports": supports,
            "coefficients": some(supports or features), "rho": some(1), "one_class": one, "post_transform": transform,
        }  # fmt: skip
        if supports:
            attrs["support_vectors"] = some(supports, features)
        assert_same(*run_both("SVMRegressor", attrs, 1, rows(features)))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_classifier(classes: int, kernel: str) -> None:
    """Scores of pairs, or probabilities; each transform."""
    for transform, probable in itertools.product(TRANSFORMS, (False, True)):
        features = int(RNG.integers(1, 6))
        attrs = {**vectors(classes, features), "kernel_type": kernel, "kernel_params": KERNELS[kernel]}
        if probable:
            pairs = len(attrs["rho"])
            steep = 0.01 if transform == "PROBIT" else 1.0  # not near 0 and 1, where the formula is of few digits
            attrs |= {"prob_a": [-abs(a) * steep for a in some(pairs)], "prob_b": [b * steep for b in some(pairs)]}
        elif transform == "PROBIT":  # of scores, which are no probabilities, it is NaN; of one, nothing
            continue
        attrs["post_transform"] = transform
        made, wanted = run_both("SVMClassifier", attrs, 2, rows(features))
        if transform == "PROBIT":  # the root of a difference of like numbers, by the formula of onnxruntime
            z, theirs = made.pop(), wanted.pop()
            np.testing.assert_allclose(z * z, theirs * theirs, rtol=1e-5, atol=1e-5)
            assert ((z > 0) == (theirs > 0))[np.abs(theirs) > 0.01].all()
        assert_same(made, wanted)


@pytest.mark.parametrize("classes", [1, 2, 4])
def test_linear_classifier(classes: int) -> None:
    """Without support vectors: positive weights, and others."""
    for transform, positive in itertools.product(TRANSFORMS[:4], (False, True)):
        weights = some(classes, 3)
        attrs = {
            "coefficients": np.abs(weights).tolist() if positive else weights, "rho": some(1),
            "kernel_params": [0.1, 0.2, 3.0], "classlabels_ints": list(range(7, 7 + classes)),
            "post_transform": transform, "kernel_type": "RBF",
        }  # fmt: skip
        assert_same(*run_both("SVMClassifier", attrs, 2, rows(3)))


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.int64])
def test_types(dtype: Any) -> None:
    attrs = {**vectors(3, 4), "kernel_type": "RBF", "kernel_params": [0.1, 0.0, 0.0]}
    assert_same(*run_both("SVMClassifier", attrs, 2, (rows(4) * 2).astype(dtype)))
    assert_same(*run_both("SVMClassifier", attrs, 2, (rows(4) * 2).astype(dtype)[0]))


@pytest.mark.parametrize("labels", [{"classlabels_strings": ["ape", "bear", "cat"]}, {"classlabels_ints": [3, 1, 2]}])
def test_compiled(labels: dict[str, Any]) -> None:
    """Any number of rows; labels that are words."""
    attrs = {**vectors(3, 4), "kernel_type": "RBF", "kernel_params": [0.5, 0.0, 0.0]}
    attrs |= {"prob_a": [-1.0, -0.5, -2.0], "prob_b": [0.1, 0.0, -0.3]}
    attrs = {**{k: v for k, v in attrs.items() if k != "classlabels_ints"}, **labels}
    node = helper.make_node("SVMClassifier", ["x"], ["y", "z"], domain="ai.onnx.ml", **attrs)
    inputs = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 4])]
    graph = helper.make_graph([node], "g", inputs, [onnx.ValueInfoProto(name=name) for name in "yz"])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    data = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    mine, theirs = intaglio.InferenceSession(data), onnxruntime.InferenceSession(data)
    for count in (0, 1, 40):
        feeds = {"x": rows(4, count)}
        (label, made), (wanted, scores) = mine.run(None, feeds), theirs.run(None, feeds)
        assert label.tolist() == wanted.tolist()
        np.testing.assert_allclose(made, scores, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("wrong", [
    {"rho": [0.1]}, {"coefficients": [0.5]}, {"prob_a": [1.0]}, {"vectors_per_class": [2, 2]},
    {"prob_a": [1.0], "prob_b": [1.0]}, {"kernel_params": [0.5]},
], ids=str)  # fmt: skip
def test_what_is_wrong_is_refused(wrong: dict[str, Any]) -> None:
    attrs = {**vectors(3, 4), "kernel_type": "RBF", "kernel_params": [0.5, 0.0, 0.0], **wrong}
    node = helper.make_node("SVMClassifier", ["x"], ["y", "z"], domain="ai.onnx.ml", **attrs)
    inputs = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 4])]
    graph = helper.make_graph([node], "g", inputs, [onnx.ValueInfoProto(name=name) for name in "yz"])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    data = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    for engine in (onnxruntime, intaglio):
        with pytest.raises(Exception, match="ONNXRuntimeError"):
            engine.InferenceSession(data)
