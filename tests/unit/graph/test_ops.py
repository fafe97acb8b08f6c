"""Each operation: shapes with symbols, refusals, and its numpy meaning against an independent computation."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from intaglio.compiler.graph.ir import OPS, Array, Value, constant, input_value, make, size_value
from intaglio.compiler.graph.tensor import broadcast_size
from intaglio.compiler.scalar.dim import Symbol, dim_min, evaluate, truth_lt
from intaglio.compiler.scalar.dtype import BF16, BOOL, F16, F32, F64, I32, I64, DType
from intaglio.compiler.scalar.expr import Call, Var

B, S = Symbol("b"), Symbol("s")
RNG = np.random.default_rng(7)


def tensor(*shape: Any, dtype: DType = F32) -> Value:
    return input_value("x", shape, dtype)


def run(op: str, *arrays: Array, **attrs: Any) -> list[Array]:
    """Evaluates, and checks that the result is what the rule says."""
    made = make(op, [constant(a) for a in arrays], **attrs)
    results = OPS[op].evaluate(arrays, attrs)
    for value, result in zip(made, results, strict=True):
        assert (result.shape, result.dtype) == (value.shape, value.dtype.to_numpy())
    return results


def floats(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def test_shapes_stay_symbolic() -> None:
    x = tensor(B, S, 64)
    assert (x + tensor(64)).shape == (B, S, 64)
    assert x.reshape(B, S, 4, 16).permute(0, 2, 1, 3).shape == (B, 4, S, 16)
    assert x.matmul(tensor(64, 32)).shape == (B, S, 32)
    assert x.sum(1, keepdims=True).shape == (B, 1, 64)
    assert make("concat", [x, tensor(B, 3, 64)], axis=1)[0].shape == (B, S + 3, 64)
    assert x.pad((0, 1, 0), (0, S, 0)).shape == (B, 2 * S + 1, 64)
    assert tensor(B, 3, S).window([2], [3], [2], [1]).shape == (B, 3, (S - 3) // 2 + 1, 3)
    assert x.take(tensor(S, dtype=I64), 0).shape == (S, S, 64)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: tensor(3) + tensor(4), "do not broadcast"),
        (lambda: tensor(3) + tensor(3, dtype=F64), "different types"),
        (lambda: tensor(3).map("frobnicate"), "no scalar primitive"),
        (lambda: make("reshape", [tensor(B, 4)], shape=(4 * B + 1,)), "number of elements"),
        (lambda: make("permute", [tensor(2, 3)], axes=(0, 0)), "no permutation"),
        (lambda: tensor(5).slice([3], [3]), "outside"),
        (lambda: tensor(5).slice([0], [5], [0]), "step"),
        (lambda: make("pad", [tensor(5)], low=(-1,), high=(0,), value=0), "negative"),
        (lambda: tensor(2, 3).matmul(tensor(4, 5)), "sizes 3 and 4 differ"),
        (lambda: tensor(2, 3).reduce("sub", [0]), "does not combine"),
        (lambda: make("reduce", [tensor(2, 3)], kind="add", axes=(2,)), "out of range"),
        (lambda: tensor(2, 3).take(tensor(2), 0), "index of f32"),
        (lambda: make("gather", [tensor(2, 3)], axes=()), "0 indices"),
        (lambda: make("sort", [tensor(3)], axis=0, descending=True, k=4), "the first 4 of 3 elements"),
        (lambda: make("concat", [tensor(2, 3), tensor(3, 3)], axis=1), "sizes 2 and 3 differ"),
        (lambda: make("iota", [], shape=(2,), axis=1, dtype=I64), "out of range"),
    ],
)
def test_refusals_say_why(build: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        build()


def test_contents_of_shape_chains() -> None:
    parts = [size_value(B).reshape(1), size_value(S).reshape(1), constant(np.array([64, -1]))]
    shape = make("concat", parts, axis=0)[0]
    assert list(shape.content) == [B, S, 64, -1]  # type: ignore[arg-type]
    product = shape.narrow(0, 0, 3).reduce("mul", [0])
    assert product.content.item() == 64 * B * S  # type: ignore[union-attr]
    wrapped = (shape < 0).select(size_value(B * S), shape)
    assert list(wrapped.content) == [B, S, 64, B * S]  # type: ignore[arg-type]
    taken = shape.take(constant(np.array([2, 0])), 0).cast(I32).cast(I64)
    assert list(taken.content) == [64, B]  # type: ignore[arg-type]
    assert list((shape < size_value(B)).content) == [False, truth_lt(S, B), truth_lt(64, B), True]  # type: ignore[arg-type]
    assert all(type(x) is int for x in constant(np.array([1, 2])).content)  # type: ignore[union-attr]


def test_reduce() -> None:
    x = floats(3, 4, 5)
    np.testing.assert_allclose(run("reduce", x, kind="add", axes=(0, 2))[0], x.sum((0, 2)), rtol=1e-5)
    np.testing.assert_array_equal(run("reduce", x, kind="max", axes=(1,))[0], x.max(1))
    ints = RNG.integers(-9, 9, (4, 7))
    np.testing.assert_array_equal(run("reduce", ints, kind="mul", axes=(1,))[0], ints.prod(1))
    np.testing.assert_array_equal(run("reduce", ints > 0, kind="and", axes=(0,))[0], (ints > 0).all(0))
    np.testing.assert_array_equal(run("reduce", x[:, :0], kind="min", axes=(1,))[0], np.full((3, 5), np.inf))
    halves = np.full(4096, 1, np.float16)
    assert run("reduce", halves, kind="add", axes=(0,))[0] == 4096, "narrow floats accumulate in f32"


def test_scan() -> None:
    x = RNG.integers(-9, 9, (3, 7))
    backward = np.flip(np.flip(x, 1).cumsum(1), 1)
    for exclusive, reverse, wanted in [
        (False, False, x.cumsum(1)),
        (False, True, backward),
        (True, True, backward - x),
    ]:
        got = run("scan", x, kind="add", axis=1, exclusive=exclusive, reverse=reverse)[0]
        np.testing.assert_array_equal(got, wanted)


def test_argreduce_takes_first_or_last() -> None:
    x = np.array([[1.0, 3.0, 3.0], [np.nan, 2.0, 5.0]], np.float32)
    assert run("argreduce", x, kind="max", axis=1, last=False)[0].tolist() == [1, 0]
    assert run("argreduce", x, kind="max", axis=1, last=True)[0].tolist() == [2, 0]


def test_gather_of_several_axes() -> None:
    x = floats(2, 3, 4, 5)
    i, j = RNG.integers(0, 3, (6, 1)), RNG.integers(0, 4, 7)
    np.testing.assert_array_equal(run("gather", x, i, j, axes=(1, 2))[0], x[:, i, j])
    far = run("gather", x, i, RNG.integers(0, 5, 7), axes=(1, 3))[0]
    assert far.shape == (2, 6, 7, 4)
    with pytest.raises(IndexError):
        run("gather", x, np.array([-1]), axes=(0,))


def test_scatter_combines_repeated_places() -> None:
    x, at = floats(4, 3), np.array([1, 1, 2])
    updates = floats(3, 3)
    wanted = x.copy()
    np.add.at(wanted, at, updates)
    np.testing.assert_allclose(run("scatter", x, updates, at, axes=(0,), combine="add")[0], wanted, rtol=1e-6)
    replaced = run("scatter", x, updates, at, axes=(0,), combine=None)[0]
    np.testing.assert_array_equal(replaced, [x[0], updates[1], updates[2], x[3]])
    columns = run("scatter", x, floats(4, 1), np.array([2]), axes=(1,), combine=None)[0]
    np.testing.assert_array_equal(columns[:, :2], x[:, :2])


def test_views() -> None:
    x = floats(4, 6)
    flipped = run("slice", x, starts=(3, 1), sizes=(4, 2), steps=(-1, 3))[0]
    np.testing.assert_array_equal(flipped, x[::-1, 1:5:3])
    np.testing.assert_array_equal(run("pad", x, low=(1, 0), high=(0, 2), value=-1)[0][1:, :6], x)
    windows = run("window", x, axes=(1,), sizes=(3,), strides=(2,), dilations=(1,))[0]
    np.testing.assert_array_equal(windows[:, 1], x[:, 2:5])
    assert run("slice", x, starts=(4, 0), sizes=(0, 6), steps=(1, 1))[0].shape == (0, 6)


@pytest.mark.parametrize("descending", [False, True])
def test_sort_is_stable_and_nan_the_largest(descending: bool) -> None:
    x = np.array([2.0, np.nan, 1.0, 2.0, 1.0], np.float32)
    order = run("sort", x, axis=0, descending=descending, k=5)[1].tolist()
    assert order == ([1, 0, 3, 2, 4] if descending else [2, 4, 0, 3, 1])


def test_nonzero() -> None:
    places, count = run("nonzero", np.array([False, True, True, False, True]))
    assert count == 3 and places[:3].tolist() == [1, 2, 4]
    assert run("nonzero", np.zeros(0, bool))[1] == 0


def test_sort_rows_is_stable_and_nan_the_largest() -> None:
    x = np.array([[0.0, 2], [np.nan, 1], [-1, np.nan], [-0.0, 1], [-1, 3], [np.nan, 1], [0, 1]], np.float32)
    order, begins = run("sort_rows", x)
    assert order.tolist() == [4, 2, 3, 6, 0, 1, 5] and begins.tolist() == [True, True, True, False, True, True, False]
    order, begins = run("sort_rows", x[:, :0])
    assert order.tolist() == [0, 1, 2, 3, 4, 5, 6] and begins.tolist() == [True] + [False] * 6


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_conv(groups: int) -> None:
    x, w = floats(2, 7, 8, 6), floats(3, 2, 6 // groups, 12)
    pads = {"pads_low": (1, 0), "pads_high": (2, 1)}
    attrs = {"strides": (2, 1), "dilations": (1, 2), "groups": groups, **pads}
    out = run("conv", x, w, **attrs)[0]
    padded = np.pad(x, [(0, 0), (1, 2), (0, 1), (0, 0)])
    for _ in range(20):
        n, i, j, c = (int(RNG.integers(0, d)) for d in out.shape)
        g = c // (12 // groups)
        patch = padded[n, 2 * i : 2 * i + 3, j : j + 3 : 2, g * (6 // groups) : (g + 1) * (6 // groups)]
        np.testing.assert_allclose(out[n, i, j, c], (patch * w[..., c]).sum(), rtol=1e-4, atol=1e-5)


def test_integer_matmul_accumulates_wide() -> None:
    a, b = np.full((2, 500), 255, np.uint8), np.full((500, 3), -128, np.int8)
    assert (run("matmul", a, b, acc=I32)[0] == 500 * 255 * -128).all()


def test_attention() -> None:
    q, k, v = floats(2, 3, 4), floats(2, 5, 4), floats(2, 5, 6)
    mask = np.zeros((3, 5), np.float32)
    mask[0, 1], mask[2] = -np.inf, -np.inf
    out = run("attention", q, k, v, mask, scale=0.5, causal=None, zero_rows=True)[0]
    scores = np.einsum("bmd,bnd->bmn", q, k) * 0.5 + mask
    weights = np.exp(scores[:, :2]) / np.exp(scores[:, :2]).sum(-1, keepdims=True)
    np.testing.assert_allclose(out[:, :2], weights @ v, rtol=1e-5)
    assert (out[:, 2] == 0).all()
    causal = run("attention", q, k, v, scale=0.5, causal=0, zero_rows=False)[0]
    np.testing.assert_allclose(causal[:, 0], v[:, 0], rtol=1e-6)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_lstm_of_ragged_lengths(direction: str) -> None:
    torch = pytest.importorskip("torch")
    time, batch, hidden, directions = 5, 3, 4, 1 + (direction == "bidirectional")
    sigmoid, tanh = (Call(p, (Var("x", F32),), F32) for p in ("sigmoid", "tanh"))
    layer = torch.nn.LSTM(2, hidden, bidirectional=directions == 2)
    lengths = np.array([5, 2, 4])
    x = floats(time, batch, 2)
    order = [0, 3, 1, 2]  # iofc from torch's ifgo
    weights = {n: p.detach().numpy() for n, p in layer.named_parameters()}
    xw, r = [], []
    for suffix in ["", "_reverse"][:directions]:
        w, rw = (weights[f"weight_{k}h_l0{suffix}"].reshape(4, hidden, -1)[order] for k in "ih")
        bias = sum(weights[f"bias_{k}h_l0{suffix}"].reshape(4, hidden)[order] for k in "ih")
        xw.append(np.einsum("tbi,ghi->tbgh", x, w) + bias)
        r.append(rw.transpose(2, 0, 1))
    inputs = [np.stack(xw, 2).astype(np.float32), np.stack(r), lengths]
    attrs = {"kind": "lstm", "direction": direction, "clip": None, "input_forget": False, "has": ("lengths",)}
    outputs = run("recurrent", *inputs, activations=((sigmoid, tanh, tanh),) * directions, **attrs)
    if direction == "reverse":  # torch has no such layer: reverse each sequence, run forward
        x = np.stack([np.concatenate([x[:n, b][::-1], x[n:, b]]) for b, n in enumerate(lengths)], 1)
    rnn = torch.nn.utils.rnn
    y, (h, c) = layer(rnn.pack_padded_sequence(torch.tensor(x), torch.tensor(lengths), enforce_sorted=False))
    y = rnn.pad_packed_sequence(y)[0].detach().numpy().reshape(time, batch, directions, hidden)
    if direction == "reverse":
        y = np.stack([np.concatenate([y[:n, b][::-1], y[n:, b]]) for b, n in enumerate(lengths)], 1)
    for ours, theirs in zip(outputs, (y, h.detach().numpy(), c.detach().numpy())):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("linear_before_reset", [False, True])
def test_gru(linear_before_reset: bool) -> None:
    time, batch, hidden = 3, 2, 4
    sigmoid, tanh = (Call(p, (Var("x", F32),), F32) for p in ("sigmoid", "tanh"))
    xw, r = floats(time, batch, 1, 3, hidden), floats(1, hidden, 3, hidden)
    rb, h0 = floats(1, hidden), floats(1, batch, hidden)
    kind = "gru_linear_before_reset" if linear_before_reset else "gru"
    has = ("rb", "h0") if linear_before_reset else ("h0",)
    attrs = {"kind": kind, "direction": "forward", "clip": None, "input_forget": False, "has": has}
    inputs = [xw, r, *([rb] if linear_before_reset else []), h0]
    y, yh = run("recurrent", *inputs, activations=((sigmoid, tanh),), **attrs)
    h = h0[0]
    for t in range(time):
        z, reset = (1 / (1 + np.exp(-(xw[t, :, 0, g] + h @ r[0, :, g]))) for g in (0, 1))
        if linear_before_reset:
            new = np.tanh(xw[t, :, 0, 2] + reset * (h @ r[0, :, 2] + rb[0]))
        else:
            new = np.tanh(xw[t, :, 0, 2] + (reset * h) @ r[0, :, 2])
        h = (1 - z) * new + z * h
        np.testing.assert_allclose(y[t, :, 0], h, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(yh[0], h, rtol=1e-4, atol=1e-5)


def test_narrow_floats_round_once() -> None:
    x = np.array([1.0, 2.0], np.float16)
    assert run("map", x, x, prim="add")[0].dtype == np.float16
    assert run("map", x, prim="cast", dtype=BF16)[0].dtype == BF16.to_numpy()
    assert run("matmul", x.reshape(1, 2), x.reshape(2, 1), acc=F16)[0].item() == 5
    assert run("iota", shape=(2, 3), axis=1, dtype=F16)[0].tolist() == [[0, 1, 2]] * 2
    assert run("map", np.array([True]), prim="not")[0].dtype == BOOL.to_numpy()


def test_broadcasts_of_any_sizes() -> None:
    """Of unrelated sizes the larger one, or 0; once broadcast, nothing changes any more."""
    a, b, c = Symbol("a"), Symbol("b"), Symbol("c")
    both = broadcast_size(a, b)
    for x, y in itertools.product((0, 1, 5), (0, 1, 5)):
        if x == y or 1 in (x, y):
            assert evaluate(both, {a: x, b: y}) == np.broadcast_shapes((x,), (y,))[0]
    assert broadcast_size(both, a) == broadcast_size(b, both) == broadcast_size(both, both) == both
    assert broadcast_size(broadcast_size(a, c), b) == broadcast_size(both, c) == broadcast_size(a, broadcast_size(c, b))
    assert broadcast_size(a, dim_min(a, 64)) == a
