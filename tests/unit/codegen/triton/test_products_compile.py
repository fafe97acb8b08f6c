"""Products of matrices and convolutions through Triton's compiler, for GPUs that need not be there.

What the interpreter cannot tell: that types and shapes are allowed, that tensor cores are used, that no register goes
to memory, and that blocks fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from unit.codegen.convolutions import Case, kernel
from unit.codegen.triton import translated
from unit.codegen.triton.test_conv import packing_of

from intaglio.compiler.codegen.triton.tiles import Source
from intaglio.compiler.kernel.ir import Kernel, Matmul, Param, Stage, Store
from intaglio.compiler.precision import Rounding
from intaglio.compiler.scalar.dim import Size, Symbol
from intaglio.compiler.scalar.dtype import BF16, F16, F32, F64, I8, I32, I64, U8, DType
from intaglio.compiler.scalar.expr import Acc, Call, Const, Expr, Load


def _as(e: Expr, dtype: DType) -> Expr:
    return e if e.dtype == dtype else Call("cast", (e,), dtype)


def _matmul(a_type: DType, b_type: DType, acc: DType, *shape: int | None) -> Kernel:
    """max(a @ b + bias + residual, 0) of lines along k and along n; None: a size that is not known."""
    actual: list[Size] = [s if s is not None else Symbol(name, 1) for s, name in zip(shape, "MNK")]
    _, columns, depth = actual
    m, n, k = (Symbol(name, 0, e) for name, e in zip("mnk", actual))
    at = m * columns + n
    result = Call("max", (Acc(acc) + Load(2, n, acc) + _as(Load(3, at, a_type), acc), Const(0, acc)), acc)
    a, b = _as(Load(0, m * depth + k, a_type), acc), _as(Load(1, k * columns + n, b_type), acc)
    types = (a_type, b_type, acc, a_type, a_type)
    params = tuple(Param(d, 1, i == 4) for i, d in enumerate(types))
    formal = tuple(s for s in actual if isinstance(s, Symbol))
    return Kernel(params, formal, Matmul((), m, n, k, a, b, acc, (Stage(result, Store(4, at)),)))


def _conv(case: Case) -> Kernel:
    case = case.filled()
    return kernel(case, packing_of(case))[0]


_LAYER = Case((28, 28), 128, 128, (3, 3), batch=4, symbolic=False)
_FIRST = Case((56, 56), 3, 64, (7, 7), (2, 2), batch=16, symbolic=False)
_KERNELS = {
    "f16": _matmul(F16, F16, F32, 4096, 4096, 4096),
    "f16 rows unknown": _matmul(F16, F16, F32, None, 768, 768),
    "f16 sizes unknown": _matmul(F16, F16, F32, None, None, None),
    "bf16": _matmul(BF16, BF16, F32, 512, 768, 768),
    "i8": _matmul(I8, I8, I32, None, 768, 768),
    "f32": _matmul(F32, F32, F32, 4096, 4096, 4096),
    "f32 sizes unknown": _matmul(F32, F32, F32, None, None, None),
    "f16 by f32": _matmul(F16, F32, F32, None, 768, 768),
    "16 rows": _matmul(F16, F16, F32, 16, 4096, 4096),
    "one row": _matmul(F16, F16, F32, 1, 4096, 4096),
    "f64": _matmul(F64, F64, F64, 4096, 4096, 4096),
    "f64 sizes unknown": _matmul(F64, F64, F64, None, None, None),
    "i64": _matmul(I64, I64, I64, None, 768, 768),
    "u8 by i8": _matmul(U8, I8, I32, None, 768, 768),
    "conv f16": _conv(Case((28, 28), 128, 128, (3, 3), batch=4, x_type=F16, w_type=F16, symbolic=False)),
    "conv bf16": _conv(Case((28, 28), 64, 64, (1, 1), batch=8, x_type=BF16, w_type=BF16, symbolic=False)),
    "conv f32": _conv(_LAYER),
    "conv sizes unknown": _conv(Case((28, 28), 128, 128, (3, 3))),
    "first layer": _conv(_FIRST),
    "grouped": _conv(Case((14, 14), 4, 4, (3, 3), groups=32)),
    "depthwise": _conv(Case((28, 28), 1, 1, (3, 3), groups=96)),
}
_TENSOR_CORES = {
    "f16", "f16 rows unknown", "f16 sizes unknown", "bf16", "i8", "tf32 f32", "tf32 f32 sizes unknown", "conv f16",
    "conv bf16", "tf32 conv f32", "tf32 first layer", "bf16x3 f32", "bf16x3 conv f32",
}  # fmt: skip


def _sources(names: Sequence[str]) -> dict[str, Source]:
    """ "tf32 " and "bf16x3 ": with that rounding."""
    return {name: _source(name) for name in names}


def _source(name: str) -> Source:
    roundings: tuple[Rounding, ...] = ("tf32", "bf16x3")
    for rounding in roundings:
        if name.startswith(f"{rounding} "):
            return translated.source(_KERNELS[name.removeprefix(f"{rounding} ")], rounding)
    return translated.source(_KERNELS[name])


@pytest.mark.slow
def test_hopper(assemble: Callable[..., Any], check_resources: Callable[..., None]) -> None:
    """Every kernel; its tensor cores are those of wgmma, where the types and the number of rows allow."""
    of_f32 = ("f32", "f32 sizes unknown", "conv f32", "first layer")
    rounded = [f"{rounding} {name}" for rounding in ("tf32", "bf16x3") for name in of_f32]
    results = assemble(90, _sources([*_KERNELS, *rounded]))
    check_resources(results)
    assert {name for name, made in results.items() if made.wgmma} >= _TENSOR_CORES


@pytest.mark.slow
@pytest.mark.parametrize("arch", [80, 100, "gfx942"])
def test_other_gpus(arch: int | str, assemble: Callable[..., Any], check_resources: Callable[..., None]) -> None:
    names = ["f16", "f16 rows unknown", "tf32 f32", "bf16x3 f32", "f32", "i8", "conv f16", "depthwise"]
    check_resources(assemble(arch, _sources(names)))
