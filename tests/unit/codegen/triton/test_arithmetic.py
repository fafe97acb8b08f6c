"""The same of kernels in Triton as of those in C: numbers are combined, and each result is one of its type."""

from __future__ import annotations

import pytest
from arithmetic import TYPES, Run, check_chains, check_combinations

from intaglio.compiler.scalar.dtype import BF16, F16, DType
from intaglio.compiler.schedule.device import arranged


@pytest.mark.sample(5)
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_combinations(dtype: DType, run_triton: Run) -> None:
    check_combinations(dtype, run_triton, arranged)


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
def test_every_result_is_rounded(dtype: DType, run_triton: Run) -> None:
    check_chains(dtype, run_triton, arranged)
