"""The input of a kernel.ir.Conv, for all templates of convolutions. In: a body. Out: facts about it, no C.

Templates have three spatial axes (d, h, w); bodies with one or two get leading axes of length 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from ...kernel.ir import Conv
from ...kernel.operands import PlainInput, conv_input
from ...scalar.dim import Symbol

T = TypeVar("T")
X_NAMES, Y_NAMES = ("xd", "xh", "xw"), ("yd", "yh", "yw")  # C names of the positions in the input and the output


def spread(values: Sequence[T], fill: T) -> tuple[T, ...]:
    """The values of one to three spatial axes as values of d, h, w."""
    return (fill,) * (3 - len(values)) + tuple(values)


def symbol_names(body: Conv) -> dict[Symbol, str]:
    """The C names of the body's symbols in its templates."""
    rank = len(body.taps)
    names = {body.n: "n", body.channel: "channel", body.c: "c"}
    return names | dict(zip(body.spatial, X_NAMES[3 - rank :])) | dict(zip(body.out, Y_NAMES[3 - rank :]))


def plain_input(body: Conv) -> PlainInput | None:
    """The input, if it can be read in place, with strides of the axes d, h, w; else None."""
    plain = conv_input(body)
    return plain and replace(plain, strides=spread(plain.strides, 0))
