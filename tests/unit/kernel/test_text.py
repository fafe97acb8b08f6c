"""Expressions and steps as text; `test_lower.py` and `test_walk.py` show whole kernels and programs."""

from __future__ import annotations

import pytest

from intaglio.compiler.graph.ir import Graph, input_value
from intaglio.compiler.kernel.text import print_expr, print_program
from intaglio.compiler.lower.groups import lower
from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import BOOL, F32, I32
from intaglio.compiler.scalar.expr import Acc, Call, Const, Expr, Index, Load, Local, Require, Var

N = Symbol("n")
X = Load(0, 2 * N + 1, F32)


@pytest.mark.parametrize(("expr", "text"), [
    (Const(1.5, F32), "1.5"),
    (Index(N + 1), "(n + 1)"),
    (X, "b0[2*n + 1]"),
    (Load(1, N, F32, Const(True, BOOL), Const(0.0, F32)), "b1[n] if True else 0.0"),
    (Local(2, 0, F32), "s2[0]"),
    (Var("x", F32), "x"),
    (Acc(F32), "acc"),
    (Call("max", (X, Const(0.0, F32)), F32), "max(b0[2*n + 1], 0.0)"),
    (Call("cast", (Acc(F32),), I32), "cast.i32(acc)"),
    (Require(Const(True, BOOL), X, 3), "require3(True, b0[2*n + 1])"),
])  # fmt: skip
def test_expressions(expr: Expr, text: str) -> None:
    assert print_expr(expr) == text


def test_a_kernel_is_printed_once() -> None:
    x, y = input_value("x", (N,), F32), input_value("y", (N,), F32)
    text = print_program(lower(Graph([x, y], [x.exp(), y.exp()], ["a", "b"])))
    assert "step 0: kernel 0 (%0, %2)" in text and "step 1: kernel 0 (%1, %3)" in text
    assert text.count("LoopNest") == 1
