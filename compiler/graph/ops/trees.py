"""trees: ensembles of decision trees, evaluated on rows of numbers.

A node is a record of two words: a value, and bits that describe the node. The two children of a node are adjacent, so
that its record has the position of the first one only. Words are u32 with f32 values, or u64 with f64 values. The bits,
2 H of them, are from the lowest one on:

    inner node  0 | 3 bits: x < value, x == value, x > value lead to the second child | 1 bit: NaN does |
                H - 5 bits: the column of x | H bits, signed: from this record to that of the first child
    leaf        1 | zeros | H bits: its target, if leaves have one weight each, which is the value; else the number of
                its weights, and the value is the index of the first one, as an integer
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from ...scalar.dtype import F32, F64, I32, I64, U32, U64
from ..conditions import Condition, at_most
from ..ir import Array, Node, Signature, Trait, Value
from .common import Attrs, check, check_count, register

LESS, EQUAL, GREATER = 1, 2, 4  # sets of relations of x to a node's value
LEAF = 1
RELATION, MISSING, COLUMN = 1, 4, 5  # positions of the fields of an inner node
NEUTRAL = {"add": 0.0, "min": np.inf, "max": -np.inf}


def _infer_trees(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """trees(x, roots, nodes, *[weights, [owners]]; kind, targets, relations, missing, columns, steps, parts).

    -> [parts, N, targets] f64: for each row of x [N, C] and each target, the weights of the leaves that the row ends
    in, combined by `kind` ("add", "min", "max") in the order of the trees; without weights 0, inf, -inf. Part p is the
    result of trees [p T / parts, (p + 1) T / parts). x is f32, f64 or narrower floats.

    roots [T] i64: indices of records in nodes [R, 2]. Leaves have one weight each, or several of weights [W] (f32,
    f64), which belong to the targets in owners [W] i32; without owners, to all targets in order. relations: those that
    all inner nodes have, and those that any has. missing: whether the NaN bit of any node is set. columns: the number
    of columns that are read. steps: the approximate number of nodes that a row visits."""
    check_count("trees", inputs, 3, 5)
    x, roots, nodes, *rest = inputs
    check(x.rank == 2 and x.dtype.is_float, "trees for x {}{}", x.dtype, list(x.shape))
    check(roots.rank == 1 and roots.dtype == I64, "trees with roots {}{}", roots.dtype, list(roots.shape))
    check(nodes.rank == 2 and nodes.dtype in (U32, U64), "trees of {}{}", nodes.dtype, list(nodes.shape))
    check(x.dtype != F64 or nodes.dtype == U64, "trees of f32 for x of f64")
    for value, dtypes in zip(rest, ((F32, F64), (I32,))):
        check(value.rank == 1 and value.dtype in dtypes, "trees with weights {}{}", value.dtype, list(value.shape))
    check(attrs["kind"] in NEUTRAL, "trees combined by {}", attrs["kind"])
    return [((attrs["parts"], x.shape[0], attrs["targets"]), F64)]


def _demand_trees(node: Node) -> Iterator[Condition]:
    x = node.inputs[0]
    columns = node.attrs["columns"]
    yield from at_most(columns, x.shape[1], "trees read {} features of {}", columns, x.shape[1])


def _evaluate_trees(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    x, roots, nodes, *rest = arrays
    parts, count = attrs["parts"], len(roots)
    ends = [count * part // parts for part in range(parts + 1)]
    facts = {"kind": attrs["kind"], "targets": attrs["targets"]}
    return [np.stack([combined(x, roots[begin:end], nodes, *rest, **facts) for begin, end in pairwise(ends)])]


def combined(
    x: Array, roots: Array, nodes: Array, weights: Array | None = None, owners: Array | None = None, *, kind: str,
    targets: int,
) -> Array:  # fmt: skip
    """[N, targets] f64: the weights of the leaves that the rows end in, combined tree after tree."""
    result = np.full((len(x), targets), NEUTRAL[kind])
    combine = {"add": np.add, "min": np.minimum, "max": np.maximum}[kind]
    half, at = nodes.dtype.itemsize * 4, leaves(x, roots, nodes)
    row, tree = (i.reshape(-1) for i in np.indices(at.shape))
    at = at[row, tree]
    number = (nodes[at, 1] >> half).astype(np.int64)
    if weights is None:
        real = np.float32 if nodes.dtype == np.uint32 else np.float64
        combine.at(result, (row, number), nodes[at, 0].view(real).astype(np.float64))
        return result
    first = np.repeat(nodes[at, 0].astype(np.int64), number)
    inside = np.arange(len(first)) - np.repeat(np.cumsum(number) - number, number)
    target = inside if owners is None else owners[first + inside]
    combine.at(result, (np.repeat(row, number), target), weights[first + inside].astype(np.float64))
    return result


def leaves(x: Array, roots: Array, nodes: Array) -> Array:
    """[N, T]: the indices of the records of the leaves that rows of x end in."""
    real = np.dtype(np.float32 if nodes.dtype == np.uint32 else np.float64)
    half = nodes.dtype.itemsize * 4
    values, words = np.ascontiguousarray(nodes[:, 0]).view(real), nodes[:, 1].astype(f"i{nodes.dtype.itemsize}")
    bits, first_child = words & ((1 << half) - 1), words >> half
    at: Array = np.broadcast_to(roots, (len(x), len(roots))).copy()
    row, tree = (i.reshape(-1) for i in np.indices(at.shape))
    while len(row):
        here = at[row, tree]
        inner = bits[here] & LEAF == 0
        row, tree, here = row[inner], tree[inner], here[inner]
        a, b = x[row, bits[here] >> COLUMN].astype(real), values[here]
        relation = np.where(a < b, LESS, 0) | np.where(a == b, EQUAL, 0) | np.where(a > b, GREATER, 0)
        follows = (bits[here] >> RELATION & relation != 0) | (bits[here] >> MISSING & np.isnan(a) != 0)
        at[row, tree] = here + first_child[here] + follows
    return at


register(
    "trees",
    _infer_trees,
    _evaluate_trees,
    "kind targets relations missing columns steps parts",
    demands=_demand_trees,
    traits=Trait.HEAVY,
)
