"""kernel.ir.Matmul -> the context of templates/triton/matmul.py.j2.

In: a Kernel whose body is a Matmul without a packing. Out: Triton source, and the number of programs in the kernel's
sizes.
"""

from __future__ import annotations

from ...kernel.ir import Kernel, Matmul
from ...scalar.dim import Size, extent, prod
from ...scalar.expr import as_type
from ...schedule.device.product import ProductSchedule, factors
from . import gemm
from .expr import Value
from .holes import Axis, epilogue, tile
from .tiles import Source, printer


def tasks(body: Matmul, schedule: ProductSchedule) -> Size:
    """The number of programs."""
    return prod(extent(s) for s in body.batch) * schedule.programs(extent(body.m), extent(body.n))


def refusal(kernel: Kernel, schedule: ProductSchedule) -> str | None:
    """Why the kernel cannot be printed; None if it can."""
    body = kernel.body
    assert isinstance(body, Matmul)
    return "packed operands in Triton" if body.packing else None


def source(kernel: Kernel, name: str, blocks: ProductSchedule) -> Source:
    """The kernel's source."""
    body = kernel.body
    assert isinstance(body, Matmul)
    out = printer(kernel)
    a, b = factors(body.a, body.b, body.acc)
    if blocks.form != "dot":
        a, b = (as_type(e, body.acc) for e in (a, b))
    m_size, n_size, k_size = (extent(s) for s in (body.m, body.n, body.k))
    m = Axis(body.m, "rows", gemm.mask(out, "rows", m_size, blocks.rows))
    n = Axis(body.n, "columns", gemm.mask(out, "columns", n_size, blocks.columns))
    k = Axis(body.k, "k", gemm.mask(out, "k", k_size, blocks.depth))
    k_row = Axis(body.k, "k_row", gemm.mask(out, "k_row", k_size, blocks.depth))
    batch = [(f"batch{i}", extent(s)) for i, s in enumerate(body.batch)]
    out.names |= {s: Value(variable) for s, (variable, _) in zip(body.batch, batch)}
    result: tuple[Axis, ...] = (m, n)
    if blocks.form == "dot":
        a_tile = tile(out, a, (m, k), (blocks.rows, blocks.depth))
        b_tile = tile(out, b, (k_row, n), (blocks.depth, blocks.columns))
    elif blocks.form == "outer":
        out.names[body.k] = Value("start")
        a_tile, b_tile = tile(out, a, (m,), (blocks.rows, 1)), tile(out, b, (n,), (1, blocks.columns))
    else:
        out.names[body.m] = Value("0")
        a_tile = tile(out, a, (k_row,), (blocks.depth, 1))
        b_tile = tile(out, b, (k_row, n), (blocks.depth, blocks.columns))
        out.acc, result = Value("acc", frozenset((0,))), (n,)
    return gemm.source(
        "triton/matmul.py.j2", kernel, name, out, blocks, body.acc, m_size, n_size, k_size, batch, a_tile, b_tile,
        gemm.precision(a.dtype, blocks.rounding), epilogue(out, kernel, body.epilogue, result),
    )  # fmt: skip
