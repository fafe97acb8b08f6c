"""Integers are exact, up to the limits of their types: arithmetic wraps around, and nothing goes through floats.

Judged by numpy, and by Python's integers where that would overflow. Random models name their seed.
"""

from __future__ import annotations

import operator
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import intaglio

Array = np.ndarray[Any, Any]
TYPES = [np.dtype(t) for t in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")]
REDUCED = [np.dtype(t) for t in ("int32", "uint32", "int64", "uint64")]  # the types that ONNX lists


def near_limits(dtype: np.dtype[Any], shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Small numbers, numbers near both ends of the range, numbers beyond what a float holds exactly, all others."""
    info = np.iinfo(dtype)
    bits = rng.integers(0, 256, (*shape, dtype.itemsize), np.uint8).view(dtype).reshape(shape)
    ends = np.where(bits & 1, info.max - (bits & 7), info.min + (bits & 7)).astype(dtype)
    small = (bits & 15) - np.array(8 if info.min else 0, dtype)
    odd = (1 << (dtype.itemsize * 7 - 1)) + (bits & 3)  # for 64 bits, beyond what f64 holds exactly
    return np.asarray(np.choose(rng.integers(0, 4, shape), [bits, ends, small, odd]), dtype)


def run(
    nodes: list[onnx.NodeProto], feeds: dict[str, Array], outputs: dict[str, Any], **constants: Array
) -> list[Array]:
    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in feeds.items()
    ]
    made = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(t), None) for n, t in outputs.items()]
    weights = [numpy_helper.from_array(a, n) for n, a in constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "g", inputs, made, weights), opset_imports=[helper.make_opsetid("", 18)]
    )
    results: list[Array] = intaglio.InferenceSession(model.SerializeToString()).run(None, feeds)
    return results


# -- reductions --------------------------------------------------------------------------------------------------------


def wrapped(values: Array, dtype: np.dtype[Any]) -> Array:
    """Python integers as those of `dtype`, which wrap around."""
    low, count = int(np.iinfo(dtype).min), 1 << (8 * dtype.itemsize)
    return np.asarray(np.frompyfunc(lambda v: dtype.type((int(v) - low) % count + low), 1, 1)(values), dtype)


def nearest(values: Array, dtype: np.dtype[Any]) -> Array:
    """Reals as the integers of `dtype`: towards zero, the ends of the range beyond it."""
    info = np.iinfo(dtype)
    return np.asarray(np.frompyfunc(lambda v: min(max(int(v), int(info.min)), int(info.max)), 1, 1)(values)).astype(
        dtype
    )


def _mean(x: Array, axis: int) -> Array:
    return np.frompyfunc(lambda s: abs(s) // x.shape[axis] * (1 if s > 0 else -1), 1, 1)(x.sum(axis))  # type: ignore[no-any-return]


EXACT: dict[str, Callable[[Array, int], Any]] = {
    "ReduceMean": _mean,
    "ReduceSum": lambda x, a: x.sum(a),
    "ReduceProd": lambda x, a: x.prod(a),
    "ReduceSumSquare": lambda x, a: (x * x).sum(a),
    "ReduceL1": lambda x, a: np.abs(x).sum(a),
    "ReduceMax": lambda x, a: x.max(a),
    "ReduceMin": lambda x, a: x.min(a),
}
REAL: dict[str, Callable[[Array, int], Any]] = {
    "ReduceL2": lambda x, a: np.sqrt(np.square(x).sum(a)),
    "ReduceLogSum": lambda x, a: np.log(np.abs(x.sum(a))),
    "ReduceLogSumExp": lambda x, a: np.logaddexp.reduce(x, a),
}


@pytest.mark.parametrize("dtype", REDUCED, ids=str)
def test_reductions(dtype: np.dtype[Any]) -> None:
    x = near_limits(dtype, (7, 5), np.random.default_rng(0))
    for axis in (0, 1):
        names = [*EXACT, *REAL]
        nodes = [helper.make_node(n, ["x", "axis"], [n], keepdims=0) for n in names]
        got = dict(zip(names, run(nodes, {"x": x}, dict.fromkeys(names, dtype), axis=np.array([axis]))))
        for name, exact in EXACT.items():
            np.testing.assert_array_equal(got[name], wrapped(exact(x.astype(object), axis), dtype), f"{name} {axis}")
        for name in ("ReduceL2", "ReduceLogSumExp"):
            want = nearest(REAL[name](x.astype(np.float64), axis), dtype).astype(np.float64)
            np.testing.assert_allclose(got[name].astype(np.float64), want, rtol=1e-15, atol=1, err_msg=f"{name} {axis}")


def test_reductions_that_are_no_integers() -> None:
    x = np.array([[1, 2], [30, 40], [500, -3]], np.int32)
    nodes = [helper.make_node(n, ["x", "axis"], [n], keepdims=0) for n in REAL]
    got = run(nodes, {"x": x}, dict.fromkeys(REAL, x.dtype), axis=np.array([1]))
    assert [g.tolist() for g in got] == [[2, 50, 500], [1, 4, 6], [2, 40, 500]]


def test_means_round_towards_zero() -> None:
    for dtype in (np.int32, np.int64):
        x = np.array([[-1, -2, -4], [1, 2, 4], [-1, 0, 0], [-3, 0, 0], [2, -1, 0]], dtype)
        (got,) = run(
            [helper.make_node("ReduceMean", ["x", "a"], ["y"], keepdims=0)], {"x": x}, {"y": x.dtype}, a=np.array([1])
        )
        assert got.tolist() == [-2, 2, 0, -1, 0]


# -- chains ------------------------------------------------------------------------------------------------------------


class Chain:
    """A random model of integer arithmetic, and what each of its values is."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.feeds: dict[str, Array] = {}
        self.constants: dict[str, Array] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.values: dict[str, Array] = {}
        shapes = [(), (3,), (2, 3), (2, 1)]
        random_numbers = np.random.default_rng(seed)
        for i in range(12):
            data = near_limits(self.rng.choice(TYPES), self.rng.choice(shapes), random_numbers)
            name = f"x{i}"
            (self.feeds if i % 3 else self.constants)[name] = data
            self.values[name] = data

    def add(self, op: str, names: list[str], value: Array, **attrs: Any) -> str:
        name = f"v{len(self.values)}"
        self.nodes.append(helper.make_node(op, names, [name], **attrs))
        self.values[name] = value
        return name

    def constant(self, value: Any, dtype: np.dtype[Any]) -> str:
        name = f"c{len(self.values)}"
        self.constants[name] = self.values[name] = np.array(value, dtype)
        return name

    def pick(self, dtype: np.dtype[Any] | None = None) -> str:
        found = [n for n, v in self.values.items() if v.dtype == (dtype or v.dtype) and v.dtype in TYPES]
        return self.rng.choice(found)

    def grow(self) -> None:
        a = self.pick()
        x = self.values[a]
        b = self.pick(x.dtype)
        y = self.values[b]
        op = self.rng.choice([
            "Add", "Sub", "Mul", "Div", "Mod", "fmod", "Pow", "Abs", "Neg", "Min", "Max", "Clip", "BitShift", "Less",
            "Equal", "Cast", "Cast", "BitwiseXor", "Sign",
        ])  # fmt: skip
        if op in ("Div", "Mod", "fmod"):
            b = self.add("BitwiseOr", [b, self.constant(1, x.dtype)], y | np.array(1, x.dtype))
            y = self.values[b]
            if op == "Div":
                self.add(
                    op, [a, b], wrapped(np.frompyfunc(_divided, 2, 1)(x.astype(object), y.astype(object)), x.dtype)
                )
            elif op == "Mod":
                self.add(op, [a, b], wrapped(x.astype(object) % y.astype(object), x.dtype))
            else:
                self.add(
                    "Mod",
                    [a, b],
                    wrapped(np.frompyfunc(_remainder, 2, 1)(x.astype(object), y.astype(object)), x.dtype),
                    fmod=1,
                )
        elif op == "Pow" and x.dtype in REDUCED[::2]:
            e = self.rng.choice([0, 1, 2, 3, 5, 31])
            self.add(op, [a, self.constant(e, x.dtype)], wrapped(x.astype(object) ** e, x.dtype))
        elif op == "Neg" and x.dtype.kind == "i":
            self.add(op, [a], wrapped(-x.astype(object), x.dtype))
        elif op in ("Abs", "Sign"):
            self.add(op, [a], wrapped(np.abs(x.astype(object)) if op == "Abs" else np.sign(x).astype(object), x.dtype))
        elif op in ("Min", "Max"):
            self.add(op, [a, b], (np.minimum if op == "Min" else np.maximum)(x, y))
        elif op == "Clip":
            low, high = sorted([self.values[self.pick(x.dtype)].reshape(-1)[0] for _ in range(2)])
            names = [a, self.constant(low, x.dtype), self.constant(high, x.dtype)]
            self.add(op, names, np.minimum(np.maximum(x, low), high))
        elif op == "BitShift" and x.dtype.kind == "u":
            bits = self.rng.randrange(8 * x.dtype.itemsize)
            left = self.rng.random() < 0.5
            value = x.astype(object) << bits if left else x.astype(object) >> bits
            self.add(
                op, [a, self.constant(bits, x.dtype)], wrapped(value, x.dtype), direction="LEFT" if left else "RIGHT"
            )
        elif op in ("Less", "Equal"):
            c = self.add(op, [a, b], x < y if op == "Less" else x == y)
            self.add("Where", [c, a, b], np.where(self.values[c], x, y))
        elif op == "Cast":
            to = self.rng.choice(TYPES)
            self.add(op, [a], wrapped(x.astype(object), to), to=helper.np_dtype_to_tensor_dtype(to))
        else:
            op, of = self.rng.choice(
                [("Add", operator.add), ("Sub", operator.sub), ("Mul", operator.mul), ("BitwiseXor", operator.xor)]
            )
            self.add(op, [a, b], wrapped(of(x.astype(object), y.astype(object)), x.dtype))


def _divided(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _remainder(a: int, b: int) -> int:
    return abs(a) % abs(b) * (1 if a >= 0 else -1)


@pytest.mark.sample(4)
@pytest.mark.parametrize("seed", range(8))
def test_chains(seed: int) -> None:
    chain = Chain(seed)
    for _ in range(60):
        chain.grow()
    outputs = {n: v.dtype for n, v in chain.values.items() if n.startswith("v")}
    got = run(chain.nodes, chain.feeds, outputs, **chain.constants)
    wrong = [
        n for n, v in zip(outputs, got) if not np.array_equal(v, chain.values[n]) or v.dtype != chain.values[n].dtype
    ]
    if wrong:
        node = next(n for n in chain.nodes if n.output[0] == wrong[0])
        operands = [(chain.values[n].dtype, chain.values[n].tolist()) for n in node.input]
        right, ours = chain.values[wrong[0]].tolist(), got[list(outputs).index(wrong[0])].tolist()
        raise AssertionError(f"seed {seed}: {node.op_type} {operands} = {right}, not {ours}")
    last = dict(list(outputs.items())[-3:])  # values in between stay inside of kernels
    for name, value in zip(last, run(chain.nodes, chain.feeds, last, **chain.constants)):
        np.testing.assert_array_equal(value, chain.values[name], f"seed {seed}, {name}")
