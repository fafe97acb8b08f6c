"""Non-maximum suppression against what it means, on fresh random boxes: many are alike, and many are nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from intaglio.compiler.codegen.c import nms
from intaglio.compiler.kernel import interp
from intaglio.compiler.kernel.ir import Kernel, Nms, Param, Store
from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import F32, F64, I64, DType
from intaglio.compiler.scalar.expr import Load

Array = np.ndarray[Any, Any]


def kernel_of(dtype: DType, least: bool) -> Kernel:
    """Boxes [batch, n, 4], scores [batch, rows, n], limits, places [batch, rows, most], counts [batch, rows]; the sizes
    are batch, rows, n, most."""
    batch, rows, n, most = sizes = tuple(Symbol(name, 0) for name in ("batch", "rows", "n", "most"))
    b, r, i, j = (Symbol(name, 0, extent) for name, extent in zip("brij", sizes))
    corners = (Load(0, (b * n + i) * 4 + corner, dtype) for corner in range(4))
    row = b * rows + r
    params = [Param(dtype, batch * n * 4, False), Param(dtype, batch * rows * n, False), Param(dtype, 1, False)]
    params += [Param(dtype, 1, False), Param(I64, batch * rows * most, True), Param(I64, batch * rows, True)]
    limits = Load(2, 0, dtype), Load(3, 0, dtype) if least else None
    stores = Store(4, row * most + j), Store(5, row)
    return Kernel(tuple(params), sizes, Nms((b, r), i, j, Load(1, row * n + i, dtype), *corners, *limits, *stores))


def arrays(dtype: DType, batch: int, rows: int, n: int, most: int) -> list[Array]:
    rng = np.random.default_rng(0)
    corner, side = rng.integers(0, 12, (batch, n, 2)) / 4, rng.integers(0, 5, (batch, n, 2)) / 4
    scores = np.where(rng.random((batch, rows, n)) < 0.1, -np.inf, rng.integers(-9, 9, (batch, rows, n)) / 4)
    values = np.concatenate([corner, corner + side], -1), scores, rng.choice([0, 0.3, 0.5, 1]), rng.choice([-1, 0, 1])
    places, counts = np.full((batch, rows, most), -1), np.full((batch, rows), -1)
    return [*(np.array(v, dtype.to_numpy(), ndmin=1) for v in values), places, counts]


@pytest.mark.parametrize("least", [False, True])
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_what_is_taken(dtype: DType, least: bool, compile_kernel: Callable[..., Any]) -> None:
    kernel = kernel_of(dtype, least)
    compiled = compile_kernel(nms, kernel)
    for sizes in ((1, 1, 1, 1), (2, 3, 40, 40), (1, 2, 700, 100), (1, 1, 900, 900), (3, 1, 9, 0), (1, 2, 0, 0)):
        given = arrays(dtype, *sizes)
        meant = [a.reshape(-1).copy() for a in given]
        compiled(given, sizes, split=2)
        interp.run(kernel, meant, sizes)
        for made, wanted in zip(given, meant):
            np.testing.assert_array_equal(made.reshape(-1), wanted)
