"""Pieces of Triton for the holes of templates: tiles of operands, and epilogues.

In: a kernel's printer, expressions, and the template's names of positions along the axes of a tile. Out: lines, and the
text of their value. No piece uses a name of another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...kernel.ir import Kernel, Stage
from ...scalar.dim import Symbol
from ...scalar.expr import Call, Const, Expr, Load, Local
from .expr import Printer, Value, literal


class Axis(NamedTuple):
    """An axis of a tile: its loop variable, the text of its positions, and that of their mask, if it may overhang.

    Both have the shape [:, None] if the axis is the first one of the tile, [None, :] if it is the second.
    """

    symbol: Symbol
    positions: str
    mask: str | None = None


class Piece(NamedTuple):
    """Lines, and the text of the value that they compute."""

    lines: list[str]
    value: str


def tile(out: Printer, value: Expr, axes: tuple[Axis, ...], shape: tuple[int, int]) -> Piece:
    """An expression over a tile of that shape, which is 0 where a mask is false."""
    with out.apart() as lines:
        _place(out, axes)
        text, varies = out.value(value)
        if len(varies) < len(axes):
            text = f"tl.broadcast_to({text}, {shape})"
        if out.masks and not (len(varies) == len(axes) and _zero_where_masked(value)):
            text = f"tl.where({' & '.join(out.masks[a] for a in sorted(out.masks))}, {text}, {literal(_zero(value))})"
    return Piece(lines, text)


def part(out: Printer, value: Expr, axes: tuple[Axis | None, ...]) -> Piece:
    """An expression over the positions of a tile, of a shape that broadcasts; its value is any where a mask is false.

    axes: None for an axis along which it does not vary.
    """
    with out.apart() as lines:
        _place(out, axes)
        text = out.value(value).text
    return Piece(lines, text)


def epilogue(out: Printer, kernel: Kernel, stages: Sequence[Stage], axes: tuple[Axis, ...]) -> list[str]:
    """The lines of a template's epilogue, in which `acc` is the accumulated tile."""
    kept: dict[int, Value] = {}

    def local(e: Local) -> Value:
        return kept[e.slot]

    with out.apart() as lines:
        _place(out, axes)
        out.local = local
        for slot, stage in enumerate(stages):
            out.bind(stage.lets)
            value = out.value(stage.value)
            if stage.store is None:
                kept[slot] = value
            else:
                dtype = kernel.params[stage.store.buffer].dtype
                value = out.cast(stage.value.dtype, dtype, value)
                out.store(stage.store.buffer, stage.store.index, value, dtype)
    return lines


def _place(out: Printer, axes: Sequence[Axis | None]) -> None:
    """Binds the loop variables to their positions, and sets the masks."""
    out.masks, out.lanes = {}, {}
    for number, axis in enumerate(axes):
        if axis is not None:
            out.names[axis.symbol] = Value(axis.positions, frozenset((number,)))
            out.lanes[number] = axis.positions
            if axis.mask is not None:
                out.masks[number] = axis.mask


def _zero_where_masked(e: Expr) -> bool:
    """Whether an expression is 0 where its load is masked: whether it is a load, or a cast of one that keeps zeros."""
    if isinstance(e, Call) and e.prim == "cast" and e.args[0].dtype.bits > 8:
        e = e.args[0]
    return isinstance(e, Load) and (e.other is None or e.other == _zero(e))


def _zero(e: Expr) -> Const:
    return Const(0.0 if e.dtype.is_float else 0, e.dtype)
