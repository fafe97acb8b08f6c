"""The primitive table in Triton: each row means what numpy means, for each dtype; casts between all of them."""

from __future__ import annotations

import numpy as np
import pytest
from unit.codegen.triton import translated
from unit.scalar.test_prims import (
    CASTABLE,
    EDGES,
    EXPANDED,
    INTEGERS,
    check_accuracy,
    floats,
    integers,
    kernel_of,
    samples,
    values_to_cast,
    variables,
)

from intaglio.compiler.scalar import prims
from intaglio.compiler.scalar.dtype import BF16, BOOL, DTYPES, F16, F32, F64, DType
from intaglio.compiler.scalar.expr import Const, Expr, Var

from .conftest import Run

SPECIAL = np.array([0, -0.0, 0.5, 1.5, 2.5, -0.5, -1.5, 3, -3, 7.25, 1e20, -1e20, 8388607.5, np.inf, -np.inf, np.nan])
COMPUTING = [d for d in CASTABLE if d.compute == d]


def run_all(values: list[Expr], inputs: list[np.ndarray], run: Run) -> list[np.ndarray]:
    """The values of expressions of Var("x0"), ... at every element of the inputs, from one kernel."""
    kernel, outputs = kernel_of(values, inputs)
    run(kernel, [*inputs, *outputs], [inputs[0].size])
    return outputs


def rows(dtype: DType) -> list[prims.Prim]:
    """Those that operate on a dtype, but for conversions."""
    return [p for p in prims.TABLE.values() if dtype.kind in p.kinds and p.result != "given" and p.name != "require"]


def applied(prim: prims.Prim, dtype: DType) -> Expr:
    arguments = [BOOL, dtype, dtype] if prim.name == "select" else [dtype] * prim.arity
    return prims.call(prim.name, *(Var(f"x{i}", d) for i, d in enumerate(arguments)))


def check(prim: prims.Prim, dtype: DType, data: list[np.ndarray], run: Run) -> None:
    inputs = data[: prim.arity]
    if prim.name == "select":
        inputs[0] = np.arange(inputs[0].size) % 3 == 0
    (got,) = run_all([applied(prim, dtype)], inputs, run)
    want = prims.evaluate(prim.name, inputs)
    np.testing.assert_array_equal(got, want, err_msg=f"{prim.name} {dtype}")
    if dtype.is_float and prim.result == "same":
        number = ~np.isnan(want)
        np.testing.assert_array_equal(np.signbit(got[number]), np.signbit(want[number]), err_msg=f"{prim.name} {dtype}")


@pytest.mark.sample(4)
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integers(dtype: DType, run_triton: Run) -> None:
    x, y = integers(dtype)
    for prim in rows(dtype):
        check(prim, dtype, [x, y, x[::-1].copy()], run_triton)


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_floats(dtype: DType, run_triton: Run) -> None:
    x, y = (a.ravel().astype(dtype.to_numpy()) for a in np.meshgrid(SPECIAL, SPECIAL))
    for prim in rows(dtype):
        if prim.expand is None:
            check(prim, dtype, [x, y, x[::-1].copy()], run_triton)


def test_bools(run_triton: Run) -> None:
    x, y = (np.array(v) for v in ([False, False, True, True], [False, True, False, True]))
    for prim in rows(BOOL):
        check(prim, BOOL, [x, y, x[::-1].copy()], run_triton)


NATIVE = ["exp", "log", "sin", "cos", "erf"]  # the functions of Triton itself, which its interpreter takes from numpy


@pytest.mark.sample(3)
@pytest.mark.parametrize("name", EXPANDED)
def test_functions_of_f32(name: str, run_triton: Run) -> None:
    x = samples(name)
    (got,) = run_all([prims.call(name, *variables(F32, 1))], [x], run_triton)
    if name in NATIVE:
        np.testing.assert_array_equal(got, prims.evaluate(name, [x]))
    else:
        check_accuracy(name, got, prims.evaluate(name, [x.astype(np.float64)]), x)


def test_powers_of_f32(run_triton: Run) -> None:
    rng = np.random.default_rng(0)
    x, y = (a.ravel() for a in np.meshgrid(SPECIAL, SPECIAL))
    x = np.concatenate([x, np.exp(rng.uniform(-20, 20, 20000)), 1 + rng.uniform(-1e-3, 1e-3, 20000)]).astype(np.float32)
    y = np.concatenate([y, rng.uniform(-8, 8, 20000), rng.uniform(-9e4, 9e4, 20000)]).astype(np.float32)
    (got,) = run_all([prims.call("pow", *variables(F32, 2))], [x, y], run_triton)
    check_accuracy("pow", got, prims.evaluate("pow", [x.astype(np.float64), y.astype(np.float64)]), x)


