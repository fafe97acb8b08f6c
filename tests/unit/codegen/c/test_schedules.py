"""Whatever legal schedule is forced, the result is right: which one it is says nothing but the time.

INTAGLIO_FUZZ_COUNT: how many of each space are tried, INTAGLIO_FUZZ_SEED: which ones.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from unit.codegen import attentions, convolutions, recurrences, sorts
from unit.codegen.c import test_attention as softmaxes
from unit.codegen.c import test_conv as convs
from unit.codegen.c import test_matmul as matmuls
from unit.codegen.c import test_nms as suppression
from unit.codegen.c import test_recurrent as cells
from unit.codegen.c import test_sort as orders
from unit.codegen.c import test_trees as forests

from intaglio.compiler import schedule
from intaglio.compiler.codegen.c import conv, nms, trees
from intaglio.compiler.frontend.ops.tree_records import records_of
from intaglio.compiler.kernel import interp
from intaglio.compiler.scalar.dtype import F32
from intaglio.compiler.target import target

Compile = Callable[..., Any]
TARGETS = ("x86-64-v3", "native")


def some(space: Iterable[Any]) -> list[Any]:
    everything = list(space)
    rng = random.Random(int(os.environ.get("INTAGLIO_FUZZ_SEED", "0")))
    return rng.sample(everything, min(int(os.environ.get("INTAGLIO_FUZZ_COUNT", "4")), len(everything)))


@pytest.mark.sample(4)
@pytest.mark.parametrize("case", [
    matmuls.Case(29, 70, 13), matmuls.Case(1, 33, 40), matmuls.Case(13, 17, 9, 2, "scaled", "rows", symbolic=False),
    matmuls.Case(50, 20, 7, 2, "columns", "columns"),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("name", TARGETS)
def test_matmul(name: str, case: matmuls.Case, compile_kernel: Compile) -> None:
    cpu, case = target(name), replace(case, target=name)
    kernel = matmuls._kernel(case, matmuls._packing(case))
    for each in some(schedule.space(kernel.body, cpu)):

        def forced(module: Any, kernel: Any, *how: Any, each: Any = each, **more: Any) -> Any:
            return compile_kernel(module, kernel, name, schedule=each)

        matmuls._run(case, forced)


@pytest.mark.sample(4)
@pytest.mark.parametrize("case", [
    convolutions.Case((9, 8), 20, 24, (3, 3)), convolutions.Case((9, 8), 20, 24, (3, 3), scaled=True),
    convolutions.Case((7, 11), 3, 9, (3, 3), (2, 2)), convolutions.Case((6, 9), 32, 40, (3, 3), winograd=True),
    convolutions.Case((9, 7), 1, 1, (3, 3), groups=20), convolutions.Case((17,), 4, 6, (5,), groups=3),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("name", TARGETS)
def test_conv(name: str, case: convolutions.Case, compile_kernel: Compile) -> None:
    cpu = target(name)
    case = case.filled()
    packing = convs.how(case, cpu)[0]
    made = convolutions.problem(case, packing)
    for each in some(schedule.space(made.kernel.body, cpu)):
        buffers = made.fresh()
        compile_kernel(conv, made.kernel, name, schedule=each)(buffers, made.sizes, 2)
        made.check(buffers[-1])


@pytest.mark.sample(2)
@pytest.mark.parametrize("case", [
    attentions.Case(m=37, n=70, d=20, dv=24), attentions.Case(m=1, n=50, d=16, dv=16, mask="mn"),
    attentions.Case(m=40, n=40, d=24, dv=8, causal=0),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("name", TARGETS)
def test_attention(name: str, case: attentions.Case, compile_kernel: Compile) -> None:
    kernel, _ = attentions.kernel_of(case)
    for each in some(schedule.space(kernel.body, target(name))):

        def forced(module: Any, kernel: Any, *, each: Any = each) -> Any:
            return compile_kernel(module, kernel, name, schedule=each)

        softmaxes._check(case, forced)


@pytest.mark.sample(2)
@pytest.mark.parametrize("case", [
    recurrences.Case("lstm", batch=7, hidden=37), recurrences.Case("gru", "bidirectional", batch=1, hidden=130),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("name", TARGETS)
def test_recurrent(name: str, case: recurrences.Case, compile_kernel: Compile) -> None:
    kernel, _ = recurrences.kernel_of(case)
    for each in some(schedule.space(kernel.body, target(name))):
        cells._check(case, compile_kernel, target_name=name, schedule=each)


@pytest.mark.parametrize("n, k", [(700, 700), (700, 9), (3000, 100), (30, 12)])
def test_sort(n: int, k: int, compile_kernel: Compile) -> None:
    case = sorts.Case(F32, True, n, k)
    kernel, _ = sorts.kernel_of(case)
    x = sorts.random(case, np.random.default_rng(n))
    for each in some(schedule.space(kernel.body, target())):
        orders._check(case, compile_kernel, x, schedule=each)


def test_nms(compile_kernel: Compile) -> None:
    kernel = suppression.kernel_of(F32, True)
    for each in some(schedule.space(kernel.body, target())):
        given = suppression.arrays(F32, 2, 2, 300, 200)
        wanted = [a.reshape(-1).copy() for a in given]
        compile_kernel(nms, kernel, schedule=each)(given, [2, 2, 300, 200], split=2)
        interp.run(kernel, wanted, [2, 2, 300, 200])
        assert all(np.array_equal(a.reshape(-1), b) for a, b in zip(given, wanted))


@pytest.mark.parametrize("lanes", [1, 4, 8, 16])
def test_trees(lanes: int, compile_kernel: Compile) -> None:
    """Rows of a task are a size of the kernel."""
    form = forests.FORMS["all targets"]
    made = forests.forest_of(form, random.Random(lanes))[1]
    records = records_of(made, np.float32, "add")  # type: ignore[arg-type]
    kernel = forests.kernel_of(records, F32, "add")
    x = form.rows(random.Random(7), 37, np.float32)
    compiled = compile_kernel(trees, kernel, schedule=replace(forests.HOW, lanes=lanes))
    for block in (1, 5, 64):
        given, sizes = forests.arrays_of(records, x, form.targets, 2, block)
        wanted = [a.reshape(-1).copy() for a in given]
        compiled(given, sizes, split=3)
        interp.run(kernel, wanted, sizes)
        np.testing.assert_array_equal(given[-1].reshape(-1), wanted[-1])
