"""Forests as the records of graph/ops/trees.py.

In: a `Forest`, the dtype of the rows. Out: `Records`, the operation's tables and attributes. All nodes, or a level of
all trees, are processed at once in numpy, as there may be millions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ...graph.ops.trees import COLUMN, EQUAL, GREATER, LEAF, LESS, MISSING, NEUTRAL, RELATION
from .forest import Array, Forest, Nodes


@dataclass(frozen=True, slots=True)
class Records:
    """tables: the starts of the trees, the records, and, if a leaf has several weights, these and their targets."""

    tables: list[Array]
    relations: tuple[int, int]
    missing: bool
    columns: int
    steps: int


def records_of(forest: Forest, real: npt.DTypeLike, kind: str) -> Records:
    """The records for rows of dtype `real` and leaves that are combined by `kind`.

    Raises ValueError for cycles, and for forests too large for the widest records."""
    nodes = replace(_without_nan(forest.nodes), splits=forest.nodes.splits.astype(real))
    order = _order(nodes, forest.roots)
    leaves = _leaves(forest, kind)
    is_wide = np.float64 in (np.dtype(real), forest.weights[2].dtype)
    packed = None if is_wide else _packed(order, nodes, leaves, np.dtype(np.uint32))
    packed = packed or _packed(order, nodes, leaves, np.dtype(np.uint64))
    if packed is None:
        raise ValueError(f"trees of {len(nodes.splits)} nodes and {forest.targets} targets")
    relations = nodes.relations[order.inner]
    return Records(
        [*packed, *leaves.tables],
        relations=(int(np.bitwise_and.reduce(relations)), int(np.bitwise_or.reduce(relations))),
        missing=bool(nodes.missing[order.inner].any()),
        columns=int(nodes.features[order.inner].max(initial=-1)) + 1,
        steps=max(1, int(np.log2(order.counts + 1).sum())),  # if all trees were full
    )


def _without_nan(nodes: Nodes) -> Nodes:
    """Equivalent nodes that rely on `missing` alone for NaN, which is unequal to every number."""
    unequal = nodes.relations == LESS | GREATER
    always = unequal & np.isnan(nodes.splits)
    return replace(
        nodes,
        splits=np.where(always, 0, nodes.splits),
        relations=np.where(always, np.uint8(LESS | EQUAL | GREATER), nodes.relations),
        missing=nodes.missing | unequal,
    )


# -- order -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Order:
    """inner: the reachable inner nodes, tree by tree, parents before children, each once; trees: the tree of each;
    counts: the number of inner nodes of each tree."""

    roots: Array
    inner: Array
    trees: Array
    counts: Array


def _order(nodes: Nodes, roots: Array) -> _Order:
    tree = np.full(len(nodes.true), -1, np.int64)
    tree[roots[::-1]] = np.arange(len(roots))[::-1]
    levels = [np.zeros(0, np.int64)]
    for level in _levels(nodes):
        parents = level[nodes.inner[level] & (tree[level] >= 0)]
        for children in (nodes.true[parents], nodes.false[parents]):
            is_new = tree[children] < 0
            tree[children[is_new]] = tree[parents[is_new]]
        levels.append(parents)
    inner = np.concatenate(levels)
    inner = inner[np.argsort(tree[inner], kind="stable")]
    return _Order(roots, inner, tree[inner], np.bincount(tree[inner], minlength=len(roots)))


def _levels(nodes: Nodes) -> Iterator[Array]:
    """The nodes in levels, each node after all its parents. Raises ValueError for cycles."""
    above = np.zeros(len(nodes.true), np.int64)
    for children in (nodes.true, nodes.false):
        above += np.bincount(children[nodes.inner], minlength=len(above))
    shared = bool((above > 1).any())
    level, left = np.flatnonzero(above == 0), len(above)
    while len(level):
        left -= len(level)
        yield level
        parents = level[nodes.inner[level]]
        level = np.stack([nodes.true[parents], nodes.false[parents]], 1).reshape(-1)
        if shared:
            np.subtract.at(above, level, 1)
            level = np.unique(level[above[level] == 0])
    if left:
        raise ValueError("a tree leads back to itself")


# -- leaves ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Leaves:
    """The contents of each node's record if it is a leaf. upper: the upper half of the second word: the target, or the
    number of weights; values: the weight, or None where there are tables of weights; firsts: the index of its first."""

    upper: Array
    values: Array | None
    firsts: Array
    tables: list[Array]


def _leaves(forest: Forest, kind: str) -> _Leaves:
    at, targets, weights = forest.weights
    count = len(forest.nodes.true)
    counts = np.bincount(at, minlength=count)
    if counts.max(initial=0) <= 1:
        values, upper = np.full(count, NEUTRAL[kind], weights.dtype), np.zeros(count, np.int64)
        values[at], upper[at] = weights, targets
        return _Leaves(upper, values, upper, [])
    order = np.argsort(at, kind="stable")
    owners, firsts = targets[order].astype(np.int32), np.cumsum(counts) - counts
    # Owners are left out if every leaf has a weight for each target, in order.
    complete = (counts[~forest.nodes.inner] == forest.targets).all() and len(owners) % forest.targets == 0
    complete = complete and (owners.reshape(-1, forest.targets) == np.arange(forest.targets)).all()
    return _Leaves(counts, None, firsts, [weights[order], *([] if complete else [owners])])


# -- records ---------------------------------------------------------------------------------------------------------


def _packed(order: _Order, nodes: Nodes, leaves: _Leaves, word: np.dtype[Any]) -> tuple[Array, Array] | None:
    """The starts of the trees, and the records; None if a number does not fit its part of a `word`.

    A tree is a copy of its root and the root, a pair, so that no pair of children straddles cache lines; then the
    children of its inner nodes, in their order, the false one first. A node with several parents has several records,
    which share the pair of its children."""
    half = word.itemsize * 4
    starts = 2 * (np.arange(len(order.roots)) + np.cumsum(order.counts) - order.counts) + 1
    pairs = np.zeros(len(nodes.true), np.int64)
    pairs[order.inner] = 2 * (order.trees + 1 + np.arange(len(order.inner)))
    node = np.zeros(2 * (len(order.roots) + len(order.inner)), np.int64)  # of which each record is
    node[starts - 1] = node[starts] = order.roots
    node[pairs[order.inner]], node[pairs[order.inner] + 1] = nodes.false[order.inner], nodes.true[order.inner]
    inner = nodes.inner[node]
    upper = np.where(inner, pairs[node] - np.arange(len(node)), leaves.upper[node])
    if not _fits(upper[inner], -(1 << half - 1), 1 << half - 1) or not _fits(upper[~inner], 0, 1 << half):
        return None
    if not _fits(nodes.features[order.inner], 0, 1 << half - COLUMN) or not _fits(leaves.firsts, 0, 1 << 2 * half - 1):
        return None
    lower = (nodes.features << COLUMN) + (nodes.missing.astype(np.int64) << MISSING)
    lower += nodes.relations.astype(np.int64) << RELATION
    real = np.dtype(f"f{word.itemsize}")
    ends = leaves.firsts.astype(word) if leaves.values is None else leaves.values.astype(real).view(word)
    records = np.zeros((len(node), 2), word)
    records[:, 0] = np.where(inner, nodes.splits.astype(real).view(word)[node], ends[node])
    records[:, 1] = np.where(inner, lower[node], LEAF).astype(word) + (upper.astype(word) << word.type(half))
    return starts, records


def _fits(numbers: Array, low: int, high: int) -> bool:
    """Whether all are in [low, high)."""
    return not len(numbers) or bool(low <= numbers.min() and numbers.max() < high)
