"""Where a mask is true, for the tests of both back ends: a kernel, and its arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from intaglio.compiler.kernel.ir import Kernel, Nonzero, Param, Store
from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import BOOL, F32, I64
from intaglio.compiler.scalar.expr import Call, Const, Expr, Load

Array = np.ndarray[Any, Any]
SIZES = (0, 1, 63, 1000, 2049)
SHARES = (0.0, 0.01, 0.5, 1.0)


def kernel_of(computed: bool) -> Kernel:
    """Of n bools, or of n numbers that are above 0."""
    n = Symbol("n", 0)
    i, j = Symbol("i", 0, n), Symbol("j", 0, n)
    mask: Expr = Call("lt", (Const(0.0, F32), Load(0, i, F32)), BOOL) if computed else Load(0, i, BOOL)
    params = Param(F32 if computed else BOOL, n, False), Param(I64, n, True), Param(I64, 1, True)
    return Kernel(params, (n,), Nonzero(i, j, mask, Store(1, j), Store(2, 0)))


def arrays(n: int, share: float, computed: bool) -> list[Array]:
    mask = np.random.default_rng(0).random(n) < share
    return [mask.astype(np.float32) if computed else mask, np.full(n, -1), np.full(1, -1)]


def check(made: list[Array]) -> None:
    """The arrays after a run."""
    (wanted,) = np.nonzero(made[0])
    assert made[2][0] == len(wanted)
    np.testing.assert_array_equal(made[1][: len(wanted)], wanted)
