"""What kernels in C compute is what the graph means, in every type: numbers are combined, not the bits that hold them,
and each result is one of its own type, also where it never leaves the kernel.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from arithmetic import TYPES, check_chains, check_combinations
from native import launcher

from intaglio.compiler.graph.ir import Array
from intaglio.compiler.kernel.interp import run
from intaglio.compiler.kernel.ir import Kernel, Launch, LoopNest
from intaglio.compiler.scalar.dtype import BF16, F16, DType
from intaglio.compiler.schedule import default, executed
from intaglio.compiler.schedule.close import close
from intaglio.compiler.target import target


def arrange(launch: Launch) -> Launch:
    return close(executed(launch, default(launch.kernel.body, target())))


def in_c(kernel: Kernel, arrays: Sequence[Array], sizes: Sequence[int]) -> None:
    if isinstance(kernel.body, LoopNest):
        launcher(kernel, arrays, sizes, level="-O1")()
    else:
        run(kernel, arrays, sizes)


@pytest.mark.sample(4)
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_combinations(dtype: DType) -> None:
    check_combinations(dtype, in_c, arrange)


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
def test_every_result_is_rounded(dtype: DType) -> None:
    check_chains(dtype, in_c, arrange)
