"""Layouts of constant weights in memory, as values.

In: weights as the graph has them. Out: the same in a layout, and back. `READ_ON_HOST` and `READ_ON_DEVICE` say which
side reads which layouts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..scalar.dim import Size, ceil_div, floor_div, number

Array = npt.NDArray[Any]
Form = Literal["plain", "panels", "winograd", "whole", "taps"]

# Lowered kernels read plain weights; schedules choose the packing.
READ_ON_HOST: frozenset[Form] = frozenset({"panels", "winograd", "taps"})
READ_ON_DEVICE: frozenset[Form] = frozenset({"whole", "taps"})
_G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])  # of F(2x2, 3x3), for weights
_BACK = np.array([[1, 0, 0, 0], [0, 1, -1, 0], [0, 0, 0, 1]])  # _BACK @ _G is the identity


@dataclass(frozen=True, slots=True)
class Packing:
    """A layout of the weights [K, N] of a product, or [*taps, C / groups, N] of a convolution (K = taps, C / groups).

    "plain": [K][N], as they are;
    "panels": [groups][ceil(N / groups / nr)][runs][ceil(K / runs / kr)][nr][kr], zero-filled: panels of nr columns; kr
    elements of a column lie side by side, if they are of one of the runs of K;
    "winograd": [ceil(N / nr)][16][C][nr], zero-filled, transformed for F(2x2, 3x3);
    "whole": [groups][K][nr], nr being all of the N / groups columns;
    "taps": [taps][N], of depthwise convolutions, as one group.
    bits: of an element of "panels", if these are fewer than 8; the kr elements of a column then share bytes, the first
    ones in the lowest bits.
    sums: a panel of bytes begins with -128 times the sums of its columns, nr of i32, in the place of kr more rows.
    """

    form: Form
    nr: int = 1
    groups: int = 1
    kr: int = 1
    runs: int = 1
    sums: bool = False
    bits: int = 8

    def __str__(self) -> str:
        width = f" of {self.nr}" if self.form not in ("plain", "taps") else ""
        depth = f" by {self.kr} in {self.runs} runs" if self.kr > 1 else ""
        sums = " with sums" if self.sums else ""
        bits = f" of {self.bits} bits" if self.bits < 8 else ""
        return f"{self.form}{width}{depth}{sums}{bits}{f' in {self.groups} groups' if self.groups > 1 else ''}"

    def rows(self, depth: Size) -> Size:
        """The rows of a panel, for weights of that depth K."""
        return self.runs * ceil_div(floor_div(depth, self.runs), self.kr) * self.kr + self.sums * self.kr

    def elements(self, shape: Sequence[int]) -> int:
        """The number of elements of weights of that shape in this layout; of bytes, if they share these."""
        *outer, columns = shape
        depth = 16 * outer[-1] if self.form == "winograd" else math.prod(outer)
        in_group = columns // self.groups
        if self.form == "panels":
            depth = number(self.rows(depth))
        if self.form in ("panels", "winograd"):
            in_group = -(-in_group // self.nr) * self.nr
        return depth * in_group * self.groups * (self.bits if self.form == "panels" else 8) // 8

    def pack(self, array: Array) -> Array:
        """Weights in this layout, contiguous."""
        *outer, columns = array.shape
        depth = math.prod(outer)
        if self.form in ("plain", "taps"):
            return np.ascontiguousarray(array.reshape(depth, columns))
        if self.form == "winograd":
            return _transformed(array, self.nr)
        by_group = np.moveaxis(array.reshape(depth, self.groups, columns // self.groups), 1, 0)
        return np.ascontiguousarray(by_group) if self.form == "whole" else self._panels(by_group)

    def _panels(self, by_group: Array) -> Array:
        """[groups, K, N / groups] in panels."""
        groups, depth, columns = by_group.shape
        run, panels = depth // self.runs, -(-columns // self.nr)
        padded = np.zeros((groups, self.runs, -(-run // self.kr) * self.kr, panels * self.nr), by_group.dtype)
        padded[:, :, :run, :columns] = by_group.reshape(groups, self.runs, run, columns)
        parts = padded.reshape(groups, padded.shape[1] * padded.shape[2] // self.kr, self.kr, panels, self.nr)
        packed = np.ascontiguousarray(parts.transpose(0, 3, 1, 4, 2))  # [groups, panels, K / kr, nr, kr]
        if not self.sums:
            return packed if self.bits == 8 else _joined(packed, self.bits)
        sums = (-128 * packed.sum((2, 4), dtype=np.int32)).view(packed.dtype)
        return np.concatenate([sums.reshape(groups, panels, 1, self.nr, self.kr), packed], 2)

    def unpack(self, array: Array, shape: Sequence[int]) -> Array:
        """Weights of that shape from this layout; the transformation of "winograd" is inverted up to rounding."""
        *outer, columns = shape
        if self.form in ("plain", "taps"):
            return array.reshape(shape)
        if self.form == "winograd":
            return _transformed_back(array, outer[-1], columns, self.nr)
        depth, in_group = math.prod(outer), columns // self.groups
        panels, run = 1 if self.form == "whole" else -(-in_group // self.nr), depth // self.runs
        height = number(self.rows(depth)) // self.kr
        array = array if self.bits == 8 else _parted(array, self.bits)
        rows = array.reshape(self.groups, panels, height, self.nr, self.kr)[:, :, int(self.sums) :]
        padded = -(-run // self.kr) * self.kr
        by_row = rows.transpose(2, 4, 0, 1, 3).reshape(self.runs, padded, self.groups, panels * self.nr)
        plain: Array = by_row[:, :run, :, :in_group].reshape(shape)
        return plain


PLAIN = Packing("plain")


def _joined(array: Array, bits: int) -> Array:
    """Bytes [..., M] that hold numbers of fewer bits -> [..., M * bits / 8], the first ones in the lowest bits."""
    parts = array.reshape(*array.shape[:-1], array.shape[-1] * bits // 8, 8 // bits)
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    joined: Array = np.bitwise_or.reduce(parts << shifts, -1)
    return joined


def _parted(array: Array, bits: int) -> Array:
    """The numbers that share bytes [M] -> bytes [M * 8 / bits]."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    parted: Array = (array.reshape(-1, 1) >> shifts) & np.uint8((1 << bits) - 1)
    return parted.reshape(-1)


def _transformed(array: Array, nr: int) -> Array:
    """Weights [3, 3, C, N] -> transformed [ceil(N / nr), 16, C, nr], padded with zeros; computed in f64."""
    _, _, in_c, out_c = array.shape
    transformed = np.einsum("ia,abco,jb->ijco", _G, array.astype(np.float64), _G).astype(array.dtype)
    return Packing("panels", nr).pack(transformed.reshape(16 * in_c, out_c)).reshape(-1, 16, in_c, nr)


def _transformed_back(array: Array, in_c: int, out_c: int, nr: int) -> Array:
    """The weights [3, 3, C, N] that were transformed; computed in f64."""
    tiles = array.reshape(-(-out_c // nr), 4, 4, in_c, nr).astype(np.float64)
    weights = np.einsum("ai,pijcl,bj->abcpl", _BACK, tiles, _BACK).reshape(3, 3, in_c, -1)
    plain: Array = weights[..., :out_c].astype(array.dtype)
    return plain
