"""Graphs of arithmetic in one type, run by their kernels: what is compared with what the graph means."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from intaglio.compiler.graph.interp import evaluate
from intaglio.compiler.graph.ir import Array, Graph, Value, constant, input_value
from intaglio.compiler.kernel.ir import Kernel, Launch
from intaglio.compiler.lower.groups import lower
from intaglio.compiler.scalar import prims
from intaglio.compiler.scalar.dtype import DTYPES, F16, F32, I64, DType

Run = Callable[[Kernel, Sequence[Array], Sequence[int]], None]
Arrange = Callable[[Launch], Launch]  # decides how one is executed
KINDS = [p.name for p in prims.TABLE.values() if p.identity is not None]
TYPES = [DTYPES[n] for n in ("f16", "bf16", "f8e4m3fn", "f8e5m2fnuz", "f32", "i8", "u16", "i64", "bool")]


def run_kernels(graph: Graph, feeds: Sequence[Array], run: Run, arrange: Arrange) -> list[Array]:
    """The outputs of a graph whose sizes are numbers, by its kernels, one after the other."""
    program = lower(graph)
    results = [np.zeros([int(d) for d in v.shape], v.dtype.to_numpy()) for v in graph.outputs]  # type: ignore[arg-type]
    buffers: list[Array] = []
    for b in program.buffers:
        if b.kind == "arena":
            buffers.append(np.zeros(int(b.size), b.dtype.to_numpy()))  # type: ignore[arg-type]
        elif b.kind == "weight":
            buffers.append(np.ascontiguousarray(program.weights[b.number].value.data))
        else:
            buffers.append((feeds if b.kind == "input" else results)[b.number])
    for launch in map(arrange, program.launches):
        run(launch.kernel, [buffers[b].reshape(-1) for b in launch.buffers], [int(s) for s in launch.sizes])  # type: ignore[arg-type]
    return results


def combinations(kind: str, x: Value, updates: Value) -> list[Value]:
    """Everything that combines by a primitive: rows and columns, running, and where data says."""
    attrs = {"kind": kind, "axis": 1}
    index = constant(np.array([1, 0, 1, 2, 1], np.int64))
    made = [x.reduce(kind, 0), x.reduce(kind, 1)]
    made += [x.emit("scan", [x], **attrs, exclusive=False, reverse=r)[0] for r in (False, True)]
    made += [x.emit("scan", [x], **attrs, exclusive=e, reverse=True)[0] for e in (True,) if x.dtype.bits > 8]
    return [*made, x.emit("scatter", [x, updates, index], axes=(0,), combine=kind)[0]]


def numbers(dtype: DType, *shape: int) -> Array:
    """Small numbers, negative ones among them: all that combine by + and * are exact in every type."""
    rng = np.random.default_rng(sum(shape))
    low = 0 if dtype.kind in "ub" else -2
    return rng.integers(low, 3 if dtype.kind != "b" else 2, shape).astype(dtype.to_numpy())


def check_combinations(dtype: DType, run: Run, arrange: Arrange) -> None:
    x, updates = input_value("x", (4, 3), dtype), input_value("u", (5, 3), dtype)
    kinds = [k for k in KINDS if dtype.kind in prims.TABLE[k].kinds]
    graph = Graph([x, updates], [v for k in kinds for v in combinations(k, x, updates)])
    feeds = [numbers(dtype, 4, 3), numbers(dtype, 5, 3)]
    got = run_kernels(graph, feeds, run, arrange)
    for value, a, b in zip(graph.outputs, got, evaluate(graph, feeds), strict=True):
        np.testing.assert_array_equal(
            a.astype(np.float64), b.astype(np.float64), f"{value.node.op.name} {dict(value.node.attrs)}"
        )


def chains(dtype: DType) -> Graph:
    """Two or three primitives in a row, where excess precision shows: in a value between them, in a row that is kept,
    in a sum, in a running one, in an index, in a product."""
    x, y = input_value("x", (4, 8), dtype), input_value("y", (8, 4), dtype)
    magic = x.const(1.5 * 2.0 ** (10 if dtype == F16 else 7))
    total = x.square().sum(1, keepdims=True)
    line = x.emit("iota", [], shape=(4099,), axis=0, dtype=I64)[0].cast(dtype)
    made = [
        (x + magic) - magic, (x * x).cast(F32), (x * 300.0) / 300.0, x.exp().map("sub", 1.0).cast(F32),
        total.cast(F32), (x / total).cast(F32), (x.exp() - x.exp().sum(1, keepdims=True)).cast(F32),
        x.cast(F32).map("sin").cast(dtype).cast(F32), (line * line).cast(F32),
        x.matmul(y).cast(F32), x.matmul(y) + 1000.0,
    ]  # fmt: skip
    return Graph([x, y], made)


def check_chains(dtype: DType, run: Run, arrange: Arrange) -> None:
    graph = chains(dtype)
    rng = np.random.default_rng(0)
    feeds = [rng.uniform(-4, 4, [int(d) for d in v.shape]).astype(dtype.to_numpy()) for v in graph.inputs]  # type: ignore[arg-type]
    got = run_kernels(graph, feeds, run, arrange)
    for i, (a, b) in enumerate(zip(got, evaluate(graph, feeds), strict=True)):
        np.testing.assert_array_equal(a.astype(np.float64), b.astype(np.float64), f"chain {i}")
