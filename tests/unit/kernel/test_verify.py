"""What a malformed kernel is told, and that well-formed ones pass."""

from __future__ import annotations

from dataclasses import replace

import pytest

from intaglio.compiler.kernel.ir import Kernel, LoopNest, Param, Stage, Store
from intaglio.compiler.kernel.verify import verify
from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import F32, F64, I32
from intaglio.compiler.scalar.expr import Call, Const, Expr, Load, Local, Var

N = Symbol("n")
ROW, COLUMN, OVER = Symbol("o", 0, N), Symbol("i", 0, 8), Symbol("r", 0, 8)
X = Load(0, ROW * 8 + COLUMN, F32)
STAGE = Stage(X, Store(1, ROW * 8 + COLUMN), (COLUMN,))


def kernel(*stages: Stage) -> Kernel:
    return Kernel((Param(F32, N * 8, False), Param(F32, N * 8, True)), (N,), LoopNest((ROW,), stages))


def test_well_formed() -> None:
    row = Stage(X * 2.0, None, (COLUMN,))
    total = Stage(Local(0, OVER, F32), None, (), (OVER,), "add")
    verify(kernel(row, total, replace(STAGE, value=Local(0, COLUMN, F32) / Local(1, 0, F32))))


def with_value(value: Expr) -> Stage:
    return replace(STAGE, value=value)


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (with_value(Load(0, OVER, F32)), "r has unknown symbols"),
        (with_value(Load(2, COLUMN, F32)), "there is no parameter 2"),
        (with_value(Load(0, COLUMN, F64)), "reads parameter 0 of f32 as f64"),
        (with_value(Load(0, N * 8 + COLUMN, F32)), "is beyond the 8\\*n elements"),
        (with_value(Load(0, -1 - COLUMN, F32)), "is negative"),
        (with_value(Local(0, COLUMN, F32)), "reads stage 0, which is not before it"),
        (with_value(Call("add", (X, Const(1, I32)), F32)), "add of different types: f32, i32"),
        (with_value(Call("lt", (X, X), F32)), "lt gives bool, not f32"),
        (with_value(Var("x", F32)), "is bound nowhere"),
        (replace(STAGE, store=Store(0, COLUMN)), "parameter 0 is not marked as written"),
        (replace(STAGE, reduce="add"), "axes to reduce without a reduction"),
        (replace(STAGE, reduce="sub", reduce_axes=(OVER,)), "sub combines nothing"),
        (replace(STAGE, axes=(COLUMN, ROW)), "o is a loop variable twice"),
        (replace(STAGE, axes=(), scan="add"), "a scan without axes"),
    ],
)
def test_malformed(stage: Stage, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        verify(kernel(stage))


def test_reads_of_stages_that_keep_nothing() -> None:
    with pytest.raises(AssertionError, match="stage 1: reads stage 0, which keeps nothing"):
        verify(kernel(STAGE, with_value(Local(0, COLUMN, F32))))
    with pytest.raises(AssertionError, match="reads stage 0 of f32 as f64"):
        verify(kernel(Stage(X, None, (COLUMN,)), Stage(Local(0, COLUMN, F64), None, (COLUMN,))))


def test_a_buffer_without_elements_may_be_read_in_loops_that_never_run() -> None:
    """As for a shape from data that is found to have no elements, either, before the loops begin."""
    stage = Stage(Load(0, COLUMN, F32), Store(1, COLUMN), axes=(COLUMN,))
    verify(Kernel((Param(F32, 0, False), Param(F32, N, True)), (N,), LoopNest((), (stage,))))
