"""The product that matmul and convolution share in Triton: tiles of the result, summed over blocks of K.

In: a schedule, and texts of operands. Out: Triton source, from templates/triton/gemm.py.j2.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...kernel.ir import Kernel
from ...precision import Rounding
from ...scalar.dim import Size, ceil_div, known_eq
from ...scalar.dtype import F32, DType
from ...schedule.device.product import ProductSchedule
from ..render import render
from .expr import Printer, value_type
from .holes import Piece
from .tiles import Source, arguments, parameters


def source(
    template: str, kernel: Kernel, name: str, out: Printer, blocks: ProductSchedule, acc: DType, rows: Size,
    columns: Size, depth: Size, batch: Sequence[tuple[str, Size]], a: Piece, b: Piece, precision: str,
    epilogue: list[str], **holes: object,
) -> Source:  # fmt: skip
    """The source of a kernel whose template extends gemm.py.j2; batch: names and extents, the last one fastest."""
    text = render(
        template,
        name=name,
        parameters=parameters(kernel),
        blocks=blocks,
        group=blocks.group,
        row_blocks=out.size(ceil_div(rows, blocks.rows)),
        column_blocks=out.size(ceil_div(columns, blocks.columns)),
        depth=out.size(depth),
        batch=[(variable, out.size(extent)) for variable, extent in batch],
        acc=value_type(acc),
        a=a,
        b=b,
        precision=precision,
        epilogue=epilogue,
        functions=list(out.functions.definitions.values()),
        **holes,
    )
    return Source(text, arguments(kernel), blocks.warps, blocks.stages)


def precision(factor: DType, rounding: Rounding) -> str:
    """The input precision of tl.dot: "" for other types than f32, which are multiplied as they are."""
    return rounding if factor == F32 else ""


def mask(out: Printer, positions: str, size: Size, length: int) -> str | None:
    """The text of the mask of positions in tiles of that length; None if these never overhang."""
    return None if known_eq(size % length, 0) is True else f"({positions} < {out.size(size)})"
