"""Packing: weights as the kernels that read them want them.

In: launches of kernels that read weights as they are. Out: the same with a packing, and the program's weights laid out
so. A weight that several kernels read in the same packing is packed once.
"""

from __future__ import annotations

from dataclasses import replace

from ..kernel.ir import Conv, Launch, Matmul
from ..kernel.operands import packed_operand
from ..kernel.packing import PLAIN, Packing
from ..kernel.program import Program, Weight
from ..scalar.dim import number


def packed(launch: Launch, packing: Packing) -> Launch:
    """The launch of a kernel that reads its weights in that packing. Its sizes are known: it is not closed yet."""
    kernel = launch.kernel
    operand = packed_operand(kernel.body)
    assert operand is not None and isinstance(kernel.body, (Conv, Matmul))
    params = list(kernel.params)
    params[operand.param] = replace(params[operand.param], size=packing.elements([*map(number, operand.shape)]))
    body = replace(kernel.body, packing=packing)
    return replace(launch, kernel=replace(kernel, params=tuple(params), body=body))


class Packer:
    """Changes the weights of a program. The first packing of a weight takes its place, others get buffers of their
    own."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.made: dict[tuple[int, Packing], int] = {}  # buffers, by those of the plain weights

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
            buffer, found = buffers[plain], weights[buffers[plain].number]
            weight = Weight(found.value, packing)
            buffer = replace(buffer, size=packing.elements([*map(number, found.value.shape)]))
            if found.packing == PLAIN:
                self.made[plain, packing] = plain
                weights[buffer.number], buffers[plain] = weight, buffer
            else:
                self.made[plain, packing] = len(buffers)
                buffers.append(replace(buffer, number=len(weights)))
                weights.append(weight)
        return self.made[plain, packing]
