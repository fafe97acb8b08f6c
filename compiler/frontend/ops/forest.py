"""Tree ensembles of ai.onnx.ml as tables of nodes, in which a leaf is a node that leads to itself.

In: the attributes of either form that the standard has for them. Out: a `Forest`. It makes no nodes of a graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
EQUAL, MEMBER = 4, 6  # numbers of modes in the newer form
MAX_TABLE = 1 << 26  # elements of the leaves' weights, one row per node


@dataclass(frozen=True, slots=True)
class Forest:
    """Row i of each table is a node: x[features[i]] compared (modes[i]) with splits[i] leads to true[i] or false[i].

    weights: (node, target, weight) of the leaves. depth: comparisons on the longest way."""

    roots: Array
    features: Array
    splits: Array
    modes: Array
    missing: Array  # whether NaN counts as true
    true: Array
    false: Array
    depth: int
    weights: tuple[Array, Array, Array]
    targets: int

    def table(self, neutral: float) -> Array:
        """[nodes, targets]: what each leaf adds, `neutral` elsewhere; weights of one leaf and target are added up."""
        nodes, targets, weights = self.weights
        if len(self.roots) == 0 or len(self.features) * self.targets > MAX_TABLE:
            raise ValueError(f"{len(self.features)} nodes and {self.targets} targets")
        sums = np.zeros((len(self.features), self.targets), np.float64)
        np.add.at(sums, (nodes, targets), weights)
        given = np.zeros(sums.shape, bool)
        given[nodes, targets] = True
        return np.where(given, sums, neutral).astype(weights.dtype)


def _depth(true: Array, false: Array, inner: Array) -> int:
    """The comparisons on the longest way to a leaf. Raises ValueError for cycles."""
    node = np.arange(len(true))
    above = np.bincount(true[inner], minlength=len(node)) + np.bincount(false[inner], minlength=len(node))
    level, depth, left = node[above == 0], 0, len(node)
    while len(level):  # of nodes whose parents are all done
        left -= len(level)
        parents = level[inner[level]]
        children = np.concatenate([true[parents], false[parents]])
        np.subtract.at(above, children, 1)
        level = np.unique(children[above[children] == 0])
        depth += len(level) > 0
    if left:
        raise ValueError("a tree leads back to itself")
    return depth


def _checked(index: Sequence[int] | Array, count: int, what: str) -> Array:
    array = np.asarray(index, np.int64)
    if array.size and (array.min() < 0 or array.max() >= count):
        raise ValueError(f"{what} are out of range")
    return array


def from_nodes(
    tree_ids: Sequence[int], node_ids: Sequence[int], features: Sequence[int], modes: Sequence[str], splits: Array,
    true_ids: Sequence[int], false_ids: Sequence[int], missing: Sequence[int] | None, leaf_trees: Sequence[int],
    leaf_nodes: Sequence[int], targets: Sequence[int], weights: Array, n_targets: int,
) -> Forest:  # fmt: skip
    """The form of TreeEnsembleRegressor and TreeEnsembleClassifier: nodes have names (tree, node)."""
    count = len(node_ids)
    if not len(tree_ids) == len(features) == len(modes) == len(splits) == len(true_ids) == len(false_ids) == count:
        raise ValueError("the lists of nodes are of different lengths")
    if not len(leaf_trees) == len(leaf_nodes) == len(targets) == len(weights):
        raise ValueError("the lists of leaves are of different lengths")
    place = {key: i for i, key in enumerate(zip(tree_ids, node_ids))}
    leaf = [mode == "LEAF" for mode in modes]

    def found(tree: int, node: int) -> int:
        if (tree, node) not in place:
            raise ValueError(f"tree {tree} has no node {node}")
        return place[tree, node]

    def targets_of(ids: Sequence[int]) -> Array:
        return np.array([i if leaf[i] else found(tree_ids[i], node) for i, node in enumerate(ids)], np.int64)

    true, false = targets_of(true_ids), targets_of(false_ids)
    inner = ~np.array(leaf, bool)
    led_to = {*true[inner].tolist(), *false[inner].tolist()}
    first: dict[int, int] = {}
    for i, tree in enumerate(tree_ids):
        if i not in led_to:
            first.setdefault(tree, i)
    if len(first) != len(set(tree_ids)):
        raise ValueError("a tree leads back to itself")
    roots = np.array(list(first.values()), np.int64)
    at = np.array([found(*key) for key in zip(leaf_trees, leaf_nodes)], np.int64)
    return Forest(
        roots=roots,
        features=_checked(np.where(inner, np.asarray(features, np.int64), 0), 1 << 31, "nodes_featureids"),
        splits=np.asarray(splits),
        modes=np.array([0 if mode == "LEAF" else MODES.index(mode) for mode in modes], np.int64),
        missing=np.asarray(missing, bool) if missing else np.zeros(count, bool),
        true=true,
        false=false,
        depth=_depth(true, false, inner),
        weights=(at, _checked(targets, n_targets, "targets"), np.asarray(weights)),
        targets=n_targets,
    )


def from_splits(
    roots: Sequence[int], features: Sequence[int], modes: Array, splits: Array, true_ids: Sequence[int],
    true_leaves: Sequence[int], false_ids: Sequence[int], false_leaves: Sequence[int], missing: Sequence[int] | None,
    members: Array | None, targets: Sequence[int], weights: Array, n_targets: int,
) -> Forest:  # fmt: skip
    """The form of TreeEnsemble: nodes and leaves are numbered on their own; a set is a chain of comparisons here."""
    count, leaves = len(features), len(targets)
    true = _checked(true_ids, max(count, leaves), "nodes") + np.where(np.asarray(true_leaves) != 0, count, 0)
    false = _checked(false_ids, max(count, leaves), "nodes") + np.where(np.asarray(false_leaves) != 0, count, 0)
    total = count + leaves
    if max(true.max(initial=0), false.max(initial=0)) >= total:
        raise ValueError("nodes are out of range")
    at_leaf = np.arange(count, total)
    columns: list[list[Any]] = [
        [*features, *[0] * leaves],
        [*splits.tolist(), *[0] * leaves],
        [*modes.tolist(), *[0] * leaves],
        [*(missing or [0] * count), *[0] * leaves],
        [*true.tolist(), *at_leaf.tolist()],
        [*false.tolist(), *at_leaf.tolist()],
    ]
    rest = iter([] if members is None else members.tolist())
    # Sets belong to nodes in the order in which these are met, the true side first.
    seen: set[int] = set()
    stack = [int(r) for r in reversed(roots)]
    while stack:
        node = stack.pop()
        if node >= count or node in seen:
            continue
        seen.add(node)
        stack += [int(false[node]), int(true[node])]
        if modes[node] == MEMBER:
            values = []
            while (value := next(rest, float("nan"))) == value:
                values.append(value)
            _chain(columns, node, values)
    table = [np.array(c) for c in columns]
    starts = _checked(roots, count, "roots")
    truth, falsity = table[4].astype(np.int64), table[5].astype(np.int64)
    return Forest(
        roots=starts,
        features=_checked(table[0], 1 << 31, "nodes_featureids"),
        splits=table[1].astype(splits.dtype),
        modes=table[2].astype(np.int64),
        missing=table[3].astype(bool),
        true=truth,
        false=falsity,
        depth=_depth(truth, falsity, ~np.isin(np.arange(len(truth)), at_leaf)),
        weights=(at_leaf, _checked(targets, n_targets, "targets"), np.asarray(weights)),
        targets=n_targets,
    )


def _chain(columns: list[list[Any]], node: int, values: Sequence[float]) -> None:
    """Makes `node` ask for each of `values` in turn; what follows the first question are new nodes."""
    features, splits, modes, missing, true, false = columns
    end = false[node]
    modes[node], splits[node] = EQUAL, values[0] if values else float("nan")
    current = node
    for value in values[1:]:
        new = len(features)
        for column, entry in zip(columns, (features[node], value, EQUAL, missing[node], true[node], end)):
            column.append(entry)
        false[current] = new
        current = new
