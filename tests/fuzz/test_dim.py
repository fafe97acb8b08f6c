"""Random size expressions: the simplified form has the value of the tree it was built from, the provers
never contradict a sampled value, and text reads back as the same expression.

Failures name their seed; to repeat one:

    INTAGLIO_FUZZ_SEED=<seed> pytest tests/fuzz/test_dim.py
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

from intaglio.compiler.scalar.dim import (
    Size,
    Symbol,
    bounds,
    dim_max,
    dim_min,
    evaluate,
    floor_div,
    known_eq,
    known_le,
    known_lt,
    linear_in,
    mod,
    parse,
    substitute,
    symbols,
)

COUNT = int(os.environ.get("INTAGLIO_FUZZ_COUNT", "400"))
SEEDS = [int(os.environ["INTAGLIO_FUZZ_SEED"])] if "INTAGLIO_FUZZ_SEED" in os.environ else range(COUNT)

KINDS = ["+", "+", "-", "*", "//", "//", "%", "%", "min", "max", "index", "unravel"]

Values = dict[Symbol, int]
Tree = tuple[Size, Callable[[Values], int]]  # the expression, and plain Python that computes it


class World:
    """Symbols with random bounds (loop variables with symbolic extents among them), and trees over them."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.free = [Symbol(n, self.random.choice([-3, 0, 0, 0, 1, 2])) for n in "ABC"]
        self.free.append(Symbol("D", self.random.randint(-4, 4), self.random.randint(5, 9)))
        self.loops: list[Symbol] = []
        for name in "ijk":
            positive = [s for s in self.free if s.lower >= 0] or [5]
            factor = self.random.choice(positive)
            extent = self.random.choice([self.random.randint(1, 9), factor, factor * 3, *self.loops])
            if self.random.random() < 0.2:
                extent = extent * self.random.choice(positive)
            self.loops.append(Symbol(name, 0, extent))

    def leaf(self) -> Tree:
        if self.random.random() < 0.25:
            value = self.random.choice([-7, -4, -2, -1, 0, 1, 1, 2, 2, 3, 4, 5, 6, 8, 12])
            return value, lambda values: value
        symbol = self.random.choice(self.free + self.loops * 2)
        return symbol, lambda values: values[symbol]

    def divisor(self) -> Tree:
        """A tree that is not the constant 0."""
        if self.random.random() < 0.5:
            value = self.random.choice([1, 2, 2, 3, 4, 4, 6, 8, 12, -1, -2, -4])
            return value, lambda values: value
        a, f = self.leaf()
        b, g = self.leaf()
        candidates: list[Tree] = [
            (a, f),
            (a, f),
            (a * b, lambda values: f(values) * g(values)),
            (a + b, lambda values: f(values) + g(values)),
        ]
        return self.random.choice([tree for tree in candidates if tree[0] != 0] or [(1, lambda values: 1)])

    def tree(self, depth: int) -> Tree:
        if depth == 0:
            return self.leaf()
        a, f = self.tree(depth - 1)
        kind = self.random.choice(KINDS)
        if kind == "//":
            b, g = self.divisor()
            return floor_div(a, b), lambda values: f(values) // g(values)
        if kind == "%":
            b, g = self.divisor()
            return mod(a, b), lambda values: f(values) % g(values)
        if kind == "unravel":  # what a reshape there and back does to an index
            b, g = self.divisor()
            return a // b * b + a % b, lambda values: f(values) + 0 % g(values)
        if kind == "index":
            loop = self.random.choice(self.loops)
            if loop.extent is not None:
                extent = loop.extent
                return a * extent + loop, lambda values: f(values) * evaluate(extent, values) + values[loop]
        b, g = self.tree(self.random.randrange(depth))
        if kind == "+":
            return a + b, lambda values: f(values) + g(values)
        if kind == "-":
            return a - b, lambda values: f(values) - g(values)
        if kind == "min":
            return dim_min(a, b), lambda values: min(f(values), g(values))
        if kind == "max":
            return dim_max(a, b), lambda values: max(f(values), g(values))
        return a * b, lambda values: f(values) * g(values)

    def values(self) -> Values | None:
        """Random values inside the bounds; None where a loop has no iterations."""
        values: Values = {}
        for symbol in self.free + self.loops:
            extent = evaluate(symbol.extent, values) if symbol.extent is not None else symbol.lower + 9
            if extent <= symbol.lower:
                return None
            at_end = self.random.random()
            values[symbol] = self.random.randrange(symbol.lower, extent)
            if at_end < 0.2:
                values[symbol] = symbol.lower
            elif at_end > 0.8:
                values[symbol] = extent - 1
        return values

    def samples(self, *trees: Tree) -> list[tuple[Values, list[int]]]:
        """Values of the symbols and of the trees, where no divisor is 0."""
        found = []
        for _ in range(40):
            values = self.values()
            if values is not None:
                try:
                    found.append((values, [f(values) for _, f in trees]))
                except ZeroDivisionError:
                    continue
        return found


@pytest.mark.parametrize("seed", SEEDS)
def test_simplified_equals_the_tree(seed: int) -> None:
    world = World(seed)
    x, f = world.tree(world.random.randint(1, 5))
    for values, (expected,) in world.samples((x, f)):
        low, high = bounds(x)
        assert evaluate(x, values) == expected, (seed, str(x), values)
        assert low is None or low <= expected, (seed, str(x), values)
        assert high is None or expected <= high, (seed, str(x), values)


@pytest.mark.parametrize("seed", SEEDS)
def test_provers_agree_with_samples(seed: int) -> None:
    world = World(seed)
    (a, f), (b, g) = world.tree(world.random.randint(1, 3)), world.tree(world.random.randint(1, 3))
    if world.random.random() < 0.5:  # sizes that differ by little are the hard ones
        divisor, offset = world.random.choice([1, 2, 3]), world.random.choice([-1, 0, 1])
        b, g = (a + offset) // divisor * divisor, lambda values: (f(values) + offset) // divisor * divisor
    le, lt, eq = known_le(a, b), known_lt(a, b), known_eq(a, b)
    for values, (x, y) in world.samples((a, f), (b, g)):
        assert le in (None, x <= y), (seed, str(a), str(b), values)
        assert lt in (None, x < y), (seed, str(a), str(b), values)
        assert eq in (None, x == y), (seed, str(a), str(b), values)


@pytest.mark.parametrize("seed", SEEDS)
def test_text_reads_back(seed: int) -> None:
    world = World(seed)
    x, _ = world.tree(world.random.randint(1, 5))
    names = {s.name: s for s in world.free + world.loops}
    assert parse(str(x), names) == x, (seed, str(x))


@pytest.mark.parametrize("seed", SEEDS)
def test_substitution_and_linear_form(seed: int) -> None:
    world = World(seed)
    x, f = world.tree(world.random.randint(1, 4))
    assert substitute(x, {s: s for s in world.free}) == x, (seed, str(x))
    for values, (expected,) in world.samples((x, f))[:5]:
        some = {s: values[s] for s in world.free + world.loops if world.random.random() < 0.5}
        try:
            partial = substitute(x, some)
        except ZeroDivisionError:
            continue
        assert not symbols(partial) & some.keys(), (seed, str(x), some)
        assert evaluate(partial, values) == expected, (seed, str(x), some, values)
        for symbol in world.loops:
            form = linear_in(x, symbol)
            if form is not None:
                coefficient, rest = form
                assert symbol not in symbols(coefficient) | symbols(rest), (seed, str(x))
                value = evaluate(coefficient, values) * values[symbol] + evaluate(rest, values)
                assert value == expected, (seed, str(x), symbol.name)
