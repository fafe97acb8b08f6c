"""Packing: weights as the kernels that read them want them.

In: launches of kernels that read weights as they are. Out: the same with a packing, and the program's weights laid out
so. A weight that several kernels read in the same packing is packed once.
"""

from __future__ import annotations

from dataclasses import replace

from ..kernel.ir import Conv, Launch, Matmul
from ..kernel.operands import packed_operand
from ..kernel.packing import Packing
from ..kernel.program import Program, Weight
from ..scalar.dim import Size


def packed(launch: Launch, packing: Packing) -> Launch:
    """The launch of a kernel that reads its weights in that packing. Its sizes are known: it is not closed yet."""
    kernel = launch.kernel
    operand = packed_operand(kernel.body)
    assert operand is not None and isinstance(kernel.body, (Conv, Matmul))
    params = list(kernel.params)
    params[operand.param] = replace(params[operand.param], size=packing.elements([*map(_int, operand.shape)]))
    body = replace(kernel.body, packing=packing)
    return replace(launch, kernel=replace(kernel, params=tuple(params), body=body))


class Packer:
    """Changes the weights of a program. The first packing of a weight takes its place, others get buffers of their
    own."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.made: dict[tuple[int, Packing], int] = {}  # buffers, by those of the plain weights
        self.taken: set[int] = set()

    def place(self, launch: Launch) -> Launch:
        """The launch with the buffer of its weights in the packing that its kernel reads."""
        operand = packed_operand(launch.kernel.body)
        if operand is None:
            return launch
        buffers = list(launch.buffers)
        buffers[operand.param] = self._buffer(buffers[operand.param], operand.packing)
        return replace(launch, buffers=tuple(buffers))

    def _buffer(self, plain: int, packing: Packing) -> int:
        """The number of the buffer with the weights of a plain one in a packing."""
        if (plain, packing) not in self.made:
            buffers, weights = self.program.buffers, self.program.weights
            value, number = weights[buffers[plain].number].value, buffers[plain].number
            at = plain
            if plain in self.taken:
                at, number = len(buffers), len(weights)
                buffers.append(buffers[plain])
                weights.append(Weight(value))
            weights[number] = Weight(value, packing)
            size = packing.elements([*map(_int, value.shape)])
            buffers[at] = replace(buffers[plain], number=number, size=size)
            self.taken.add(plain)
            self.made[plain, packing] = at
        return self.made[plain, packing]


def _int(size: Size) -> int:
    assert isinstance(size, int), size
    return size
