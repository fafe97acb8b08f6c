"""The memory plan: where each intermediate buffer lives.

In: a lowered program. Out: an `Arena`: regions of memory, divided into slots, which buffers with disjoint lifetimes
share. A slot is as large as its largest buffer. Sizes may be symbolic: a buffer takes a slot only if it is provably not
larger, or enlarges one that is provably not larger than it, so one plan holds for every shape.

Region 0 is allocated before a run. Region r has the buffers whose size is known once the r-th bound symbol has its
value, and is allocated then; in a loop, it is allocated again in each iteration, since no buffer in it outlives one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..kernel.ir import Bind, Branch, Copy, HostCall, Launch, Loop, Step
from ..kernel.program import ALIGNMENT, Buffer, Program
from ..scalar.dim import Size, Symbol, ceil_div, known_le, symbols

CANDIDATES = 16  # free slots, those freed last, that are considered for a buffer: each takes a proof


@dataclass(frozen=True)
class Arena:
    """slot: arena buffer (its number in Program.buffers) -> slot; regions, offsets: of the slots, offsets in bytes;
    sizes: of the regions, in bytes. lifetimes: arena buffer -> (time of its first use, time of its last use);
    steps: the number of the step at each time (of the one before it where something else happens).
    """

    slot: dict[int, int]
    regions: tuple[int, ...]
    offsets: tuple[Size, ...]
    sizes: tuple[Size, ...]
    lifetimes: dict[int, tuple[int, int]]
    steps: tuple[int, ...]

    @property
    def size(self) -> Size:
        """The bytes of region 0, which is allocated before a run."""
        return self.sizes[0]

    def used(self, buffer: int) -> tuple[int, int]:
        """The numbers of the first and the last step that use it."""
        first, last = self.lifetimes[buffer]
        return self.steps[first], self.steps[last]

    def offset(self, buffer: int) -> Size:
        return self.offsets[self.slot[buffer]]

    def region(self, buffer: int) -> int:
        return self.regions[self.slot[buffer]]


def arenas(program: Program) -> tuple[Arena, Arena]:
    """The memory plans of the host and of the device."""
    arguments = program.buffers, program.steps, program.bound()
    return plan(*arguments), plan(*arguments, device=True)


def plan(buffers: Sequence[Buffer], steps: Sequence[Step], bound: Sequence[Symbol] = (), device: bool = False) -> Arena:
    """Assigns every arena buffer a slot, in the order of first use; freed slots are reused last in, first out.

    bound: the symbols that get values during the run, in order (`Program.bound`). device: plan the device's memory."""
    times = _Times(buffers, device)
    times.walk(steps)
    lifetimes = times.lifetimes
    slots = _Slots()
    regions = region_numbers(bound)
    for time, used in enumerate(times.used):
        for b in used:
            if lifetimes[b][0] == time and b not in slots.of:
                need = buffers[b].size * buffers[b].dtype.itemsize
                slots.take(b, need, region_of(buffers[b].size, regions))
        for b in used:
            if lifetimes[b][1] == time:
                slots.free.append(slots.of[b])
    offsets: list[Size] = []
    sizes: list[Size] = [0] * (len(bound) + 1)
    for region, size in zip(slots.regions, slots.sizes):
        offsets.append(sizes[region])
        sizes[region] = sizes[region] + aligned(size)
    return Arena(slots.of, tuple(slots.regions), tuple(offsets), tuple(sizes), lifetimes, tuple(times.steps))


def region_numbers(bound: Sequence[Symbol]) -> dict[Symbol, int]:
    """The number of each symbol's region, from the symbols that get values during the run, in order."""
    return {s: r for r, s in enumerate(bound, 1)}


def region_of(size: Size, regions: Mapping[Symbol, int]) -> int:
    """The region for a buffer of this size: that of the last of its symbols to get a value."""
    return max((regions[s] for s in symbols(size) if s in regions), default=0)


def aligned(size: Size) -> Size:
    """Bytes rounded up to whole cache lines."""
    return ceil_div(size, ALIGNMENT) * ALIGNMENT


class _Times:
    """The times at which each arena buffer is used; steps are numbered in the order of the program's text."""

    def __init__(self, buffers: Sequence[Buffer], device: bool = False) -> None:
        self.buffers = buffers
        self.device = device
        self.used: list[list[int]] = []
        self.lifetimes: dict[int, tuple[int, int]] = {}
        self.steps: list[int] = []
        self.numbered = 0

    def use(self, *numbers: int) -> None:
        time = len(self.used)
        self.steps.append(max(self.numbered - 1, 0))
        self.used.append([b for b in dict.fromkeys(numbers) if self._planned(self.buffers[b])])
        for b in self.used[-1]:
            self.lifetimes[b] = (self.lifetimes.get(b, (time, time))[0], time)

    def _planned(self, buffer: Buffer) -> bool:
        return buffer.kind == "arena" and buffer.device == self.device

    def walk(self, steps: Sequence[Step]) -> None:
        for step in steps:
            self.numbered += isinstance(step, (Launch, HostCall))
            if isinstance(step, Launch):
                self.use(*step.buffers)
            elif isinstance(step, HostCall):
                self.use(*step.inputs, *step.outputs)
            elif isinstance(step, Copy):
                self.use(step.source, step.target)
            elif isinstance(step, Bind):
                self.use(step.buffer)
            elif isinstance(step, Branch):
                self.use(step.condition)
                self.walk(step.then)
                self.walk(step.otherwise)
            elif isinstance(step, Loop):
                self.loop(step)

    def loop(self, step: Loop) -> None:
        """A buffer that is live before the loop and used in it is live to its end: the next iteration may read it."""
        around = [step.count, *step.rows, *([] if step.condition is None else [step.condition])]
        start = len(self.used)
        self.use(*around)
        self.walk(step.body)
        through = [b for b, (first, last) in self.lifetimes.items() if first <= start <= last and b not in around]
        self.use(*around, *through)


@dataclass
class _Slots:
    of: dict[int, int] = field(default_factory=dict)
    regions: list[int] = field(default_factory=list)
    sizes: list[Size] = field(default_factory=list)  # in bytes, not aligned yet: aligned sizes are harder to compare
    free: list[int] = field(default_factory=list)

    def take(self, buffer: int, need: Size, region: int) -> None:
        self.of[buffer] = self._take(need, region)

    def _take(self, need: Size, region: int) -> int:
        """A free slot of `need` or more bytes (provably the smallest, most recently freed), else a grown or new one."""
        sizes = self.sizes
        free = [s for s in self.free if self.regions[s] == region][-CANDIDATES:]
        fitting = [s for s in free if known_le(need, sizes[s])]
        if fitting:
            best = fitting[-1]
            for s in reversed(fitting[:-1]):
                if known_le(sizes[s], sizes[best]) and sizes[s] != sizes[best]:
                    best = s
            self.free.remove(best)
            return best
        for s in reversed(free):
            if known_le(sizes[s], need):
                self.free.remove(s)
                sizes[s] = need
                return s
        sizes.append(need)
        self.regions.append(region)
        return len(sizes) - 1
