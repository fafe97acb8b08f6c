"""Lowering of what is decided while a model runs: the order of steps, the memory plan, the C around the kernels."""

from __future__ import annotations

import re

import numpy as np

from intaglio.compiler.codegen.c.program import generate
from intaglio.compiler.graph.ir import Graph, constant, input_value, make, size_value
from intaglio.compiler.kernel.ir import Bind, Branch, Check, Launch, Loop
from intaglio.compiler.kernel.program import Program
from intaglio.compiler.kernel.text import print_program
from intaglio.compiler.lower.groups import lower
from intaglio.compiler.plan.memory import arenas, plan
from intaglio.compiler.scalar.dim import Symbol, symbols
from intaglio.compiler.scalar.dtype import BOOL, F32, I64
from intaglio.compiler.schedule import schedule
from intaglio.compiler.target import target

B, N, INDEX = Symbol("b"), Symbol("n"), Symbol("i", 0, 7)


def lowered(graph: Graph) -> Program:
    return schedule(lower(graph), target())


def test_a_size_is_bound_behind_its_value_and_before_its_use() -> None:
    x = input_value("x", (B,), F32)
    part = x.narrow(0, 0, N)
    square = part.reshape(N, 1).matmul(part.reshape(1, N))
    program = lowered(Graph([x], [square.exp().sum(0)], ["y"], {N: (x > 0).cast(I64).sum()}))
    bind = next(i for i, step in enumerate(program.steps) if isinstance(step, Bind))
    assert isinstance(program.steps[bind - 1], Launch)
    for step in program.steps[:bind]:
        assert isinstance(step, Launch) and not any(symbols(s) & {N} for s in step.sizes)
    assert program.conditions == [] or all(not symbols(c.right) & {N} for c in program.conditions)
    assert any(isinstance(step, Check) for step in program.steps[bind:])  # n <= b
    assert program.bound() == [N]


def test_memory_that_depends_on_data_is_a_region_of_its_own() -> None:
    x = input_value("x", (B,), F32)
    part = x.narrow(0, 0, N)
    square = part.reshape(N, 1).matmul(part.reshape(1, N))
    program = lowered(Graph([x], [square.exp().sum(0)], ["y"], {N: (x > 0).cast(I64).sum()}))
    both = arenas(program)
    arena = both[0]
    assert len(arena.sizes) == 2
    assert not symbols(arena.sizes[0]) & {N} and symbols(arena.sizes[1]) == {N}
    source = generate(program, both).program[0].text
    assert "intaglio_reserve" in source and "intaglio_output" in source
    assert "out[4] = -1;" in source
    assert source.index("intaglio_output") < source.index("w->blocks[1].at")


def loop_program() -> Program:
    x = input_value("x", (B,), F32)
    index, s, inner = input_value("i", (), I64), input_value("s", (B,), F32), input_value("v", (B,), F32)
    index.content = np.array(INDEX, object)
    t = s * inner + size_value(INDEX).cast(F32)
    body = Graph([index, s, inner], [t.sum() < 100, t, t.max()], ["c", "t", "row"])
    w = x.exp()
    _, final, rows = make("loop", [constant(np.array(True)), x, w], body=body, trips=7, states=1)
    return lowered(Graph([x], [final + 1, rows], ["y", "rows"]))


def test_what_a_loop_reads_outlives_it() -> None:
    program = loop_program()
    loop = next(step for step in program.steps if isinstance(step, Loop))
    arena = plan(program.buffers, program.steps, program.bound())
    inside = {b for step in loop.body if isinstance(step, Launch) for b in step.buffers}
    ahead = program.steps[: program.steps.index(loop)]
    before = {b for step in ahead if isinstance(step, Launch) for b in step.buffers}
    last = max(arena.lifetimes[b][1] for b in inside - before if b in arena.lifetimes)
    through = {b for b in inside & before if b in arena.lifetimes}
    assert len(through) >= 2  # the state, the captured value and the condition
    own = {arena.slot[b] for b in inside - before if b in arena.slot}
    for b in through:
        assert arena.lifetimes[b][1] >= last
        assert arena.slot[b] not in own


def test_each_iteration_ends_at_a_barrier() -> None:
    program = loop_program()
    source = generate(program, arenas(program)).program[0].text
    body = source[source.index("for (d[") :]
    body = body[: body.index("*(int64_t *)(")]
    assert body.rstrip().endswith("if (intaglio_barrier(w)) return 1;\n    }")


def test_branches_write_the_same_buffers() -> None:
    c, x, v = input_value("c", (), BOOL), input_value("x", (B,), F32), input_value("v", (B,), F32)
    (y,) = make("branch", [c, x], then=Graph([v], [v.exp()], ["r"]), otherwise=Graph([v], [-v], ["r"]))
    program = lowered(Graph([c, x], [y], ["y"]))
    (branch,) = program.steps
    assert isinstance(branch, Branch)
    (then,), (otherwise,) = branch.then, branch.otherwise
    assert isinstance(then, Launch) and isinstance(otherwise, Launch)
    assert then.buffers == otherwise.buffers
    assert program.launches == [then, otherwise] and len(program.provenance) == 2


def test_steps_as_text() -> None:
    text = print_program(loop_program())
    assert re.search(r"^loop i < 7 while %\d+, %\d+ = iterations$", text, re.M)
    assert re.search(r"^  step \d+: kernel", text, re.M)
