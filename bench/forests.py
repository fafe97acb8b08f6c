"""Models of tree ensembles, as gradient boosting makes them.

In: how many trees, leaves and targets. Out: ONNX models of one TreeEnsembleRegressor over random splits; each leaf has
one weight, and all of a tree are for one target. Trees are grown leaf by leaf, so that they are not full.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

Array = npt.NDArray[Any]
FEATURES = 30


def forest(trees: int, leaves: int = 31, targets: int = 1, rows: int | str = "rows") -> bytes:
    """A model of f32 [rows, FEATURES] to f32 [rows, targets]."""
    rng = np.random.default_rng(0)
    true, modes = _shape(rng, leaves)
    nodes, ends = len(true), np.flatnonzero(true == 0)
    tree = np.arange(trees)
    node = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=targets,
        nodes_treeids=np.repeat(tree, nodes).tolist(), nodes_nodeids=np.tile(np.arange(nodes), trees).tolist(),
        nodes_featureids=rng.integers(0, FEATURES, trees * nodes).tolist(), nodes_modes=modes * trees,
        nodes_values=rng.standard_normal(trees * nodes).tolist(), nodes_truenodeids=np.tile(true, trees).tolist(),
        nodes_falsenodeids=np.tile(np.where(true, true + 1, 0), trees).tolist(),
        target_treeids=np.repeat(tree, leaves).tolist(), target_nodeids=np.tile(ends, trees).tolist(),
        target_ids=np.repeat(tree % targets, leaves).tolist(),
        target_weights=rng.standard_normal(trees * leaves).tolist(),
    )  # fmt: skip
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, FEATURES])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, targets])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(helper.make_graph([node], "g", [x], [y]), opset_imports=opsets, ir_version=10)
    return bytes(model.SerializeToString())


def _shape(rng: np.random.Generator, leaves: int) -> tuple[Array, list[str]]:
    """Of each node of a tree, where its true child is, before the false one, 0 for leaves; and the modes."""
    true, open_leaves = np.zeros(2 * leaves - 1, np.int64), [0]
    for first in range(1, 2 * leaves - 1, 2):
        true[open_leaves.pop(int(rng.integers(len(open_leaves))))] = first
        open_leaves += [first, first + 1]
    return true, ["BRANCH_LEQ" if child else "LEAF" for child in true]
