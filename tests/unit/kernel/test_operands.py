"""Which operands of products can be read where they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from intaglio.compiler.graph.ir import Graph, Value, constant, input_value, reachable
from intaglio.compiler.kernel.ir import Body, Conv, Matmul
from intaglio.compiler.kernel.operands import (
    PackedOperand,
    PlainInput,
    conv_input,
    matmul_rows,
    packed_operands,
    panels_in_place,
    plain_load,
)
from intaglio.compiler.kernel.packing import PLAIN, Packing
from intaglio.compiler.lower.groups import lower
from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import BOOL, F16, F32
from intaglio.compiler.scalar.expr import Const, Load

N = Symbol("n")


def last_body(output: Value) -> Body:
    inputs = [node.outputs[0] for node in reachable([output]) if node.op.name == "input"]
    return lower(Graph(inputs, [output], ["y"])).launches[-1].kernel.body


def weights(*shape: int) -> Value:
    return constant(np.ones(shape, np.float32))


def product(a: Value, b: Value) -> Matmul:
    body = last_body(a.matmul(b))
    assert isinstance(body, Matmul)
    return body


def convolution(x: Value, groups: int = 1) -> Conv:
    attrs: dict[str, Any] = {"strides": (1, 1), "dilations": (1, 1), "pads_low": (0, 0), "pads_high": (0, 0)}
    w = weights(3, 3, int(x.shape[-1]) // groups, 6)  # type: ignore[call-overload]
    body = last_body(x.emit("conv", [x, w], **attrs, groups=groups, acc=F32)[0])
    assert isinstance(body, Conv)
    return body


X, Y = input_value("x", (N, 8), F32), input_value("y", (8, N), F32)


def test_rows_of_a_product() -> None:
    plain = product(X, weights(8, 16))
    assert matmul_rows(plain) == 8 * plain.m
    part = product(X.slice((0, 2), (N, 4)), weights(4, 16))
    assert matmul_rows(part) == 8 * part.m + 2


@pytest.mark.parametrize("a", [
    Y.permute(1, 0),  # elements of a row are apart
    X.slice((0, 0), (N, 4), (1, 2)),  # and so are these
], ids=["columns", "strided"])  # fmt: skip
def test_rows_that_are_not_in_place(a: Value) -> None:
    assert matmul_rows(product(a, weights(int(a.shape[1]), 16))) is None  # type: ignore[call-overload]


def test_constant_weights_are_packed_and_others_are_not() -> None:
    constants, others = product(X, weights(8, 16)), product(X, Y)
    assert packed_operands(constants) == (PackedOperand(1, (8, 16), PLAIN),)
    assert packed_operands(others) == ()
    assert packed_operands(last_body(X.exp())) == ()
    assert panels_in_place(replace(constants, packing=Packing("panels", 16)))
    assert not panels_in_place(others)


def test_weights_of_a_convolution() -> None:
    """Their shape is that of one group's input channels, and all output channels."""
    body = convolution(input_value("x", (N, 9, 9, 4), F32), groups=2)
    assert packed_operands(body) == (PackedOperand(body.w, (3, 3, 2, 6), PLAIN),)


def test_the_input_of_a_convolution() -> None:
    body = convolution(input_value("x", (N, 9, 9, 4), F32))
    height, width = body.spatial
    start = 324 * body.n + 36 * height + 4 * width + body.channel
    assert conv_input(body) == PlainInput(0, start, (36, 4))


def test_a_flipped_input_is_read_backwards() -> None:
    body = convolution(input_value("x", (N, 9, 9, 4), F32))
    assert isinstance(body.x, Load)
    height = body.spatial[0]
    flipped = replace(body, x=Load(0, body.x.index - 72 * height, F32))
    found = conv_input(flipped)
    assert found is not None and found.strides == (-36, 4)


def test_inputs_that_are_computed_first() -> None:
    body = convolution(input_value("x", (N, 9, 9, 4), F32))
    assert isinstance(body.x, Load)
    channels_first = Load(0, 9 * body.x.index, F32)
    for x in (body.x * 2.0, channels_first):
        assert conv_input(replace(body, x=x)) is None


def test_a_plain_load() -> None:
    load = Load(0, N, F32)
    assert plain_load(load, F32) is load
    assert plain_load(load, F16) is None
    assert plain_load(load * 2.0, F32) is None
    assert plain_load(Load(0, N, F32, Const(True, BOOL), Const(0.0, F32)), F32) is None
