"""Where a mask is true, in Triton, against numpy."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from unit.codegen.nonzeros import SHARES, SIZES, arrays, check, kernel_of


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("share", SHARES)
def test_places(share: float, computed: bool, run_triton: Callable[..., None]) -> None:
    for n in SIZES:
        made = arrays(n, share, computed)
        run_triton(kernel_of(computed), made, [n])
        check(made)
