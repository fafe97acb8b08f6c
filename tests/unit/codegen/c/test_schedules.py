"""Whatever legal schedule is forced, the result is right: which one it is says nothing but the time.

INTAGLIO_FUZZ_COUNT: how many of each space are tried, INTAGLIO_FUZZ_SEED: which ones.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
from unit.codegen import attentions, convolutions
from unit.codegen.c import test_attention as softmaxes
from unit.codegen.c import test_conv as convs
from unit.codegen.c import test_matmul as matmuls

from intaglio.compiler import schedule
from intaglio.compiler.codegen.c import conv
from intaglio.compiler.target import target

Compile = Callable[..., Any]
TARGETS = ("x86-64-v3", "native")


def some(space: Iterable[Any]) -> list[Any]:
    everything = list(space)
    rng = random.Random(int(os.environ.get("INTAGLIO_FUZZ_SEED", "0")))
    return rng.sample(everything, min(int(os.environ.get("INTAGLIO_FUZZ_COUNT", "4")), len(everything)))


@pytest.mark.parametrize("case", [
    matmuls.Case(29, 70, 13), matmuls.Case(1, 33, 40), matmuls.Case(13, 17, 9, 2, "scaled", "rows", symbolic=False),
    matmuls.Case(50, 20, 7, 2, "columns", "columns"),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("name", TARGETS)
def test_matmul(name: str, case: matmuls.Case, compile_kernel: Compile) -> None:
    cpu, case = target(name), replace(case, target=name)
    kernel = matmuls._kernel(case, matmuls._packing(case))
    for each in some(schedule.matmul.space(kernel.body, cpu)):  # type: ignore[arg-type]

        def forced(module: Any, kernel: Any, *how: Any, each: Any = each) -> Any:
            return compile_kernel(module, kernel, name, schedule=each)

        matmuls._run(case, forced)


@pytest.mark.parametrize("case", [
    convolutions.Case((9, 8), 20, 24, (3, 3)), convolutions.Case((9, 8), 20, 24, (3, 3), scaled=True),
    convolutions.Case((7, 11), 3, 9, (3, 3), (2, 2)), convolutions.Case((6, 9), 32, 40, (3, 3), winograd=True),
    convolutions.Case((9, 7), 1, 1, (3, 3), groups=20), convolutions.Case((17,), 4, 6, (5,), groups=3),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("name", TARGETS)
def test_conv(name: str, case: convolutions.Case, compile_kernel: Compile) -> None:
    cpu = target(name)
    case = case.filled()
    packing = convs.packing_of(case, cpu)
    made = convolutions.problem(case, packing)
    for each in some(schedule.conv.space(made.kernel.body, cpu)):  # type: ignore[arg-type]
        buffers = made.fresh()
        compile_kernel(conv, made.kernel, name, schedule=each)(buffers, made.sizes, 2)
        made.check(buffers[-1])


@pytest.mark.parametrize("case", [
    attentions.Case(m=37, n=70, d=20, dv=24), attentions.Case(m=1, n=50, d=16, dv=16, mask="mn"),
    attentions.Case(m=40, n=40, d=24, dv=8, causal=0),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("name", TARGETS)
def test_attention(name: str, case: attentions.Case, compile_kernel: Compile) -> None:
    kernel, _ = attentions.kernel_of(case)
    for each in some(schedule.attention.space(kernel.body, target(name))):  # type: ignore[arg-type]

        def forced(module: Any, kernel: Any, *, each: Any = each) -> Any:
            return compile_kernel(module, kernel, name, schedule=each)

        softmaxes._check(case, forced)
