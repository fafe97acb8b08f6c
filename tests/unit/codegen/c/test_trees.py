"""Tree ensembles against their interpreter and a walk of each row, on fresh random forests, in parts."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from forests import COMPARE, Form, listed, walked

from intaglio.compiler.codegen.c import trees
from intaglio.compiler.frontend.ops.forest import Forest, from_nodes
from intaglio.compiler.frontend.ops.tree_records import Records, records_of
from intaglio.compiler.kernel import interp
from intaglio.compiler.kernel.ir import Kernel, Param, Stage, Store, Trees
from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import F16, F32, F64, I32, I64, U32, U64, DType
from intaglio.compiler.scalar.expr import Acc, Call, Load
from intaglio.compiler.schedule.trees import TreesSchedule

Array = np.ndarray[Any, Any]
BLOCK = Symbol("block", 0)
HOW = TreesSchedule(BLOCK)
ALL = tuple(COMPARE)
FORMS = {
    "one weight": Form(trees=20, depth=6, targets=3),
    "deep": Form(trees=3, depth=24, deep=0.45),
    "all modes": Form(trees=20, modes=ALL, missing=0.3),
    "values among limits": Form(trees=20, modes=["BRANCH_LEQ", "BRANCH_EQ"], missing=0.3),
    "greater": Form(trees=20, modes=["BRANCH_GT"], missing=0.3),
    "all targets": Form(trees=20, targets=3, weights=[3]),
    "some targets": Form(trees=20, targets=30, weights=[0, 1, 4], again=True),
}
KINDS = {"add": "SUM", "min": "MIN", "max": "MAX"}


def forest_of(form: Form, rng: random.Random) -> tuple[list[Any], Forest]:
    forest = form.forest(rng)
    given = listed(forest, "target")
    missing = given.get("nodes_missing_value_tracks_true")
    lists = (given[f"nodes_{n}"] for n in ("treeids", "nodeids", "featureids", "modes"))
    rest = (given[f"nodes_{n}"] for n in ("truenodeids", "falsenodeids"))
    leaves = (given[f"target_{n}"] for n in ("treeids", "nodeids", "ids"))
    splits, weights = (np.array(given[n], np.float32) for n in ("nodes_values", "target_weights"))
    return forest, from_nodes(*lists, splits, *rest, missing, *leaves, weights, form.targets)


def kernel_of(records: Records, dtype: DType, kind: str) -> Kernel:
    """x [rows, columns], roots [trees], nodes [records, 2], weights, owners, sums [parts, rows, targets] f64; the sizes
    are rows, columns, trees, records, weights, targets, parts, and the rows of a task (`BLOCK`)."""
    names = ("rows", "columns", "trees", "records", "weights", "targets", "parts")
    rows, columns, count, nodes, weights, targets, parts, _ = sizes = (*(Symbol(name, 0) for name in names), BLOCK)
    part, row, target = (Symbol(n, 0, extent) for n, extent in (("part", parts), ("row", rows), ("target", targets)))
    place = Symbol("place", 0, rows * columns)
    word = U64 if records.tables[1].dtype == np.uint64 else U32
    tables = [Param(I64, count, False), Param(word, nodes * 2, False)]
    tables += [Param(d, weights, False) for d in (F32, I32)[: len(records.tables) - 2]]
    params = [Param(dtype, rows * columns, False), *tables]
    params.append(Param(F64, parts * rows * targets, True))
    store = Store(len(params) - 1, (part * rows + row) * targets + target)
    load = Load(0, place, dtype)
    x = load if dtype == dtype.compute else Call("cast", (load,), dtype.compute)
    numbers = [*range(1, len(params) - 1), -1, -1][:4]
    body = Trees(
        part, row, target, place, columns, x, *numbers, kind, records.relations, records.missing, count, 1,
        (Stage(Acc(F64), store),),
    )  # fmt: skip
    return Kernel(tuple(params), sizes, body)


def arrays_of(records: Records, x: Array, targets: int, parts: int, block: int) -> tuple[list[Array], list[int]]:
    """The buffers of the kernel, and its sizes."""
    sums = np.full((parts, len(x), targets), np.nan)
    lengths = [*map(len, records.tables), 0][:3]
    return [x, *records.tables, sums], [*x.shape, *lengths, targets, parts, block]


@pytest.mark.sample(32)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [F16, F32, F64], ids=str)
@pytest.mark.parametrize("name", FORMS)
def test_what_rows_come_to(name: str, dtype: DType, kind: str, compile_kernel: Callable[..., Any]) -> None:
    form, rng = FORMS[name], random.Random(0)
    forest, made = forest_of(form, rng)
    records = records_of(made, dtype.to_numpy(), kind)
    kernel = kernel_of(records, dtype, kind)
    compiled = compile_kernel(trees, kernel, schedule=HOW)
    for rows, parts, block in ((1, 1, 16), (5, 3, 16), (37, 1, 16), (40, 2, 7), (0, 1, 16)):
        x = form.rows(rng, rows, dtype.to_numpy())
        given, sizes = arrays_of(records, x, form.targets, parts, block)
        meant = [a.reshape(-1).copy() for a in given]
        compiled(given, sizes, split=3)
        interp.run(kernel, meant, sizes)
        np.testing.assert_array_equal(given[-1].reshape(-1), meant[-1])
        ends = [len(forest) * part // parts for part in range(parts + 1)]
        for part, (begin, end) in enumerate(pairwise(ends)):
            wanted = walked(forest[begin:end], x, form.targets, KINDS[kind])
            sums = given[-1][part]
            np.testing.assert_allclose(np.where(np.isinf(sums), 0, sums), wanted, rtol=1e-6, atol=1e-6)
