"""Weights of few bits: constants (q - zero) * scale, whose integers q have 8 bits or fewer, in blocks that share both.

In: the second operand of a product, [K, N]. Out: its parts, which stay as narrow in the artifact and in memory as they
are in the model. They are found by algebra, through views, so that every way to write a dequantisation is one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..scalar.dtype import F32, I32, U8
from .interp import constant_array
from .ir import Array, Value, constant, is_static

_VIEWS = ("reshape", "permute", "slice", "broadcast", "ensure_shape")
_STEPS = 12  # of a dequantisation, with its views
_MULTIPLE = 16  # of which blocks are: elements of 2 bits in 32


@dataclass(frozen=True)
class Narrow:
    """w[k, n] = (data[k, n] - zero[k // block, n]) * scale[k // block, n].

    data: u8 [K, N], below 2 ** bits, of 2, 4 or 8; zero: u8 below 2 ** zero_bits, or f32 if that is 32, and scale: f32,
    both [ceil(K / block), N]."""

    data: Value
    zero: Value
    scale: Value
    block: int
    bits: int
    zero_bits: int


@dataclass(frozen=True)
class _Terms:
    """(data - zero) * scale, all of one shape; data: integers of 8 bits or fewer; None: 0 and 1."""

    data: Value
    zero: Value | None = None
    scale: Value | None = None

    def viewed(self, view: Callable[[Value], Value]) -> _Terms:
        return _Terms(view(self.data), *(None if v is None else view(v) for v in (self.zero, self.scale)))


def is_narrow(v: Value) -> bool:
    """Whether a value is a constant whose elements are computed from integers of few bits, one of each."""
    return _constant_terms(v) is not None


def way(v: Value) -> Iterator[Value]:
    """The values from a narrow one down to its integers, without these."""
    while not _is_data(v):
        yield v
        v = next(x for x in v.node.inputs if _terms(x) is not None)


def narrowed(v: Value) -> Narrow | None:
    """The parts of a constant [K, N]; None if it has other ones, or no blocks."""
    terms = _constant_terms(v) if v.rank == 2 and all(isinstance(d, int) and d for d in v.shape) else None
    if terms is None:
        return None
    data = constant_array(terms.data).astype(np.int16)
    least = 0 if data.min() >= 0 else 1
    bits = next(b for b in (2, 4, 8) if -least << b - 1 <= data.min() and data.max() < 1 << b - least)
    lowest = -least << bits - 1
    zero, scale = (np.full(data.shape, other, np.float32) if part is None else constant_array(part)
                   for part, other in ((terms.zero, 0), (terms.scale, 1)))  # fmt: skip
    block = math.gcd(*_changes(zero), *_changes(scale)) or -(-data.shape[0] // _MULTIPLE) * _MULTIPLE
    if block % _MULTIPLE:
        return None
    zero, scale = (np.ascontiguousarray(x[::block], np.float32) for x in (zero - np.float32(lowest), scale))
    is_whole = bool(((zero >= 0) & (zero <= 255) & (zero == np.rint(zero))).all())
    zero_bits = next(b for b in (2, 4, 8) if zero.max() < 1 << b) if is_whole else 32
    shifted = terms.data if terms.data.dtype == U8 else (terms.data.cast(I32) - lowest).cast(U8)
    zeros = constant(zero.astype(np.uint8) if is_whole else zero)
    return Narrow(shifted, zeros, constant(scale), block, bits, zero_bits)


def _constant_terms(v: Value) -> _Terms | None:
    return _terms(v) if is_static(v) and v.dtype.is_float else None


def _is_data(v: Value) -> bool:
    return v.dtype.is_integer and v.dtype.bits <= 8


def _changes(x: Array) -> list[int]:
    """The rows that differ from the row before."""
    return [int(i) + 1 for i in np.flatnonzero((x[1:] != x[:-1]).any(1))]


def _terms(v: Value, steps: int = _STEPS) -> _Terms | None:
    """The terms of a value; those of a sum or product have its shape. steps: the most from it to the integers."""
    if _is_data(v):
        return _Terms(v)
    if steps == 0:
        return None
    if v.op in _VIEWS:
        below = _terms(v.node.inputs[0], steps - 1)
        return below and below.viewed(lambda x: v.node.with_inputs([x]).outputs[0])
    if v.op != "map":
        return None
    prim, inputs = v.node.attrs["prim"], v.node.inputs
    if prim == "cast":
        return _terms(inputs[0], steps - 1)
    if prim not in ("mul", "add", "sub"):
        return None
    for x, other in (inputs, inputs[::-1])[: 1 if prim == "sub" else 2]:
        terms = _terms(x, steps - 1) if x.shape == v.shape else None
        if terms is None:
            continue
        factor = other.cast(F32).broadcast(*v.shape)
        if prim == "mul":
            return _Terms(terms.data, terms.zero, factor if terms.scale is None else terms.scale * factor)
        if terms.scale is None:
            factor = factor if prim == "sub" else -factor
            return _Terms(terms.data, factor if terms.zero is None else terms.zero + factor)
    return None
