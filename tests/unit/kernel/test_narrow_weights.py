"""What a kernel with weights of few bits means: plain, as it is lowered, and packed, as it is scheduled."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.compiler.graph.interp import constant_array
from intaglio.compiler.graph.ir import Graph, constant, input_value
from intaglio.compiler.kernel.interp import run
from intaglio.compiler.kernel.ir import Matmul
from intaglio.compiler.kernel.verify import verify
from intaglio.compiler.kernel.verify_program import verify_program
from intaglio.compiler.lower.groups import lower
from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import F32
from intaglio.compiler.schedule import schedule
from intaglio.compiler.target import target


@pytest.mark.parametrize("zero", [8.0, 7.5])
def test_weights_of_few_bits(zero: float) -> None:
    """In blocks of 16 rows, the last of which is not full; plain, and packed for a CPU."""
    rng = np.random.default_rng(0)
    q, scale = rng.integers(0, 16, (5, 3, 16)).astype(np.uint8), rng.random((5, 3, 1)).astype(np.float32)
    w = ((constant(q).cast(F32) - zero) * constant(scale)).reshape(5, 48).narrow(1, 0, 37).permute(1, 0)
    x = input_value("x", (Symbol("n"), 37), F32)
    feed = rng.standard_normal((3, 37)).astype(np.float32)
    wanted = feed @ ((q - np.float32(zero)) * scale).reshape(5, 48)[:, :37].T
    for scheduled in (False, True):
        program = lower(Graph([x], [x.matmul(w)], ["y"]))
        program = schedule(program, target("x86-64-v3")) if scheduled else program
        (launch,) = program.launches
        verify(launch.kernel)
        verify_program(program)
        assert isinstance(launch.kernel.body, Matmul) and launch.kernel.body.blocks is not None
        made = np.zeros(15, np.float32)
        arrays = {"input": [feed.reshape(-1)], "output": [made]}
        arrays["weight"] = [each.laid_out(constant_array(each.value)).reshape(-1) for each in program.weights]
        run(launch.kernel, [arrays[b.kind][b.number] for b in (program.buffers[i] for i in launch.buffers)],
            [3 if size == Symbol("n") else int(size) for size in launch.sizes])  # fmt: skip
        np.testing.assert_allclose(made.reshape(3, 5), wanted, rtol=1e-5, atol=1e-5)
