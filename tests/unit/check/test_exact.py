"""float64 is what a graph means, and the bound holds what roundings do, and little more."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from intaglio.compiler.check.exact import Unable, bound, known
from intaglio.compiler.graph.interp import evaluate
from intaglio.compiler.graph.ir import Graph, Value, constant, input_value, make
from intaglio.compiler.scalar.dtype import F16, F32, I8, I64, DType


def made(dtype: DType, f: Callable[[Value], Value], *shape: int) -> Graph:
    x = input_value("x", shape, dtype)
    return Graph([x], [f(x)], ["y"])


def cases() -> dict[str, Callable[[Value], Value]]:
    w = np.random.default_rng(1).standard_normal((64, 64))
    return {
        "chain": lambda x: (x * 1.1 + 0.3).exp() / 7.0,
        "sum": lambda x: x.sum(1),
        "product": lambda x: x.matmul(constant(w.astype(x.dtype.to_numpy()))),
        "softmax": lambda x: (x - x.max(1, keepdims=True)).exp() / (x - x.max(1, keepdims=True)).exp().sum(1, True),
        "quantised": lambda x: (x * 20.0).map("round").cast(I8).cast(x.dtype) * 0.05,
    }


@pytest.mark.parametrize("dtype", [F32, F16])
@pytest.mark.parametrize("name", cases())
def test_numpy_is_inside_and_a_small_fault_outside(name: str, dtype: DType) -> None:
    graph = made(dtype, cases()[name], 8, 64)
    feed = np.random.default_rng(2).standard_normal((8, 64)).astype(dtype.to_numpy())
    (y,), (value,) = evaluate(graph, [feed]), known(graph, [feed])
    off = np.abs(y.astype(np.float64) - value.exact)
    assert (off <= value.bound).all()
    wrong = 400 * float(np.finfo(dtype.to_numpy()).eps) * np.abs(value.exact).max()
    assert value.bound.max() < max(wrong, 0.05 if name == "quantised" and dtype == F16 else 0)


def test_the_arithmetic_is_that_of_float64() -> None:
    graph = made(F32, lambda x: x + 1.0, 1)
    (value,) = known(graph, [np.array([1e-9], np.float32)])
    assert value.exact.dtype == np.float64 and value.exact[0] > 1
    assert value.rounded().dtype == np.float32


def test_a_number_beyond_the_range_of_its_type_is_infinite() -> None:
    graph = made(F16, lambda x: (x * x) * 0.001, 1)
    (value,) = known(graph, [np.array([300], np.float16)])
    assert np.isinf(value.exact[0])


def test_a_step_that_a_rounding_decides_is_in_the_bound_and_another_one_is_not() -> None:
    graph = made(F32, lambda x: (x / 3.0 * 3.0).map("floor").cast(I64), 2)
    (near,) = known(graph, [np.array([1.0, 2.5], np.float32)], samples=8)
    assert near.bound[0] >= 1
    (far,) = known(graph, [np.array([1.5, 2.5], np.float32)], samples=8)
    assert (far.bound == 0).all()


def test_a_quantised_chain_has_a_bound_of_few_steps() -> None:
    """Of twelve layers, each of which rounds to steps: the bound is not that of all that could be."""
    rng = np.random.default_rng(3)
    weights = [rng.standard_normal((64, 64)).astype(np.float32) / 8 for _ in range(12)]

    def layers(x: Value) -> Value:
        for w in weights:
            x = (x.matmul(constant(w)) * 16.0).map("round").cast(I8).cast(F32) * 0.0625
        return x

    feed = rng.standard_normal((32, 64)).astype(np.float32)
    (value,) = known(made(F32, layers, 32, 64), [feed])
    (y,) = evaluate(made(F32, layers, 32, 64), [feed])
    assert (np.abs(y - value.exact) <= value.bound).all()
    assert value.bound.max() < np.sqrt(np.mean(np.square(value.exact)))


def test_an_element_that_is_infinite_in_a_sample_alone_allows_nothing_elsewhere() -> None:
    exact, sample = np.array([1.0, 3.4e38]), np.array([1.0, np.inf])
    limit = bound(exact, [sample], 2.0**-23, 1e-38)
    assert limit[1] == np.inf and np.isfinite(limit[0])


def test_products_of_fewer_bits_have_a_larger_bound() -> None:
    graph = made(F32, cases()["product"], 8, 64)
    feed = np.random.default_rng(2).standard_normal((8, 64)).astype(np.float32)
    exact, high, bf16 = (known(graph, [feed], precision=p)[0].bound.max() for p in ("exact", "high", "bf16"))  # type: ignore[arg-type]
    assert exact * 10 < high and high * 10 < bf16


def test_what_is_a_part_of_a_run_is_refused() -> None:
    (y,) = make("host", [], function="f", arguments=(), takes=(), gives=("tensor(float)",), results=(((2,), F32),))
    with pytest.raises(Unable):
        known(Graph([], [y], ["y"]), [])
