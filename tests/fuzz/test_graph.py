"""Random graphs: every pass keeps them well formed and keeps their numbers, and their text reads back. Failures name
their seed; to repeat one:

    INTAGLIO_FUZZ_SEED=<seed> pytest tests/fuzz/test_graph.py
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from intaglio.compiler.graph.interp import evaluate, random_feeds
from intaglio.compiler.graph.ir import Graph, Value, constant, input_value, make, size_value
from intaglio.compiler.graph.ops.recurrent import DIRECTIONS, GATES, operand_shapes
from intaglio.compiler.graph.text import constants_of, parse_graph, print_graph
from intaglio.compiler.graph.verify import verify
from intaglio.compiler.passes import PASSES
from intaglio.compiler.scalar.dim import Size, Symbol, prod
from intaglio.compiler.scalar.dtype import F32, I64
from intaglio.compiler.scalar.expr import Var
from intaglio.compiler.scalar.prims import call

COUNT = int(os.environ.get("INTAGLIO_FUZZ_COUNT", "150"))
SEEDS = [int(os.environ["INTAGLIO_FUZZ_SEED"])] if "INTAGLIO_FUZZ_SEED" in os.environ else range(COUNT)

B, S = Symbol("b"), Symbol("s", 1)


class World:
    """Grows a graph from two inputs, an operation at a time."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.numbers = np.random.default_rng(seed)
        self.inputs = [input_value("x", (B, S, 6), F32), input_value("i", (S, 4), I64)]
        self.values = list(self.inputs)

    def grow(self) -> None:
        """Tries operations until one fits."""
        steps: list[Callable[[Value], Value]] = [
            self.unary, self.binary, self.binary, self.permute, self.permute, self.reshape, self.reshape,
            self.slice, self.pad, self.window, self.concat, self.gather, self.reduce, self.broadcast, self.matmul,
            self.index, self.scan, self.sort, self.convolution, self.attention, self.recurrent,
        ]  # fmt: skip
        while True:
            v = self.rng.choice(self.values[-6:])
            try:
                new = self.rng.choice(steps)(v)
            except (ValueError, IndexError):  # does not fit
                continue
            size = prod(new.shape)
            if new.rank <= 5 and (not isinstance(size, int) or 0 < size < 4096):
                self.values.append(new)
                return

    def unary(self, v: Value) -> Value:
        if v.dtype == I64:
            return self.rng.choice([lambda: -v, lambda: v.map("abs"), lambda: v.cast(F32)])()
        return v.map(self.rng.choice(["neg", "tanh", "abs", "sigmoid"]))

    def operand(self, v: Value) -> Value:
        """Something that broadcasts with v."""
        same = [u for u in self.values if u.dtype == v.dtype and u.rank <= v.rank]
        fitting = [u for u in same if all(a == b or a == 1 for a, b in zip(u.shape[::-1], v.shape[::-1]))]
        shape = [d if isinstance(d, int) and self.rng.random() < 0.7 else 1 for d in v.shape]
        data = self.numbers.integers(-2, 3, shape[self.rng.randrange(len(shape) + 1) :])
        return self.rng.choice([*fitting, constant(np.asarray(data).astype(v.dtype.to_numpy()))])

    def binary(self, v: Value) -> Value:
        prim = self.rng.choice(["add", "sub", "mul", "max", "min"])
        a, b = self.rng.sample([v, self.operand(v)], 2)
        if self.rng.random() < 0.2:
            return (a < b).select(a, b)
        return a.map(prim, b)

    def permute(self, v: Value) -> Value:
        return v.permute(*self.rng.sample(range(v.rank), v.rank))

    def reshape(self, v: Value) -> Value:
        """Merges neighbours, splits an axis, adds or drops axes of size 1."""
        dims: list[Size] = list(v.shape)
        for _ in range(self.rng.randrange(1, 3)):
            at = self.rng.randrange(len(dims) + 1)
            kind = self.rng.randrange(4)
            if kind == 0 and at + 1 < len(dims):
                dims[at : at + 2] = [dims[at] * dims[at + 1]]
            elif kind == 1 and at < len(dims) and isinstance(dims[at], int) and dims[at] % 2 == 0:
                dims[at : at + 1] = [2, dims[at] // 2]
            elif kind == 2:
                dims.insert(at, 1)
            elif 1 in dims:
                dims.remove(1)
        return v.reshape(*dims)

    def slice(self, v: Value) -> Value:
        starts: list[Size] = [0] * v.rank
        sizes, steps = list(v.shape), [1] * v.rank
        axis = self.rng.randrange(v.rank)
        d = v.shape[axis]
        if not isinstance(d, int):
            return v.flip(axis)
        starts[axis] = self.rng.randrange(d)
        steps[axis] = self.rng.choice([1, 1, 2, -1])
        room = d - starts[axis] if steps[axis] > 0 else starts[axis] + 1  # type: ignore[operator]
        sizes[axis] = (room + abs(steps[axis]) - 1) // abs(steps[axis])
        return v.slice(starts, sizes, steps)

    def pad(self, v: Value) -> Value:
        low, high = ([self.rng.choice([0, 0, 1]) for _ in v.shape] for _ in range(2))
        return v.pad(low, high, self.rng.choice([0, 1]))

    def window(self, v: Value) -> Value:
        return v.window([self.rng.randrange(v.rank)], [2], [self.rng.choice([1, 2])], [1])

    def concat(self, v: Value) -> Value:
        axis = self.rng.randrange(v.rank)
        parts = [u for u in self.values if u.dtype == v.dtype and u.rank == v.rank]
        fit = [u for u in parts if all(a == b for i, (a, b) in enumerate(zip(u.shape, v.shape)) if i != axis)]
        return make("concat", [v, self.rng.choice(fit)], axis=axis)[0]

    def gather(self, v: Value) -> Value:
        axis = self.rng.randrange(v.rank)
        d = v.shape[axis]
        if isinstance(d, int) and self.rng.random() < 0.7:
            shape = self.rng.choice([(), (2,), (2, 3)])
            return v.take(constant(self.numbers.integers(0, d, shape)), axis)
        line = make("iota", [], shape=(d,), axis=0, dtype=I64)[0]
        return v.take(self.rng.choice([line, size_value(d) - 1 - line, line.reshape(1, d)]), axis)

    def reduce(self, v: Value) -> Value:
        axes = self.rng.sample(range(v.rank), self.rng.randrange(1, v.rank + 1))
        return v.reduce(self.rng.choice(["add", "max", "min"]), axes, keepdims=self.rng.random() < 0.7)

    def broadcast(self, v: Value) -> Value:
        lead = self.rng.choice([(), (2,), (S,)])
        return v.broadcast(*lead, *(self.rng.choice([1, 3, S]) if d == 1 else d for d in v.shape))

    def matmul(self, v: Value) -> Value:
        if not isinstance(v.shape[-1], int):
            others = [u for u in self.values if u.rank == 2 or u.shape[:-2] == v.shape[:-2]]
            return v.matmul(self.rng.choice(others))
        w = self.numbers.integers(-2, 3, (v.shape[-1], 3)).astype(v.dtype.to_numpy())
        return v.matmul(constant(w))

    def index(self, v: Value) -> Value:
        axis = self.rng.randrange(v.rank)
        line = make("iota", [], shape=v.shape, axis=axis, dtype=I64)[0]
        return self.rng.choice([lambda: line, lambda: line * 2 - size_value(v.shape[axis])])()

    def scan(self, v: Value) -> Value:
        flags = {"exclusive": self.rng.random() < 0.5, "reverse": self.rng.random() < 0.5}
        return make("scan", [v], kind="add", axis=self.rng.randrange(v.rank), **flags)[0]

    def sort(self, v: Value) -> Value:
        """Values alone: rounding decides which of two is the greater one where they are nearly equal."""
        axis = self.rng.randrange(v.rank)
        d = v.shape[axis]
        k = self.rng.randrange(1, d + 1) if isinstance(d, int) else d
        return make("sort", [v], axis=axis, descending=self.rng.random() < 0.5, k=k)[0]

    def weights(self, *shape: int) -> Value:
        return constant(self.numbers.integers(-2, 3, shape).astype(np.float32) / 4)

    def convolution(self, v: Value) -> Value:
        """Channels last; padded as far as the taps reach, so that something comes out of any size."""
        self.only(v.dtype == F32 and 3 <= v.rank <= 4 and isinstance(v.shape[-1], int))
        axes, channels = range(v.rank - 2), v.shape[-1]
        assert isinstance(channels, int)
        groups = self.rng.choice([g for g in (1, 2, 3, channels) if channels % g == 0])
        taps, strides, dilations = ([self.rng.choice(of) for _ in axes] for of in ((1, 2, 3, 3), (1, 1, 2), (1, 1, 2)))
        reach = [(t - 1) * d for t, d in zip(taps, dilations)]
        low = [self.rng.randrange(r + 1) for r in reach]
        high = [r - at + self.rng.choice([0, 0, 1]) for r, at in zip(reach, low)]
        w = self.weights(*taps, channels // groups, groups * self.rng.choice([1, 1, 2, 5]))
        attrs = {"strides": strides, "dilations": dilations, "pads_low": low, "pads_high": high}
        return make("conv", [v, w], groups=groups, acc=F32, **{name: tuple(attr) for name, attr in attrs.items()})[0]

    def attention(self, v: Value) -> Value:
        """Of v to itself or to something else, with what excludes keys, by numbers or by places."""
        self.only(v.dtype == F32 and v.rank >= 2)
        fitting = [u for u in self.values if u.dtype == F32 and u.shape[:-2] == v.shape[:-2] and u.rank == v.rank]
        k = self.rng.choice([u for u in fitting if u.shape[-1] == v.shape[-1]])
        values = self.rng.choice([k.map("abs"), *(u for u in fitting if u.shape[-2] == k.shape[-2])])
        m, n = v.shape[-2], k.shape[-2]
        causal = self.rng.choice([None, None, 0, n - m])
        inputs = [v.map("tanh"), k.map("tanh"), values]
        if self.rng.random() < 0.5:
            line = make("iota", [], shape=(self.rng.choice([m, 1]), n), axis=1, dtype=I64)[0]
            inputs.append((line < self.rng.randrange(1, 4)).select(line.cast(F32), float("-inf")))
        scale = self.rng.choice([0.5, 1.0, -2.0])
        return make("attention", inputs, scale=scale, causal=causal, zero_rows=causal is not None)[0]

    def recurrent(self, v: Value) -> Value:
        """A layer of any kind over the first axis of v, whose last one is projected."""
        self.only(v.dtype == F32 and v.rank == 3 and isinstance(v.shape[-1], int))
        kind, direction = self.rng.choice(list(GATES)), self.rng.choice(list(DIRECTIONS))
        (time, batch, width), hidden = v.shape, self.rng.choice([1, 3])
        shapes = operand_shapes(kind, direction, time, batch, hidden)
        directions, gates = DIRECTIONS[direction], GATES[kind]
        assert isinstance(width, int)
        xw = v.matmul(self.weights(width, directions * gates * hidden)).reshape(*shapes["xw"])
        possible = {"lstm": ("peephole", "h0", "c0"), "gru_linear_before_reset": ("rb", "h0")}.get(kind, ("h0",))
        given = {name: self.state(shapes[name]) for name in possible if self.rng.random() < 0.5}
        if self.rng.random() < 0.5:
            given["lengths"] = constant(np.array(self.rng.randrange(-1, 4))).broadcast(batch)
        x = Var("x", F32)
        names = (("sigmoid", "tanh", "tanh"), ("tanh", "sigmoid", "tanh"))
        activations = tuple(tuple(call(name, x) for name in names[d]) for d in range(directions))
        r = self.weights(directions, hidden, gates, hidden)
        made = make(
            "recurrent", [xw, r, *given.values()], kind=kind, direction=direction, has=tuple(given),
            activations=activations, clip=self.rng.choice([None, 0.5]), input_forget=self.rng.random() < 0.3,
        )  # fmt: skip
        return self.rng.choice(made)

    def state(self, shape: Sequence[Size]) -> Value:
        return self.weights(*(d if isinstance(d, int) else 1 for d in shape)).broadcast(*shape)

    def only(self, fits: bool) -> None:
        if not fits:
            raise ValueError("does not fit")


@pytest.mark.parametrize("seed", SEEDS)
def test_passes_keep_the_meaning(seed: int) -> None:
    world = World(seed)
    for _ in range(world.rng.randrange(3, 16)):
        world.grow()
    graph = Graph(world.inputs, world.values[-2:], ["y", "z"])
    verify(graph)
    assert print_graph(parse_graph(print_graph(graph), constants_of(graph))) == print_graph(graph)
    runs = []
    for sizes in ({B: 2, S: 3}, {B: 1, S: 1}, {B: 0, S: 2}):
        feeds = random_feeds(graph, sizes, seed)
        try:
            runs.append((feeds, evaluate(graph, feeds)))
        except ValueError:  # windows larger than the tensor
            continue
    for name, rewrite in PASSES:
        try:
            graph = rewrite(graph)
            verify(graph)
            for feeds, wanted in runs:
                for a, b in zip(evaluate(graph, feeds), wanted, strict=True):
                    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
        except Exception as error:
            raise AssertionError(f"seed {seed}, after {name}: {error}") from error
