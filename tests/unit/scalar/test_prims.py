"""The primitive table: expansions are as accurate as their rows claim, C means what numpy means, sizes are symbolic."""

from __future__ import annotations

import numpy as np
import pytest
from native import COMPILERS, launcher

from intaglio.compiler.kernel import interp
from intaglio.compiler.kernel.ir import Kernel, LoopNest, Param, Stage, Store
from intaglio.compiler.scalar import prims
from intaglio.compiler.scalar.dim import LEAST, Symbol, evaluate
from intaglio.compiler.scalar.dtype import BOOL, DTYPES, F32, F64, I32, I64, DType
from intaglio.compiler.scalar.expr import Call, Const, Expr, Load, Var, rewrite

N = Symbol("n")
EXPANDED = [p.name for p in prims.TABLE.values() if p.expand and p.arity == 1]
EDGES = np.array(
    [0.0, np.inf, np.nan, 1.0, 2.0, 0.5, 1e-45, 1.1754944e-38, 3.4028235e38, 88.72283, 88.72284,
     89.41, 89.4159, 103.97, 104.0],
    np.float32,
)  # fmt: skip
# as close to a multiple of pi / 2 as f32 comes: by continued fractions of 2**e * 2 / pi
CLOSE = {10695401: 2, 10741887: 11, 11617958: 17, 9012376: 53, 10057457: 62, 16367173: 72, 14173733: 88}
HARD = np.array([np.ldexp(m, e) for m, e in CLOSE.items()], np.float32)


def run_c(value: Expr, inputs: list[np.ndarray], compiler: str = "gcc") -> np.ndarray:
    """The value of an expression of Var("x0"), Var("x1"), ... at every element of the inputs, in C."""
    return run_all_in_c([value], inputs, compiler)[0]


def run_all_in_c(values: list[Expr], inputs: list[np.ndarray], compiler: str = "gcc") -> list[np.ndarray]:
    """The values of several expressions, from one kernel."""
    kernel, outputs = kernel_of(values, inputs)
    level = "-O3" if len(values) == 1 else "-O1"  # many values: for the time it takes to compile
    launcher(kernel, [*inputs, *outputs], [inputs[0].size], compiler, level)()
    return outputs


def kernel_of(values: list[Expr], inputs: list[np.ndarray]) -> tuple[Kernel, list[np.ndarray]]:
    """A kernel that computes expressions of Var("x0"), ... at every element of the inputs, and arrays for them."""
    i = Symbol("i", 0, N)
    loads = {f"x{n}": Load(n, i, DTYPES[_name(a)]) for n, a in enumerate(inputs)}
    values = [rewrite(value, lambda e: loads.get(e.name) if isinstance(e, Var) else None) for value in values]
    params = [Param(DTYPES[_name(a)], N, False) for a in inputs] + [Param(value.dtype, N, True) for value in values]
    stages = [Stage(value, Store(len(inputs) + k, i), (i,)) for k, value in enumerate(values)]
    outputs = [np.zeros(inputs[0].size, value.dtype.to_numpy()) for value in values]
    return Kernel(tuple(params), (N,), LoopNest((), tuple(stages))), outputs


def _name(array: np.ndarray) -> str:
    return next(d.name for d in DTYPES.values() if d.numpy.removeprefix("ml:") == array.dtype.name)


def variables(dtype: DType, count: int) -> list[Var]:
    return [Var(f"x{i}", dtype) for i in range(count)]


def expanded(root: Expr) -> Expr:
    """`root` with the expansions of its f32 primitives in their place, theirs too."""

    def rule(e: Expr) -> Expr | None:
        if not isinstance(e, Call) or prims.TABLE[e.prim].expand is None or e.args[-1].dtype != F32:
            return None
        formals, body = prims.expansion(e.prim)
        return expanded(rewrite(body, dict(zip(formals, e.args)).get))

    return rewrite(root, rule)


# -- accuracy ---------------------------------------------------------------------------------------------------------


