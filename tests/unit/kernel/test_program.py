"""Buffers of programs, and changes to all launches, wherever they stand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from intaglio.compiler.graph.ir import Graph, constant, input_value
from intaglio.compiler.kernel import interp
from intaglio.compiler.kernel.ir import Branch, Kernel, Launch, Loop, LoopNest
from intaglio.compiler.kernel.packing import Packing
from intaglio.compiler.kernel.program import Buffer, Program, Weight, every_step, map_launches
from intaglio.compiler.lower.build import Buffers, copy, make_launch
from intaglio.compiler.lower.groups import lower
from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import F32

M, N = Symbol("m"), Symbol("n")
X, W = input_value("x", (N,), F32), constant(np.ones((3, 5), np.float32))


def empty() -> Program:
    return Program(Graph([], [], []))


def step(number: int) -> Launch:
    return Launch(Kernel((), (), LoopNest((), ())), (number,), (), ())


def test_a_value_has_one_buffer() -> None:
    program = empty()
    bufs = Buffers(program)
    assert bufs.add(X, "input", 0) == bufs.of(X) == 0
    y = X.exp()
    assert bufs.of(y) == bufs.of(y) == 1
    assert program.buffers == [Buffer("input", 0, F32, N, name="x"), Buffer("arena", 1, F32, N)]
    assert bufs.fresh(F32, 4) == 2


def test_a_weight_is_stored_once_in_each_packing_also_for_sub_graphs() -> None:
    bufs = Buffers(empty())
    first = bufs.constant(Weight(W))
    assert bufs.inner().constant(Weight(W)) == first == bufs.read(W, {W.node})
    assert bufs.constant(Weight(W, Packing("panels", 4))) != first


def test_what_was_made_since_a_mark_is_forgotten() -> None:
    program = empty()
    bufs = Buffers(program)
    bufs.of(X)
    mark = bufs.mark()
    bufs.of(X.exp())
    bufs.constant(Weight(W))
    bufs.undo(mark)
    assert bufs.mark() == mark and len(program.buffers) == 1
    assert bufs.of(X) == 0


def test_weights_lie_at_whole_cache_lines() -> None:
    program = lower(Graph([X], [X.sum() + W.sum(0), X.sum() + constant(np.ones(20, np.float32)) * W.sum()], ["y", "z"]))
    offsets = program.weight_offsets()
    assert len(offsets) == len(program.weights) + 1
    assert all(at % 64 == 0 for at in offsets) and offsets == sorted(set(offsets))


def test_a_copy_into_a_row() -> None:
    program = empty()
    bufs = Buffers(program)
    source, target = bufs.fresh(F32, 3), bufs.fresh(F32, 12)
    launch = copy(program, source, target, ("node",), row=2)
    x, y = np.arange(3, dtype=np.float32), np.zeros(12, np.float32)
    interp.run(launch.kernel, [x, y], [])
    assert y.tolist() == [0] * 6 + [0, 1, 2] + [0] * 3
    assert (launch.buffers, launch.origin) == ((source, target), ("node",))


def test_free_symbols_are_sizes_and_loop_variables_are_not() -> None:
    (launch,) = lower(Graph([X], [X + 1.0], ["y"])).launches
    body, params = launch.kernel.body, launch.kernel.params
    assert make_launch(body, params, (0, 1), ()).sizes == (N,)
    (loop,) = body.outer  # type: ignore[union-attr]
    assert set(make_launch(body, params, (0, 1), (), indices=[loop]).sizes) == {N, loop}


def test_launches_in_branches_and_loops() -> None:
    loop = Loop(Symbol("i", 0, 7), 7, None, 9, (), (step(3),))
    steps = [step(0), Branch(8, (step(1), loop), (step(2),))]
    flat = [s.buffers[0] for s in every_step(steps) if isinstance(s, Launch)]
    assert flat == [0, 1, 3, 2]
    changed = map_launches(steps, lambda launch: replace(launch, buffers=(launch.buffers[0] + 10,)))
    assert [s.buffers[0] for s in every_step(changed) if isinstance(s, Launch)] == [10, 11, 13, 12]
    assert [type(s) for s in every_step(changed)] == [type(s) for s in every_step(steps)]


def test_symbols_of_a_model_in_the_order_of_its_inputs() -> None:
    y = input_value("y", (M, N), F32)
    assert lower(Graph([y], [y + 1.0], ["z"])).symbols() == [M, N]
