"""The operands of products in memory: facts of a body that schedules and printers share.

In: a body. Out: where an operand is read in place; None if it has to be evaluated into scratch first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..scalar.dim import Size, Symbol, ceil_div, extent, floor_div, linear_in
from ..scalar.dtype import I8, I32, U8, DType
from ..scalar.expr import Call, Expr, Load, walk
from .ir import Body, Conv, Matmul
from .packing import Packing


@dataclass(frozen=True, slots=True)
class PlainInput:
    """A convolution's input that is read in place: x = params[buffer][start + position . strides + channel].

    start: index at the position that the symbols n, spatial and channel name, affine in them; strides: of the spatial
    axes.
    """

    buffer: int
    start: Size
    strides: tuple[Size, ...]


@dataclass(frozen=True, slots=True)
class PackedOperand:
    """Constant weights of a product: the number of their parameter, their shape in `Packing`, and their packing."""

    param: int
    shape: tuple[Size, ...]
    packing: Packing


def multiplied(a: DType, b: DType, acc: DType) -> tuple[DType, DType]:
    """The types in which the host multiplies operands of types a and b: those of the accumulator, or bytes by signed
    bytes, whose sums are i32."""
    return (a, b) if a in (U8, I8) and b == I8 and acc == I32 else (acc, acc)


def packed_operands(body: Body) -> tuple[PackedOperand, ...]:
    """The weights of a product that have a packing (the plain one included): B, then scales and zero points of its
    blocks, whose panels are as wide."""
    if isinstance(body, Conv):
        in_c = floor_div(extent(body.channel), body.groups)
        return (PackedOperand(body.w, (*body.taps, in_c, extent(body.c)), body.packing),)
    if isinstance(body, Matmul) and body.packing is not None:
        (number,) = {e.buffer for e in walk(body.b) if isinstance(e, Load)}
        weights = PackedOperand(number, (extent(body.k), extent(body.n)), body.packing)
        if body.blocks is None:
            return (weights,)
        shape, packing = (ceil_div(extent(body.k), body.blocks.size), extent(body.n)), body.packing
        factors, bits = Packing(packing.form, packing.nr), body.blocks.zero_bits
        words = replace(factors, kr=1 if packing.form == "plain" else 32 // bits, bits=min(bits, 8))
        return weights, PackedOperand(body.blocks.scale, shape, factors), PackedOperand(body.blocks.zero, shape, words)
    return ()


def plain_load(value: Expr, dtype: DType) -> Load | None:
    """`value`, if it is an unmasked load of `dtype`, else None."""
    return value if isinstance(value, Load) and value.mask is None and value.dtype == dtype else None


def cast_load(value: Expr) -> Load | None:
    """The unmasked load of another type that `value` is a cast of, else None."""
    if not isinstance(value, Call) or value.prim != "cast":
        return None
    return plain_load(value.args[0], value.args[0].dtype)


def matmul_rows(body: Matmul) -> Size | None:
    """The index of A's element (m, k = 0), if A is a plain load with unit stride in k, whose rows are read in place."""
    load = plain_load(body.a, body.a.dtype)
    return None if load is None else row_start(load, body.k)


def row_start(load: Load, along: Symbol) -> Size | None:
    """The index of the element at along = 0, if those along it are contiguous."""
    parts = linear_in(load.index, along)
    return parts[1] if parts and parts[0] == 1 else None


def panels_in_place(body: Matmul) -> bool:
    """Whether B's panels are read in place: whether they are packed as they are."""
    is_whole = body.packing is not None and body.blocks is None
    return is_whole and plain_load(body.b, body.b.dtype) is not None


def conv_input(body: Conv) -> PlainInput | None:
    """The input, if it is a plain affine load with unit stride in channels, else None."""
    load = plain_load(body.x, body.x.dtype)
    if load is None:
        return None
    strides: list[Size] = []
    rest: Size = load.index
    for symbol in (*body.spatial, body.channel, body.n):
        parts = linear_in(rest, symbol)
        if parts is None:
            return None
        strides.append(parts[0])
        rest = parts[1]
    if strides[len(body.spatial)] != 1:
        return None
    return PlainInput(load.buffer, load.index, tuple(strides[: len(body.spatial)]))
