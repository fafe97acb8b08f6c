"""Bodies of kernels, lowered from the graphs that have them."""

from __future__ import annotations

from typing import Any

import numpy as np

from intaglio.compiler.graph.ir import Graph, Value, constant, input_value, reachable
from intaglio.compiler.kernel.ir import Attention, Conv, Launch, LoopNest, Matmul, Recurrent
from intaglio.compiler.kernel.packing import Packing
from intaglio.compiler.lower.groups import lower
from intaglio.compiler.scalar.dim import Size, Symbol
from intaglio.compiler.scalar.dtype import F32, DType
from intaglio.compiler.schedule.pack import packed

N = Symbol("n")


def tensor(*shape: Size, name: str = "x", dtype: DType = F32) -> Value:
    return input_value(name, shape, dtype)


def weights(*shape: int, dtype: DType = F32) -> Value:
    return constant(np.ones(shape, dtype.to_numpy()))


def launch_of(output: Value) -> Launch:
    """The one kernel that computes it."""
    inputs = [node.outputs[0] for node in reachable([output]) if node.op.name == "input"]
    (launch,) = lower(Graph(inputs, [output], ["y"])).launches
    return launch


def nest(output: Value) -> LoopNest:
    body = launch_of(output).kernel.body
    assert isinstance(body, LoopNest)
    return body


def product(rows: Size = N, packing: Packing | None = None, a: Value | None = None, b: Value | None = None) -> Matmul:
    """[rows, 30] times constant [30, 256], or other operands; summed in f32."""
    made = (tensor(rows, 30) if a is None else a).matmul(weights(30, 256) if b is None else b, acc=F32)
    launch = launch_of(made)
    body = (packed(launch, packing) if packing else launch).kernel.body
    assert isinstance(body, Matmul)
    return body


def convolution(
    in_c: int = 32, out_c: int = 64, taps: int = 3, groups: int = 1, dtype: DType = F32, packing: Packing | None = None,
    strides: tuple[int, int] = (1, 1), size: tuple[Size, Size] = (14, 14),
) -> Conv:  # fmt: skip
    """Of images with as many pixels in their output as in their input, where strides are 1."""
    pads = (taps // 2,) * 2
    attrs: dict[str, Any] = {"strides": strides, "dilations": (1, 1), "pads_low": pads, "pads_high": pads}
    x, w = tensor(N, *size, in_c, dtype=dtype), weights(taps, taps, in_c // groups, out_c, dtype=dtype)
    launch = launch_of(x.emit("conv", [x, w], **attrs, groups=groups, acc=F32)[0])
    body = (packed(launch, packing) if packing else launch).kernel.body
    assert isinstance(body, Conv)
    return body


def softmax(dtype: DType = F32, keys: Size = N, causal: int | None = None) -> Attention:
    q, k, v = (tensor(4, keys, 32, name=name, dtype=dtype) for name in "qkv")
    body = launch_of(q.emit("attention", [q, k, v], scale=1.0, causal=causal, zero_rows=False)[0]).kernel.body
    assert isinstance(body, Attention)
    return body


def recurrent(batch: Size = N, dtype: DType = F32) -> Recurrent:
    absent = dict.fromkeys(("rb", "peephole", "h0", "c0", "lengths", "yh", "yc"), -1)
    return Recurrent(
        "lstm", "forward", time=5, batch=batch, hidden=8, xw=0, r=1, **absent, y=2, activations=(), clip=None,
        input_forget=False, dtype=dtype,
    )  # fmt: skip
