"""How products of f32 may be computed: the `precision` of a session and of `compile`.

A CPU with tile units (AMX) multiplies bfloat16, 8 bits of significand, at many times the speed of f32, and adds in f32.
An f32 is the sum of three such parts, each at most 2^-8 of the one before it. Products of parts i and j, the largest
ones being 0, count where i + j is below the number that the precision names. What is left out is at most 2^-23,
3 * 2^-16 or 2^-7 of a product, and less than half of that as a rule; parts below 2^-126 count as zeros. Infinities and
what is no number are what multiply-adds make of them.

    strict  multiply-adds of f32 alone, and no algorithm that rounds differently (Winograd's)
    exact   results as accurate as those of multiply-adds: three parts, six products
    high    two parts, three products
    bf16    one part, one product
"""

from __future__ import annotations

from typing import Literal

from ..runtime.errors import InvalidArgument

Precision = Literal["strict", "exact", "high", "bf16"]
PARTS: dict[Precision, int] = {"strict": 0, "exact": 3, "high": 2, "bf16": 1}

# What is left out of a product at most, as a part of it.
ERRORS: dict[Precision, float] = {"strict": 0.0, "exact": 2.0**-23, "high": 3 * 2.0**-16, "bf16": 2.0**-7}

# What matrix units of a GPU do to factors of f32, as tl.dot of Triton has it: nothing (they are then not used), three
# products of bf16 parts, or one product of 11 bits.
Rounding = Literal["ieee", "bf16x3", "tf32"]
ON_GPU: dict[Precision, Rounding] = {"strict": "ieee", "exact": "ieee", "high": "bf16x3", "bf16": "tf32"}


def precision(name: str) -> Precision:
    """The precision of that name. Raises InvalidArgument, naming the choices."""
    for each in PARTS:
        if each == name:
            return each
    raise InvalidArgument(f"unknown precision '{name}'; choose one of: {', '.join(PARTS)}")