@pytest.mark.parametrize("name", [*NATIVE, "sigmoid"])
def test_functions_of_f64(name: str, run_triton: Run) -> None:
    x = np.concatenate([np.linspace(0.05, 0.95, 50), SPECIAL])
    (got,) = run_all([prims.call(name, *variables(F64, 1))], [x], run_triton)
    np.testing.assert_allclose(got, prims.evaluate(name, [x]), rtol=1e-14)


def test_what_is_not_defined() -> None:
    """Only functions of f64 which Triton does not have, and what rounds f32 to less."""
    missing: set[str | None] = set()
    for dtype in COMPUTING:
        for prim in rows(dtype):
            inputs = [np.zeros(1, d.to_numpy()) for d in ([BOOL] if prim.name == "select" else []) + [dtype] * 3]
            missing.add(translated.refusal(kernel_of([applied(prim, dtype)], inputs)[0]))
    names = "pow expm1 log1p tan asin acos atan sinh cosh tanh asinh acosh atanh round_f16 round_bf16"
    assert missing == {None, *(f"{name} of f64 in Triton" for name in names.split())}


@pytest.mark.sample(4)
@pytest.mark.parametrize("source", CASTABLE, ids=str)
def test_casts(source: DType, run_triton: Run) -> None:
    x = values_to_cast(source)
    targets = [t for t in CASTABLE if t != source]
    results = run_all([prims.call("cast", *variables(source, 1), dtype=t) for t in targets], [x], run_triton)
    for target, got in zip(targets, results):
        with np.errstate(all="ignore"):
            want = prims.evaluate("cast", [x], target)
        if target.is_float:
            got, want = got.astype(np.float64), want.astype(np.float64)
        np.testing.assert_array_equal(got, want, err_msg=f"{source} to {target}")


def test_unsaturated_casts(run_triton: Run) -> None:
    x = np.concatenate([floats(1e-12, 1e12, 20000), EDGES, -EDGES])
    targets = [t for t in CASTABLE if t.is_float and t.bits == 8]
    casts = [prims.call("cast_unsaturated", *variables(F32, 1), dtype=t) for t in targets]
    for target, got in zip(targets, run_all(casts, [x], run_triton)):
        with np.errstate(all="ignore"):
            want = prims.evaluate("cast_unsaturated", [x], target).astype(np.float32)
        np.testing.assert_array_equal(got.astype(np.float32), want, err_msg=str(target))


def test_bitcasts(run_triton: Run) -> None:
    whole = [d for d in CASTABLE if d.kind != "b" and (d.is_float or d.name[1:] == str(d.bits))]
    for source in whole:
        bits = np.arange(256, dtype=np.uint8)
        x = np.resize(bits, 256 * source.itemsize).view(source.to_numpy())
        targets = [t for t in whole if t.bits == source.bits and t != source]
        casts = [prims.call("bitcast", *variables(source, 1), dtype=t) for t in targets]
        for target, got in zip(targets, run_all(casts, [x], run_triton)):
            assert got.tobytes() == x.tobytes(), f"{source} to {target}"


@pytest.mark.parametrize("dtype", [F32, F64, F16, BF16, *INTEGERS], ids=str)
def test_constants_are_exact(dtype: DType, run_triton: Run) -> None:
    if dtype.is_float:
        values = [0.1, 1e-45, 3.4028235e38, -1.1754944e-38, np.inf, -np.inf, -0.0, 16777216.0, 5e-324, 1e300]
    else:
        info = np.iinfo(dtype.to_numpy())
        values = [int(info.min), int(info.max), 0, 1]
    zero = np.zeros(1, dtype.to_numpy())
    wants = [np.asarray(v).astype(dtype.to_numpy()) for v in values]
    results = run_all([Const(w.item() if dtype.is_integer else float(w), dtype) for w in wants], [zero], run_triton)
    for got, want in zip(results, wants):
        assert got[0].tobytes() == want.tobytes(), want


def test_constants_of_narrow_floats(run_triton: Run) -> None:
    for dtype in (d for d in DTYPES.values() if d.is_float and d.bits == 8):
        (got,) = run_all([Const(0.5, dtype)], [np.zeros(1, np.float32)], run_triton)
        assert float(got[0]) == 0.5
