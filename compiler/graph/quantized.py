"""Products and convolutions of bytes with zero points: those of the bytes themselves, and corrections.

In: bytes, of either sign, and their zero points. Out: (a - a_zero) @ (b - b_zero) in i32, as a graph whose heavy
operation multiplies bytes by signed bytes, as CPUs do. Unsigned weights become signed, which moves their zero point by
128: to 0, where it usually is 128. What a zero point adds is a sum of the other operand times it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..scalar.dim import prod
from ..scalar.dtype import F32, I8, I32, U8
from .interp import constant_array
from .ir import Value, constant, is_static

_BYTES = (U8, I8)
_EXACT = 1 << 24  # integers up to which f32 has all


def product(a: Value, b: Value, a_zero: Value | None = None, b_zero: Value | None = None) -> Value:
    """(a[..., M, K] - a_zero) @ (b[..., K, N] - b_zero), of integers, in i32.

    a_zero: scalar or [..., M, 1]; b_zero: scalar or [..., 1, N]; of any integer type."""
    if a.dtype in _BYTES:
        b, b_zero = _signed(b, b_zero)
    a_zero, b_zero = _nonzero(a_zero), _nonzero(b_zero)
    out = a.matmul(b, acc=I32)
    if a_zero is not None:
        out = out - a_zero * b.cast(I32).sum(-2, keepdims=True)
    if b_zero is not None:
        out = out - a.cast(I32).sum(-1, keepdims=True) * b_zero
    if a_zero is not None and b_zero is not None:
        out = out + a_zero * b_zero * out.const_size(a.shape[-1])
    return out


def convolution(x: Value, w: Value, x_zero: Value | None, w_zero: Value | None, groups: int, **attrs: Any) -> Value:
    """The convolution of x[N, *S, C] - x_zero with w[*K, C / groups, OC] - w_zero, padded with x_zero, in i32; a
    depthwise one is in f32 if that has all its sums.

    x_zero: scalar; w_zero: scalar or [OC]; attrs: strides, dilations, pads_low, pads_high."""
    *taps, in_c, out_c = w.shape
    x_zero, attrs = _nonzero(x_zero), attrs | {"groups": groups}
    if in_c == 1 and out_c == groups and _fits(prod(taps)):  # sums that f32 has exactly, as no unit has sums of bytes
        w_zero = _nonzero(w_zero)
        real = [_minus(x.cast(F32), x_zero), _minus(w.cast(F32), w_zero)]
        return x.emit("conv", real, acc=F32, **attrs)[0]
    if not is_static(w):
        w_zero = _nonzero(w_zero)
        return x.emit("conv", [_minus(x.cast(I32), x_zero), _minus(w.cast(I32), w_zero)], acc=I32, **attrs)[0]
    w, w_zero = _signed(w, w_zero)
    w_zero = _nonzero(w_zero)
    fill = [] if x_zero is None else [x_zero.cast(x.dtype)]
    out = x.emit("conv", [x, w, *fill], acc=I32, **attrs)[0]
    if x_zero is not None:
        out = out - x_zero * w.cast(I32).sum(tuple(range(w.rank - 1)))
    if w_zero is not None:
        ones = constant(np.ones((*map(int, taps), int(in_c), groups), np.int8))  # type: ignore[arg-type]
        sums = x.emit("conv", [x, ones, *fill], acc=I32, **attrs)[0]
        if x_zero is not None:
            sums = sums - x_zero * sums.const_size(prod((*taps, in_c)))
        by_group = sums.reshape(*sums.shape, 1).broadcast(*sums.shape, out_c // groups)
        out = out - by_group.reshape(*out.shape) * w_zero
    return out


def _fits(terms: Any) -> bool:
    """Whether f32 has all sums of as many products of differences of bytes."""
    return isinstance(terms, int) and terms * 255 * 255 <= _EXACT


def _signed(b: Value, zero: Value | None) -> tuple[Value, Value | None]:
    """Unsigned bytes and their zero point, both less 128; signed ones as they are."""
    if b.dtype != U8:
        return b, zero
    return b.map("bit_xor", 128).cast(I8), (b.const(0, I32) if zero is None else zero.cast(I32)) - 128


def _nonzero(zero: Value | None) -> Value | None:
    """A zero point in i32, None if it is known to be 0."""
    if zero is None or (is_static(zero) and not constant_array(zero).any()):
        return None
    return zero.cast(I32)


def _minus(x: Value, zero: Value | None) -> Value:
    return x if zero is None else x - zero.cast(x.dtype)
