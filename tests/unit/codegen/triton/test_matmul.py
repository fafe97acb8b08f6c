"""Matrix products in Triton against their meaning in float64, on random inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from unit.codegen import exact
from unit.codegen.triton import translated

from intaglio.compiler.kernel.ir import Kernel, Let, Matmul, Param, Stage, Store
from intaglio.compiler.kernel.packing import Packing
from intaglio.compiler.precision import Rounding
from intaglio.compiler.scalar import prims
from intaglio.compiler.scalar.dim import Size, Symbol, mod
from intaglio.compiler.scalar.dtype import BF16, BOOL, F16, F32, F64, I8, I32, I64, U8, DType
from intaglio.compiler.scalar.expr import Acc, Call, Const, Expr, Index, Load, Local

Run = Callable[..., None]


@dataclass(frozen=True)
class Case:
    """r = max(sum over k of a * b + bias[n] + residual, 0), and r * table[row[m % 4]].

    a: "rows" [*batch, m, k], "columns" [*batch, k, m], "scaled" rows times scale[k], "masked" rows with 1 where m + k
    is odd, "exp" of rows. b: "rows" [*batch, k, n], "columns" [*batch, n, k], "shared" [k, n].
    """

    m: int
    n: int
    k: int
    batch: tuple[int, ...] = (1,)
    a: str = "rows"
    b: str = "rows"
    acc: DType = F32
    a_type: DType | None = None
    b_type: DType | None = None
    symbolic: bool = True


def _cast(value: Expr, dtype: DType) -> Expr:
    return value if value.dtype == dtype else Call("cast", (value,), dtype)


def _kernel(case: Case, packing: Packing | None = None) -> Kernel:
    rank = len(case.batch)
    formal = [Symbol(name) for name in (*(f"B{i}" for i in range(rank)), "M", "N", "K")]
    shape: Sequence[Size] = formal if case.symbolic else (*case.batch, case.m, case.n, case.k)
    *extents, rows, columns, depth = shape
    batch = tuple(Symbol(f"b{i}", 0, e) for i, e in enumerate(extents))
    m, n, k = (Symbol(name, 0, e) for name, e in zip("mnk", shape[rank:]))
    flat: Size = 0
    for symbol, e in zip(batch, extents):
        flat = flat * e + symbol
    a_type, b_type, acc = case.a_type or case.acc, case.b_type or case.acc, case.acc
    a: Expr
    at_a = (flat * depth + k) * rows + m if case.a == "columns" else (flat * rows + m) * depth + k
    if case.a == "masked":
        even = Call("eq", (Call("mod", (Index(m + k), Const(2, I64)), I64), Const(0, I64)), BOOL)
        a = _cast(Load(0, at_a, a_type, even, Const(1.0, a_type)), acc)
    else:
        a = _cast(Load(0, at_a, a_type), acc)
    if case.a == "scaled":
        a = a * Load(2, k, acc)
    if case.a == "exp":
        a = Call("exp", (a,), acc)
    lead = 0 if case.b == "shared" else flat
    at_b = (lead * columns + n) * depth + k if case.b == "columns" else (lead * depth + k) * columns + n
    at = (flat * rows + m) * columns + n
    row = Symbol("row", 0, 4)
    result = Call("max", (Acc(acc) + Load(3, n, acc) + Load(4, at, acc), Const(0, acc)), acc)
    epilogue = (
        Stage(result, None),
        Stage(Local(0, 0, acc), Store(5, at)),
        Stage(Local(0, 0, acc) * Load(8, row, acc), Store(6, at), lets=(Let(row, Load(7, mod(m, 4), I64)),)),
    )
    body = Matmul(batch, m, n, k, a, _cast(Load(1, at_b, b_type), acc), acc, epilogue, packing)
    types = (a_type, b_type, acc, acc, acc, acc, a_type, I64, acc)
    params = tuple(Param(d, 1, i in (5, 6)) for i, d in enumerate(types))
    return Kernel(params, tuple(formal) if case.symbolic else (), body)


def _random(rng: np.random.Generator, size: int, dtype: DType) -> np.ndarray[Any, Any]:
    if dtype.is_integer:
        ends = np.iinfo(dtype.to_numpy())
        return rng.integers(ends.min, ends.max, size, dtype.to_numpy(), endpoint=True)  # products and sums wrap around
    return rng.standard_normal(size).astype(dtype.to_numpy())


def _check(case: Case, run_triton: Run) -> None:
    points, acc, rng = int(np.prod(case.batch, dtype=int)), case.acc, np.random.default_rng(0)
    a, b, result = points * case.m * case.k, points * case.k * case.n, points * case.m * case.n
    a_type, b_type = case.a_type or acc, case.b_type or acc
    random = ((a, a_type), (b, b_type), (case.k, acc), (case.n, acc), (result, acc), (result, acc), (result, a_type))
    arrays = [*(_random(rng, *each) for each in random), np.array([3, 1, 0, 2]), _random(rng, 4, acc)]
    kernel, sizes = _kernel(case), (*case.batch, case.m, case.n, case.k) if case.symbolic else ()
    wanted = exact.meant(kernel, arrays, sizes)
    # Besides sums, roundings of a scale, a factor of the table, and of exponentials.
    roundings = case.k + 5 + (math.ceil(2 * prims.TABLE["exp"].ulp) if case.a == "exp" else 0)
    allowed = exact.tolerance(kernel, arrays, sizes, roundings, acc)
    run_triton(kernel, arrays, sizes)
    exact.check(arrays[5], wanted[5], allowed[5])
    exact.check(arrays[6], wanted[6], exact.rounded(wanted[6], allowed[6], a_type))


@pytest.mark.parametrize("n", [1, 17, 33])
@pytest.mark.parametrize("m", [1, 3, 16, 37])
def test_every_tail(m: int, n: int, run_triton: Run) -> None:
    _check(Case(m, n, 37), run_triton)
    _check(Case(m, n, 37, symbolic=False), run_triton)


@pytest.mark.sample(8)
@pytest.mark.parametrize("b", ["rows", "columns", "shared"])
@pytest.mark.parametrize("a", ["rows", "columns", "scaled", "masked", "exp"])
def test_every_operand(a: str, b: str, run_triton: Run) -> None:
    for m in (1, 19):
        _check(Case(m, 21, 35, (2, 3), a, b, symbolic=m != 1), run_triton)


_DTYPES = [
    (F64, F64, F64), (I32, I32, I32), (I64, I64, I64), (U8, I8, I32), (I8, I8, I32), (U8, U8, U8), (F16, F16, F32),
    (BF16, BF16, F32), (F16, F32, F32), (F16, BF16, F32), (F32, F64, F64),
]  # fmt: skip


@pytest.mark.parametrize(("a_type", "b_type", "acc"), _DTYPES)
def test_every_dtype(a_type: DType, b_type: DType, acc: DType, run_triton: Run) -> None:
    for m, k in ((1, 40), (18, 23)):
        _check(Case(m, 20, k, a_type=a_type, b_type=b_type, acc=acc, symbolic=m != 1), run_triton)


@pytest.mark.parametrize("shape", [(0, 5, 4), (5, 0, 4), (5, 4, 0), (1, 4, 0)])
@pytest.mark.parametrize("symbolic", [False, True])
def test_empty(shape: tuple[int, int, int], symbolic: bool, run_triton: Run) -> None:
    _check(Case(*shape, symbolic=symbolic), run_triton)
    _check(Case(*shape, acc=I32, symbolic=symbolic), run_triton)


def test_blocks_of_many_rows_cover_all(run_triton: Run) -> None:
    """More rows of blocks than are computed together, and a last group of fewer."""
    _check(Case(64 * 9 + 1, 70, 3), run_triton)
    _check(Case(130, 70, 20, (3,), symbolic=False), run_triton)


def _text(case: Case, rounding: Rounding = "ieee") -> str:
    return translated.source(_kernel(case), rounding).text


def test_tensor_cores_get_what_is_loaded() -> None:
    for dtype in (F16, BF16, I8):
        acc = I32 if dtype == I8 else F32
        text = _text(replace(Case(40, 40, 40), a_type=dtype, b_type=dtype, acc=acc))
        assert "acc = tl.dot(" in text and "input_precision" not in text
        loop = text[text.index("for start") : text.index("acc = tl.dot(")]
        assert ".to(" not in loop, loop
    assert 'input_precision="ieee"' in _text(Case(40, 40, 40))
    assert 'input_precision="tf32"' in _text(Case(40, 40, 40), rounding="tf32")
    mixed = _text(Case(40, 40, 40, a_type=F16), rounding="tf32")
    assert 'input_precision="tf32"' in mixed and ".to(tl.float32)" in mixed
    for acc in (F64, I32, I64):
        assert "tl.dot" not in _text(Case(40, 40, 40, acc=acc), rounding="tf32")


def test_whole_blocks_have_no_masks() -> None:
    text = _text(Case(128, 256, 512, symbolic=False))
    assert "mask" not in text[text.index("def kernel") :].replace("mask=(t", "")


def test_packed_operands_are_refused() -> None:
    assert translated.refusal(_kernel(Case(4, 4, 4), Packing("panels", 16))) == "packed operands in Triton"
