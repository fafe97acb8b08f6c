"""Products and convolutions of bytes are those of their differences to zero points, exactly."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from intaglio.compiler.graph.interp import evaluate
from intaglio.compiler.graph.ir import Graph, Value, constant, input_value
from intaglio.compiler.graph.ops.linear import convolved
from intaglio.compiler.graph.quantized import convolution, product
from intaglio.compiler.graph.verify import verify
from intaglio.compiler.scalar.dtype import F32, I8, I32, U8, DType

Array = np.ndarray[Any, Any]
TYPES = list(itertools.product((U8, I8), repeat=2))


def numbers(dtype: DType, *shape: int) -> Array:
    rng = np.random.default_rng([*shape, dtype.onnx])
    low, high = (0, 256) if dtype == U8 else (-128, 128)
    return rng.integers(low, high, shape).astype(dtype.to_numpy())


def run(made: Value, feeds: dict[Value, Array]) -> Array:
    graph = Graph([*feeds], [made], ["y"])
    verify(graph)
    return evaluate(graph, [*feeds.values()])[0]


def operand(array: Array, name: str, feeds: dict[Value, Array], is_constant: bool) -> Value:
    if is_constant:
        return constant(array)
    feeds[input_value(name, array.shape, U8 if array.dtype == np.uint8 else I8)] = array
    return [*feeds][-1]


@pytest.mark.parametrize("zeros", ["none", "constant", "zero", "rows"])
@pytest.mark.parametrize("constants", ["b", "both", ""])
@pytest.mark.parametrize(("a_type", "b_type"), TYPES)
def test_product(a_type: DType, b_type: DType, constants: str, zeros: str) -> None:
    a, b = numbers(a_type, 2, 5, 7), numbers(b_type, 7, 6)
    shapes = {"none": None, "constant": ((), ()), "zero": ((), ()), "rows": ((2, 5, 1), (1, 6))}[zeros]
    feeds: dict[Value, Array] = {}
    values = [operand(a, "a", feeds, constants == "both"), operand(b, "b", feeds, bool(constants))]
    x, y = a.astype(np.int64), b.astype(np.int64)
    if shapes is not None:
        az, bz = numbers(a_type, *shapes[0]), numbers(b_type, *shapes[1])
        if zeros == "zero":
            az, bz = np.zeros_like(az), np.zeros_like(bz)
        values += [operand(z, n, feeds, zeros != "rows") for z, n in ((az, "az"), (bz, "bz"))]
        x, y = x - az, y - bz
    made = product(*values)
    assert made.dtype == I32
    np.testing.assert_array_equal(run(made, feeds), x @ y)


def test_unsigned_weights_become_signed_and_lose_a_zero_point_of_128() -> None:
    a = input_value("a", (5, 7), I8)
    made = product(a, constant(numbers(U8, 7, 6)), None, constant(np.uint8(128)))
    assert made.op == "matmul" and made.node.inputs[1].dtype == I8


FORMS = {
    "3x3": (9, 4, (3, 3), 1), "grouped": (8, 3, (3, 2), 2), "depthwise": (6, 1, (3, 3), 6), "1x1": (5, 7, (1, 1), 1),
    "depthwise, too long for f32": (2, 1, (17, 17), 2),
}  # fmt: skip


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("static", [True, False])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("x_type", "w_type"), TYPES)
def test_convolution(x_type: DType, w_type: DType, form: str, static: bool, zeros: bool) -> None:
    out_c, in_c, taps, groups = FORMS[form]
    out_c *= groups if in_c > 1 else 1
    x, w = numbers(x_type, 2, 18, 17, in_c * groups), numbers(w_type, *taps, in_c, out_c)
    xz, wz = numbers(x_type, 1)[0], numbers(w_type, out_c)
    feeds: dict[Value, Array] = {}
    values = [operand(x, "x", feeds, False), operand(w, "w", feeds, static)]
    attrs = {"strides": (2, 1), "dilations": (1, 1), "pads_low": (1, 0), "pads_high": (2, 1)}
    made = convolution(*values, constant(xz) if zeros else None, constant(wz) if zeros else None, groups, **attrs)
    exact = form.startswith("depthwise") and "too long" not in form
    assert made.dtype == (F32 if exact else I32)
    real, weights = x.astype(np.int64) - int(xz) * zeros, w.astype(np.int64) - wz.astype(np.int64) * zeros
    padded = np.pad(real, ((0, 0), (1, 2), (0, 1), (0, 0)))
    np.testing.assert_array_equal(run(made, feeds), convolved(padded, weights, (2, 1), (1, 1), groups))
