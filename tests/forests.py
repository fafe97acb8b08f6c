"""Random forests of all forms that the standard has, the attributes that describe them, and what they mean, row by row.

Values are small integers, so that many are equal to a split.
"""

from __future__ import annotations

import math
import operator
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
COMPARE: dict[str, Callable[[float, float], bool]] = {
    "BRANCH_LEQ": operator.le, "BRANCH_LT": operator.lt, "BRANCH_GTE": operator.ge, "BRANCH_GT": operator.gt,
    "BRANCH_EQ": operator.eq, "BRANCH_NEQ": operator.ne,
}  # fmt: skip
MODES = (*COMPARE, "BRANCH_MEMBER")
_COLUMNS = (
    "treeids", "nodeids", "featureids", "modes", "values", "missing_value_tracks_true", "truenodeids", "falsenodeids",
)  # fmt: skip


@dataclass
class Node:
    """mode: "LEAF", or how a feature is compared with the split, or with the members of a set."""

    mode: str = "LEAF"
    feature: int = 0
    split: float = 0.0
    members: list[float] = field(default_factory=list)
    missing: int = 0
    true: int = -1
    false: int = -1
    weights: list[tuple[int, float]] = field(default_factory=list)

    def follows(self, x: float) -> bool:
        if self.mode == "BRANCH_MEMBER":
            holds = x in self.members
        else:
            holds = COMPARE[self.mode](x, self.split)
        return holds or (bool(self.missing) and math.isnan(x))


Tree = list[Node]  # the first one is the root


@dataclass(frozen=True)
class Form:
    """modes: those of nodes. depth: at most. deep: the share of nodes that nothing goes on from, whatever the depth.
    weights: how many a leaf has, for different targets or, `again`, for any. missing: the share of nodes where NaN
    counts as true. chains: the share of nodes that ask for one value after the other, with the same answer."""

    trees: int = 5
    modes: Sequence[str] = ("BRANCH_LEQ",)
    depth: int = 5
    deep: float = 0.0
    features: int = 4
    targets: int = 1
    weights: Sequence[int] = (1,)
    again: bool = False
    missing: float = 0.0
    chains: float = 0.0

    def forest(self, rng: random.Random) -> list[Tree]:
        return [self._tree(rng) for _ in range(self.trees)]

    def rows(self, rng: random.Random, count: int, dtype: Any = np.float32) -> Array:
        """[count, features]; some are NaN where the type has it."""
        x = np.array([[_number(rng) for _ in range(self.features)] for _ in range(count)]).reshape(count, self.features)
        if np.dtype(dtype).kind == "f":
            x[np.array([rng.random() < 0.1 for _ in range(x.size)], bool).reshape(x.shape)] = math.nan
        return x.astype(dtype)

    def _tree(self, rng: random.Random) -> Tree:
        tree, pending = [Node()], [(0, 0)]
        while pending:
            at, depth = pending.pop()
            if depth == self.depth or (depth and rng.random() < 0.15):
                count, choices = rng.choice(self.weights), range(self.targets)
                targets = rng.choices(choices, k=count) if self.again else rng.sample(choices, count)
                tree[at].weights = [(target, rng.uniform(-1, 1)) for target in targets]
                continue
            for side in self._asks(rng, tree, at):
                pending.append((side, self.depth if rng.random() < self.deep else depth + 1))
        return tree

    def _asks(self, rng: random.Random, tree: Tree, at: int) -> list[int]:
        """Makes a leaf ask something; where that leads to."""
        first = len(tree)
        tree += [Node(), Node()]
        chain = rng.randrange(2, 6) if rng.random() < self.chains else 1
        mode = "BRANCH_EQ" if chain > 1 else rng.choice(self.modes)
        feature, missing = rng.randrange(self.features), int(rng.random() < self.missing)
        for link in range(chain):
            node = tree[at]
            node.mode, node.feature, node.split, node.missing = mode, feature, _number(rng), missing
            node.members = [_number(rng) for _ in range(rng.randrange(1, 9))] if mode == "BRANCH_MEMBER" else []
            node.true, node.false = first, first + 1
            if link + 1 < chain:
                node.false = at = len(tree)
                tree.append(Node())
        return [first, first + 1]


