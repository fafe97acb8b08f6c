"""Random graphs, lowered: the kernels, run one after the other by their interpreter in the planned arena, compute what
the graph means, before and after the passes. Failures name their seed; to repeat one:

    INTAGLIO_FUZZ_SEED=<seed> pytest tests/fuzz/test_lower.py
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial

import numpy as np
import pytest

from intaglio.compiler.graph.interp import constant_array, evaluate, random_feeds
from intaglio.compiler.graph.ir import Array, Graph
from intaglio.compiler.kernel import interp
from intaglio.compiler.kernel.ir import Launch, LoopNest, Schedule
from intaglio.compiler.kernel.program import Program
from intaglio.compiler.lower import fuse
from intaglio.compiler.lower.groups import lower
from intaglio.compiler.passes import PASSES
from intaglio.compiler.plan.memory import plan
from intaglio.compiler.precision import Precision
from intaglio.compiler.scalar import dim
from intaglio.compiler.schedule import default, schedule
from intaglio.compiler.schedule.loopnest import LoopNestSchedule, legal
from intaglio.compiler.target import Target, target

from .test_graph import SEEDS, B, S, World


def run_program(program: Program, feeds: Sequence[Array]) -> list[Array]:
    """Runs all launches by the kernel interpreter; intermediates live where the memory plan puts them."""
    sizes = ((s, n) for v, f in zip(program.graph.inputs, feeds) for s, n in zip(v.shape, f.shape))
    values = {s: n for s, n in sizes if not isinstance(s, int)}
    arena = plan(program.buffers, program.launches)
    memory = np.full(dim.evaluate(arena.size, values) + 64, 0xAA, np.uint8)
    outputs = [np.zeros(dim.evaluate(dim.prod(v.shape), values), v.dtype.to_numpy()) for v in program.graph.outputs]
    buffers: list[Array] = []
    for number, b in enumerate(program.buffers):
        size = dim.evaluate(b.size, values)
        if b.kind == "arena":
            at = dim.evaluate(arena.offset(number), values)
            buffers.append(memory[at : at + size * b.dtype.itemsize].view(b.dtype.to_numpy()))
        elif b.kind == "weight":
            weight = program.weights[b.number]
            buffers.append(np.ascontiguousarray(weight.laid_out(constant_array(weight.value))).reshape(-1))
        else:
            buffers.append(np.ascontiguousarray((feeds if b.kind == "input" else outputs)[b.number]).reshape(-1))
    for launch in program.launches:
        sizes = [dim.evaluate(s, values) for s in launch.sizes]
        interp.run(launch.kernel, [buffers[b] for b in launch.buffers], sizes)
    shapes = [tuple(dim.evaluate(d, values) for d in v.shape) for v in program.graph.outputs]
    return [o.reshape(s) for o, s in zip(outputs, shapes)]


def some_schedule(rng: random.Random, launch: Launch, cpu: Target, precision: Precision) -> Schedule | None:
    """Loops in blocks of any length; the default of other kernels."""
    body = launch.kernel.body
    if not isinstance(body, LoopNest):
        return default(body, cpu, precision)
    made = LoopNestSchedule(**{f.name: rng.choice((1, 2, 3, 7, 64)) for f in fields(LoopNestSchedule)})
    assert legal(body, made, cpu) is None
    return made


@pytest.mark.sample(75)
@pytest.mark.parametrize("seed", SEEDS)
def test_kernels_compute_what_the_graph_means(seed: int) -> None:
    world = World(seed)
    for _ in range(world.rng.randrange(3, 16)):
        world.grow()
    graph = Graph(world.inputs, world.values[-2:], ["y", "z"])
    runs = []
    for sizes in ({B: 2, S: 3}, {B: 1, S: 1}, {B: 0, S: 2}):
        feeds = random_feeds(graph, sizes, seed)
        try:
            runs.append((feeds, evaluate(graph, feeds)))
        except ValueError:  # windows larger than the tensor
            continue
    optimised = graph
    for _, rewrite in PASSES:
        optimised = rewrite(optimised)
    for name, subject in (("as written", graph), ("optimised", optimised)):
        try:
            program = schedule(lower(subject), target(), choose=partial(some_schedule, world.rng))
            for feeds, wanted in runs:
                for a, b in zip(run_program(program, feeds), wanted, strict=True):
                    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
        except Exception as error:
            raise AssertionError(f"seed {seed}, {name}: {error}") from error


@pytest.mark.sample(25)
@pytest.mark.parametrize("seed", SEEDS)
def test_watched_values_are_what_the_graph_means_and_change_no_other(seed: int) -> None:
    world = World(seed)
    for _ in range(world.rng.randrange(3, 16)):
        world.grow()
    graph = fuse.distinct_outputs(Graph(world.inputs, world.values[-2:], ["y", "z"]))
    for _, rewrite in PASSES:
        graph = rewrite(graph)
    graph = fuse.distinct_outputs(graph)
    groups = fuse.run(graph)
    watched = dict.fromkeys(v for g in groups for v in (*fuse.stored(g), *fuse.inside(g)) if v not in graph.outputs)
    feeds = random_feeds(graph, {B: 2, S: 3}, seed)
    try:
        wanted = evaluate(replace(graph, outputs=[*graph.outputs, *watched]), feeds)
    except ValueError:  # windows larger than the tensor
        return
    try:
        plain = run_program(schedule(lower(graph), target()), feeds)
        got = run_program(schedule(lower(graph, watched=list(watched)), target()), feeds)
        for a, b in zip(got, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
        for a, b in zip(plain, got):
            np.testing.assert_array_equal(a, b)
    except Exception as error:
        raise AssertionError(f"seed {seed}: {error}") from error
