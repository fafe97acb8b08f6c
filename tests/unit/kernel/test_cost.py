"""What kernels cost: operations counted by hand, and bytes of each buffer once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from intaglio.compiler.graph.ir import Graph, Value, constant, input_value, reachable
from intaglio.compiler.kernel import cost
from intaglio.compiler.kernel.ir import Launch, Recurrent
from intaglio.compiler.lower.groups import lower
from intaglio.compiler.scalar import dim
from intaglio.compiler.scalar.dim import Size, Symbol
from intaglio.compiler.scalar.dtype import F16, F32, I64
from intaglio.compiler.scalar.expr import Load
from intaglio.compiler.scalar.prims import TABLE
from intaglio.compiler.schedule import default, executed
from intaglio.compiler.schedule.close import close
from intaglio.compiler.target import target

N = Symbol("n")
EXP = TABLE["exp"].flops


def launch_of(output: Value) -> Launch:
    inputs = [node.outputs[0] for node in reachable([output]) if node.op.name == "input"]
    (launch,) = lower(Graph(inputs, [output], ["y"])).launches
    return launch


X = input_value("x", (N, 8), F32)
WEIGHTS = constant(np.ones((8, 16), np.float32))


def attention() -> Value:
    q, k, v = (input_value(name, (2, N, 8), F32) for name in "qkv")
    return q.emit("attention", [q, k, v], scale=1.0, causal=None, zero_rows=False)[0]


def convolution() -> Value:
    x, w = input_value("x", (N, 9, 9, 4), F32), constant(np.ones((3, 3, 2, 6), np.float32))
    attrs: dict[str, Any] = {"strides": (1, 1), "dilations": (1, 1), "pads_low": (0, 0), "pads_high": (0, 0)}
    return x.emit("conv", [x, w], **attrs, groups=2, acc=F32)[0]


@pytest.mark.parametrize(("output", "flops", "moved"), [
    ((X * 2.0).exp(), 8 * N * (1 + EXP), 64 * N),
    (X.permute(1, 0), 8 * N, 64 * N),  # a copy is an operation
    (X.sum(1), 9 * N, 36 * N),  # and so is what each row ends with
    (X.cast(F16), 8 * N, 48 * N),
    (X.matmul(WEIGHTS), 16 * N * 16, 32 * N + 512 + 64 * N),
    (X.matmul(WEIGHTS).exp(), 16 * N * (16 + EXP), 32 * N + 512 + 64 * N),
    (convolution(), 49 * 6 * N * 2 * 9 * 2, 4 * (N * 81 * 4 + 9 * 2 * 6 + N * 49 * 6)),
    (attention(), 2 * N * N * (16 + 16 + 20), 4 * 4 * 16 * N),
    (X.emit("sort", [X], axis=1, descending=False, k=3)[0], 8 * N * 20, 32 * N + 12 * N + 24 * N),
], ids=["map", "copy", "reduction", "cast", "product", "epilogue", "convolution", "attention", "sort"])  # fmt: skip
def test_costs(output: Value, flops: Size, moved: Size) -> None:
    made = cost.of_launch(launch_of(output))
    assert (made.flops, made.bytes) == (flops, moved)


def test_of_a_table_only_the_rows_that_are_gathered_are_touched() -> None:
    """And of one that is smaller than what is gathered, all."""
    index = input_value("i", (N,), I64)
    launch = launch_of(constant(np.ones((300, 8), np.float32)).take(index, 0) * 2.0)
    read = {p.size: size for p, size in zip(launch.kernel.params, cost.touched(launch.kernel))}
    assert [dim.evaluate(read[300 * 8], {N: n}) for n in (1, 7, 300, 1000)] == [32, 7 * 32, 300 * 32, 300 * 32]
    part = X.narrow(1, 2, 2)
    assert cost.touched(launch_of(part + 1.0).kernel)[0] == 8 * N


def test_an_expression_that_is_used_twice_is_computed_once() -> None:
    shared = Load(0, 0, F32) * 2.0
    assert cost.operations(shared + shared) == 2
    assert cost.operations(shared + Load(0, 0, F32) * 2.0) == 2  # it is the same one


@pytest.mark.parametrize(
    "output", [X.matmul(WEIGHTS), (X * 2.0).exp(), attention()], ids=["product", "map", "attention"]
)
def test_closing_changes_no_cost(output: Value) -> None:
    launch = launch_of(output)
    assert cost.of_launch(close(launch)) == cost.of_launch(launch)


@pytest.mark.parametrize("rows", [1, 512, 1000])
def test_blocks_cost_what_their_points_do(rows: int) -> None:
    """But for the last one, which is taken to be whole."""
    plain = launch_of((input_value("x", (rows, 8), F32) * 2.0).exp())
    blocks = executed(plain, default(plain.kernel.body, target("x86-64-v3")))
    one, other = (dim.number(cost.of_launch(launch).flops) for launch in (plain, blocks))
    assert one <= other < one + 2048 * (1 + EXP)
    assert one == other or rows == 1000


@pytest.mark.parametrize(("kind", "gates"), [("lstm", 4), ("gru", 3), ("rnn", 1)])
@pytest.mark.parametrize(("direction", "directions"), [("reverse", 1), ("bidirectional", 2)])
def test_recurrent_layers(kind: str, gates: int, direction: str, directions: int) -> None:
    """A product of the state with the weights of each gate in every step, and some twenty operations of a gate."""
    absent = dict.fromkeys(("rb", "peephole", "h0", "c0", "lengths", "yh", "yc"), -1)
    layer = Recurrent(
        kind, direction, time=5, batch=N, hidden=8, xw=0, r=1, **absent, y=2, activations=(), clip=None,
        input_forget=False, dtype=F32,
    )  # fmt: skip
    assert cost.flops(layer) == 5 * N * directions * gates * 8 * (2 * 8 + 20)
