"""Sorting for the tests of both back ends: cases, their kernels, random inputs, and what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from intaglio.compiler.kernel import interp
from intaglio.compiler.kernel.ir import Kernel, Param, Sort, Store
from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import BOOL, I64, DType
from intaglio.compiler.scalar.expr import Load

Array = np.ndarray[Any, Any]
NUMERIC = ["f16", "bf16", "f32", "f64", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "bool"]


@dataclass(frozen=True)
class Case:
    """Sorts [outer, n, inner] along the middle axis."""

    dtype: DType
    descending: bool
    n: int
    k: int
    outer: int = 3
    inner: int = 2
    outputs: str = "vi"  # values, indices
    symbolic: bool = True


def kernel_of(case: Case) -> tuple[Kernel, list[int]]:
    sizes = [case.outer, case.inner, case.n, case.k]
    symbols = tuple(Symbol(name, 0) for name in ("outer", "inner", "n", "k")) if case.symbolic else ()
    outer, inner, n, k = symbols or sizes
    o, r, i, j = (Symbol(name, 0, extent) for name, extent in zip("orij", (outer, inner, n, k)))
    place = (o * k + j) * inner + r
    values, indices = (Store(b, place) if letter in case.outputs else None for b, letter in ((1, "v"), (2, "i")))
    x = Load(0, (o * n + i) * inner + r, case.dtype)
    params = (Param(case.dtype, 0, False), Param(case.dtype, 0, True), Param(I64, 0, True))
    body = Sort((o, r), i, j, x, case.descending, values, indices, I64)
    return Kernel(params, symbols, body), sizes if case.symbolic else []


def kernel_of_tuples(dtype: DType, descending: bool = False, single: bool = False) -> Kernel:
    """Sorts the rows of [n, columns], and tells where others begin; the kernel's sizes are these two. single: of one
    column, as of no tuples."""
    n, columns = Symbol("n", 0), Symbol("c", 0)
    i, j, column = (Symbol(name, 0, extent) for name, extent in (("i", n), ("j", n), ("column", columns)))
    x = Load(0, i if single else i * columns + column, dtype)
    params = (Param(dtype, n * columns, False), Param(I64, n, True), Param(BOOL, n, True))
    stores = None, Store(1, j), I64, Store(2, j)
    return Kernel(params, (n, columns), Sort((), i, j, x, descending, *stores, None if single else column))


def outputs_of(case: Case) -> list[Array]:
    """Values and indices, before a run."""
    shape = case.outer, case.k, case.inner
    return [np.zeros(shape, case.dtype.to_numpy()), np.full(shape, -1)]


def check(kernel: Kernel, sizes: Sequence[int], x: Array, made: Sequence[Array], fresh: Sequence[Array]) -> None:
    """That a run has made of `fresh` outputs what the interpreter makes of them, in all bits."""
    meant = [a.copy() for a in fresh]
    interp.run(kernel, [x.reshape(-1), *(a.reshape(-1) for a in meant)], sizes)
    for got, wanted in zip(made, meant, strict=True):
        assert got.tobytes() == wanted.tobytes()


def random(case: Case, rng: np.random.Generator) -> Array:
    """Numbers with many ties and the special values of the type."""
    shape = (case.outer, case.n, case.inner)
    dtype = case.dtype.to_numpy()
    if case.dtype.kind == "b":
        return rng.random(shape) < 0.5
    if case.dtype.kind == "f":
        x = np.round(rng.standard_normal(shape) * 8) / 4
        special = [np.inf, -np.inf, np.nan, 0.0, -0.0]
        return np.where(rng.random(shape) < 0.2, rng.choice(special, shape), x).astype(dtype)
    limits = np.iinfo(dtype)
    x = rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    return np.where(rng.random(shape) < 0.5, x, rng.choice(np.array([limits.min, 0, 1, limits.max], dtype), shape))
