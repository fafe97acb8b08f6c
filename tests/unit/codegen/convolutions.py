"""Convolutions for the tests of both back ends: cases, their kernels, random numbers for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from unit.codegen import exact

from intaglio.compiler.kernel.ir import Conv, Kernel, Param, Stage, Store
from intaglio.compiler.kernel.operands import multiplied
from intaglio.compiler.kernel.packing import PLAIN, Packing
from intaglio.compiler.scalar.dim import Size, Symbol
from intaglio.compiler.scalar.dtype import F32, DType
from intaglio.compiler.scalar.expr import Acc, Call, Const, Load, as_type

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Case:
    """y = max(conv(x, w) + bias[c] + residual, 0); x [batch, *spatial, groups * in_c], groups * out_c outputs."""

    spatial: tuple[int, ...]
    in_c: int
    out_c: int
    taps: tuple[int, ...]
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    pads: tuple[tuple[int, int], ...] = ()  # by default, half of the taps
    groups: int = 1
    batch: int = 2
    scaled: bool = False  # the input is x * scale[channel]
    dtype: DType = F32
    x_type: DType | None = None  # of the input, and below of the weights; by default `dtype`
    w_type: DType | None = None
    winograd: bool = False
    fill: int | None = None  # outside of the input
    symbolic: bool = True

    @property
    def depthwise(self) -> bool:
        return self.groups > 1 and self.in_c == self.out_c == 1

    def filled(self) -> Case:
        """With the defaults of strides, dilations and pads written out."""
        ones = (1,) * len(self.taps)
        pads = self.pads or tuple((t // 2, t // 2) for t in self.taps)
        return replace(self, strides=self.strides or ones, dilations=self.dilations or ones, pads=pads)

    @property
    def output(self) -> tuple[int, ...]:
        sizes = zip(self.spatial, self.taps, self.strides, self.dilations, self.pads)
        return tuple((s + lo + hi - (t - 1) * d - 1) // st + 1 for s, t, st, d, (lo, hi) in sizes)


@dataclass(frozen=True)
class Problem:
    """A kernel and its buffers x, packed weights, scale, bias, residual and y; what it means, and what rounding may
    change in it."""

    kernel: Kernel
    sizes: list[int]
    buffers: list[Array]
    exact: Array
    tolerance: Array

    def fresh(self) -> list[Array]:
        """The buffers, with another y for another run."""
        return [*self.buffers[:-1], self.buffers[-1].copy()]

    def check(self, y: Array) -> None:
        exact.check(y, self.exact, self.tolerance)


def problem(case: Case, packing: Packing) -> Problem:
    """A filled case with random numbers."""
    x, w, *others = arrays_of(case)
    made, sizes = kernel(case, packing)
    buffers = [x, packing.pack(w), *others]
    terms = case.in_c * math.prod(case.taps) + 4
    tolerance = exact.tolerance(kernel(case, PLAIN)[0], [x, w, *others], sizes, terms, case.dtype)[-1]
    if case.winograd:  # a result is a sum over all of the tile around it
        tolerance = np.full_like(tolerance, 4 * tolerance.max())
    return Problem(made, sizes, buffers, exact.meant(made, buffers, sizes)[-1], tolerance)


def arrays_of(case: Case) -> list[Array]:
    """Random buffers of a filled case, the weights [*taps, in_c, groups * out_c] as they are."""
    acc, channels, out_channels = case.dtype, case.groups * case.in_c, case.groups * case.out_c
    result = (case.batch, *case.output, out_channels)
    return [
        random((case.batch, *case.spatial, channels), case.x_type or acc),
        random((*case.taps, case.in_c, out_channels), case.w_type or acc),
        *(random(shape, acc) for shape in ((channels,), (out_channels,), result, result)),
    ]


def _linear(index: Sequence[Size], shape: Sequence[Size]) -> Size:
    flat: Size = 0
    for i, extent in zip(index, shape):
        flat = flat * extent + i
    return flat


def kernel(case: Case, packing: Packing) -> tuple[Kernel, list[int]]:
    """The kernel of a filled case, and its sizes; buffers: x, packed weights, scale, bias, residual, y."""
    values: list[int] = []
    formal: list[Symbol] = []

    def size(value: int) -> Size:
        """A parameter of the kernel, where lowering makes it one."""
        if not case.symbolic or value <= 16:
            return value
        values.append(value)
        formal.append(Symbol(f"p{len(formal)}", 1))
        return formal[-1]

    batch, channels, out_channels = size(case.batch), size(case.groups * case.in_c), size(case.groups * case.out_c)
    in_shape, out_shape = [size(s) for s in case.spatial], [size(s) for s in case.output]
    n, channel, c = Symbol("n", 0, batch), Symbol("ic", 0, channels), Symbol("c", 0, out_channels)
    spatial = tuple(Symbol(f"x{i}", 0, s) for i, s in enumerate(in_shape))
    position = tuple(Symbol(f"y{i}", 0, s) for i, s in enumerate(out_shape))
    acc, x_type = case.dtype, case.x_type or case.dtype
    factor = multiplied(x_type, case.w_type or acc, acc)[0]
    x = as_type(Load(0, _linear((n, *spatial, channel), (batch, *in_shape, channels)), x_type), factor)
    if case.scaled:
        x = x * as_type(Load(2, channel, acc), factor)
    at = _linear((n, *position, c), (batch, *out_shape, out_channels))
    result = Call("max", (Acc(acc) + Load(3, c, acc) + Load(4, at, acc), Const(0, acc)), acc)
    pads = tuple(low for low, _ in case.pads)
    body = Conv(
        n, spatial, channel, position, c, case.taps, case.strides, case.dilations, pads, case.groups,
        x, 1, acc, (Stage(result, Store(5, at)),), packing, None if case.fill is None else Const(case.fill, factor),
    )  # fmt: skip
    types = (x_type, case.w_type or acc, acc, acc, acc, acc)
    params = tuple(Param(d, 1, i == 5) for i, d in enumerate(types))
    return Kernel(params, tuple(formal), body), values


def random(shape: tuple[int, ...], dtype: DType) -> Array:
    rng = np.random.default_rng(shape)
    numbers = (
        rng.integers(-100 if dtype.kind == "i" else 0, 100, shape) if dtype.is_integer else rng.standard_normal(shape)
    )
    return numbers.astype(dtype.to_numpy())


SHAPES = {
    "3x3": Case((9, 7), 20, 37, (3, 3)),
    "1x1 strided": Case((9, 8), 20, 70, (1, 1), (2, 3)),
    "asymmetric": Case((11, 6), 18, 20, (3, 2), (2, 1), pads=((1, 0), (0, 2))),
    "dilated": Case((12, 9), 17, 33, (3, 3), (1, 2), (2, 3), ((3, 1), (2, 4))),
    "even taps": Case((10, 9), 24, 18, (2, 4)),
    "pads beyond the taps": Case((3, 2), 20, 5, (2, 2), pads=((4, 3), (3, 5))),
    "taps beyond the input": Case((3, 2), 20, 5, (7, 5)),
    "one channel": Case((9, 7), 1, 6, (3, 3)),
    "first layer": Case((21, 19), 3, 64, (7, 7), (2, 2)),
    "first layer, dilated": Case((21, 19), 3, 20, (3, 3), (1, 2), (2, 2)),
    "patches": Case((8, 8), 3, 96, (4, 4), (4, 4), pads=((0, 0), (0, 0))),
    "grouped": Case((6, 5), 6, 7, (3, 3), groups=3),
    "grouped wide": Case((6, 5), 20, 66, (3, 3), (2, 1), groups=2),
    "1d": Case((37,), 24, 70, (5,), (2,)),
    "1d few channels": Case((37,), 2, 9, (9,), (4,)),
    "3d": Case((5, 6, 7), 18, 20, (3, 2, 3), (1, 2, 1), batch=1),
    "3d few channels": Case((5, 6, 7), 3, 20, (3, 2, 3), (2, 2, 1), batch=1),
    "one pixel": Case((1, 1), 30, 40, (1, 1)),
    "many pixels": Case((40, 33), 17, 17, (3, 3)),
    "depthwise": Case((9, 17), 1, 1, (3, 3), groups=48),
    "depthwise tail": Case((9, 8), 1, 1, (3, 3), (2, 1), groups=37),
    "depthwise 7x7": Case((5, 16), 1, 1, (7, 7), groups=33),
    "depthwise dilated": Case((20, 21), 1, 1, (3, 3), (2, 3), (3, 2), ((1, 4), (3, 0)), groups=16),
    "depthwise long": Case((4, 40), 1, 1, (1, 21), groups=18),
    "depthwise 1d": Case((29,), 1, 1, (5,), (2,), groups=40),
    "depthwise 3d": Case((5, 6, 7), 1, 1, (3, 2, 3), (1, 2, 1), groups=17, batch=1),
    "depthwise small": Case((2, 1), 1, 1, (3, 3), groups=20),
}
