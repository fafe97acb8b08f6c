"""Packing: constant weights get the layouts that kernels read.

In: launches of kernels that read plain weights. Out: launches of kernels that read packed ones, and the program's
weights in those packings. A weight that several kernels read in one packing is packed once.
"""

from __future__ import annotations

from dataclasses import replace

from ..kernel.ir import Conv, Launch, Matmul
from ..kernel.operands import packed_operands
from ..kernel.packing import PLAIN, Packing
from ..kernel.program import Program, Weight
from ..scalar.dim import number


def packed(launch: Launch, packing: Packing) -> Launch:
    """Makes the kernel of a launch that is not closed yet read its weights in that packing."""
    kernel = launch.kernel
    assert isinstance(kernel.body, (Conv, Matmul))
    body, params = replace(kernel.body, packing=packing), list(kernel.params)
    for operand in packed_operands(body):
        size = operand.packing.elements([*map(number, operand.shape)])
        params[operand.param] = replace(params[operand.param], size=size)
    return replace(launch, kernel=replace(kernel, params=tuple(params), body=body))


class Packer:
    """Changes the weights of a program: the first packing of a weight replaces it, others get new buffers."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.packed: dict[tuple[int, Packing], int] = {}  # buffers, by the buffer of the plain weights and the packing

    def place(self, launch: Launch) -> Launch:
        """The launch with the buffer that has its weights in the packing that its kernel reads."""
        buffers, operands = list(launch.buffers), packed_operands(launch.kernel.body)
        for operand in operands:
            buffers[operand.param] = self._buffer(buffers[operand.param], operand.packing)
        return replace(launch, buffers=tuple(buffers)) if operands else launch

    def _buffer(self, plain: int, packing: Packing) -> int:
        """The number of the buffer with weights in a packing; `plain`: that of the plain weights."""
        if (plain, packing) not in self.packed:
            buffers, weights = self.program.buffers, self.program.weights
            buffer, current = buffers[plain], weights[buffers[plain].number]
            weight = Weight(current.value, packing)
            buffer = replace(buffer, size=packing.elements([*map(number, current.value.shape)]))
            if current.packing is not None and current.packing.form == PLAIN.form:
                self.packed[plain, packing] = plain
                weights[buffer.number], buffers[plain] = weight, buffer
            else:
                self.packed[plain, packing] = len(buffers)
                buffers.append(replace(buffer, number=len(weights)))
                weights.append(weight)
        return self.packed[plain, packing]
