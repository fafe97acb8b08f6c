"""What a row of the table is: a model, and how its inputs are made in three sizes.

In: packages that are installed. Out: a path or the bytes of a model, and arrays. An input's size may be the name of a
row's entry in `sizes`, which has one number for each of the three; models whose sizes are all fixed get other data
each time.
"""

from __future__ import annotations

import importlib.metadata
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Sizes = Mapping[str, int]
Make = Callable[[np.random.Generator, Sizes], Array]
RUNS = 3  # sizes of each model


@dataclass(frozen=True)
class Entry:
    """`package` is the distribution that has the model in it, or that trains it. rounds: the model quantises what it
    computes, when it runs (`agreement.py` says what that means)."""

    name: str
    package: str
    load: Callable[[], Path | bytes]
    inputs: Mapping[str, Make]
    sizes: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    rounds: bool = False

    def feeds(self, run: int) -> dict[str, Array]:
        rng = np.random.default_rng([zlib.crc32(self.name.encode()), run])
        sizes = {name: numbers[run] for name, numbers in self.sizes.items()}
        return {name: make(rng, sizes) for name, make in self.inputs.items()}


def packaged(
    package: str, file: str, inputs: Mapping[str, Make], rounds: bool = False, **sizes: tuple[int, int, int]
) -> Entry:
    """A model that lies inside of a package, at `file` below site-packages."""
    return Entry(f"{package}/{Path(file).stem}", package, lambda: installed(package, file), inputs, sizes, rounds)


def installed(package: str, file: str) -> Path:
    """Raises PackageNotFoundError."""
    return Path(str(importlib.metadata.distribution(package).locate_file(file)))


# -- inputs ----------------------------------------------------------------------------------------------------------


def _shape(dims: tuple[int | str, ...], sizes: Sizes) -> tuple[int, ...]:
    return tuple(sizes[d] if isinstance(d, str) else d for d in dims)


def image(*dims: int | str, top: float = 1) -> Make:
    """Pixels from 0 to `top`."""
    return lambda rng, sizes: rng.uniform(0, top, _shape(dims, sizes)).astype(np.float32)


def normal(*dims: int | str) -> Make:
    return lambda rng, sizes: rng.standard_normal(_shape(dims, sizes), np.float32)


def sound(*dims: int | str, loud: float = 0.5) -> Make:
    """A voice-like tone of 16 kHz, with noise, along the last axis."""

    def make(rng: np.random.Generator, sizes: Sizes) -> Array:
        shape = _shape(dims, sizes)
        time = np.arange(shape[-1]) / 16000
        tone = sum(np.sin(2 * np.pi * 140 * k * time) / k for k in range(1, 8))
        return (loud * (0.4 * tone + 0.05 * rng.standard_normal(shape))).astype(np.float32)

    return make


def whole(below: int, *dims: int | str, dtype: type = np.int64) -> Make:
    """Integers from 0 on, as numbers of `dtype`."""
    return lambda rng, sizes: rng.integers(0, below, _shape(dims, sizes)).astype(dtype)


def zeros(*dims: int | str) -> Make:
    return lambda rng, sizes: np.zeros(_shape(dims, sizes), np.float32)


def just(value: Any) -> Make:
    """Always this array."""
    return lambda rng, sizes: np.asarray(value)


def length(name: str, *dims: int | str) -> Make:
    """The size called `name`, as a tensor of i64."""
    return lambda rng, sizes: np.full(_shape(dims, sizes), sizes[name], np.int64)
