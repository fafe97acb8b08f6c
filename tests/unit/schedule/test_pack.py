"""Weights are laid out as the kernels that read them want them, each once in each packing."""

from __future__ import annotations

from functools import reduce

from unit.schedule.bodies import launch_of, tensor, weights

from intaglio.compiler.graph.ir import Graph
from intaglio.compiler.kernel.operands import packed_operands
from intaglio.compiler.kernel.packing import PLAIN, Packing
from intaglio.compiler.kernel.program import Program
from intaglio.compiler.lower.groups import lower
from intaglio.compiler.schedule.pack import Packer, packed

PANELS, NARROW = Packing("panels", 64), Packing("panels", 16)


def program_of(count: int) -> Program:
    """Products in a row, all with the same weights."""
    x, w = tensor(7, 40), weights(40, 40)
    y = reduce(lambda value, _: value.matmul(w), range(count), x)
    return lower(Graph([x], [y], ["y"]))


def test_the_parameter_is_as_large_as_the_packing_makes_it() -> None:
    launch = packed(launch_of(tensor(7, 40).matmul(weights(40, 40))), PANELS)
    (operand,) = packed_operands(launch.kernel.body)
    assert operand.packing == PANELS
    assert launch.kernel.params[operand.param].size == 40 * 64  # a panel of 64 columns for 40


def test_one_packing_takes_the_place_of_the_plain_weights() -> None:
    program = program_of(2)
    packer = Packer(program)
    first, second = (packer.place(packed(launch, PANELS)) for launch in program.launches)
    assert [w.packing for w in program.weights] == [PANELS]
    assert first.buffers[1] == second.buffers[1] == program.launches[0].buffers[1]


def test_another_packing_is_another_weight() -> None:
    program = program_of(3)
    packer = Packer(program)
    hows = (PANELS, NARROW, PANELS)
    made = [packer.place(packed(launch, how)) for launch, how in zip(program.launches, hows)]
    assert [w.packing for w in program.weights] == [PANELS, NARROW]
    assert made[0].buffers[1] == made[2].buffers[1] != made[1].buffers[1]
    sizes = [program.buffers[launch.buffers[1]].size for launch in made]
    assert sizes == [40 * 64, 40 * 48, 40 * 64]


def test_plain_weights_stay_as_they_are() -> None:
    program = program_of(1)
    before = list(program.buffers)
    (launch,) = program.launches
    assert Packer(program).place(launch).buffers == launch.buffers
    assert program.buffers == before and [w.packing for w in program.weights] == [PLAIN]


def test_kernels_without_weights_are_left_alone() -> None:
    launch = launch_of(tensor(7).exp())
    assert Packer(program_of(1)).place(launch) is launch