def floats(low: float, high: float, count: int) -> np.ndarray:
    """Numbers of both signs, evenly spaced in their bits: as many in each binade."""
    bits = np.linspace(np.float32(low).view(np.int32), np.float32(high).view(np.int32), count).astype(np.int32)
    return np.concatenate([bits.view(np.float32), -bits.view(np.float32)])


def samples(name: str) -> np.ndarray:
    everywhere = [floats(1e-45, 3.4e38, 40000), floats(1e-3, 200.0, 60000), EDGES, -EDGES]
    # where reductions of the argument change over
    half = (np.arange(-300, 300) * np.log(2) / 2).astype(np.float32)
    near = [np.nextafter(half, np.float32(s)) for s in (-np.inf, np.inf)] + [half]
    x = np.concatenate([*everywhere, *near])
    if name in ("sin", "cos", "tan"):
        quarters = (np.arange(-20000, 20000) * np.pi / 4).astype(np.float32)
        return np.concatenate([x, floats(0.1, 1e5, 40000), quarters, floats(1e5, 3.4e38, 100000), HARD])
    if name in ("asin", "acos", "atanh", "log", "log1p", "acosh"):
        return np.concatenate([x, floats(0.3, 3.0, 60000)])
    return x


def errors_in_ulp(got: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """The error in units of the last place of the result; infinite where only one of the two is NaN or infinite."""
    with np.errstate(all="ignore"):
        rounded = exact.astype(np.float32)
        finite = np.isfinite(rounded)
        unit = np.spacing(np.abs(np.where(finite, rounded, np.float32(3e38)))).astype(np.float64)
        error = np.abs(got.astype(np.float64) - exact) / unit
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    error[same & ~finite] = 0
    return np.where(np.isnan(error), np.inf, error)


def check_accuracy(name: str, got: np.ndarray, exact: np.ndarray, x: np.ndarray) -> None:
    error = errors_in_ulp(got, exact)
    worst = int(np.argmax(error))
    assert error[worst] <= prims.TABLE[name].ulp, f"{name}({x[worst]!r}) = {got[worst]!r}, not {exact[worst]!r}"


@pytest.mark.parametrize("name", EXPANDED)
def test_expansion_is_as_accurate_as_its_row_says(name: str) -> None:
    x = samples(name)
    exact = prims.evaluate(name, [x.astype(np.float64)])
    call = prims.call(name, *variables(F32, 1))
    with np.errstate(all="ignore"):
        check_accuracy(name, interp.evaluate(expanded(call), {}, variables={"x0": x}), exact, x)
    for compiler in COMPILERS:
        check_accuracy(name, run_c(call, [x], compiler), exact, x)


def test_pow_is_as_accurate_as_its_row_says() -> None:
    rng = np.random.default_rng(0)
    special = np.array([0, 1, 2, 3, 0.5, 2.5, 5, 16777216, 1e-40, 3e38, 1e30, np.inf], np.float32)
    special = np.concatenate([special, -special, [np.float32(np.nan)]])
    x, y = (a.ravel() for a in np.meshgrid(special, special))
    x = np.concatenate([x, np.exp(rng.uniform(-20, 20, 20000)), 1 + rng.uniform(-1e-3, 1e-3, 20000)]).astype(np.float32)
    y = np.concatenate([y, rng.uniform(-8, 8, 20000), rng.uniform(-9e4, 9e4, 20000)]).astype(np.float32)
    exact = prims.evaluate("pow", [x.astype(np.float64), y.astype(np.float64)])
    for compiler in COMPILERS:
        got = run_c(prims.call("pow", *variables(F32, 2)), [x, y], compiler)
        check_accuracy("pow", got, exact, x)
        number = ~np.isnan(exact)
        assert np.array_equal(np.signbit(got[number]), np.signbit(exact[number]))


@pytest.mark.parametrize(
    ("name", "low", "high", "drop"),
    [
        ("erf", -1, 1, 0),
        ("tanh", -1, 1, 2),
        ("sigmoid", 0, 1, 1),
        ("exp", 0, np.inf, 0),
        ("sin", -1, 1, None),
        ("cos", -1, 1, None),
    ],
)
def test_stays_in_its_range_and_never_falls(name: str, low: float, high: float, drop: int | None) -> None:
    """`drop`: units of the last place a result may lie below that of a smaller argument."""
    x = np.concatenate([floats(1e-45, 3.4e38, 60000), floats(1e-2, 20.0, 200000), EDGES, -EDGES])
    x = np.sort(x[~np.isnan(x)])
    if name in ("sin", "cos"):
        x = x[np.isfinite(x)]
    y = run_c(prims.call(name, *variables(F32, 1)), [x])
    assert y.min() >= low
    assert y.max() <= high
    if drop is not None:
        y = y[np.isfinite(y)]
        falls = np.maximum(y[:-1], y[1:]) - y[1:] > drop * np.spacing(np.abs(y[1:]))
        assert not falls.any()


def test_signs_of_zero() -> None:
    zero = np.array([0.0, -0.0], np.float32)
    for name in ("sin", "tan", "asin", "atan", "sinh", "tanh", "asinh", "atanh", "erf", "expm1", "log1p"):
        assert np.array_equal(np.signbit(run_c(prims.call(name, *variables(F32, 1)), [zero])), [False, True]), name


@pytest.mark.parametrize("name", [name for name in EXPANDED if prims.TABLE[name].c])
def test_f64_calls_the_library(name: str) -> None:
    x = np.linspace(0.05, 0.95, 50) + (1.0 if name == "acosh" else 0.0)
    got = run_c(prims.call(name, *variables(F64, 1)), [x])
    np.testing.assert_allclose(got, prims.evaluate(name, [x]), rtol=1e-14)


# -- C means what numpy means -----------------------------------------------------------------------------------------

INTEGERS = [DTYPES[n] for n in ("i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64")]


def integers(dtype: DType) -> list[np.ndarray]:
    info = np.iinfo(dtype.to_numpy())
    some = {info.min, info.min + 1, info.max, info.max - 1, 0, 1, 2, 3, 7, 40, 100, dtype.bits - 1, dtype.bits}
    some |= {-v for v in some if info.min <= -v <= info.max}
    x, y = np.meshgrid(np.array(sorted(some), object), np.array(sorted(some), object))
    return [a.ravel().astype(dtype.to_numpy()) for a in (x, y)]


def check_in_c(rows: list[prims.Prim], dtype: DType, data: list[np.ndarray]) -> None:
    rows = [p for p in rows if p.result != "given" and p.arity <= 2 and p.c]  # what has no C is no call in a kernel
    results = run_all_in_c([prims.call(p.name, *variables(dtype, p.arity)) for p in rows], data)
    for prim, got in zip(rows, results):
        want = prims.evaluate(prim.name, data[: prim.arity])
        np.testing.assert_array_equal(got, want, err_msg=f"{prim.name} {dtype}")


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integers_in_c(dtype: DType) -> None:
    data = integers(dtype)
    check_in_c([p for p in prims.TABLE.values() if dtype.kind in p.kinds], dtype, data)


@pytest.mark.parametrize("dtype", [d for d in INTEGERS if d.bits < 32], ids=str)
def test_results_are_of_their_type_where_nothing_is_stored(dtype: DType) -> None:
    """C computes with int at least: what does not fit wraps around before it is used."""
    data = integers(dtype)
    rows = [p for p in prims.TABLE.values() if dtype.kind in p.kinds and p.result == "same" and p.arity <= 2 and p.c]
    made = [prims.call(p.name, *variables(dtype, p.arity)) for p in rows]
    for prim, got in zip(rows, run_all_in_c([prims.call("cast", e, dtype=I64) for e in made], data)):
        want = prims.evaluate(prim.name, data[: prim.arity]).astype(np.int64)
        np.testing.assert_array_equal(got, want, err_msg=f"{prim.name} {dtype}")


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_floats_in_c(dtype: DType) -> None:
    some = np.array([0, -0.0, 0.5, 1.5, 2.5, -0.5, -1.5, 3, -3, 7.25, 1e20, -1e20, 8388607.5, np.inf, -np.inf, np.nan])
    data = [a.ravel().astype(dtype.to_numpy()) for a in np.meshgrid(some, some)]
    exact = [p for p in prims.TABLE.values() if "f" in p.kinds and p.expand is None]
    check_in_c(exact, dtype, data)


CASTABLE = [d for d in DTYPES.values() if d.kind in "fiub"]


def values_to_cast(source: DType) -> np.ndarray:
    """All values of a narrow type, many of a wide one."""
    if source.bits == 8:
        data = np.arange(256, dtype=np.uint8)
        if source.name in ("i4", "u4", "i2", "u2", "f4e2m1"):
            data = data[: 1 << int(source.name[1])] if source.name[1:].isdigit() else data[:16]
        data = data.view(np.int8).copy() if source.kind == "i" else data
        return (
            data.astype(source.to_numpy()) if source.is_integer or source.kind == "b" else data.view(source.to_numpy())
        )
    if source.bits == 16 and source.is_float:
        return np.arange(65536, dtype=np.uint16).view(source.to_numpy())
    if source.is_float:
        quarters = np.arange(-40, 40) / 4
        values = np.concatenate([floats(1e-12, 1e12, 20000), floats(1e-3, 1000, 20000), EDGES, -EDGES, quarters])
        return values.astype(source.to_numpy())
    return integers(source)[0]


@pytest.mark.sample(7)
@pytest.mark.parametrize("source", CASTABLE, ids=str)
def test_casts_in_c(source: DType) -> None:
    x = values_to_cast(source)
    targets = [t for t in CASTABLE if t != source]
    results = run_all_in_c([prims.call("cast", *variables(source, 1), dtype=t) for t in targets], [x])
    for target, got in zip(targets, results):
        with np.errstate(all="ignore"):
            want = prims.evaluate("cast", [x], target)
        if target.is_float:
            got, want = got.astype(np.float64), want.astype(np.float64)
        np.testing.assert_array_equal(got, want, err_msg=f"{source} to {target}")


@pytest.mark.parametrize("dtype", [DTYPES["f16"], DTYPES["bf16"]], ids=str)
def test_rounding_without_narrowing(dtype: DType) -> None:
    """Halfway between neighbours, and next to that, over all of the type; what overflows; denormals."""
    narrow = np.arange(0x7C00 if dtype.name == "f16" else 0x7F80, dtype=np.uint16).view(dtype.to_numpy())
    middle = (narrow[:-1].astype(np.float64) + narrow[1:].astype(np.float64)) / 2
    middle = np.concatenate([middle, [65520.0, 65519.99]]).astype(np.float32)
    near = [middle, np.nextafter(middle, np.float32(0)), np.nextafter(middle, np.float32(np.inf))]
    x = np.concatenate([*near, narrow.astype(np.float32), floats(1e-45, 3.4e38, 20000), EDGES])
    x = np.concatenate([x, -x])
    got = run_c(prims.call(f"round_{dtype}", *variables(F32, 1)), [x])
    with np.errstate(all="ignore"):
        want = x.astype(dtype.to_numpy()).astype(np.float32)
    number = ~np.isnan(x)
    np.testing.assert_array_equal(got.view(np.uint32)[number], want.view(np.uint32)[number])
    assert np.isnan(got[~number]).all()


def test_unsaturated_casts_in_c() -> None:
    x = np.concatenate([floats(1e-12, 1e12, 20000), EDGES, -EDGES])
    for target in CASTABLE:
        if target.is_float and target.bits == 8:
            with np.errstate(all="ignore"):
                want = prims.evaluate("cast_unsaturated", [x], target).astype(np.float32)
            got = run_c(prims.call("cast_unsaturated", *variables(F32, 1), dtype=target), [x]).astype(np.float32)
            np.testing.assert_array_equal(got, want, err_msg=str(target))


def between(target: DType) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All neighbours among the positive numbers of a narrow float, and what lies halfway, in f64, which is exact."""
    codes = np.arange(1 << min(target.bits, 16), dtype=np.uint16).astype(f"uint{target.bits}")
    values = codes[: 16 if target.name == "f4e2m1" else None].view(target.to_numpy()).astype(np.float64)
    values = values[: len(values) // 2]
    values = values[np.isfinite(values)]
    return values[:-1], values[1:], (values[:-1] + values[1:]) / 2


NARROW = [DTYPES[n] for n in ("f16", "bf16", "f8e4m3fn", "f8e4m3fnuz", "f8e5m2", "f8e5m2fnuz", "f4e2m1")]


@pytest.mark.parametrize("target", NARROW, ids=str)
def test_casts_round_once(target: DType) -> None:
    """Numbers as near to the middle of two neighbours as f64 and wide integers can be, which f32 cannot."""
    low, high, middle = between(target)
    even = np.where(np.arange(len(low)) % 2 == 0, low, high)
    x = np.concatenate([np.nextafter(middle, 0), middle, np.nextafter(middle, np.inf)])
    want = np.concatenate([low, even, high])
    _check_casts(target, np.concatenate([x, -x]), np.concatenate([want, -want]))
    for source in (np.int32, np.uint32, np.int64, np.uint64):
        whole = (middle == np.floor(middle)) & (middle < float(np.iinfo(source).max) / 2) & (low >= 1 << 8)
        at = middle[whole].astype(source)
        one = np.array(1, source)
        want = np.concatenate([low[whole], even[whole], high[whole]])
        _check_casts(target, np.concatenate([at - one, at, at + one]), want)


def _check_casts(target: DType, x: np.ndarray, want: np.ndarray) -> None:
    if x.size:
        cast = prims.call("cast", *variables(DTYPES[_name(x)], 1), dtype=target)
        for got in (prims.evaluate("cast", [x], target), run_c(cast, [x])):
            np.testing.assert_array_equal(got.astype(np.float64), want, f"{x.dtype} to {target}")


def test_saturation() -> None:
    x = np.array([np.inf, -np.inf, 1e9, -1e9, np.nan], np.float32)
    assert prims.evaluate("cast", [x], DTYPES["f8e4m3fn"]).astype(np.float32).tolist()[:4] == [448, -448, 448, -448]
    assert prims.evaluate("cast", [x], DTYPES["u8"]).tolist() == [255, 0, 255, 0, 0]
    assert prims.evaluate("cast", [x], I32).tolist() == [2**31 - 1, -(2**31), 10**9, -(10**9), 0]


# -- the table --------------------------------------------------------------------------------------------------------


def test_rules() -> None:
    x, y = Var("x", F32), Var("y", F32)
    assert prims.call("lt", x, y).dtype == BOOL
    assert prims.call("select", prims.call("lt", x, y), x, y).dtype == F32
    assert prims.call("cast", x, dtype=I64).dtype == I64
    for name, args, message in [
        ("sin", [I32], "sin is not defined for i32"),
        ("add", [F32, F64], "add of different types: f32, f64"),
        ("add", [F32], "add takes 2 arguments, not 1"),
        ("select", [F32, F32, F32], "the condition of select is f32, not bool"),
        ("frobnicate", [F32], "there is no scalar primitive 'frobnicate'"),
        ("cast", [F32], "cast needs a target type"),
    ]:
        with pytest.raises(ValueError, match=message):
            prims.infer(name, args)


def test_symbolic_sizes() -> None:
    n = np.array([N, 6], object)
    two = np.array([2, 2], object)
    assert prims.evaluate("add", [n, two]).tolist() == [N + 2, 8]
    assert prims.evaluate("div", [n, two]).tolist() == [N // 2, 3]
    assert prims.evaluate("max", [n, np.array([0, 9], object)]).tolist() == [N, 9]
    assert prims.evaluate("eq", [n, n]).tolist() == [True, True]
    anything = np.array(Symbol("x", LEAST), object)
    with pytest.raises(TypeError, match="not known"):
        prims.evaluate("lt", [anything, two])
    with pytest.raises(TypeError, match="symbolic"):
        prims.evaluate("exp", [n])


@pytest.mark.parametrize("prim", [row for row in prims.TABLE.values()
                                  if (row.result == "bool" and row.symbolic) or row.name in ("select", "cast")],
                         ids=lambda row: row.name)  # fmt: skip
def test_comparisons_of_sizes_are_formulas(prim: prims.Prim) -> None:
    """That say the same as the numbers do, for each value of the symbol."""
    truths = prim.kinds == "b"
    sizes = [np.array(v, object) for v in ([N, 3, N + 1, 0], [2, N, 3, N * 2], [N, N - 1, 7, 2])]
    compared = prims.evaluate("lt", sizes[:2]), prims.evaluate("eq", [sizes[1], sizes[2]])
    args = {"select": [compared[0], *sizes[:2]], "cast": [sizes[1]]}.get(prim.name)
    args = args or list(compared if truths else sizes)[: prim.arity]
    made = prims.evaluate(prim.name, args, BOOL if prim.name == "cast" else None)
    for n in range(6):
        numbers = [np.array([evaluate(size, {N: n}) for size in a]) for a in args]
        typed = [a.astype(bool) if truths or (prim.name == "select" and i == 0) else a for i, a in enumerate(numbers)]
        wanted = prims.evaluate(prim.name, typed, BOOL if prim.name == "cast" else None)
        assert [int(evaluate(size, {N: n})) for size in made] == wanted.astype(int).tolist()


@pytest.mark.parametrize("dtype", [F32, I32, DTYPES["u8"], BOOL], ids=str)
def test_identities(dtype: DType) -> None:
    values = np.array([0, 1, 1], dtype.to_numpy())
    for prim in prims.TABLE.values():
        if prim.identity is not None and dtype.kind in prim.kinds:
            neutral = np.asarray(prim.identity(dtype), dtype.to_numpy())
            np.testing.assert_array_equal(prims.evaluate(prim.name, [np.full(3, neutral), values]), values)


def test_constants_are_exact_in_c() -> None:
    one = np.zeros(1, np.float32)
    for value in (0.1, 1e-45, 3.4028235e38, -1.1754944e-38, np.inf, -np.inf, -0.0, 16777216.0):
        got = run_c(Var("x0", F32) * 0.0 + Const(value, F32), [one])[0]
        assert got == np.float32(value)


@pytest.mark.parametrize("row", [row for row in prims.TABLE.values() if row.symbolic and row.result != "given"],
                         ids=lambda row: row.name)  # fmt: skip
def test_symbolic_rows_take_numbers(row: prims.Prim) -> None:
    """Contents are object arrays, also where all of them are plain numbers: they mean the same as these."""
    for kind in set("ib") & set(row.kinds):
        a, b = (np.array(v, np.int64) if kind == "i" else np.array(v) > 1 for v in ([7, -3, 5, 1], [1, 2, 5, 3]))
        args = [np.array([True, False, True, False]), a, b] if row.name == "select" else [a, b][: row.arity]
        wanted = prims.evaluate(row.name, args)
        got = prims.evaluate(row.name, [arg.astype(object) for arg in args])
        np.testing.assert_array_equal(got.astype(wanted.dtype), wanted)


@pytest.mark.parametrize("row", [row for row in prims.TABLE.values() if row.result != "given"],
                         ids=lambda row: row.name)  # fmt: skip
def test_scalars_are_arrays(row: prims.Prim) -> None:
    """Arrays of rank 0 mean what those of one element do: numpy returns Python's numbers here and there."""
    for kind in row.kinds.replace("s", ""):  # strings are numbers before anything is computed
        dtype = {"f": np.float32, "i": np.int32, "u": np.uint32, "b": np.bool_}[kind]
        args = [np.array([v]).astype(dtype) for v in (1, 1, 0)[: row.arity]]
        if row.name == "select":
            args[0] = args[0].astype(np.bool_)
        wanted = prims.evaluate(row.name, args)
        got = prims.evaluate(row.name, [arg.reshape(()) for arg in args])
        assert got.dtype == wanted.dtype and got.shape == ()
        np.testing.assert_array_equal(got, wanted[0])
