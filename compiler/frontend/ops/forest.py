"""Tree ensembles of ai.onnx.ml as tables of nodes, in one form for all operators.

In: the attributes of either form of the standard. Out: a `Forest`. It adds nothing to the graph, and processes all
nodes at once in numpy, as there may be millions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from ...graph.ops.trees import EQUAL, GREATER, LESS

Array = npt.NDArray[Any]
# Mode -> the relations of x to the value of a node that lead to its true child; MODES has them by number.
RELATIONS = {
    "BRANCH_LEQ": LESS | EQUAL, "BRANCH_LT": LESS, "BRANCH_GTE": GREATER | EQUAL, "BRANCH_GT": GREATER,
    "BRANCH_EQ": EQUAL, "BRANCH_NEQ": LESS | GREATER, "LEAF": 0,
}  # fmt: skip
MODES = np.array([*RELATIONS.values()], np.uint8)
MEMBER = 6  # the number of BRANCH_MEMBER, which tests membership in a set


@dataclass(frozen=True, slots=True)
class Nodes:
    """Columns of a table of nodes. Node i leads to true[i] if x[features[i]] is in one of the `relations` to splits[i],
    or is NaN and missing[i] is set, else to false[i]. Leaves have no relations (0)."""

    features: Array
    splits: Array
    relations: Array
    missing: Array
    true: Array
    false: Array

    @property
    def inner(self) -> Array:
        return np.asarray(self.relations != 0)

    def resized(self, count: int) -> Nodes:
        """A copy with `count` nodes; the contents of additional ones are unspecified."""
        return Nodes(*(np.resize(getattr(self, column.name), count) for column in fields(self)))


@dataclass(frozen=True, slots=True)
class Forest:
    """Trees, given by their roots. weights: (node, target, weight) of the leaves."""

    roots: Array
    nodes: Nodes
    weights: tuple[Array, Array, Array]
    targets: int


# -- the lists of the standard ---------------------------------------------------------------------------------------


def _checked(index: Sequence[int] | Array, count: int, what: str) -> Array:
    array = np.asarray(index, np.int64)
    if array.size and (array.min() < 0 or array.max() >= count):
        raise ValueError(f"{what} are out of range")
    return array


def _of_one_length(what: str, *lists: Sequence[Any] | Array) -> None:
    if len({len(listed) for listed in lists}) > 1:
        raise ValueError(f"the lists of {what} are of different lengths")


def _padded(missing: Sequence[int] | None, count: int) -> Array:
    padded = np.zeros(count, bool)
    listed = np.asarray(missing or [], bool)[:count]
    padded[: len(listed)] = listed
    return padded


class _Names:
    """The index of nodes by their names (tree, node)."""

    def __init__(self, trees: Array, nodes: Array) -> None:
        self.names = trees, nodes
        self.distinct = np.unique(trees), np.unique(nodes)
        keys = self._keys(trees, nodes)
        self.order = np.argsort(keys, kind="stable")
        self.keys = keys[self.order]
        twice = self.order[1:][self.keys[1:] == self.keys[:-1]]
        if len(twice):
            raise ValueError(f"node {nodes[twice[0]]} in tree {trees[twice[0]]} is already there")

    def _keys(self, trees: Array, nodes: Array) -> Array:
        of_tree, of_node = (np.searchsorted(all, some) for all, some in zip(self.distinct, (trees, nodes)))
        return of_tree * (len(self.distinct[1]) + 1) + of_node

    def places(self, trees: Array, nodes: Array) -> Array:
        """The indices of named nodes. Raises ValueError for an unknown name."""
        at = np.searchsorted(self.keys, self._keys(trees, nodes))
        positions = np.append(self.order, -1)[at]
        valid = at < len(self.order)
        for names, ids in zip(self.names, (trees, nodes)):
            valid[valid] = names[positions[valid]] == ids[valid]
        if not valid.all():
            wrong = np.argmin(valid)
            raise ValueError(f"tree {trees[wrong]} has no node {nodes[wrong]}")
        return positions


def from_nodes(
    tree_ids: Sequence[int], node_ids: Sequence[int], features: Sequence[int], modes: Sequence[str], splits: Array,
    true_ids: Sequence[int], false_ids: Sequence[int], missing: Sequence[int] | None, leaf_trees: Sequence[int],
    leaf_nodes: Sequence[int], targets: Sequence[int], weights: Array, n_targets: int,
) -> Forest:  # fmt: skip
    """A forest in the form of TreeEnsembleRegressor and TreeEnsembleClassifier: nodes have names (tree, node)."""
    count = len(node_ids)
    _of_one_length("nodes", node_ids, tree_ids, features, modes, splits, true_ids, false_ids)
    _of_one_length("leaves", leaf_trees, leaf_nodes, targets, weights)
    for mode in set(modes) - RELATIONS.keys():
        raise ValueError(f"there is no mode '{mode}'")
    relations = np.fromiter(map(RELATIONS.__getitem__, modes), np.uint8, count)
    trees, inner = np.asarray(tree_ids, np.int64), relations != 0
    names = _Names(trees, np.asarray(node_ids, np.int64))
    children = []
    for ids in (true_ids, false_ids):
        child = np.zeros(count, np.int64)
        child[inner] = names.places(trees[inner], np.asarray(ids, np.int64)[inner])
        children.append(child)
    free = np.ones(count, bool)
    for child in children:
        free[child[inner]] = False
    first = np.flatnonzero(free)
    first = first[np.sort(np.unique(trees[first], return_index=True)[1])]
    if len(first) != len(names.distinct[0]):
        raise ValueError("a tree leads back to itself")
    at = names.places(np.asarray(leaf_trees, np.int64), np.asarray(leaf_nodes, np.int64))
    nodes = Nodes(
        _checked(np.where(inner, np.asarray(features, np.int64), 0), 1 << 31, "nodes_featureids"),
        np.asarray(splits), relations, _padded(missing, count), *children,
    )  # fmt: skip
    leaves = at, _checked(targets, n_targets, "targets"), weights
    return _forest(first, nodes, leaves, n_targets)


def from_splits(
    roots: Sequence[int], features: Sequence[int], modes: Array, splits: Array, true_ids: Sequence[int],
    true_leaves: Sequence[int], false_ids: Sequence[int], false_leaves: Sequence[int], missing: Sequence[int] | None,
    members: Array | None, targets: Sequence[int], weights: Array, n_targets: int,
) -> Forest:  # fmt: skip
    """A forest in the form of TreeEnsemble: inner nodes and leaves are numbered separately; leaves follow here."""
    count, leaves = len(features), len(targets)
    total = count + leaves
    _of_one_length("nodes", features, modes, splits, true_ids, true_leaves, false_ids, false_leaves)
    _of_one_length("leaves", targets, weights)
    children = [
        _checked(ids, max(count, leaves), "nodes") + np.where(np.asarray(at_leaf, bool), count, 0)
        for ids, at_leaf in ((true_ids, true_leaves), (false_ids, false_leaves))
    ]
    if max(child.max(initial=0) for child in children) >= total:
        raise ValueError("nodes are out of range")
    modes = _checked(modes, MEMBER + 1, "nodes_modes")
    at = _checked(roots, count, "roots")
    nodes = Nodes(
        *(
            np.concatenate([column, np.zeros(leaves, column.dtype)])
            for column in (
                _checked(features, 1 << 31, "nodes_featureids"), np.asarray(splits), MODES[modes % MEMBER],
                _padded(missing, count), *children,
            )
        )
    )  # fmt: skip
    if (modes == MEMBER).any():
        nodes = _with_sets(nodes, *_sets(modes, np.zeros(0, splits.dtype) if members is None else members.reshape(-1)))
    of_leaves = np.arange(count, total), _checked(targets, n_targets, "targets"), weights
    return _forest(at, nodes, of_leaves, n_targets)


def _forest(roots: Array, nodes: Nodes, weights: tuple[Array, Array, Array], targets: int) -> Forest:
    if not len(roots):
        raise ValueError("there are no trees")
    return Forest(roots, _with_sets(nodes, *_chains(nodes, roots)), weights, targets)


# -- sets ------------------------------------------------------------------------------------------------------------


def _sets(modes: Array, members: Array) -> tuple[Array, Array, Array]:
    """The nodes that test membership, and for each value of a set the index of its node among these.

    In `members` each set ends with NaN."""
    asking, ends = np.flatnonzero(modes == MEMBER), np.isnan(members)
    if ends.sum() + (not ends[-1:].all()) < len(asking):
        raise ValueError(f"there are fewer sets in membership_values than the {len(asking)} nodes that ask for one")
    places = np.cumsum(ends)
    kept = ~ends & (places < len(asking))
    return asking, members[kept], places[kept]


def _chains(nodes: Nodes, roots: Array) -> tuple[Array, Array, Array]:
    """Chains of nodes that compare one feature with one value after the other and share the true child, as sets.

    Gives the first nodes, and the rest as `_sets`. Each first node gets the false child of its chain's last node."""
    above = np.bincount(roots, minlength=len(nodes.true))
    for children in (nodes.true, nodes.false):
        above += np.bincount(children[nodes.inner], minlength=len(above))
    asks, on = nodes.relations == EQUAL, nodes.false
    goes_on = asks & asks[on] & (above[on] == 1)
    for column in (nodes.features, nodes.missing, nodes.true):
        goes_on &= column == column[on]
    follows = np.zeros(len(on), bool)
    follows[on[goes_on]] = True
    heads = np.flatnonzero(goes_on & ~follows)
    node, place = heads, np.arange(len(heads))
    values, places = [nodes.splits[:0]], [place[:0]]
    while len(node):
        values.append(nodes.splits[node])
        places.append(place)
        more = goes_on[node]
        last = node[~more]
        nodes.false[heads[place[~more]]] = nodes.false[last]
        node, place = on[node[more]], place[more]
    return heads, np.concatenate(values), np.concatenate(places)


