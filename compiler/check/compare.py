"""How far arrays are apart, and whether that is what roundings explain.

In: an array, what it should be, and how far it may be off. Out: a `Difference`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..graph.ir import Array
from ..scalar.dtype import DType, from_numpy
from .exact import Known, bound, limits, precision_of


@dataclass(frozen=True)
class Difference:
    """How far a result is from what it should be.

    ulps: of the element that is most of them off, |got - wanted| / the distance of floats of the output's type at
    `wanted`. relative: max |got - wanted| / RMS(wanted). of_bound: the largest part of what an element may be
    off; above 1 it is wrong. All are 0 where nothing differs, and infinite where what differs has to be equal.
    wrong: the number of wrong elements; text: the first of them, or what else is wrong."""

    ulps: float
    relative: float
    of_bound: float
    wrong: int
    text: str = ""

    @property
    def agrees(self) -> bool:
        return not self.text


SAME = Difference(0.0, 0.0, 0.0, 0)


def from_exact(got: Any, known: Known) -> Difference:
    """How far an array is from the exact one."""
    found = _difference(got, known.exact, known.bound, known.dtype)
    if not found.agrees or not known.decided:
        return found
    beyond = _difference(got, known.exact, known.continuous, known.dtype)
    if beyond.wrong <= known.most:
        return found
    return replace(beyond, text=f"{beyond.text}; a rounding may decide about {known.most} of them")


def between(got: Any, wanted: Any, roundings: int) -> Difference:
    """How far two results are apart, each of whose numbers may be off by as many roundings of the largest one, and 8
    times that; tensors, sequences and maps."""
    parts = [list(_leaves(each)) for each in (got, wanted)]
    if [place for place, _ in parts[0]] != [place for place, _ in parts[1]]:
        return _all_wrong(1, "other elements")
    worst = SAME
    for (place, a), (_, b) in zip(*parts):
        dtype = from_numpy(b.dtype)
        eps, least = precision_of(dtype)
        found = _difference(a, b, bound(b, (), roundings * eps, least), dtype)
        if found.of_bound > worst.of_bound or (found.text and not worst.text):
            text = f"{place}: {found.text}" if place and found.text else found.text
            worst = Difference(found.ulps, found.relative, found.of_bound, found.wrong, text)
    return worst


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Array]]:
    """The arrays in a result, with their places."""
    if isinstance(value, dict):
        yield f"{place}{list(value)}", np.array(list(value.values()))
    elif isinstance(value, list):
        for i, each in enumerate(value):
            yield from _leaves(each, f"{place}[{i}]")
    else:
        yield place, np.asarray(value)


def _difference(got: Any, wanted: Array, allowed: Array, dtype: DType) -> Difference:
    if not isinstance(got, np.ndarray) or from_numpy(got.dtype) != dtype:
        return _all_wrong(wanted.size, f"{getattr(got, 'dtype', type(got).__name__)} instead of {dtype.to_numpy()}")
    if got.shape != wanted.shape:
        return _all_wrong(wanted.size, f"shape {list(got.shape)} instead of {list(wanted.shape)}")
    if got.size == 0:
        return SAME
    if dtype.kind not in "biuf":
        wrong = np.asarray(got != wanted)
        off = np.where(wrong, np.inf, 0.0)
        ulps = relative = of_bound = off
    else:
        a, b = got.astype(np.float64), wanted.astype(np.float64)
        with np.errstate(all="ignore"):
            same = (a == b) | (np.isnan(a) & np.isnan(b))
            off = np.where(same, 0.0, np.abs(a - b))
            off = np.where(np.isnan(off), np.inf, off)
            scale = float(np.sqrt(np.mean(np.square(b), where=np.isfinite(b)))) if np.isfinite(b).any() else 0.0
            relative = np.where(off == 0, 0.0, off / scale)
            ulps = np.where(off == 0, 0.0, off / _ulp(b, dtype)) if dtype.is_float else relative * np.inf
            ulps = np.where(off == 0, 0.0, ulps)
            of_bound = np.where(off == 0, 0.0, off / allowed)
        wrong = ~(off <= allowed)
    text = ""
    if wrong.any():
        at = tuple(int(i[0]) for i in np.nonzero(wrong)) if wrong.ndim else ()
        text = (
            f"{int(wrong.sum())} of {wrong.size} elements, the first at {list(at)}: {got[at]} instead of {wanted[at]}"
        )
    return Difference(float(ulps.max()), float(relative.max()), float(np.max(of_bound)), int(wrong.sum()), text)


def _all_wrong(size: int, text: str) -> Difference:
    return Difference(np.inf, np.inf, np.inf, size, text)


def _ulp(x: Array, dtype: DType) -> Array:
    """The distance of floats of a type at x."""
    exponent = np.frexp(np.abs(np.where(np.isfinite(x), x, 1.0)))[1] - 1
    return np.asarray(np.maximum(np.ldexp(float(limits(dtype).eps), exponent), float(limits(dtype).smallest_subnormal)))
