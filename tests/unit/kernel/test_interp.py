"""The interpreter of the kernel IR against formulas in numpy's float64 that know nothing of kernels, on random inputs:
what the kernels of both back ends are compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from unit.codegen import attentions, convolutions, recurrences, sorts
from unit.codegen.c import test_matmul as matmuls
from unit.codegen.exact import meant

from intaglio.compiler.kernel import interp
from intaglio.compiler.kernel.ir import Body, Kernel
from intaglio.compiler.kernel.packing import PLAIN, Packing
from intaglio.compiler.scalar.dtype import BF16, DTYPES, F16, F32, F64, I8, I32, DType

Array = np.ndarray[Any, Any]
OWN = {F64: 1e-12, F32: 1e-5, F16: 3e-3, BF16: 2e-2}  # of results that are computed in a type, or stored in it


def test_every_body_has_a_meaning() -> None:
    assert interp.BODIES.keys() == set(get_args(Body))


def check(
    kernel: Kernel, arrays: Sequence[Array], sizes: Sequence[int], wanted: Mapping[int, Array], dtype: DType
) -> None:
    """The arrays of these numbers after a run in float64, and after one in the kernel's own types."""
    own = [a.reshape(-1).copy() for a in arrays]
    interp.run(kernel, own, sizes)
    wide = meant(kernel, arrays, sizes)
    for number, values in wanted.items():
        if dtype.is_integer:
            np.testing.assert_array_equal(own[number].reshape(values.shape), values)
        else:
            scale = np.abs(values[np.isfinite(values)]).max(initial=1)
            np.testing.assert_allclose(wide[number], values, 1e-12, 1e-12 * scale)
            result = own[number].reshape(values.shape).astype(np.float64)
            np.testing.assert_allclose(result, values, OWN[dtype], OWN[dtype] * scale)


def swapped(array: Array) -> Array:
    return np.swapaxes(array, -1, -2)


@pytest.mark.parametrize("b", ["packed", "rows", "columns"])
@pytest.mark.parametrize("a", ["rows", "columns", "scaled"])
@pytest.mark.parametrize("acc", [F64, F32, I32], ids=str)
def test_products(a: str, b: str, acc: DType) -> None:
    case = matmuls.Case(5, 21, 13, 1 if b == "packed" else 3, a, b, acc)
    left, right, *others = matmuls._arrays(case, None)[0]
    wide = [x.astype(np.int64 if acc.is_integer else np.float64) for x in (left, right, *others)]
    rows = swapped(wide[0]) if a == "columns" else wide[0]
    columns = swapped(wide[1]) if b == "columns" else wide[1]
    _, _, scale, bias, residual, _ = wide
    wanted = np.maximum((rows * scale if a == "scaled" else rows) @ columns + bias + residual, 0)
    for packing in (PLAIN, Packing("panels", 16)) if b == "packed" else (None,):
        kernel = matmuls._kernel(case, packing)
        arrays, sizes = [left, packing.pack(right) if packing else right, *others], [case.batch, 5, 21, 13]
        check(kernel, arrays, sizes, {5: wanted}, acc)


def test_products_of_narrow_weights() -> None:
    """The packed ones are converted where they are read."""
    case = matmuls.Case(5, 21, 13, a_type=F16, b_type=F16)
    packing = Packing("panels", 16)
    arrays, sizes = matmuls._arrays(case, None)
    left, right, _, bias, residual, _ = (x.astype(np.float64) for x in arrays)
    arrays[1] = packing.pack(arrays[1])
    check(matmuls._kernel(case, packing), arrays, sizes, {5: np.maximum(left @ right + bias + residual, 0)}, F32)