def _with_sets(nodes: Nodes, asking: Array, values: Array, places: Array) -> Nodes:
    """The nodes with each of `asking`, which tests membership in the values at its place, as a binary search tree."""
    if not len(asking):
        return nodes
    known = ~np.isnan(values)
    order = np.lexsort((values[known], places[known]))
    values, places = values[known][order], places[known][order]
    distinct = np.ones(len(values), bool)
    distinct[1:] = (values[1:] != values[:-1]) | (places[1:] != places[:-1])
    values, places = values[distinct], places[distinct]
    ends = np.searchsorted(places, np.arange(len(asking) + 1))
    low, high, node, place = ends[:-1], ends[1:], asking, np.arange(len(asking))
    total = len(nodes.true) + 2 * int(np.maximum(high - low - 1, 0).sum())
    result = nodes.resized(total)
    yes, no, nan, used = nodes.true[asking], nodes.false[asking], nodes.missing[asking], len(nodes.true)
    while len(node):
        result.features[node] = nodes.features[asking[place]]
        ends_here = high - low <= 1
        is_in = node[ends_here]
        empty = (high == low)[ends_here]
        result.relations[is_in], result.missing[is_in] = EQUAL, nan[place[ends_here]]
        result.splits[is_in] = np.where(empty, np.nan, np.append(values, np.nan)[low[ends_here]])
        result.true[is_in], result.false[is_in] = yes[place[ends_here]], no[place[ends_here]]
        low, high, node, place = (column[~ends_here] for column in (low, high, node, place))
        middle, below = (low + high) // 2, used + 2 * np.arange(len(node))
        result.relations[node], result.missing[node], result.splits[node] = LESS | EQUAL, False, values[middle - 1]
        result.true[node], result.false[node] = below, below + 1
        low, high = np.concatenate([low, middle]), np.concatenate([middle, high])
        node, place = np.concatenate([below, below + 1]), np.concatenate([place, place])
        used += 2 * len(middle)
    return result
