"""Where a mask is true, in C and in the interpreter, against numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from unit.codegen.nonzeros import SHARES, SIZES, arrays, check, kernel_of

from intaglio.compiler.codegen.c import nonzero
from intaglio.compiler.kernel import interp


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("share", SHARES)
def test_places(share: float, computed: bool, compile_kernel: Callable[..., Any]) -> None:
    kernel = kernel_of(computed)
    compiled = compile_kernel(nonzero, kernel)
    for n in SIZES:
        made, meant = (arrays(n, share, computed) for _ in range(2))
        compiled(made, [n])
        check(made)
        interp.run(kernel, meant, [n])
        check(meant)
