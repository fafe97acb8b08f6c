"""Attention kernels against softmax in float64, on fresh random inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from intaglio.compiler.codegen.c import attention
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


def _kernel(case: Case) -> tuple[Kernel, list[int]]:
    sizes: dict[str, int] = {}
    symbols: dict[str, Symbol] = {}

    def size(name: str, value: int) -> Size:
        if not case.symbolic:
            return value
        sizes[name] = value
        return symbols.setdefault(name, Symbol(name, 1))

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
    if dtype == F16:
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
    acc = Acc(F64 if dtype == F64 else F32)
    value: Expr = acc * 2.0 if dtype != F16 else Call("cast", (acc * 2.0,), F16)
    body = Attention(
        (b_, h_), m_, n_, d_, dv_, q, k, v, mask, SCALE, case.causal, (Stage(value, store),), case.zero_rows
    )
    params = [Param(dtype, 0, False)] * 3 + [Param(dtype, 0, True)] + [Param(F32, 0, False)] * bool(case.mask)
    return Kernel(tuple(params), tuple(symbols.values()), body), list(sizes.values())


def _arrays(case: Case, rng: np.random.Generator) -> list[Array]:
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


def _expected(case: Case, arrays: list[Array]) -> Array:
    """Softmax as its definition says, in float64; [batch, m, heads, dv]."""
    q, k, v = (x.astype(np.float64) for x in arrays[:3])
    q, v = q.transpose(0, 2, 1, 3), v.transpose(0, 2, 1, 3)
    k = k.transpose(0, 1, 3, 2) if case.transposed_k else k.transpose(0, 2, 1, 3)
    k, v = (np.repeat(x, case.heads // case.kv_heads, 1) for x in (k, v))
    if case.computed_kv:
        k, v = k * 0.5, v + 1
    scores = q @ k.swapaxes(-1, -2) * SCALE
    if case.mask:
        scores = scores + arrays[4].reshape(
            [e if letter in case.mask else 1 for letter, e in zip("bhmn", (case.batch, case.heads, case.m, case.n))]
        )
    if case.causal is not None:
        excluded = np.arange(case.n) > np.arange(case.m)[:, None] + case.causal
        scores = np.where(excluded, -np.inf, scores)
    with np.errstate(invalid="ignore"):
        exponentials = np.exp(scores - scores.max(-1, keepdims=True))
        weights = exponentials / exponentials.sum(-1, keepdims=True)
    if case.zero_rows:
        weights = np.where((scores == -np.inf).all(-1, keepdims=True), 0, weights)
    return 2 * (weights @ v).transpose(0, 2, 1, 3)


def _check(case: Case, compile_kernel: Callable[..., Any], arrays: list[Array] | None = None, **how: str) -> None:
    arrays = arrays or _arrays(case, np.random.default_rng())
    kernel, sizes = _kernel(case)
    compiled = compile_kernel(attention, kernel, **how)
    compiled(arrays, sizes)
    whole = arrays[3].copy()
    tolerance = {F16: 4e-3, F32: 2e-5, F64: 1e-12}[case.dtype]
    np.testing.assert_allclose(whole.astype(np.float64), _expected(case, arrays), tolerance, tolerance)
    arrays[3].fill(0)
    compiled(arrays, sizes, split=5)
    assert whole.tobytes() == arrays[3].tobytes(), "the result depends on how tasks are split"


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


@pytest.mark.parametrize("case", CASES, ids=str)
def test_softmax_of_float64(case: Case, compile_kernel: Callable[..., Any]) -> None:
    _check(case, compile_kernel)


@pytest.mark.parametrize("target_name", ["x86-64-v3", "x86-64-v2", "generic"])
@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_other_targets_and_compilers(target_name: str, compiler: str, compile_kernel: Callable[..., Any]) -> None:
    case = Case(m=37, n=75, d=40, dv=33, causal=30, mask="mn")
    _check(case, compile_kernel, target_name=target_name, compiler=compiler)


def test_random_sizes(compile_kernel: Callable[..., Any]) -> None:
    seed = np.random.SeedSequence().entropy
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    for _ in range(40):
        m, n, d, dv = (int(x) for x in rng.integers(1, 150, 4))
        case = Case(m, n, d, dv, mask="mn", causal=70)
        _check(case, compile_kernel, _arrays(case, rng))


@pytest.mark.parametrize("zero_rows", [False, True])
@pytest.mark.parametrize("m", [1, 40])
def test_rows_without_any_key(zero_rows: bool, m: int, compile_kernel: Callable[..., Any]) -> None:
    masked = Case(m=m, n=100, d=16, dv=16, mask="mn", zero_rows=zero_rows)
    arrays = _arrays(masked, np.random.default_rng())
    arrays[4][m // 2] = -np.inf
    _check(masked, compile_kernel, arrays)
    before_all_keys = Case(m=m, n=30, d=16, dv=16, causal=-m // 2, zero_rows=zero_rows)
    _check(before_all_keys, compile_kernel)


def test_keys_excluded_for_whole_blocks(compile_kernel: Callable[..., Any]) -> None:
    case = Case(m=20, n=300, d=16, dv=16, mask="mn")
    arrays = _arrays(case, np.random.default_rng())
    arrays[4][:, :200] = -np.inf
    arrays[4][:, 250] = 0
    _check(case, compile_kernel, arrays)


@pytest.mark.parametrize("m", [1, 20])
def test_masks_of_the_least_float_are_not_exclusions(m: int, compile_kernel: Callable[..., Any]) -> None:
    """Rows masked by finfo.min throughout attend to all keys alike, as they do in float32."""
    case = Case(m=m, n=100, d=16, dv=16, mask="mn")
    arrays = _arrays(case, np.random.default_rng())
    arrays[4][:] = np.finfo(np.float32).min
    kernel, sizes = _kernel(case)
    compile_kernel(attention, kernel)(arrays, sizes)
    mean = 2 * arrays[2].astype(np.float64).mean(1, keepdims=True)
    np.testing.assert_allclose(arrays[3], np.broadcast_to(mean, arrays[3].shape), 1e-5, 1e-5)


@pytest.mark.parametrize("m", [1, 20])
def test_not_a_number_reaches_its_rows_only(m: int, compile_kernel: Callable[..., Any]) -> None:
    case = Case(m=m, n=100, d=16, dv=16, batch=1, heads=1, kv_heads=1, mask="mn")
    arrays = _arrays(case, np.random.default_rng())
    arrays[4][:] = 0
    for row, value in ((0, np.nan), (m // 2, np.array(0x7F800001, np.uint32).view(np.float32)[()])):
        arrays[4][row, 33] = value
    kernel, sizes = _kernel(case)
    compile_kernel(attention, kernel)(arrays, sizes)
    rows = np.isnan(arrays[3]).all((0, 2, 3))
    assert rows.tolist() == [i in (0, m // 2) for i in range(m)]
    assert not np.isnan(arrays[3][:, ~rows]).any()