def convolution(case: convolutions.Case, x: Array, w: Array) -> Array:
    """Each tap is a product with a shifted view of the input."""
    padded = np.pad(x, [(0, 0), *case.pads, (0, 0)])
    y = np.zeros((case.batch, *case.output, case.groups * case.out_c), x.dtype)
    for tap in np.ndindex(*case.taps):
        steps = zip(tap, case.dilations, case.strides, case.output)
        view = padded[(slice(None), *(slice(t * d, t * d + (o - 1) * s + 1, s) for t, d, s, o in steps))]
        for g in range(case.groups):
            ins, outs = slice(g * case.in_c, (g + 1) * case.in_c), slice(g * case.out_c, (g + 1) * case.out_c)
            y[..., outs] += view[..., ins] @ w[tap][:, outs]
    return y


def check_convolution(case: convolutions.Case, packing: Packing) -> None:
    case = case.filled()
    x, w, *others = convolutions.arrays_of(case)
    wide = np.int64 if case.dtype.is_integer else np.float64
    scale, bias, residual, _ = (a.astype(wide) for a in others)
    inputs = x.astype(wide) * (scale if case.scaled else 1)
    wanted = np.maximum(convolution(case, inputs, w.astype(wide)) + bias + residual, 0)
    kernel, sizes = convolutions.kernel(case, packing)
    check(kernel, [x, packing.pack(w), *others], sizes, {5: wanted}, case.dtype)


def packings(case: convolutions.Case) -> list[Packing]:
    """What a kernel's weights may be, but transformed."""
    wide = Packing("panels", 16, case.groups), Packing("whole", case.out_c, case.groups)
    return [PLAIN, *([Packing("taps")] if case.depthwise else wide)]


@pytest.mark.parametrize("name", convolutions.SHAPES)
def test_convolutions(name: str) -> None:
    case = convolutions.SHAPES[name]
    for packing in packings(case):
        check_convolution(case, packing)


