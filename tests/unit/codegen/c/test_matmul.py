"""Matmul kernels against their meaning in float64, on fresh random inputs."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unit.codegen import exact

from intaglio.compiler.codegen.c import matmul
from intaglio.compiler.codegen.c.build import TEMPLATES
from intaglio.compiler.kernel.ir import Kernel, Matmul, Param, Stage, Store
from intaglio.compiler.kernel.operands import multiplied
from intaglio.compiler.kernel.packing import Packing
from intaglio.compiler.scalar.dim import Size, Symbol
from intaglio.compiler.scalar.dtype import BF16, F16, F32, F64, I8, I32, I64, U8, DType
from intaglio.compiler.scalar.expr import Acc, Call, Const, Load, as_type
from intaglio.compiler.schedule import default
from intaglio.compiler.schedule.tile import choose_nr, tile_of
from intaglio.compiler.target import target

Array = np.ndarray[Any, Any]
Compile = Callable[..., Any]

# One CPU for each unit that multiplies bytes, at both lengths of vectors.
BYTES = ["native", "x86-64-v4", "x86-64-v4+avx512vnni", "x86-64-v3+avxvnni", "x86-64-v3", "x86-64-v2", "generic"]


@dataclass(frozen=True)
class Case:
    """c[b, m, n] = max(sum over k of a * b + bias[n] + residual[b, m, n], 0)

    a: "rows" [batch, m, k], "columns" [batch, k, m], "scaled" rows times scale[k]. b: "packed" panels, "rows"
    [batch, k, n], "columns" [batch, n, k]. Operands of dtype `a_type` and `b_type` (by default `acc`).
    """

    m: int
    n: int
    k: int
    batch: int = 1
    a: str = "rows"
    b: str = "packed"
    acc: DType = F32
    a_type: DType | None = None
    b_type: DType | None = None
    target: str = "native"
    compiler: str = "gcc"
    symbolic: bool = True
    emulated: bool = False


def _kernel(case: Case, packing: Packing | None) -> Kernel:
    extents = [Symbol(name) for name in ("B", "M", "N", "K")]
    shape: Sequence[Size] = extents if case.symbolic else (case.batch, case.m, case.n, case.k)
    batch, rows, columns, depth = shape
    b, m, n, k = (Symbol(name, 0, extent) for name, extent in zip("bmnk", shape))
    a_type, b_type, acc = case.a_type or case.acc, case.b_type or case.acc, case.acc
    types = multiplied(a_type, b_type, acc)
    at_a = (b * depth + k) * rows + m if case.a == "columns" else (b * rows + m) * depth + k
    value_a = as_type(Load(0, at_a, a_type), types[0])
    if case.a == "scaled":
        value_a = value_a * as_type(Load(2, k, acc), types[0])
    at_b = {"packed": 0, "rows": (b * depth + k) * columns + n, "columns": (b * columns + n) * depth + k}[case.b]
    value_b = as_type(Load(1, at_b, b_type), types[1])
    at_c = (b * rows + m) * columns + n
    result = Call("max", (Acc(acc) + Load(3, n, acc) + Load(4, at_c, acc), Const(0, acc)), acc)
    body = Matmul((b,), m, n, k, value_a, value_b, acc, (Stage(result, Store(5, at_c)),), packing)
    params = (
        Param(a_type, batch * rows * depth, False),
        Param(b_type, batch * depth * columns, False),
        Param(acc, depth, False),
        Param(acc, columns, False),
        Param(acc, batch * rows * columns, False),
        Param(acc, batch * rows * columns, True),
    )
    return Kernel(params, tuple(extents) if case.symbolic else (), body)


def _random(shape: tuple[int, ...], dtype: DType) -> Array:
    rng = np.random.default_rng(0)
    if dtype.is_integer:
        low, high = (0, 256) if dtype == U8 else (-128, 128)
        return rng.integers(low, high, shape).astype(dtype.to_numpy())
    return rng.standard_normal(shape).astype(dtype.to_numpy())


def _packing(case: Case) -> Packing | None:
    cpu, a_type = target(case.target), case.a_type or case.acc
    element = multiplied(a_type, case.b_type or case.acc, case.acc)[0]
    return tile_of(choose_nr(case.n, element, cpu), element, cpu).panels(element) if case.b == "packed" else None


def _arrays(case: Case, packing: Packing | None) -> tuple[list[Array], list[int]]:
    """Random numbers for the kernel of a case, and its sizes."""
    acc, batch, m, n, k = case.acc, case.batch, case.m, case.n, case.k
    a = _random((batch, k, m) if case.a == "columns" else (batch, m, k), case.a_type or acc)
    shape = {"packed": (k, n), "rows": (batch, k, n), "columns": (batch, n, k)}[case.b]
    b = _random(shape, case.b_type or acc)
    others = (_random(shape, acc) for shape in ((k,), (n,), (batch, m, n), (batch, m, n)))
    return [a, packing.pack(b) if packing else b, *others], [batch, m, n, k] if case.symbolic else []


def _run(case: Case, compile_kernel: Compile, splits: Sequence[int] = (1,)) -> list[Array]:
    """The results for each number of runs, after a comparison with what the kernel means."""
    packing = _packing(case)
    kernel, (arrays, sizes) = _kernel(case, packing), _arrays(case, packing)
    compiled = compile_kernel(matmul, kernel, case.target, case.compiler, emulated=case.emulated)
    allowed = exact.tolerance(kernel, arrays, sizes, case.k + 4, case.acc)[5]
    results = []
    for split in splits:
        made = [*arrays[:-1], arrays[-1].copy()]
        compiled(made, sizes, split)
        exact.check(made[-1], exact.meant(kernel, arrays, sizes)[5], allowed)
        results.append(made[-1])
    return results


@pytest.mark.parametrize("n", [1, 16, 17, 40, 64, 65, 130])
@pytest.mark.parametrize("m", [1, 2, 5, 6, 7, 13, 100])
def test_every_tail(m: int, n: int, compile_kernel: Compile) -> None:
    _run(Case(m, n, 37), compile_kernel)


@pytest.mark.parametrize("b", ["packed", "rows", "columns"])
@pytest.mark.parametrize("a", ["rows", "columns", "scaled"])
@pytest.mark.parametrize("m", [3, 110])
def test_every_operand(a: str, b: str, m: int, compile_kernel: Compile) -> None:
    _run(Case(m, 150, 29, 3, a, b), compile_kernel)


@pytest.mark.parametrize("name", ["x86-64-v2", "x86-64-v3", "generic"])
@pytest.mark.parametrize("n", [3, 20, 64])
def test_every_target(name: str, n: int, compile_kernel: Compile) -> None:
    for m in (1, 4, 27):
        _run(Case(m, n, 31, target=name), compile_kernel)


@pytest.mark.parametrize("a", ["rows", "columns"])
@pytest.mark.parametrize("b", ["packed", "rows", "columns"])
def test_other_compilers(a: str, b: str, compile_kernel: Compile) -> None:
    _run(Case(21, 70, 29, 2, a, b, compiler="zig"), compile_kernel)


@pytest.mark.parametrize(
    ("a_type", "b_type", "acc"),
    [
        (F64, F64, F64),
        (I32, I32, I32),
        (I64, I64, I64),
        (U8, U8, I32),
        (I8, U8, I32),
        (F16, F16, F32),
        (BF16, F32, F32),
    ],
)
@pytest.mark.parametrize("b", ["packed", "rows"])
def test_every_dtype(a_type: DType, b_type: DType, acc: DType, b: str, compile_kernel: Compile) -> None:
    _run(Case(19, 37, 23, a_type=a_type, b_type=b_type, acc=acc, b=b), compile_kernel)


@pytest.mark.sample(3)
@pytest.mark.parametrize(("a", "a_type"), [("rows", F32), ("scaled", F32), ("columns", F32), ("rows", BF16)])
@pytest.mark.parametrize(("b", "b_type"), [("packed", F32), ("rows", F32), ("columns", F32), ("rows", F16)])
def test_parts(a: str, a_type: DType, b: str, b_type: DType, compile_kernel: Compile) -> None:
    """Products of bf16 parts on tiles are as accurate as multiply-adds; blocks end with few rows, and with many."""
    for m, n, k in ((16, 16, 16), (35, 70, 129), (301, 48, 40)):
        case = Case(m, n, k, 2, a, b, a_type=a_type, b_type=b_type, target="sapphirerapids", emulated=True)
        first, *others = _run(case, compile_kernel, [1, 3])
        assert all((other == first).all() for other in others)


@pytest.mark.sample(3)
@pytest.mark.parametrize("cpu", BYTES)
@pytest.mark.parametrize(("a", "b"), [("rows", "packed"), ("scaled", "columns")])
@pytest.mark.parametrize("a_type", [U8, I8])
def test_bytes(cpu: str, a: str, b: str, a_type: DType, compile_kernel: Compile) -> None:
    """By every unit; K ends within four elements, and exactly there."""
    for m, n, k in ((1, 70, 1), (5, 16, 4), (13, 33, 23), (40, 130, 258)):
        _run(Case(m, n, k, 2, a=a, b=b, a_type=a_type, b_type=I8, acc=I32, target=cpu), compile_kernel)


@pytest.mark.sample(2)
@pytest.mark.parametrize("cpu", ["sapphirerapids", "native+amx-int8+vector_bytes=64+registers=32"])
@pytest.mark.parametrize("a_type", [U8, I8])
@pytest.mark.parametrize(("a", "b"), [("rows", "packed"), ("scaled", "columns"), ("columns", "rows")])
def test_bytes_on_tiles(a: str, b: str, a_type: DType, cpu: str, compile_kernel: Compile) -> None:
    """With panels that begin with sums, and those that do not; blocks and K end anywhere."""
    for m, n, k in ((16, 16, 16), (35, 70, 129), (101, 48, 40), (17, 33, 65)):
        case = Case(m, n, k, 2, a, b, a_type=a_type, b_type=I8, acc=I32, target=cpu, emulated=True)
        first, *others = _run(case, compile_kernel, [1, 3])
        assert all((other == first).all() for other in others)


@pytest.mark.parametrize(("a_type", "instruction"), [(U8, "tdpbusd"), (I8, "tdpbssd")])
def test_instructions_of_tiles(a_type: DType, instruction: str, tmp_path: Path) -> None:
    """They are in the code for a CPU that has them, which this machine need not be."""
    case = Case(40, 70, 129, a_type=a_type, b_type=I8, acc=I32, target="sapphirerapids")
    kernel, cpu = _kernel(case, _packing(case)), target(case.target)
    (tmp_path / "kernel.c").write_text(matmul.source(kernel, "kernel", default(kernel.body, cpu)))
    flags = [*cpu.flags, "-std=c11", "-O2", "-fopenmp-simd", f"-I{TEMPLATES}"]
    done = subprocess.run(
        ["gcc", *flags, "-S", "-o", "-", str(tmp_path / "kernel.c")], capture_output=True, text=True, check=True
    )
    assert re.search(rf"\b{instruction}\b", done.stdout)


@pytest.mark.sample(2)
@pytest.mark.parametrize("a_type", [U8, I8])
@pytest.mark.parametrize("b", ["packed", "rows"])
def test_bytes_by_other_compilers(b: str, a_type: DType, compile_kernel: Compile) -> None:
    for cpu in ("native", "x86-64-v3", "generic"):
        case = Case(13, 33, 23, b=b, a_type=a_type, b_type=I8, acc=I32, target=cpu, compiler="zig")
        _run(case, compile_kernel)


@pytest.mark.sample(2)
@pytest.mark.parametrize("cpu", [*BYTES, "sapphirerapids"])
def test_bytes_of_extreme_values(cpu: str, compile_kernel: Compile) -> None:
    """No pair of products saturates."""
    emulated = cpu == "sapphirerapids"
    for a_type, a in ((U8, 255), (I8, -128), (I8, 127)):
        for b in (-128, 127):
            case = Case(26, 32, 400, a_type=a_type, b_type=I8, acc=I32, target=cpu)
            packing = _packing(case)
            assert packing
            kernel, (arrays, sizes) = _kernel(case, packing), _arrays(case, packing)
            arrays[0][:], arrays[1] = a, packing.pack(np.full((400, 32), b, np.int8))
            meant = exact.meant(kernel, arrays, sizes)[5]
            compile_kernel(matmul, kernel, cpu, emulated=emulated)(arrays, sizes)
            np.testing.assert_array_equal(arrays[5], meant)


@pytest.mark.parametrize("shape", [(1, 10, 4), (16, 16, 16), (7, 100, 300)])
def test_constant_sizes(shape: tuple[int, int, int], compile_kernel: Compile) -> None:
    _run(Case(*shape, symbolic=False), compile_kernel)
    _run(Case(*shape, b="rows", symbolic=False), compile_kernel)


@pytest.mark.parametrize("shape", [(0, 5, 4), (5, 0, 4), (5, 4, 0)])
def test_empty(shape: tuple[int, int, int], compile_kernel: Compile) -> None:
    _run(Case(*shape, b="rows"), compile_kernel)


def test_same_bits_for_any_split(compile_kernel: Compile) -> None:
    case = Case(250, 200, 100, 2, b="rows")
    results = _run(case, compile_kernel, [1, 2, 3, 7])
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)
