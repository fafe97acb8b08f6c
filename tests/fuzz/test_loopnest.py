"""Random loop nests: the C that is generated for them computes what the interpreter does, whatever the split into
tasks, and so does the Triton.

Floats hold small integers and are only added, compared and the like, so that results are exact and must be equal.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod

import numpy as np
import pytest
from native import COMPILERS, launcher

from intaglio.compiler.kernel import interp
from intaglio.compiler.kernel.ir import Kernel, Let, LoopNest, Param, Stage, Store
from intaglio.compiler.kernel.verify import verify
from intaglio.compiler.scalar import prims
from intaglio.compiler.scalar.dim import Size, Symbol, dim_min, evaluate, floor_div, mod
from intaglio.compiler.scalar.dtype import BOOL, DTYPES, F32, I32, I64, DType
from intaglio.compiler.scalar.expr import Const, Expr, Index, Load, Local

DTYPES_OF_BUFFERS = [DTYPES[n] for n in ("f32", "f32", "f64", "i32", "i64", "u8", "i8", "u16", "bool", "f16", "bf16")]
UNARY = {
    "f": ["neg", "abs", "sign", "floor"],
    "i": ["neg", "abs", "sign", "bit_not"],
    "u": ["neg", "bit_not"],
    "b": ["not"],
}
BINARY = {
    "f": ["add", "sub", "min", "max"],
    "i": ["add", "sub", "mul", "min", "max", "div", "mod", "floordiv", "fmod", "bit_and", "shl", "shr"],
    "u": ["add", "sub", "mul", "min", "max", "div", "mod", "bit_or", "bit_xor", "shr"],
    "b": ["and", "or", "xor"],
}
REDUCTIONS = {
    "f": ["add", "max", "min"],
    "i": ["add", "mul", "max", "min", "bit_or"],
    "u": ["add", "max"],
    "b": ["and", "or"],
}


POINTS = 1 << 18  # of a stage: more would only take time and memory


@dataclass
class Nest:
    """A kernel under construction, with the values of its sizes and the data of its buffers."""

    rng: random.Random
    sizes: dict[Symbol, int] = field(default_factory=dict)
    params: list[Param] = field(default_factory=list)
    data: list[np.ndarray] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    names: int = 0
    points: int = POINTS  # of a stage at most
    kept: tuple[str, ...] = ("plain", "reduce", "columns", "scan")  # stages that may keep their results

    def symbol(self, prefix: str, extent: Size | None = None) -> Symbol:
        self.names += 1
        return Symbol(f"{prefix}{self.names}", 0, extent)

    def extent(self, room: int) -> Size:
        values = [v for v in (1, 2, 3, 5, 8, 16, 17, 33, 64, 70) if v <= room]
        value = self.rng.choice(values if self.rng.random() < 0.95 else [0])
        if self.rng.random() < 0.5:
            return value
        size = self.symbol("n")
        self.sizes[size] = value
        return size

    def axes(self, prefix: str, least: int, most: int, around: tuple[Symbol, ...] = ()) -> tuple[Symbol, ...]:
        """New axes, which together with those `around` them have at most `points` points."""
        chosen: list[Symbol] = []
        for _ in range(self.rng.randint(least, most)):
            points = prod(max(self.value(s.extent), 1) for s in (*around, *chosen))
            chosen.append(self.symbol(prefix, self.extent(max(self.points // points, 1))))
        return tuple(chosen)

    def value(self, size: Size) -> int:
        return evaluate(size, self.sizes)

    def buffer(self, dtype: DType, size: Size, written: bool) -> int:
        count = max(self.value(size), 1)
        rng = np.random.default_rng(self.rng.randrange(1 << 30))
        low = 0 if dtype.kind in "ub" else -4
        self.data.append(rng.integers(low, 2 if dtype == BOOL else 5, count).astype(dtype.to_numpy()))
        self.params.append(Param(dtype, size, written))
        return len(self.params) - 1

    def index(self, axes: list[Symbol]) -> tuple[Size, Size]:
        """A row-major index over some of the axes, in some order and form, and the number of elements it needs."""
        chosen = [s for s in axes if self.rng.random() < 0.8]
        if self.rng.random() < 0.3:
            self.rng.shuffle(chosen)
        index: Size = 0
        count: Size = 1
        for s in chosen:
            extent = s.extent
            if extent == 0 or self.value(extent) == 0:
                continue
            position: Size = s
            form = self.rng.random()
            if form < 0.1:
                position, extent = 2 * s, 2 * extent
            elif form < 0.2:
                position = extent - 1 - s
            elif form < 0.25:
                position, extent = floor_div(s, 3), floor_div(extent + 2, 3)
            elif form < 0.3:
                position, extent = mod(s, 4), 4
            index, count = index * extent + position, count * extent
        return index, count

    def load(self, dtype: DType, axes: list[Symbol], lets: list[Let]) -> Expr:
        index, count = self.index(axes)
        mask, other = None, None
        if axes and self.rng.random() < 0.25:
            s = self.rng.choice(axes)
            low, high = self.rng.randint(0, 3), self.rng.randint(0, 3)
            inside = prims.call("le", Const(low, I64), Index(s)), prims.call("lt", Index(s), Index(s.extent - high))
            mask = prims.call("and", *inside)
            other = Const({"f": 2.0, "b": True}.get(dtype.kind, 3), dtype)
        if lets and self.rng.random() < 0.5:
            index, count = index * 6 + lets[0].symbol, count * 6
        load = Load(self.buffer(dtype, count, written=False), index, dtype, mask, other)
        return load if dtype == dtype.compute else prims.call("cast", load, dtype=dtype.compute)

    def expr(self, dtype: DType, axes: list[Symbol], lets: list[Let], depth: int) -> Expr:
        """A random expression of a computing dtype."""
        choice = self.rng.random()
        if depth == 0 or choice < 0.2:
            return self.leaf(dtype, axes, lets)
        if choice < 0.35:
            return prims.call(self.rng.choice(UNARY[dtype.kind]), self.expr(dtype, axes, lets, depth - 1))
        a, b = (self.expr(dtype, axes, lets, depth - 1) for _ in range(2))
        if choice < 0.5:
            kind = self.rng.choice(["lt", "le", "eq", "ne"])
            condition = prims.call(kind, a, b)
            if dtype == BOOL:
                return condition
            return prims.call("select", condition, b, self.expr(dtype, axes, lets, depth - 1))
        return prims.call(self.rng.choice(BINARY[dtype.kind]), a, b)

    def leaf(self, dtype: DType, axes: list[Symbol], lets: list[Let]) -> Expr:
        choice = self.rng.random()
        kept = [(i, s) for i, s in enumerate(self.stages) if s.store is None and s.value.dtype == dtype]
        if kept and choice < 0.4:
            slot, stage = self.rng.choice(kept)
            position: Size = 0
            for s in stage.axes:
                fitting = [a for a in axes if a.extent == s.extent]
                position = position * s.extent + (self.rng.choice(fitting) if fitting else s.extent - 1)
            if all(self.value(s.extent) > 0 for s in stage.axes):
                return Local(slot, position, dtype)
        if choice < 0.5:
            return Const({"f": 1.0, "b": True}.get(dtype.kind, self.rng.randint(0, 3)), dtype)
        if choice < 0.6 and axes:
            index = Index(self.rng.choice(axes) + self.rng.choice([0, 1]))
            return index if dtype == I64 else prims.call("cast", index, dtype=dtype)
        source = self.rng.choice([d for d in DTYPES_OF_BUFFERS if d.compute == dtype] or [F32])
        load = self.load(source, axes, lets)
        return load if load.dtype == dtype else prims.call("cast", load, dtype=dtype)

    def dtype(self) -> DType:
        return self.rng.choice([d.compute for d in DTYPES_OF_BUFFERS])

    def stage(self, outer: tuple[Symbol, ...], last: bool) -> None:
        dtype = self.dtype()
        kinds = ("plain", "reduce", "columns", "scan") if last else self.kept
        kind = self.rng.choice([*kinds, *(["scatter"] if last and not outer else [])])
        axes = self.axes("i", 0 if kind in ("plain", "reduce") else 1, 2, outer)
        if kind == "reduce":
            axes = ()
        reduce_axes = self.axes("r", 1, 2, (*outer, *axes)) if kind in ("reduce", "columns") else ()
        combine = self.rng.choice(REDUCTIONS[dtype.kind])
        inner = [*outer, *axes, *reduce_axes]
        lets: list[Let] = []
        if self.rng.random() < 0.2:
            index = prims.call("mod", prims.call("cast", self.load(I32, inner, []), dtype=I64), Const(6, I64))
            lets = [Let(self.symbol("g", 6), index)]
        value = self.expr(dtype, inner, lets, self.rng.randint(1, 3))
        reduce, scan = (combine if reduce_axes else None), (combine if kind == "scan" else None)
        if not last:
            self.stages.append(Stage(value, None, axes, reduce_axes, reduce, scan, tuple(lets)))
            return
        index: Size = 0
        count: Size = 1
        for s in (*outer, *axes):
            index, count = index * s.extent + s, count * s.extent
        target = self.rng.choice([d for d in DTYPES_OF_BUFFERS if d.compute.kind == dtype.kind and d.compute == dtype])
        store = Store(self.buffer(target, count, written=True), index)
        if kind == "scatter":
            index = prims.call("mod", prims.call("cast", self.load(I32, list(axes), []), dtype=I64), Const(6, I64))
            lets = [Let(self.symbol("g", 6), index)]
            value = self.expr(dtype, inner, [], 2)
            store = Store(self.buffer(target, 6, written=True), lets[0].symbol, self.rng.choice(REDUCTIONS[dtype.kind]))
        self.stages.append(Stage(value, store, axes, reduce_axes, reduce, scan, tuple(lets)))

    def kernel(self) -> Kernel:
        outer = self.axes("o", 0, 2)
        for _ in range(self.rng.randint(0, 2)):
            self.stage(outer, last=False)
        for _ in range(self.rng.randint(1, 2)):
            self.stage(outer, last=True)
        return Kernel(tuple(self.params), tuple(self.sizes), LoopNest(outer, tuple(self.stages)))


def blocked(nest: Nest) -> Kernel:
    """A row in blocks of 16, the last one shorter: what schedules make of a pointwise kernel with a kept row."""
    extent = nest.symbol("n")
    nest.sizes[extent] = nest.rng.randint(1, 70)
    block = nest.symbol("o", floor_div(extent + 15, 16))
    k, j, r = (nest.symbol("i", dim_min(16, extent - block * 16)) for _ in range(3))
    source, target = nest.buffer(F32, extent, written=False), nest.buffer(F32, extent, written=True)
    combine = nest.rng.choice(REDUCTIONS["f"])
    nest.stages = [
        Stage(Load(source, block * 16 + k, F32) + 1.0, None, (k,)),
        Stage(Local(0, r, F32), None, (), (r,), combine),
        Stage(Local(0, j, F32) - Local(1, 0, F32), Store(target, block * 16 + j), (j,)),
    ]
    return Kernel(tuple(nest.params), tuple(nest.sizes), LoopNest((block,), tuple(nest.stages)))


def check(seed: int, compiler: str) -> None:
    nest = Nest(random.Random(seed))
    kernel = blocked(nest) if seed % 10 == 9 else nest.kernel()
    verify(kernel, f"seed {seed}")
    values = [nest.sizes[s] for s in kernel.sizes]
    expected = [d.copy() for d in nest.data]
    interp.run(kernel, expected, values)
    launch = launcher(kernel, nest.data, values, compiler)
    cuts = sorted(nest.rng.randint(0, launch.tasks) for _ in range(2))
    for begin, end in zip([0, *cuts], [*cuts, launch.tasks]):
        launch(begin, end)
    for i, (got, want) in enumerate(zip(nest.data, expected)):
        np.testing.assert_array_equal(
            got.astype(np.float64), want.astype(np.float64), err_msg=f"seed {seed}, {compiler}, buffer {i}"
        )


@pytest.mark.sample(14)
@pytest.mark.parametrize("seed", range(60))
def test_c_agrees_with_interpreter(seed: int) -> None:
    compilers = list(COMPILERS)
    check(seed, compilers[seed % len(compilers)])


def nest_for_triton(seed: int) -> tuple[Kernel, Nest]:
    """One that Triton can express: no column and no scan is kept."""
    nest = Nest(random.Random(seed), points=1 << 9, kept=("plain", "reduce"))
    return (blocked(nest) if seed % 10 == 9 else nest.kernel()), nest


@pytest.mark.sample(6)
@pytest.mark.parametrize("seed", range(24))
def test_triton_agrees_with_interpreter(seed: int, check_triton: Callable[..., object]) -> None:
    kernel, nest = nest_for_triton(seed)
    check_triton(kernel, nest.data, [nest.sizes[s] for s in kernel.sizes], rtol=0, atol=0)
