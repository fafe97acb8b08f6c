"""Products of f32 as sums of products of bf16 parts: errors of each precision against float64, and what is no number.

Where the CPU lacks the unit its instructions are emulated (templates/c/tiles.h).
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from intaglio.compiler.codegen.c import matmul
from intaglio.compiler.codegen.c.build import TEMPLATES
from intaglio.compiler.kernel.ir import Kernel, Matmul, Param, Stage, Store
from intaglio.compiler.precision import PARTS, Precision
from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import F32
from intaglio.compiler.scalar.expr import Acc, Load
from intaglio.compiler.schedule.matmul import MatmulSchedule, default
from intaglio.compiler.target import target
from intaglio.runtime import cpus

Array = np.ndarray[Any, Any]
Compile = Callable[..., Any]

TILES = "sapphirerapids"
SIZES = (M, N, K) = (Symbol("M"), Symbol("N"), Symbol("K"))
UNIT = 2.0**-24  # of f32, by which half an ulp of 1 is rounded
# What a product of numbers may lose beyond the rounding of sums: the products of parts that are left out, as stated in
# compiler/precision.py. A part is at most 2^-8 of the one before it.
LEFT_OUT: dict[Precision, float] = {"strict": 0, "exact": 2.0**-22.9, "high": 3.1 * 2.0**-16, "bf16": 2.0**-6.9}
TINY = 2.0**-126  # the least normal number: tiles take smaller parts for 0


def kernel() -> Kernel:
    """c[m, n] = sum over k of a[m, k] * b[k, n]"""
    m, n, k = (Symbol(size.name.lower(), 0, size) for size in SIZES)
    result = (Stage(Acc(F32), Store(2, m * N + n)),)
    body = Matmul((), m, n, k, Load(0, m * K + k, F32), Load(1, k * N + n, F32), F32, result)
    return Kernel((Param(F32, M * K, False), Param(F32, K * N, False), Param(F32, M * N, True)), SIZES, body)


def schedule(precision: Precision, cpu: str = TILES) -> MatmulSchedule:
    body = kernel().body
    assert isinstance(body, Matmul)
    return default(body, target(cpu), precision)


def product(a: Array, b: Array, how: MatmulSchedule, compile_kernel: Compile, emulated: bool = True) -> Array:
    result = np.full((len(a), b.shape[1]), np.nan, np.float32)
    compiled = compile_kernel(matmul, kernel(), TILES if emulated else LACKING, schedule=how, emulated=emulated)
    compiled([np.ascontiguousarray(a), np.ascontiguousarray(b), result], [len(a), b.shape[1], a.shape[1]])
    return result


# Instructions of tiles are compiled and refused at run time, on a CPU of any kind that this machine is.
LACKING = "native+amx-tile+amx-bf16+amx-int8+vector_bytes=64+registers=32"


def operands(name: str, depth: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """[20, depth] and [depth, 40]"""
    a, b = rng.standard_normal((20, depth)), rng.standard_normal((depth, 40))
    if name == "cancelling":  # sums are small beside what is summed
        a[:, depth // 2 : depth // 2 * 2] = -a[:, : depth // 2]
        b[depth // 2 : depth // 2 * 2] = b[: depth // 2] * (1 + 1e-4 * rng.standard_normal((depth // 2, 40)))
    elif name == "of all sizes":
        a, b = a * 2.0 ** rng.integers(-40, 40, a.shape), b * 2.0 ** rng.integers(-40, 40, b.shape)
    elif name == "denormal":
        a = a * 2.0**-130
    elif name == "positive":  # no errors cancel
        a, b = np.abs(a), np.abs(b)
    return a.astype(np.float32), b.astype(np.float32)


@pytest.mark.sample(8)
@pytest.mark.parametrize("name", ["normal", "positive", "cancelling", "of all sizes", "denormal"])
@pytest.mark.parametrize("depth", [1, 2, 15, 16, 17, 31, 32, 33, 100, 768, 8192])
@pytest.mark.parametrize("precision", PARTS)
def test_the_error_is_bounded(precision: Precision, depth: int, name: str, compile_kernel: Compile) -> None:
    a, b = operands(name, depth, np.random.default_rng([depth, len(name)]))
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    magnitude = np.abs(wide_a) @ np.abs(wide_b)
    vanishing = 4 * TINY * (np.abs(wide_a).sum(1)[:, None] + np.abs(wide_b).sum(0) + depth)
    allowed = (LEFT_OUT[precision] + (depth + 4) * UNIT) * magnitude + vanishing
    error = np.abs(product(a, b, schedule(precision), compile_kernel) - wide_a @ wide_b)
    assert (error <= allowed).all(), float((error / allowed).max())


def test_exact_is_no_worse_than_multiply_adds(compile_kernel: Compile) -> None:
    """By the root of the mean square, on what networks compute: sums of hundreds of terms of either sign."""
    rng = np.random.default_rng(1)
    for depth in (64, 768, 3072):
        a, b = operands("normal", depth, rng)
        exact = a.astype(np.float64) @ b
        ours, theirs = (product(a, b, schedule(p), compile_kernel) for p in ("exact", "strict"))
        assert np.sqrt(np.mean((ours - exact) ** 2)) <= np.sqrt(np.mean((theirs - exact) ** 2))


def test_precisions_differ(compile_kernel: Compile) -> None:
    """Each is more accurate than the next one: none is another one by another name."""
    a, b = operands("normal", 256, np.random.default_rng(2))
    exact = a.astype(np.float64) @ b
    high, one, all_parts = (
        float(np.abs(product(a, b, schedule(p), compile_kernel) - exact).max()) for p in ("high", "bf16", "exact")
    )
    assert all_parts * 8 < high and high * 8 < one


SPECIAL = {
    "infinity": np.inf, "minus infinity": -np.inf, "NaN": np.nan, "the largest": np.float32(3.4028235e38),
    "the largest NaN": np.uint32(0x7FFFFFFF).view(np.float32), "minus NaN": np.uint32(0xFFFFFFFF).view(np.float32),
}  # fmt: skip


@pytest.mark.parametrize("name", SPECIAL)
@pytest.mark.parametrize("precision", PARTS)
def test_what_is_no_number(precision: Precision, name: str, compile_kernel: Compile) -> None:
    """Infinity, NaN and the largest numbers give what multiply-adds give, and only where they are."""
    rng = np.random.default_rng(3)
    for in_a in (True, False):
        for factor in (1, 0, 2.0**-126):
            a, b = operands("normal", 70, rng)
            (a if in_a else b)[7, 33] = SPECIAL[name]
            if in_a:
                b[33] *= factor
            else:
                a[:, 7] *= factor
            ours, meant = (product(a, b, schedule(p), compile_kernel) for p in (precision, "strict"))
            np.testing.assert_array_equal(np.isfinite(ours), np.isfinite(meant))
            np.testing.assert_array_equal(np.isnan(ours), np.isnan(meant))
            np.testing.assert_array_equal(ours[np.isinf(meant)], meant[np.isinf(meant)])
            usual = np.isfinite(meant)
            scale = np.abs(_finite(a)) @ np.abs(_finite(b))
            error = np.abs(ours[usual] - meant[usual])
            assert (error <= ((LEFT_OUT[precision] + 80 * UNIT) * scale + TINY)[usual]).all()


def _finite(a: Array) -> Array:
    return np.where(np.isfinite(a), a, 0).astype(np.float64)


def test_without_permission_it_multiplies_and_adds(compile_kernel: Compile) -> None:
    """The same library runs where the CPU or the system has no tiles: it then computes what "strict" computes."""
    if "amx_bf16" in cpus.features():
        pytest.skip("this CPU has the unit")
    a, b = operands("normal", 300, np.random.default_rng(4))
    with_tiles = schedule("exact", LACKING)
    assert with_tiles.tile.products
    plain = replace(with_tiles, tile=replace(with_tiles.tile, products=()))
    ours, meant = (product(a, b, how, compile_kernel, emulated=False) for how in (with_tiles, plain))
    np.testing.assert_array_equal(ours, meant)


def test_the_instructions_are_there(tmp_path: Any) -> None:
    """In the code for a CPU with tiles, for which this machine need have none."""
    (tmp_path / "kernel.c").write_text(matmul.source(kernel(), "kernel", schedule("exact")))
    flags = [*target(TILES).flags, "-std=c11", "-O2", "-fopenmp-simd", f"-I{TEMPLATES}"]
    done = subprocess.run(
        ["gcc", *flags, "-S", "-o", "-", str(tmp_path / "kernel.c")], capture_output=True, text=True, check=True
    )
    found = set(re.findall(r"\b(ldtilecfg|tileloadd|tdpbf16ps|tilestored|tilerelease|tilezero)\b", done.stdout))
    assert found == {"ldtilecfg", "tileloadd", "tdpbf16ps", "tilestored", "tilerelease", "tilezero"}
