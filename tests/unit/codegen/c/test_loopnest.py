"""C of loop nests: kinds of stages against the interpreter, NaN in reductions, and what the text looks like."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from native import COMPILERS, FLAGS, HOW, launcher

from intaglio.compiler.codegen.c import loopnest
from intaglio.compiler.kernel import interp
from intaglio.compiler.kernel.ir import Kernel, Let, LoopNest, Param, Stage, Store
from intaglio.compiler.scalar.dim import Size, Symbol, dim_min, prod
from intaglio.compiler.scalar.dtype import BOOL, F32, F64, I64, DType
from intaglio.compiler.scalar.expr import Call, Const, Expr, Index, Load, Local
from intaglio.compiler.scalar.prims import call
from intaglio.compiler.schedule.loopnest import scans

N, D = Symbol("n"), Symbol("d")


def kernel(nest: LoopNest, *sizes_of_params: Size, dtype: DType = F32) -> Kernel:
    """A kernel of sizes N and D whose last parameter is written."""
    last = len(sizes_of_params) - 1
    return Kernel(tuple(Param(dtype, s, i == last) for i, s in enumerate(sizes_of_params)), (N, D), nest)


def check(k: Kernel, n: int, d: int, compiler: str = "gcc", exact: bool = True) -> np.ndarray:
    """Runs the kernel in C, in two parts, and in the interpreter, on the same data."""
    rng = np.random.default_rng(0)
    values = {N: n, D: d}
    arrays = [rng.standard_normal(_value(p.size, values)).astype(p.dtype.to_numpy()) for p in k.params]
    expected = [a.copy() for a in arrays]
    interp.run(k, expected, (n, d))
    launch = launcher(k, arrays, (n, d), compiler)
    half = launch.tasks // 2
    launch(half)
    launch(0, half)
    for got, want in zip(arrays, expected):
        if exact:
            np.testing.assert_array_equal(got, want)
        else:
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    return arrays[-1]


def _value(size: Size, values: dict[Symbol, int]) -> int:
    return int(interp.evaluate_size(size, {s: np.asarray(v) for s, v in values.items()}))


def softmax() -> Kernel:
    o, r, k, q, j = Symbol("o", 0, N), *(Symbol(s, 0, D) for s in "rkqj")
    stages = (
        Stage(Load(0, o * D + r, F32), None, reduce_axes=(r,), reduce="max"),
        Stage(call("exp", Load(0, o * D + k, F32) - Local(0, 0, F32)), None, axes=(k,)),
        Stage(Local(1, q, F32), None, reduce_axes=(q,), reduce="add"),
        Stage(Local(1, j, F32) / Local(2, 0, F32), Store(1, o * D + j), axes=(j,)),
    )
    return kernel(LoopNest((o,), stages), N * D, N * D)


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("d", [1, 15, 64, 100])
def test_softmax(d: int, compiler: str) -> None:
    check(softmax(), 5, d, compiler, exact=False)


def test_softmax_is_one_simd_loop_per_stage() -> None:
    text = loopnest.source(softmax(), "kernel", HOW)
    assert text.count("#pragma omp simd\n") == 2
    assert text.count("#pragma omp simd reduction(") == 2
    assert "ig_exp_f32" in text and "ig_log_f32" not in text  # only what is used


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("kind", ["max", "min"])
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_nan_in_reductions(dtype: DType, kind: str, compiler: str) -> None:
    """One NaN, of either sign, in any lane makes the extremum NaN; infinities do not."""
    o, r = Symbol("o", 0, N), Symbol("r", 0, D)
    stages = (
        Stage(Load(0, o * D + r, dtype), None, reduce_axes=(r,), reduce=kind),
        Stage(Local(0, 0, dtype), Store(1, o)),
    )
    k = kernel(LoopNest((o,), stages), N * D, N, dtype=dtype)
    n, d = 6, 67
    x = np.random.default_rng(0).standard_normal((n, d)).astype(dtype.to_numpy())
    x[0, 3], x[1, 66], x[2, 0] = np.nan, -np.nan, np.inf
    x[3, 5], x[4] = -np.inf, -0.0
    out = np.zeros(n, x.dtype)
    launcher(k, [x.reshape(-1), out], (n, d), compiler)()
    np.testing.assert_array_equal(out, getattr(x, kind)(1))


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("columns", [1, 7, 64, 65, 200])
def test_columns(columns: int, compiler: str) -> None:
    """A maximum over rows: blocks of columns with an accumulator each; a NaN stays in its column."""
    i, r = Symbol("i", 0, D), Symbol("r", 0, N)
    k = kernel(LoopNest((), (Stage(Load(0, r * D + i, F32), Store(1, i), (i,), (r,), "max"),)), N * D, D)
    check(k, 9, columns, compiler)
    x = np.zeros((3, columns), np.float32)
    x[1, columns // 2] = np.nan
    out = np.zeros(columns, np.float32)
    launcher(k, [x.reshape(-1), out], (3, columns), compiler)()
    np.testing.assert_array_equal(out, x.max(0))


@pytest.mark.parametrize("count", [3, 6, 7, 12])
def test_accumulators_of_few_columns_are_aligned(count: int) -> None:
    """gcc 12 stores to such arrays as if they were, in a leaf function whose stack is not."""
    i, r = Symbol("i", 0, count), Symbol("r", 0, N)
    k = kernel(LoopNest((), (Stage(Load(0, r * count + i, F64), Store(1, i), (i,), (r,), "add"),)), N * count, count)
    assert f"double t0[{count}] __attribute__((aligned(64)))" in loopnest.source(k, "kernel", HOW)


@pytest.mark.parametrize(("rows", "columns"), [(32, 1024), (40, 33), (7, 2048)])
def test_transposed_tiles(rows: int, columns: int) -> None:
    """Tiles of a transpose go through a copy where the rows are a multiple of 1 KiB apart."""
    a, b = Symbol("a", 0, -(-columns // 32)), Symbol("b", 0, -(-rows // 32))
    x, y = Symbol("x", 0, dim_min(32, columns - a * 32)), Symbol("y", 0, dim_min(32, rows - b * 32))
    column, row = a * 32 + x, b * 32 + y
    stage = Stage(Load(0, row * columns + column, F32), Store(1, column * rows + row), axes=(x, y))
    k = kernel(LoopNest((a, b), (stage,)), rows * columns, rows * columns)
    check(k, 1, 1)
    assert ("float t0[" in loopnest.source(k, "kernel", HOW)) == (columns % 256 == 0)


def test_padding_is_masked() -> None:
    """Nothing is read where a mask is false, even at the ends of the buffer; what does not change is tested outside."""
    o, i = Symbol("o", 0, N + 2), Symbol("i", 0, D)
    inside = call("and", call("le", Const(0, I64), Index(o - 1)), call("lt", Index(o - 1), Index(N)))
    load = Load(0, (o - 1) * D + i, F32, inside, Const(-1.5, F32))
    k = kernel(LoopNest((o,), (Stage(load, Store(1, o * D + i), (i,)),)), N * D, (N + 2) * D)
    out = check(k, 4, 37).reshape(6, 37)
    assert (out[0] == -1.5).all() and (out[5] == -1.5).all()
    lines = loopnest.source(k, "kernel", HOW).splitlines()
    mask, loop = (next(n for n, s in enumerate(lines) if text in s) for text in ("_Bool t", "omp simd"))
    assert mask < loop


def test_scan() -> None:
    i, j = Symbol("i", 0, N), Symbol("j", 0, D)
    for kind in ("add", "max"):
        stage = Stage(Load(0, i * D + j, F64), Store(1, i * D + j), (i, j), scan=kind)
        check(kernel(LoopNest((), (stage,)), N * D, N * D, dtype=F64), 3, 20)


@pytest.mark.parametrize("dtype", [F64, I64, BOOL], ids=str)
@pytest.mark.parametrize("reverse", [False, True])
def test_scan_across_rows(dtype: DType, reverse: bool) -> None:
    """In blocks of columns, the first elements being given; of a computed value; of few, of more than a block."""
    r, c, k, i = Symbol("r", 0, 2), Symbol("c", 0, D), Symbol("k", 0, dim_min(1, N)), Symbol("i", 0, N - 1)

    def at(row: Size) -> Size:
        return (r * N + (N - 1 - row if reverse else row)) * D + c

    value = Load(0, at(i), dtype)
    stages = (
        Stage(Const(1 if dtype != BOOL else False, dtype), Store(1, at(k)), (k,)),
        Stage(
            value if dtype == BOOL else value + value, Store(1, at(i + 1)), (i,), scan="or" if dtype == BOOL else "add"
        ),
    )
    for outer in ((r, c), (c, r)):
        made = kernel(scans(LoopNest(outer, stages), HOW), 2 * N * D, 2 * N * D, dtype=dtype)
        for n, d in ((5, 1), (1, 7), (9, 40), (3, 1500), (2, 2048)):
            check(made, n, d)
    assert "omp simd" in loopnest.source(made, "kernel", HOW)


def test_scatter_adds_every_time() -> None:
    i, g = Symbol("i", 0, D), Symbol("g", 0, 4)
    let = Let(g, call("cast", call("mod", Load(0, i, F64), Const(4.0, F64)), dtype=I64))
    stage = Stage(Const(1.0, F64), Store(1, g, "add"), (i,), lets=(let,))
    k = kernel(LoopNest((), (stage,)), D, 4, dtype=F64)
    x, out = np.array([0.0, 1, 1, 3, 3, 3]), np.zeros(4)
    launcher(k, [x, out], (1, 6))()
    assert out.tolist() == [1, 2, 0, 3]


def test_gather_reads_neighbours() -> None:
    o, i, g = Symbol("o", 0, N), Symbol("i", 0, D), Symbol("g", 0, 3)
    let = Let(g, call("cast", call("mod", Load(0, o, F64), Const(3.0, F64)), dtype=I64))
    stage = Stage(Load(1, g * D + i, F64), Store(2, o * D + i), (i,), lets=(let,))
    k = kernel(LoopNest((o,), (stage,)), N, 3 * D, N * D, dtype=F64)
    check(k, 10, 33)
    assert "#pragma omp simd" in loopnest.source(k, "kernel", HOW)


def test_scratch_holds_every_row_at_its_longest() -> None:
    """Rows whose length depends on the outer point are given their greatest length."""
    b = Symbol("b", 0, (N + 15) // 16)
    k, j = (Symbol(s, 0, dim_min(16, N - b * 16)) for s in "kj")
    stages = (
        Stage(Load(0, b * 16 + k, F32) * 2.0, None, (k,)),
        Stage(Local(0, j, F32) + 1.0, Store(1, b * 16 + j), (j,)),
    )
    assert loopnest.scratch_bytes(LoopNest((b,), stages), HOW) == 64
    check(kernel(LoopNest((b,), stages), N, N), 37, 1)


def test_empty_domains() -> None:
    check(softmax(), 0, 5)
    check(softmax(), 3, 0)


def test_split_of_tasks_changes_nothing() -> None:
    x = np.random.default_rng(0).standard_normal(40 * 77).astype(np.float32)
    whole, parts = np.zeros_like(x), np.zeros_like(x)
    launcher(softmax(), [x, whole], (40, 77))()
    launch = launcher(softmax(), [x, parts], (40, 77))
    for begin, end in [(17, 40), (0, 1), (1, 17)]:
        launch(begin, end)
    assert whole.tobytes() == parts.tobytes()


def precedence_cases() -> list[tuple[Expr, int]]:
    """Integer expressions of i = 7, and their values."""
    i = Symbol("i", 0, 1)
    seven = Index(i + 7)
    return [
        (Index(5 * ((i + 7) % 2)), 5),
        (Index(5 * ((i + 7) // 2) % 4), 3),
        (Index((i + 7) % 4 * 3 - (i + 7) // 2), 6),
        (Index((i - 9) // 2), -5),
        (Index((i - 9) % 4), 3),
        (seven - (seven - 1), 1),
        (Call("bit_and", (Const(6, I64), call("bit_or", Const(1, I64), Const(2, I64))), I64), 2),
        (Call("neg", (-seven,), I64), 7),
        (Const(3, I64) - Const(-5, I64), 8),
        (call("select", call("eq", seven, seven), call("select", seven < 7, -seven, seven), seven) * 2, 14),
        (Const(-(1 << 63), I64), -(1 << 63)),
    ]


def test_precedence() -> None:
    cases = precedence_cases()
    i = Symbol("i", 0, 1)
    stages = tuple(Stage(value, Store(0, len(cases) * i + n), (i,)) for n, (value, _) in enumerate(cases))
    out = np.zeros(len(cases), np.int64)
    launcher(Kernel((Param(I64, len(cases), True),), (), LoopNest((), stages)), [out], ())()
    assert out.tolist() == [want for _, want in cases]


def test_compiles_without_warnings(tmp_path: Path) -> None:
    if "gcc" not in COMPILERS:
        pytest.skip("no gcc")
    (tmp_path / "kernel.c").write_text(loopnest.source(softmax(), "kernel", HOW))
    strict = [f for f in FLAGS if f != "-w"] + ["-Wall", "-Wextra", "-Werror", "-O1"]
    subprocess.run(["gcc", *strict, "kernel.c", "-o", "kernel.so"], cwd=tmp_path, check=True)


def test_equal_kernels_have_equal_sources() -> None:
    def renamed(name: str) -> Kernel:
        o, i = Symbol(f"{name}o", 0, N), Symbol(f"{name}i", 0, D)
        return kernel(LoopNest((o,), (Stage(Load(0, o * D + i, F32), Store(1, o * D + i), (i,)),)), N * D, N * D)

    assert loopnest.source(renamed("a"), "kernel", HOW) == loopnest.source(renamed("zz"), "kernel", HOW)


def test_number_of_tasks() -> None:
    assert loopnest.tasks(softmax().body, HOW) == N  # type: ignore[arg-type]
    assert loopnest.tasks(LoopNest((), ()), HOW) == prod(())
