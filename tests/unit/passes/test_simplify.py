"""Rules of simplify: what is left of small graphs, and that they mean the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from intaglio.compiler.graph.ir import Value, constant, input_value, make
from intaglio.compiler.passes import simplify
from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import BOOL, F16, F32, I8, I16, I32, I64, DType

B = Symbol("b")


def x(*shape: Any, dtype: DType = F32, name: str = "x") -> Value:
    return input_value(name, shape, dtype)


def c(*values: float) -> Value:
    return constant(np.array(values, np.float32))


CASES: dict[str, tuple[Callable[[], Value], list[str]]] = {
    "x + 0": (lambda: x(B, 4) + 0, []),
    "0 + x": (lambda: 0 + x(B, 4), []),
    "0 - x stays": (lambda: 0 - x(4), ["sub"]),
    "x * 1, broadcast": (lambda: x(4) * c(1, 1, 1, 1).reshape(1, 4), ["reshape"]),
    "x * 0 stays": (lambda: x(4) * 0, ["mul"]),
    "x and true": (lambda: x(4, dtype=BOOL).map("and", True), []),
    "neg neg": (lambda: x(4).map("neg").map("neg"), []),
    "x + -y": (lambda: x(4) + -x(4, name="y"), ["sub"]),
    "x ** 2": (lambda: x(4).map("pow", 2.0), ["mul"]),
    "x / 8": (lambda: x(4) / 8, ["mul"]),
    "x / 3 stays": (lambda: x(4) / 3, ["div"]),
    "lossless cast": (lambda: x(4, dtype=F16).cast(F32).cast(I32), ["cast"]),
    "lossy cast stays": (lambda: x(4).cast(F16).cast(F32), ["cast", "cast"]),
    "saturation stays": (lambda: (x(4, dtype=I16) * 100).cast(F32).cast(I8), ["mul", "cast", "cast"]),
    "select of a constant": (lambda: constant(np.array(True)).select(x(4), x(4, name="y")), []),
    "select of not": (lambda: x(4, dtype=BOOL).map("not").select(x(4, name="y"), 0.0), ["select"]),
    "broadcast implied": (lambda: x(1, 4).broadcast(B, 4) + x(B, 4, name="y"), ["add"]),
    "broadcast later": (lambda: x(1, 4).broadcast(B, 4).exp(), ["exp", "broadcast"]),
    "reshape twice": (lambda: x(2, 6).reshape(3, 4).reshape(12), ["reshape"]),
    "reshape back": (lambda: x(2, 6).reshape(3, 4).reshape(2, 6), []),
    "permute back": (lambda: x(2, 3, 4).permute(1, 2, 0).permute(2, 0, 1), []),
    "permute of ones": (lambda: x(B, 1, 4).permute(1, 0, 2), ["reshape"]),
    "slice of slice": (lambda: x(9).slice([1], [4], [2]).slice([3], [2], [-2]), ["slice"]),
    "slice of all": (lambda: make("slice", [x(B, 3)], starts=(0, 0), sizes=(B, 3), steps=(1, 1))[0], []),
    "slice of concat": (
        lambda: make("concat", [x(B, 3), x(B, 2, name="y")], axis=1)[0].slice((0, 3), (B, 2)),
        [],
    ),
    "slice of broadcast": (lambda: x(1, 5).broadcast(B, 5).narrow(1, 1, 3), ["slice", "broadcast"]),
    "pad of pad": (lambda: x(3).pad([1], [0]).pad([0], [2]), ["pad"]),
    "other pad stays": (lambda: x(3).pad([1], [0]).pad([0], [2], 1), ["pad", "pad"]),
    "concat of one": (lambda: make("concat", [x(3)], axis=0)[0], []),
    "concat of concat": (
        lambda: make("concat", [make("concat", [x(3), x(2, name="y")], axis=0)[0], x(1, name="z")], axis=0)[0],
        ["concat"],
    ),
    "reduce of ones": (lambda: x(B, 1, 4).sum([1], keepdims=True), []),
    "reduce of reduce": (lambda: x(B, 3, 4).max([2]).max([1]), ["reduce"]),
    "permute of iota": (
        lambda: make("iota", [], shape=(3, 4), axis=1, dtype=I64)[0].permute(1, 0) + x(4, 3, dtype=I64),
        ["iota", "add"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_rule(name: str, check: Any, ops: Any) -> None:
    build, left = CASES[name]
    assert ops(check(build(), simplify.run, sizes={B: 3})) == left


def test_fuel_bounds_the_sweeps(check: Any, ops: Any) -> None:
    value = x(4)
    for _ in range(100):
        value = -value
    assert ops(check(value, simplify.run)) == []
