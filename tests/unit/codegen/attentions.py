"""Attention for the tests of both back ends: cases, their kernels, random arrays for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from intaglio.compiler.kernel.ir import Attention, Kernel, Param, Stage, Store
from intaglio.compiler.scalar.dim import Size, Symbol
from intaglio.compiler.scalar.dtype import F16, F32, F64, DType
from intaglio.compiler.scalar.expr import Acc, Call, Expr, Load

Array = np.ndarray[Any, Any]
SCALE = 0.2


@dataclass(frozen=True)
class Case:
    """Attention on [batch, positions, heads, d] buffers; heads share the `kv_heads` in groups."""

    m: int
    n: int
    d: int
    dv: int
    batch: int = 2
    heads: int = 2
    kv_heads: int = 2
    causal: int | None = None
    mask: str = ""  # over which symbols the mask varies: "bn", "mn", "bhmn"; "" is none
    dtype: DType = F32
    transposed_k: bool = False
    computed_kv: bool = False  # loads k and v through arithmetic
    zero_rows: bool = False
    symbolic: bool = True


def kernel_of(case: Case) -> tuple[Kernel, list[int]]:
    sizes: dict[str, int] = {}
    symbols: dict[str, Symbol] = {}

    def size(name: str, value: int) -> Size:
        if not case.symbolic:
            return value
        sizes[name] = value
        return symbols.setdefault(name, Symbol(name, min(value, 1)))

    batch, heads, m, n, d, dv = (size(x, getattr(case, x)) for x in ("batch", "heads", "m", "n", "d", "dv"))
    group = case.heads // case.kv_heads
    kv_heads: Size = case.kv_heads if group > 1 else heads
    b_, h_, m_, n_, d_, dv_ = (
        Symbol(x, 0, extent) for x, extent in zip(("b", "h", "m", "n", "d", "dv"), (batch, heads, m, n, d, dv))
    )
    kv_h = h_ // group
    dtype = case.dtype
    q: Expr = Load(0, ((b_ * m + m_) * heads + h_) * d + d_, dtype)
    k_index = ((b_ * n + n_) * kv_heads + kv_h) * d + d_
    if case.transposed_k:
        k_index = ((b_ * kv_heads + kv_h) * d + d_) * n + n_
    k: Expr = Load(1, k_index, dtype)
    v: Expr = Load(2, ((b_ * n + n_) * kv_heads + kv_h) * dv + dv_, dtype)
    if dtype != dtype.compute:
        q, k, v = (Call("cast", (x,), F32) for x in (q, k, v))
    if case.computed_kv:
        k, v = k * 0.5, v + 1.0
    mask = None
    if case.mask:
        index: Size = 0
        for letter, symbol, extent in zip("bhmn", (b_, h_, m_, n_), (batch, heads, m, n)):
            if letter in case.mask:
                index = index * extent + symbol
        mask = Load(4, index, F32)
    store = Store(3, ((b_ * m + m_) * heads + h_) * dv + dv_)
    value: Expr = Acc(dtype.compute) * 2.0
    if dtype != dtype.compute:
        value = Call("cast", (value,), dtype)
    body = Attention(
        (b_, h_), m_, n_, d_, dv_, q, k, v, mask, SCALE, case.causal, (Stage(value, store),), case.zero_rows
    )
    params = [Param(dtype, 0, False)] * 3 + [Param(dtype, 0, True)] + [Param(F32, 0, False)] * bool(case.mask)
    return Kernel(tuple(params), tuple(symbols.values()), body), list(sizes.values())


def arrays_of(case: Case, rng: np.random.Generator) -> list[Array]:
    dtype = case.dtype.to_numpy()
    q = (2 * rng.standard_normal((case.batch, case.m, case.heads, case.d))).astype(dtype)
    k_shape = (case.batch, case.n, case.kv_heads, case.d)
    if case.transposed_k:
        k_shape = (case.batch, case.kv_heads, case.d, case.n)
    k = rng.standard_normal(k_shape).astype(dtype)
    v = rng.standard_normal((case.batch, case.n, case.kv_heads, case.dv)).astype(dtype)
    out = np.full((case.batch, case.m, case.heads, case.dv), np.nan, dtype)
    if not case.mask:
        return [q, k, v, out]
    extents = {"b": case.batch, "h": case.heads, "m": case.m, "n": case.n}
    mask = rng.standard_normal([extents[letter] for letter in case.mask]).astype(np.float32)
    mask[rng.random(mask.shape) < 0.3] = -np.inf
    return [q, k, v, out, mask]


CASES = [
    Case(m=128, n=128, d=64, dv=64, mask="bn"),
    Case(m=197, n=197, d=64, dv=64),
    Case(m=50, n=70, d=32, dv=32, mask="mn"),
    Case(m=33, n=65, d=80, dv=33, mask="bhmn"),
    Case(m=48, n=200, d=20, dv=7, causal=152),
    Case(m=100, n=100, d=16, dv=16, causal=0, mask="bn"),
    Case(m=70, n=131, d=64, dv=64, causal=0, symbolic=False),
    Case(m=9, n=40, d=24, dv=40, heads=6, kv_heads=2),
    Case(m=60, n=90, d=64, dv=64, transposed_k=True),
    Case(m=60, n=90, d=40, dv=24, computed_kv=True, mask="mn"),
    Case(m=60, n=90, d=40, dv=24, dtype=F16),
    Case(m=37, n=90, d=24, dv=20, dtype=F64, causal=5, mask="mn"),
    Case(m=1, n=300, d=64, dv=64, heads=4, kv_heads=1),
    Case(m=2, n=130, d=40, dv=24, causal=100, mask="mn"),
    Case(m=1, n=77, d=33, dv=17, dtype=F16, mask="bn"),
    Case(m=1, n=64, d=64, dv=64, transposed_k=True, symbolic=False),
    Case(m=1, n=1, d=1, dv=1),
]