@pytest.mark.parametrize("change", [
    {"scaled": True}, {"dtype": F64}, {"dtype": I32}, {"dtype": I32, "x_type": I8, "w_type": I8}, {"x_type": F16},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("name", ["3x3", "depthwise tail", "grouped", "dilated"])
def test_convolutions_of_every_kind(name: str, change: dict[str, Any]) -> None:
    case = replace(convolutions.SHAPES[name], **change)
    for packing in packings(case):
        check_convolution(case, packing)


@pytest.mark.parametrize("name", ["3x3", "one channel", "many pixels"])
def test_convolutions_of_transformed_weights(name: str) -> None:
    """In f64, as what is rounded after the transformation is not the weights."""
    check_convolution(replace(convolutions.SHAPES[name], dtype=F64), Packing("winograd", 16))


def softmax(case: attentions.Case, arrays: list[Array]) -> Array:
    """Softmax as its definition says; [batch, m, heads, dv]."""
    q, k, v = (x.astype(np.float64) for x in arrays[:3])
    q, v = q.transpose(0, 2, 1, 3), v.transpose(0, 2, 1, 3)
    k = k.transpose(0, 1, 3, 2) if case.transposed_k else k.transpose(0, 2, 1, 3)
    k, v = (np.repeat(x, case.heads // case.kv_heads, 1) for x in (k, v))
    if case.computed_kv:
        k, v = k * 0.5, v + 1
    scores = q @ k.swapaxes(-1, -2) * attentions.SCALE
    if case.mask:
        scores = scores + arrays[4].reshape(
            [e if letter in case.mask else 1 for letter, e in zip("bhmn", (case.batch, case.heads, case.m, case.n))]
        )
    if case.causal is not None:
        excluded = np.arange(case.n) > np.arange(case.m)[:, None] + case.causal
        scores = np.where(excluded, -np.inf, scores)
    with np.errstate(invalid="ignore"):
        exponentials = np.exp(scores - scores.max(-1, keepdims=True))
        weights = exponentials / exponentials.sum(-1, keepdims=True)
    if case.zero_rows:
        weights = np.where((scores == -np.inf).all(-1, keepdims=True), 0, weights)
    return 2 * (weights @ v).transpose(0, 2, 1, 3)


@pytest.mark.parametrize("case", [
    *attentions.CASES, attentions.Case(m=40, n=75, d=40, dv=24, dtype=BF16, causal=30, mask="mn"),
    *(attentions.Case(m=40, n=30, d=16, dv=16, causal=-20, zero_rows=z) for z in (False, True)),
], ids=str)  # fmt: skip
def test_attention(case: attentions.Case) -> None:
    arrays = attentions.arrays_of(case, np.random.default_rng(0))
    check(*_of(attentions.kernel_of(case), arrays), {3: softmax(case, arrays)}, case.dtype)


def _of(made: tuple[Kernel, list[int]], arrays: Sequence[Array]) -> tuple[Kernel, Sequence[Array], list[int]]:
    return made[0], arrays, made[1]


@pytest.mark.parametrize("zero_rows", [False, True])
def test_attention_to_nothing(zero_rows: bool) -> None:
    case = attentions.Case(m=5, n=0, d=16, dv=16, zero_rows=zero_rows)
    arrays = attentions.arrays_of(case, np.random.default_rng(0))
    check(*_of(attentions.kernel_of(case), arrays), {3: np.zeros(arrays[3].shape)}, F32)


@pytest.mark.parametrize("zero_rows", [False, True])
def test_scores_that_are_no_numbers(zero_rows: bool) -> None:
    """Their rows are no numbers, also where rows without any key are zeros."""
    case = attentions.Case(m=3, n=7, d=16, dv=16, mask="mn", zero_rows=zero_rows)
    arrays = attentions.arrays_of(case, np.random.default_rng(0))
    arrays[4][:] = [[0], [-np.inf], [0]]
    arrays[4][2, 5] = np.nan
    wanted = softmax(case, arrays)
    assert np.isnan(wanted).all((0, 2, 3)).tolist() == [False, not zero_rows, True]
    check(*_of(attentions.kernel_of(case), arrays), {3: wanted}, F32)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "softsign": lambda x: x / (1 + np.abs(x)),
}


def recurrence(case: recurrences.Case, arrays: dict[str, Array]) -> dict[str, Array]:
    """One sequence and direction at a time, as ONNX's operators are defined."""
    x = {name: a if name == "lengths" else a.astype(np.float64) for name, a in arrays.items()}
    t, b, d, h = case.time, case.batch, case.directions, case.hidden
    y, yh, yc = np.zeros((t, b, d, h)), np.zeros((d, b, h)), np.zeros((d, b, h))
    for direction in range(d):
        r, peephole = x["r"][direction], x.get("peephole", np.zeros((d, 3, h)))[direction]
        rb = x.get("rb", np.zeros((d, h)))[direction]
        functions = [ACTIVATIONS[name] for name in case.names[direction]]

        def activate(number: int, value: Array, functions: list[Any] = functions) -> Array:
            limit = case.clip or np.inf
            return np.asarray(functions[number](np.clip(value, -limit, limit)))

        for sequence in range(b):
            state = x["h0"][direction, sequence] if "h0" in x else np.zeros(h)
            cell = x["c0"][direction, sequence] if "c0" in x else np.zeros(h)
            steps = range(x["lengths"][sequence] if "lengths" in x else t)
            for step in reversed(steps) if case.direction == "reverse" or direction == 1 else steps:
                gate = x["xw"][step, sequence, direction]
                products = np.einsum("k,kgh->gh", state, r)
                if case.kind == "rnn":
                    state = activate(0, gate[0] + products[0])
                elif case.kind == "lstm":
                    i = activate(0, gate[0] + products[0] + peephole[0] * cell)
                    f = activate(0, gate[2] + products[2] + peephole[2] * cell)
                    f = 1 - i if case.input_forget else f
                    cell = f * cell + i * activate(1, gate[3] + products[3])
                    o = activate(0, gate[1] + products[1] + peephole[1] * cell)
                    state = o * functions[2](cell)
                else:
                    z, reset = activate(0, gate[0] + products[0]), activate(0, gate[1] + products[1])
                    if case.kind == "gru":
                        candidate = activate(1, gate[2] + (reset * state) @ r[:, 2])
                    else:
                        candidate = activate(1, gate[2] + reset * (products[2] + rb))
                    state = (1 - z) * candidate + z * state
                y[step, sequence, direction] = state
            yh[direction, sequence], yc[direction, sequence] = state, cell
    return {"y": y, "yh": yh, "yc": yc}


def check_recurrence(case: recurrences.Case, arrays: dict[str, Array], wanted: dict[str, Array]) -> None:
    numbers = {i: wanted[name] for i, name in enumerate(arrays) if name in wanted}
    check(*_of(recurrences.kernel_of(case), [*arrays.values()]), numbers, case.dtype)


@pytest.mark.parametrize("case", recurrences.CASES, ids=str)
def test_recurrences(case: recurrences.Case) -> None:
    arrays = recurrences.arrays_of(case, np.random.default_rng(0))
    check_recurrence(case, arrays, recurrence(case, arrays))


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_sequences_of_no_steps_and_of_too_many(kind: str, direction: str) -> None:
    has = ("h0", *["c0"] * (kind == "lstm"), "lengths")
    case = recurrences.Case(kind, direction, time=3, batch=4, hidden=5, has=has)
    arrays = recurrences.arrays_of(case, np.random.default_rng(0))
    arrays["lengths"][:] = (0, 9, 2, -1)
    check_recurrence(case, arrays, recurrence(case, arrays | {"lengths": np.array([0, 3, 2, 0])}))


def ranks_of(x: Array) -> Array:
    """NaN is the largest; 0 and -0, and all NaNs, are equal."""
    with np.errstate(invalid="ignore"):  # signalling NaNs
        wide = x if x.dtype.kind in "iub" else x.astype(np.float64)
    return np.unique(wide, return_inverse=True)[1].reshape(x.shape)  # unique sorts NaN last, as one value


@pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
@pytest.mark.parametrize("name", sorts.NUMERIC)
def test_sorting(name: str, descending: bool) -> None:
    for n, k in ((1, 1), (12, 12), (13, 0), (150, 40)):
        case = sorts.Case(DTYPES[name], descending, n, k)
        (kernel, sizes), x = sorts.kernel_of(case), sorts.random(case, np.random.default_rng(0))
        values, indices = made = sorts.outputs_of(case)
        interp.run(kernel, [a.reshape(-1) for a in (x, *made)], sizes)
        places = np.argsort(ranks_of(x) * (-1 if descending else 1), axis=1, kind="stable")[:, :k]
        np.testing.assert_array_equal(indices, places)
        assert values.tobytes() == np.take_along_axis(x, places, 1).tobytes()


@pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
@pytest.mark.parametrize("name", ["f16", "f32", "i64", "bool"])
def test_sorting_of_tuples(name: str, descending: bool) -> None:
    for n, columns in ((1, 3), (50, 1), (400, 2), (300, 40), (30, 0), (0, 4)):
        kernel = sorts.kernel_of_tuples(DTYPES[name], descending, columns == 1)
        x = sorts.random(sorts.Case(DTYPES[name], descending, columns, 0, n, 1), np.random.default_rng(0))[..., 0]
        indices, others = np.full(n, -1), np.zeros(n, bool)
        interp.run(kernel, [x.reshape(-1), indices, others], [n, columns])
        ranks = ranks_of(x)
        order = sorted(range(n), key=lambda i: tuple(-ranks[i] if descending else ranks[i]))
        begins = [at == 0 or (ranks[order[at]] != ranks[order[at - 1]]).any() for at in range(n)]
        assert (indices.tolist(), others.tolist()) == (order, begins)
