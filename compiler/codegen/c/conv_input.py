"""What the dense and the depthwise convolution templates ask about a kernel.ir.Conv. In: a body. Out: facts, no C.

Templates are written for three spatial axes (d, h, w); bodies of one or two get leading axes of length 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from ...kernel.ir import Conv
from ...scalar.dim import Size, Symbol, linear_in
from ...scalar.expr import Call, Expr, Load

T = TypeVar("T")
X_NAMES, Y_NAMES = ("xd", "xh", "xw"), ("yd", "yh", "yw")  # C names of the positions in the input and the output


@dataclass(frozen=True, slots=True)
class PlainInput:
    """An input that is read in place: x = params[buffer][start + position . strides + channel].

    start: index at the position that the symbols n, spatial and channel name, affine in them; strides: of the
    axes d, h, w.
    """

    buffer: int
    start: Size
    strides: tuple[Size, ...]


def spread(values: Sequence[T], fill: T) -> tuple[T, ...]:
    """The values of one to three spatial axes as those of d, h, w."""
    return (fill,) * (3 - len(values)) + tuple(values)


def symbol_names(body: Conv) -> dict[Symbol, str]:
    """The C names of the body's symbols in its templates."""
    rank = len(body.taps)
    names = {body.n: "n", body.channel: "channel", body.c: "c"}
    return names | dict(zip(body.spatial, X_NAMES[3 - rank :])) | dict(zip(body.out, Y_NAMES[3 - rank :]))


def input_as_acc(body: Conv) -> Expr:
    """The input's element, as the accumulator's type."""
    return body.x if body.x.dtype == body.acc else Call("cast", (body.x,), body.acc)


def plain_input(body: Conv) -> PlainInput | None:
    """Where the input can be read in place: a plain, affine load of the accumulator's type, unit stride in channels."""
    load = body.x
    if not isinstance(load, Load) or load.mask is not None or load.dtype != body.acc:
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
    return PlainInput(load.buffer, load.index, spread(strides[: len(body.spatial)], 0))
