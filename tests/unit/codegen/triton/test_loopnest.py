"""Triton of loop nests under its interpreter: kinds of stages against the kernel IR's, NaN in reductions, schedules."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from unit.codegen.triton import translated

from intaglio.compiler.kernel.ir import Kernel, Let, LoopNest, Param, Stage, Store
from intaglio.compiler.scalar import prims
from intaglio.compiler.scalar.dim import Size, Symbol, dim_min, evaluate
from intaglio.compiler.scalar.dtype import BOOL, DTYPES, F32, F64, I64, DType
from intaglio.compiler.scalar.expr import Const, Index, Load, Local
from intaglio.compiler.scalar.prims import call
from intaglio.compiler.schedule.device.loopnest import ORDER
from intaglio.compiler.schedule.loopnest import arranged, demote

N, D = Symbol("n"), Symbol("d")
Check = Callable[..., list[np.ndarray]]


def kernel(nest: LoopNest, *sizes_of_params: Size, dtype: DType = F32) -> Kernel:
    """A kernel of sizes N and D whose last parameter is written."""
    last = len(sizes_of_params) - 1
    return Kernel(tuple(Param(dtype, s, i == last) for i, s in enumerate(sizes_of_params)), (N, D), nest)


def data(k: Kernel, n: int, d: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    counts = [evaluate(p.size, {N: n, D: d}) for p in k.params]
    return [rng.integers(-9, 9, c).astype(p.dtype.to_numpy()) / 2 for c, p in zip(counts, k.params)]


def softmax(length: Size = D) -> Kernel:
    o, r, k, q, j = Symbol("o", 0, N), *(Symbol(s, 0, length) for s in "rkqj")
    stages = (
        Stage(Load(0, o * length + r, F32), None, reduce_axes=(r,), reduce="max"),
        Stage(call("exp", Load(0, o * length + k, F32) - Local(0, 0, F32)), None, axes=(k,)),
        Stage(Local(1, q, F32), None, reduce_axes=(q,), reduce="add"),
        Stage(Local(1, j, F32) / Local(2, 0, F32), Store(1, o * length + j), axes=(j,)),
    )
    return kernel(LoopNest((o,), stages), N * length, N * length)


@pytest.mark.parametrize("d", [1, 15, 64, 2048, 5000])
def test_softmax_of_any_length(d: int, check_triton: Check) -> None:
    check_triton(softmax(), data(softmax(), 3, d), (3, d))


@pytest.mark.parametrize("d", [1, 15, 64, 768, 5000])
def test_softmax_of_known_length(d: int, check_triton: Check) -> None:
    k = softmax(d)
    check_triton(k, data(k, 3, d), (3, d))
    text = translated.source(k).text
    assert text.count("tl.load(") == (1 if d <= 2048 else 3)  # a row that fits a tile is read once
    assert text.count("tl.exp(") == (1 if d <= 2048 else 2)
    assert ("mask=" in text) == (d not in (1, 64))


@pytest.mark.parametrize("kind", ["max", "min"])
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("d", [67, 3000])
def test_nan_in_reductions(d: int, dtype: DType, kind: str, check_triton: Check) -> None:
    """One NaN, of either sign, in any lane makes the extremum NaN; infinities do not."""
    o, r = Symbol("o", 0, N), Symbol("r", 0, D)
    stages = (
        Stage(Load(0, o * D + r, dtype), None, reduce_axes=(r,), reduce=kind),
        Stage(Local(0, 0, dtype), Store(1, o)),
    )
    k = kernel(LoopNest((o,), stages), N * D, N, dtype=dtype)
    x = np.random.default_rng(0).standard_normal((6, d)).astype(dtype.to_numpy())
    x[0, 3], x[1, -1], x[2, 0] = np.nan, -np.nan, np.inf
    x[3, 5], x[4] = -np.inf, -0.0
    _, out = check_triton(k, [x.reshape(-1), np.zeros(6, x.dtype)], (6, d))
    np.testing.assert_array_equal(out, getattr(x, kind)(1))


@pytest.mark.parametrize("columns", [1, 7, 64, 65, 200])
def test_columns(columns: int, check_triton: Check) -> None:
    """A maximum over rows; a NaN stays in its column."""
    i, r = Symbol("i", 0, D), Symbol("r", 0, N)
    k = kernel(LoopNest((), (Stage(Load(0, r * D + i, F32), Store(1, i), (i,), (r,), "max"),)), N * D, D)
    x = np.random.default_rng(0).standard_normal((9, columns)).astype(np.float32)
    x[1, columns // 2] = np.nan
    _, out = check_triton(k, [x.reshape(-1), np.zeros(columns, np.float32)], (9, columns))
    np.testing.assert_array_equal(out, x.max(0))


@pytest.mark.parametrize("columns", [1, 7, 64, 65, 200])
def test_columns_that_are_kept(columns: int, check_triton: Check) -> None:
    """A softmax down the columns, as it is scheduled: its reductions keep a block of columns each."""
    o, r, q, j = Symbol("o", 0, D), *(Symbol(s, 0, N) for s in "rqj")
    stages = (
        Stage(Load(0, r * D + o, F32), None, reduce_axes=(r,), reduce="max"),
        Stage(call("exp", Load(0, q * D + o, F32) - Local(0, 0, F32)), None, reduce_axes=(q,), reduce="add"),
        Stage(call("exp", Load(0, j * D + o, F32) - Local(0, 0, F32)) / Local(1, 0, F32), Store(1, j * D + o), (j,)),
    )
    nest = arranged(LoopNest((o,), stages), ORDER)
    assert len(nest.stages[0].axes) == 1
    k = kernel(nest, N * D, N * D)
    check_triton(k, data(k, 40, columns), (40, columns))


def test_kept_rows_in_blocks_of_columns(check_triton: Check) -> None:
    """A kept row becomes a tile of rows by columns when an outer axis goes in."""
    o, k, q, j = Symbol("o", 0, D), *(Symbol(s, 0, N) for s in "kqj")
    stages = (
        Stage(call("exp", Load(0, k * D + o, F32)), None, (k,)),
        Stage(Local(0, q, F32), None, (), (q,), "add"),
        Stage(Local(0, j, F32) / Local(1, 0, F32), Store(1, j * D + o), (j,)),
    )
    nest = demote(LoopNest((o,), stages), o, 16)
    made = kernel(nest, N * D, N * D)
    check_triton(made, data(made, 7, 37), (7, 37))


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("d", [5, 2500])
def test_two_stages_of_an_argmax(d: int, last: bool, check_triton: Check) -> None:
    o, r, q = Symbol("o", 0, N), Symbol("r", 0, D), Symbol("q", 0, D)
    x = Load(0, o * D + q, F32)
    hit = call("or", call("eq", x, Local(0, 0, F32)), call("isnan", x))
    found = call("select", hit, Index(q), Const(-1, I64) if last else Index(D))
    stages = (
        Stage(Load(0, o * D + r, F32), None, reduce_axes=(r,), reduce="max"),
        Stage(found, None, reduce_axes=(q,), reduce="max" if last else "min"),
        Stage(Local(1, 0, I64), Store(1, o)),
    )
    k = Kernel((Param(F32, N * D, False), Param(I64, N, True)), (N, D), LoopNest((o,), stages))
    values = np.random.default_rng(0).integers(-5, 5, (4, d)).astype(np.float32)
    values[2, d // 2] = np.nan
    check_triton(k, [values.reshape(-1), np.zeros(4, np.int64)], (4, d))


@pytest.mark.parametrize(("rows", "columns"), [(32, 64), (40, 33), (7, 128)])
def test_transposed_tiles(rows: int, columns: int, check_triton: Check) -> None:
    a, b = Symbol("a", 0, -(-columns // 32)), Symbol("b", 0, -(-rows // 32))
    x, y = Symbol("x", 0, dim_min(32, columns - a * 32)), Symbol("y", 0, dim_min(32, rows - b * 32))
    column, row = a * 32 + x, b * 32 + y
    stage = Stage(Load(0, row * columns + column, F32), Store(1, column * rows + row), axes=(x, y))
    k = kernel(LoopNest((a, b), (stage,)), rows * columns, rows * columns)
    check_triton(k, data(k, 1, 1), (1, 1))


def test_padding_is_masked(check_triton: Check) -> None:
    """Nothing is read where a mask is false, even at the ends of the buffer."""
    o, i = Symbol("o", 0, N + 2), Symbol("i", 0, D)
    inside = call("and", call("le", Const(0, I64), Index(o - 1)), call("lt", Index(o - 1), Index(N)))
    load = Load(0, (o - 1) * D + i, F32, inside, Const(-1.5, F32))
    k = kernel(LoopNest((o,), (Stage(load, Store(1, o * D + i), (i,)),)), N * D, (N + 2) * D)
    out = check_triton(k, data(k, 4, 37), (4, 37))[1].reshape(6, 37)
    assert (out[0] == -1.5).all()
    assert (out[5] == -1.5).all()


@pytest.mark.parametrize("kind", ["add", "mul", "max"])
@pytest.mark.parametrize("dtype", [F64, DTYPES["i8"], DTYPES["u16"], I64], ids=str)
@pytest.mark.parametrize("d", [1, 20, 1500])
def test_scan(d: int, dtype: DType, kind: str, check_triton: Check) -> None:
    i, j = Symbol("i", 0, N), Symbol("j", 0, D)
    stage = Stage(Load(0, i * D + j, dtype), Store(1, i * D + j), (i, j), scan=kind)
    k = kernel(LoopNest((), (stage,)), N * D, N * D, dtype=dtype)
    x = np.random.default_rng(0).integers(1, 3, 2 * d).astype(dtype.to_numpy())
    check_triton(k, [x, np.zeros_like(x)], (2, d))


@pytest.mark.parametrize("kind", ["and", "or", "xor"])
def test_scan_of_bools(kind: str, check_triton: Check) -> None:
    j = Symbol("j", 0, D)
    k = kernel(LoopNest((), (Stage(Load(0, j, BOOL), Store(1, j), (j,), scan=kind),)), D, D, dtype=BOOL)
    x = np.random.default_rng(0).random(40) < (0.9 if kind == "and" else 0.1)
    check_triton(k, [x, np.zeros(40, bool)], (1, 40))


def test_scatter_adds_every_time(check_triton: Check) -> None:
    i, g = Symbol("i", 0, D), Symbol("g", 0, 4)
    let = Let(g, call("cast", call("mod", Load(0, i, F64), Const(4.0, F64)), dtype=I64))
    stage = Stage(Const(1.0, F64), Store(1, g, "add"), (i,), lets=(let,))
    k = kernel(LoopNest((), (stage,)), D, 4, dtype=F64)
    _, out = check_triton(k, [np.array([0.0, 1, 1, 3, 3, 3]), np.zeros(4)], (1, 6))
    assert out.tolist() == [1, 2, 0, 3]


def test_a_single_update_is_no_loop(check_triton: Check) -> None:
    g = Symbol("g", 0, 4)
    let = Let(g, call("cast", Load(0, 0, F64), dtype=I64))
    k = kernel(LoopNest((), (Stage(Const(1.0, F64), Store(1, g, "add"), lets=(let,)),)), 1, 4, dtype=F64)
    _, out = check_triton(k, [np.array([2.0]), np.zeros(4)], (1, 1))
    assert out.tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("combine", [None, "add", "max", "mul"])
def test_rows_are_scattered_in_order(combine: str | None, check_triton: Check) -> None:
    """Updates of whole rows, some of one row: the last one stays, or all of them count."""
    i, j, g = Symbol("i", 0, N), Symbol("j", 0, D), Symbol("g", 0, 3)
    let = Let(g, call("cast", Load(0, i, F32), dtype=I64))
    stage = Stage(Load(1, i * D + j, F32), Store(2, g * D + j, combine), (i, j), lets=(let,))
    k = kernel(LoopNest((), (stage,)), N, N * D, 3 * D)
    x = np.random.default_rng(0).integers(-9, 9, (5, 70)).astype(np.float32)
    where = np.array([2, 0, 2, 2, 0], np.float32)
    check_triton(k, [where, x.reshape(-1), np.ones(3 * 70, np.float32)], (5, 70))


def test_gather(check_triton: Check) -> None:
    o, i, g = Symbol("o", 0, N), Symbol("i", 0, D), Symbol("g", 0, 3)
    let = Let(g, call("cast", call("mod", Load(0, o, F64), Const(3.0, F64)), dtype=I64))
    stage = Stage(Load(1, g * D + i, F64), Store(2, o * D + i), (i,), lets=(let,))
    k = kernel(LoopNest((o,), (stage,)), N, 3 * D, N * D, dtype=F64)
    check_triton(k, data(k, 10, 33), (10, 33))


def test_empty_domains(check_triton: Check) -> None:
    check_triton(softmax(), data(softmax(), 0, 5), (0, 5))
    check_triton(softmax(), data(softmax(), 3, 0), (3, 0))
    none, r = Symbol("i", 0, 0), Symbol("r", 0, D)
    stages = (
        Stage(Const(1.0, F32), Store(1, none), (none,)),
        Stage(Load(0, none, F32), None, (), (none,), "add"),
        Stage(Local(1, 0, F32) + 3.0, Store(1, 0)),
        Stage(Load(0, none * D + r, F32), Store(1, r + 1), (r,), (none,), "max"),
    )
    k = kernel(LoopNest((), stages), 0, D + 1)
    _, out = check_triton(k, [np.zeros(0, np.float32), np.ones(6, np.float32)], (1, 5))
    assert out.tolist() == [3.0] + [-np.inf] * 5


REDUCED = [d for d in DTYPES.values() if d.compute == d and d.kind in "fiub"]


@pytest.mark.sample(12)
@pytest.mark.parametrize("dtype", REDUCED, ids=str)
@pytest.mark.parametrize(("n", "d"), [(1, 1), (5, 70), (3, 2100)])
def test_every_reduction(n: int, d: int, dtype: DType, check_triton: Check) -> None:
    """Of rows and of columns. Numbers are small, and integers wrap around."""
    kinds = [p.name for p in prims.TABLE.values() if p.identity is not None and dtype.kind in p.kinds]
    size = np.dtype(dtype.to_numpy())
    x = np.random.default_rng(0).integers(0, 2 if dtype == BOOL else 4, n * d).astype(size)
    if dtype.is_integer:
        x[: d // 2] = np.iinfo(size).max
        x[d // 2 :][:3] = np.iinfo(size).min
    o, i, r, q = Symbol("o", 0, N), Symbol("i", 0, D), Symbol("r", 0, D), Symbol("q", 0, N)
    params = [Param(dtype, N * D, False)] + [Param(dtype, N, True) for _ in kinds]
    rows = [Stage(Load(0, o * D + r, dtype), Store(j + 1, o), (), (r,), kind) for j, kind in enumerate(kinds)]
    check_triton(
        Kernel(tuple(params), (N, D), LoopNest((o,), tuple(rows))), [x, *np.zeros((len(kinds), n), size)], (n, d)
    )
    params = [Param(dtype, N * D, False)] + [Param(dtype, D, True) for _ in kinds]
    columns = [Stage(Load(0, q * D + i, dtype), Store(j + 1, i), (i,), (q,), kind) for j, kind in enumerate(kinds)]
    made = Kernel(tuple(params), (N, D), LoopNest((), tuple(columns)))
    check_triton(made, [x, *np.zeros((len(kinds), d), size)], (n, d))


def test_reduction_of_what_does_not_change(check_triton: Check) -> None:
    """The value varies along no reduced axis, or along one of two; it counts as often as there are positions."""
    o, r, q = Symbol("o", 0, N), Symbol("r", 0, D), Symbol("q", 0, 3)
    stages = (
        Stage(Load(0, o, F32), Store(1, 3 * o), (), (r,), "add"),
        Stage(Load(0, q, F32), Store(1, 3 * o + 1), (), (q, r), "add"),
        Stage(Load(0, r, F32), Store(1, 3 * o + 2), (), (q, r), "add"),
    )
    k = kernel(LoopNest((o,), stages), D, 3 * N)
    check_triton(k, data(k, 4, 9), (4, 9))


def test_a_stage_reads_what_an_earlier_one_wrote(check_triton: Check) -> None:
    i, j = Symbol("i", 0, D), Symbol("j", 0, D)
    stages = (
        Stage(Load(0, i, F32) + 1.0, Store(1, i), (i,)),
        Stage(Load(1, D - 1 - j, F32) * 2.0, Store(2, j), (j,)),
    )
    k = Kernel(tuple(Param(F32, D, w) for w in (False, True, True)), (N, D), LoopNest((), stages))
    check_triton(k, data(k, 1, 3000), (1, 3000))


def test_sizes_of_either_sign(check_triton: Check) -> None:
    """Divisions of sizes round down, also below zero."""
    i = Symbol("i", 0, D)
    values = [(i - 5) // 3, (i - 5) % 3, (i - N) // N, (i - N) % (N + 1), dim_min(i, N) - i, 2 * i - 3 * (i // 2)]
    stages = tuple(Stage(Index(v), Store(k, i), (i,)) for k, v in enumerate(values))
    k = Kernel(tuple(Param(I64, D, True) for _ in values), (N, D), LoopNest((), stages))
    check_triton(k, [np.zeros(20, np.int64) for _ in values], (7, 20))


def test_what_is_refused() -> None:
    i, j, r = Symbol("i", 0, D), Symbol("j", 0, D), Symbol("r", 0, N)
    row = Stage(Load(0, r * D + i, F32), None, (i,), (r,), "add")
    scan = Stage(Load(0, i, F32), None, (i,), scan="add")
    for first in (row, scan):
        nest = LoopNest((), (first, Stage(Local(0, j, F32), Store(1, j), (j,))))
        reason = translated.refusal(kernel(nest, N * D, D))
        assert reason in ("a reduction that keeps more than one tile", "a scan whose result is kept")


def test_equal_kernels_have_equal_sources() -> None:
    def renamed(name: str) -> Kernel:
        o, i = Symbol(f"{name}o", 0, N), Symbol(f"{name}i", 0, D)
        return kernel(LoopNest((o,), (Stage(Load(0, o * D + i, F32), Store(1, o * D + i), (i,)),)), N * D, N * D)

    assert translated.source(renamed("a")) == translated.source(renamed("zz"))


def test_number_of_programs() -> None:
    assert translated.tasks(softmax()) == N
    assert translated.tasks(kernel(LoopNest((), ()), 1)) == 1


@pytest.mark.parametrize("n", [1, 2047, 2048, 5000])
def test_blocks_of_any_length(n: int, check_triton: Check) -> None:
    """The last block may overhang."""
    o = Symbol("o", 0, N)
    nest = arranged(LoopNest((o,), (Stage(Load(0, o, F32) + Load(1, N - 1 - o, F32), Store(2, o)),)), ORDER)
    k = kernel(nest, N, N, N)
    check_triton(k, data(k, n, 1), (n, 1))
    assert "mask=" in translated.source(k).text


@pytest.mark.parametrize(("d", "window"), [(5, 3), (64, 32), (150, 4), (40, 33)])
def test_windows_in_blocks(d: int, window: int, check_triton: Check) -> None:
    """A short reduction is too little for a program, a long one is not."""
    y, x, r = Symbol("y", 0, N), Symbol("x", 0, D), Symbol("r", 0, window)
    row = D + window - 1
    stages = (
        Stage(Load(0, y * row + x + r, F32), None, reduce_axes=(r,), reduce="add"),
        Stage(Local(0, 0, F32) / Const(window, F32), Store(1, y * D + x)),
    )
    k = kernel(LoopNest((y, x), stages), N * row, N * D)
    check_triton(k, data(k, 3, d), (3, d))
    assert evaluate(translated.tasks(k), {N: 3, D: d}) == 3 * (d if window > 32 else -(-d // 64))


def test_blocks_are_along_an_axis_that_is_long(check_triton: Check) -> None:
    y, x, r = Symbol("y", 0, 70), Symbol("x", 0, 3), Symbol("r", 0, 4)
    stage = Stage(Load(0, y * 12 + x * 4 + r, F32), Store(1, y * 3 + x), reduce_axes=(r,), reduce="max")
    k = kernel(LoopNest((y, x), (stage,)), 840, 210)
    check_triton(k, data(k, 1, 1), (1, 1))
    assert translated.tasks(k) == 2 * 3
