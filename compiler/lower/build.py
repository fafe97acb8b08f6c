"""The parts of a program: numbered buffers, and launches over them.

In: values of graphs, and bodies of kernels. Out: buffers and launches. It knows neither operations nor targets.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache

from ..graph.index import count
from ..graph.ir import Node, Value
from ..graph.narrow import Narrow, narrowed
from ..kernel.ir import Body, Kernel, Launch, LoopNest, Param, Stage, Store
from ..kernel.program import Buffer, Program, Weight
from ..kernel.rebuild import sizes_of
from ..scalar.dim import Size, Symbol, symbols
from ..scalar.dtype import DType
from ..scalar.expr import Load


class Buffers:
    """The numbers of the program's buffers, which are added on first use.

    rounds: whether values of f16 and bf16 are rounded where a kernel computes on with them, as where it stores them."""

    def __init__(self, program: Program, rounds: bool = True) -> None:
        self.program = program
        self.rounds = rounds
        self.number: dict[Value, int] = {}
        self.weight: dict[Weight, int] = {}
        self.narrow: dict[Value, Narrow | None] = {}
        self.written: set[Value] = set()  # values that some kernel writes
        self.watched: set[Value] = set()  # values that kernels which compute them write as well

    def inner(self) -> Buffers:
        """The buffers of a sub-graph's values."""
        inner = Buffers(self.program, self.rounds)
        inner.weight, inner.narrow = self.weight, self.narrow
        return inner

    def add(self, value: Value, kind: str, number: int, name: str = "") -> int:
        self.program.buffers.append(_buffer(kind, number, value, name))
        self.number[value] = len(self.program.buffers) - 1
        return self.number[value]

    def of(self, value: Value) -> int:
        """The buffer of a value that some kernel writes."""
        if value not in self.number:
            self.add(value, "arena", len(self.program.buffers))
        return self.number[value]

    def fresh(self, dtype: DType, size: Size) -> int:
        """A new arena buffer, of no value of the graph."""
        number = len(self.program.buffers)
        self.program.buffers.append(Buffer("arena", number, dtype, size))
        return number

    def read(self, value: Value, static: set[Node]) -> int:
        """The buffer that holds a value; `static`: the nodes that depend on constants alone."""
        return self.constant(Weight(value)) if value.node in static else self.of(value)

    def mark(self) -> tuple[int, int, int, int]:
        """The lengths of the tables, for `undo`."""
        return len(self.program.buffers), len(self.program.weights), len(self.number), len(self.weight)

    def undo(self, mark: tuple[int, int, int, int]) -> None:
        """Removes what was added after the mark."""
        buffers, weights, numbers, constants = mark
        del self.program.buffers[buffers:], self.program.weights[weights:]
        for known, length in ((self.number, numbers), (self.weight, constants)):
            while len(known) > length:
                known.popitem()  # the last one added

    def narrowed(self, value: Value) -> Narrow | None:
        """The parts of a weight of few bits, which all its readers share."""
        if value not in self.narrow:
            self.narrow[value] = narrowed(value)
        return self.narrow[value]

    def constant(self, weight: Weight) -> int:
        """The buffer of a weight."""
        if weight not in self.weight:
            value = weight.value
            self.program.weights.append(weight)
            self.program.buffers.append(_buffer("weight", len(self.program.weights) - 1, value))
            self.weight[weight] = len(self.program.buffers) - 1
        return self.weight[weight]


def copy(program: Program, source: int, target: int, origin: tuple[str, ...], row: Size = 0) -> Launch:
    """A launch that copies one buffer to another; row: to which of the target's rows, each as long as the source."""
    dtype, size = program.buffers[source].dtype, program.buffers[source].size
    o = Symbol("o0", 0, size)
    stage = Stage(Load(0, o, dtype), Store(1, row * size + o))
    params = (Param(dtype, size, False), Param(dtype, program.buffers[target].size, True))
    return make_launch(LoopNest((o,), (stage,)), params, (source, target), origin, program.indices)


def make_launch(
    body: Body,
    params: tuple[Param, ...],
    buffers: tuple[int, ...],
    origin: tuple[str, ...],
    indices: Collection[Symbol] = (),
) -> Launch:
    """A launch of a kernel whose sizes are the model's symbols; indices: those that number iterations of loops."""
    free = _free_symbols(body, params, frozenset(indices))
    return Launch(Kernel(params, free, body), buffers, free, origin)


@lru_cache(1 << 10)  # layers are often alike
def _free_symbols(body: Body, params: tuple[Param, ...], indices: frozenset[Symbol]) -> tuple[Symbol, ...]:
    mentioned = dict.fromkeys(s for size in sizes_of((body, params)) for s in sorted(symbols(size), key=str))
    return tuple(s for s in mentioned if s.extent is None or s in indices)


def _buffer(kind: str, number: int, value: Value, name: str = "") -> Buffer:
    return Buffer(kind, number, value.dtype, count(value.shape), name=name or _name(value), value=value)


def _name(value: Value) -> str:
    """The value's name in ONNX, else the names of the nodes that it comes from."""
    return value.name or ", ".join(value.node.origin)
