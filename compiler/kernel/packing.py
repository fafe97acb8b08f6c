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
    "panels": [groups][ceil(N / groups / nr)][K][nr], zero-filled: panels of nr columns;
    "winograd": [ceil(N / nr)][16][C][nr], zero-filled, transformed for F(2x2, 3x3);
    "whole": [groups][K][nr], nr being all of the N / groups columns;
    "taps": [taps][N], of depthwise convolutions, as one group.
    """

    form: Form
    nr: int = 1
    groups: int = 1

    def __str__(self) -> str:
        width = f" of {self.nr}" if self.form not in ("plain", "taps") else ""
        return f"{self.form}{width}{f' in {self.groups} groups' if self.groups > 1 else ''}"

    def elements(self, shape: Sequence[int]) -> int:
        """The number of elements of weights of that shape in this layout."""
        *outer, columns = shape
        depth = 16 * outer[-1] if self.form == "winograd" else math.prod(outer)
        in_group = columns // self.groups
        if self.form in ("panels", "winograd"):
            in_group = -(-in_group // self.nr) * self.nr
        return depth * in_group * self.groups

    def pack(self, array: Array) -> Array:
        """Weights in this layout, contiguous."""
        *outer, columns = array.shape
        depth = math.prod(outer)
        if self.form in ("plain", "taps"):
            return np.ascontiguousarray(array.reshape(depth, columns))
        if self.form == "winograd":
            return _transformed(array, self.nr)
        by_group = np.moveaxis(array.reshape(depth, self.groups, columns // self.groups), 1, 0)
        return np.ascontiguousarray(by_group) if self.form == "whole" else _panels(by_group, self.nr)

    def unpack(self, array: Array, shape: Sequence[int]) -> Array:
        """Weights of that shape from this layout; the transformation of "winograd" is inverted up to rounding."""
        *outer, columns = shape
        if self.form in ("plain", "taps"):
            return array.reshape(shape)
        if self.form == "winograd":
            return _transformed_back(array, outer[-1], columns, self.nr)
        in_group = columns // self.groups
        panels = 1 if self.form == "whole" else -(-in_group // self.nr)
        by_group = array.reshape(self.groups, panels, math.prod(outer), self.nr).transpose(2, 0, 1, 3)
        plain: Array = by_group.reshape(math.prod(outer), self.groups, panels * self.nr)[..., :in_group].reshape(shape)
        return plain


PLAIN = Packing("plain")


def _panels(array: Array, nr: int) -> Array:
    """[..., K, N] -> contiguous [..., ceil(N / nr), K, nr], the last panel padded with zeros."""
    *batch, depth, columns = array.shape
    panels = -(-columns // nr)
    padded = np.zeros((*batch, depth, panels * nr), array.dtype)
    padded[..., :columns] = array
    return np.ascontiguousarray(np.moveaxis(padded.reshape(*batch, depth, panels, nr), -2, -3))


def _transformed(array: Array, nr: int) -> Array:
    """Weights [3, 3, C, N] -> transformed [ceil(N / nr), 16, C, nr], padded with zeros; computed in f64."""
    _, _, in_c, out_c = array.shape
    transformed = np.einsum("ia,abco,jb->ijco", _G, array.astype(np.float64), _G).astype(array.dtype)
    return _panels(transformed.reshape(16 * in_c, out_c), nr).reshape(-1, 16, in_c, nr)


def _transformed_back(array: Array, in_c: int, out_c: int, nr: int) -> Array:
    """The weights [3, 3, C, N] that were transformed; computed in f64."""
    tiles = array.reshape(-(-out_c // nr), 4, 4, in_c, nr).astype(np.float64)
    weights = np.einsum("ai,pijcl,bj->abcpl", _BACK, tiles, _BACK).reshape(3, 3, in_c, -1)
    plain: Array = weights[..., :out_c].astype(array.dtype)
    return plain