def _number(rng: random.Random) -> float:
    return float(rng.randrange(-6, 12))


def walked(forest: Sequence[Tree], x: Array, targets: int, kind: str = "SUM") -> Array:
    """[rows, targets] f64; what no leaf says anything of is 0."""
    combine = {"MIN": min, "MAX": max}.get(kind, operator.add)
    result = np.zeros((len(x), targets))
    for row, values in enumerate(x):
        found: dict[int, float] = {}
        for tree in forest:
            node = tree[0]
            while node.mode != "LEAF":
                node = tree[node.true if node.follows(float(values[node.feature])) else node.false]
            for target, weight in node.weights:
                found[target] = combine(found[target], weight) if target in found else weight
        for target, total in found.items():
            result[row, target] = total / len(forest) if kind == "AVERAGE" else total
    return result


def listed(forest: Sequence[Tree], prefix: str, rng: random.Random | None = None) -> dict[str, Any]:
    """The attributes of TreeEnsembleRegressor ("target") and TreeEnsembleClassifier ("class"); with `rng`, nodes have
    any names, and come in any order."""
    rows: list[tuple[Any, ...]] = []
    leaves: list[tuple[Any, ...]] = []
    for number, tree in enumerate(forest):
        names = list(range(len(tree)))
        if rng is not None:
            rng.shuffle(names)
        for name, node in zip(names, tree):
            children = [0, 0] if node.mode == "LEAF" else [names[node.true], names[node.false]]
            rows.append((3 * number, name, node.feature, node.mode, node.split, node.missing, *children))
            leaves += [(3 * number, name, target, weight) for target, weight in node.weights]
    if rng is not None:
        rng.shuffle(rows)
        leaves = [leaf for _, leaf in sorted(zip([rng.randrange(9) for _ in leaves], leaves), key=lambda x: x[0])]
    made = {f"nodes_{name}": list(column) for name, column in zip(_COLUMNS, zip(*rows))}
    if not any(made["nodes_missing_value_tracks_true"]):
        del made["nodes_missing_value_tracks_true"]
    entries = zip(*leaves) if leaves else ([], [], [], [])
    return made | {f"{prefix}_{n}": list(c) for n, c in zip(("treeids", "nodeids", "ids", "weights"), entries)}


def split(forest: Sequence[Tree], dtype: Any) -> dict[str, Any]:
    """The attributes of TreeEnsemble, as arrays where these are tensors; each leaf has one weight, no root is one."""
    inner = [node for tree in forest for node in tree if node.mode != "LEAF"]
    leaves = [node for tree in forest for node in tree if node.mode == "LEAF"]
    place = {id(node): i for group in (inner, leaves) for i, node in enumerate(group)}
    made: dict[str, Any] = {"nodes_featureids": [node.feature for node in inner]}
    for side in ("true", "false"):
        ends = [tree[getattr(n, side)] for tree in forest for n in tree if n.mode != "LEAF"]
        made[f"nodes_{side}nodeids"] = [place[id(end)] for end in ends]
        made[f"nodes_{side}leafs"] = [int(end.mode == "LEAF") for end in ends]
    made["nodes_modes"] = np.array([MODES.index(node.mode) for node in inner], np.uint8)
    made["nodes_splits"] = np.array([node.split for node in inner], dtype)
    made["nodes_missing_value_tracks_true"] = [node.missing for node in inner]
    members = [member for node in inner if node.mode == "BRANCH_MEMBER" for member in (*node.members, math.nan)]
    if members:
        made["membership_values"] = np.array(members, dtype)
    made["leaf_targetids"] = [node.weights[0][0] for node in leaves]
    made["leaf_weights"] = np.array([node.weights[0][1] for node in leaves], dtype)
    made["tree_roots"] = [place[id(tree[0])] for tree in forest]
    return made
