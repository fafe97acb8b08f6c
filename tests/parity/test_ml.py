"""Operators of ai.onnx.ml: the graph that we make of a node computes what onnxruntime computes."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from intaglio.compiler.frontend.importer import import_model
from intaglio.compiler.frontend.load import load_model
from intaglio.compiler.graph import interp

ort = pytest.importorskip("onnxruntime")
Array = np.ndarray[Any, Any]
X = np.random.default_rng(0).standard_normal((7, 4)).astype(np.float32)


def run_both(op: str, attrs: Mapping[str, Any], outputs: int, *feeds: Array) -> tuple[list[Array], list[Array]]:
    names = [f"x{i}" for i in range(len(feeds))]
    node = helper.make_node(op, names, [f"y{i}" for i in range(outputs)], "node", domain="ai.onnx.ml", **attrs)
    types = [helper.np_dtype_to_tensor_dtype(feed.dtype) for feed in feeds]
    inputs = [helper.make_tensor_value_info(n, t, f.shape) for n, t, f in zip(names, types, feeds)]
    graph = helper.make_graph([node], "g", inputs, [onnx.ValueInfoProto(name=n) for n in node.output])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    data = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    wanted = ort.InferenceSession(data).run(None, dict(zip(names, feeds)))
    return interp.evaluate(import_model(load_model(data)), list(feeds)), wanted


def assert_same(made: list[Array], wanted: list[Array]) -> None:
    for a, b in zip(made, wanted, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def trees(rng: random.Random, count: int, classes: int, prefix: str, mode: str, single: bool = False) -> dict[str, Any]:
    """Random trees over four features."""
    nodes: dict[str, list[Any]] = {
        name: [] for name in ("treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids")
    }
    leaves: dict[str, list[Any]] = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
    for tree in range(count):
        pending, following = [(0, 0)], 1
        while pending:
            node, level = pending.pop()
            leaf = level == 4 or (level and rng.random() < 0.3)
            row = [tree, node, rng.randrange(4), "LEAF" if leaf else mode, rng.uniform(-1, 1), 0, 0]
            if leaf:
                for target in [0] if single else range(classes):
                    entry = [tree, node, target, rng.uniform(-1, 1) if mode != "BRANCH_LT" else rng.random() / count]
                    for column, value in zip(leaves.values(), entry):
                        column.append(value)
            else:
                row[5:] = [following, following + 1]
                pending += [(following, level + 1), (following + 1, level + 1)]
                following += 2
            for column, value in zip(nodes.values(), row):
                column.append(value)
    return {f"nodes_{k}": v for k, v in nodes.items()} | {f"{prefix}_{k}": v for k, v in leaves.items()}


@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE", "MIN", "MAX"])
@pytest.mark.parametrize("mode", ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT"])
def test_regressor(aggregate: str, mode: str) -> None:
    attrs = trees(random.Random(1), 5, 2, "target", mode)
    attrs |= {"n_targets": 2, "aggregate_function": aggregate, "base_values": [0.5, -1.0]}
    assert_same(*run_both("TreeEnsembleRegressor", attrs, 1, X))


def test_missing_values_take_their_side() -> None:
    attrs = trees(random.Random(2), 3, 1, "target", "BRANCH_LEQ")
    attrs |= {"n_targets": 1, "nodes_missing_value_tracks_true": [i % 2 for i in range(len(attrs["nodes_nodeids"]))]}
    assert_same(*run_both("TreeEnsembleRegressor", attrs, 1, np.where(X > 0.8, np.float32(np.nan), X)))


@pytest.mark.parametrize("transform", ["NONE", "SOFTMAX", "LOGISTIC"])
def test_classifier(transform: str) -> None:
    attrs = trees(random.Random(3), 4, 3, "class", "BRANCH_LEQ")
    attrs |= {"classlabels_int64s": [10, 20, 30], "post_transform": transform}
    assert_same(*run_both("TreeEnsembleClassifier", attrs, 2, X))


@pytest.mark.parametrize("mode, transform", [("BRANCH_LEQ", "LOGISTIC"), ("BRANCH_LEQ", "NONE"), ("BRANCH_LT", "NONE")])
def test_classifier_of_one_score(mode: str, transform: str) -> None:
    attrs = trees(random.Random(4), 6, 2, "class", mode, single=True)
    attrs |= {"classlabels_int64s": [0, 1], "post_transform": transform}
    assert_same(*run_both("TreeEnsembleClassifier", attrs, 2, X))


NAN = float("nan")
COEFFICIENTS = [0.1 * i - 0.5 for i in range(12)]
CASES: list[tuple[str, dict[str, Any], int, list[Array]]] = [
    ("LinearRegressor", {"coefficients": COEFFICIENTS[:8], "intercepts": [1.0, 2.0], "targets": 2}, 1, [X]),
    (
        "LinearClassifier",
        {
            "coefficients": COEFFICIENTS, "intercepts": [0.1, 0.2, 0.3], "classlabels_ints": [3, 5, 7],
            "post_transform": "SOFTMAX",
        },
        2, [X],
    ),
    ("Scaler", {"offset": [0.1, 0.2, 0.3, 0.4], "scale": [1.0, 2.0, 3.0, 4.0]}, 1, [X]),
    ("Scaler", {"offset": [0.5], "scale": [2.0]}, 1, [np.arange(8).reshape(2, 4)]),
    ("Normalizer", {"norm": "MAX"}, 1, [np.abs(X)]),
    ("Normalizer", {"norm": "L1"}, 1, [X]),
    ("Normalizer", {"norm": "L2"}, 1, [X * (np.arange(7) > 0).astype(np.float32)[:, None]]),
    ("Binarizer", {"threshold": 0.3}, 1, [X]),
    ("Imputer", {"imputed_value_floats": [9.0], "replaced_value_float": NAN}, 1, [np.where(X > 0, X, np.float32(NAN))]),
    ("Imputer", {"imputed_value_int64s": [1, 2, 3, 4], "replaced_value_int64": 0}, 1, [np.arange(8).reshape(2, 4) % 3]),
    ("ArrayFeatureExtractor", {}, 1, [X, np.array([2, 0])]),
    ("FeatureVectorizer", {"inputdimensions": [4, 4]}, 1, [X, X]),
    ("OneHotEncoder", {"cats_int64s": [4, 1, 2], "zeros": 1}, 1, [np.array([[1, 2], [3, 4]])]),
    ("LabelEncoder", {"keys_int64s": [3, 1], "values_floats": [0.5, 1.5], "default_float": 9.0}, 1, [np.arange(4)]),
    ("LabelEncoder", {"keys_floats": [0.5, 2.0], "values_int64s": [7, 8]}, 1, [np.float32([0.5, 1.0, NAN])]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_other_operators(case: tuple[str, dict[str, Any], int, list[Array]]) -> None:
    op, attrs, outputs, feeds = case
    assert_same(*run_both(op, attrs, outputs, *feeds))
