"""Programs: a model as steps over numbered buffers, without operations or targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from ..graph.conditions import Condition, Requirement
from ..graph.ir import Array, Graph, Value
from ..scalar.dim import Size, Symbol, number, symbols
from ..scalar.dtype import DType
from .ir import Bind, Branch, HostCall, Launch, Loop, Step
from .packing import Packing

ALIGNMENT = 64  # bytes: a cache line, and a vector register of 512 bits


@dataclass(frozen=True)
class Weight:
    """A constant in the artifact: a value, and its packing, if any."""

    value: Value
    packing: Packing | None = None

    def laid_out(self, array: Array) -> Array:
        """The value's elements in their packing."""
        return array if self.packing is None else self.packing.pack(array)


@dataclass(frozen=True)
class Buffer:
    """A region of memory.

    kind: "input", "output", "weight" or "arena"; number: its position among those of its kind, in the arena among all
    buffers. device: whether it is in the accelerator's memory, as a copy of the buffer `twin`; weights are in both.
    name: of the ONNX value, or of the nodes that compute it, for messages. value: what it holds, if that is one value
    of the graph.
    """

    kind: str
    number: int
    dtype: DType
    size: Size
    device: bool = False
    twin: int | None = None
    name: str = ""
    value: Value | None = field(default=None, repr=False, compare=False)

    @property
    def described(self) -> str:
        """A description for messages."""
        kind = "an intermediate value" if self.kind == "arena" else self.kind
        return f"{kind} {self.name!r}" if self.name else kind


@dataclass(frozen=True)
class Provenance:
    """The origin of a launch, for `explain`: the values it reads and writes, and why it does not compute its inputs."""

    reads: tuple[Value, ...]
    root: Value
    reasons: tuple[str, ...]


@dataclass
class Program:
    """A model as steps over buffers; sizes are expressions of the model's symbols.

    provenance: of each launch, None for copies. conditions: on the sizes of inputs, checked before a run; checks: on
    sizes that become known during a run, and on data. indices: the symbols that number iterations of loops.
    placed: whether launches on an accelerator have their buffers there (`plan/place.py`). scheduled: whether launches
    have their schedules (`compiler/schedule/`).
    """

    graph: Graph
    buffers: list[Buffer] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    weights: list[Weight] = field(default_factory=list)
    provenance: list[Provenance | None] = field(default_factory=list)
    conditions: list[Condition] = field(default_factory=list)
    checks: list[Condition | Requirement] = field(default_factory=list)
    indices: set[Symbol] = field(default_factory=set)
    numbers: dict[Condition | Requirement, int] = field(default_factory=dict)  # the position of each check
    placed: bool = True
    scheduled: bool = False

    def check(self, demand: Condition | Requirement) -> int:
        """The number of a check, which is added on first use."""
        number = self.numbers.setdefault(demand, len(self.checks))
        if number == len(self.checks):
            self.checks.append(demand)
        return number

    @property
    def launches(self) -> list[Launch]:
        """All launches in textual order, including those inside branches and loops."""
        return [step for step in every_step(self.steps) if isinstance(step, Launch)]

    @property
    def numbered(self) -> list[Launch | HostCall]:
        """The steps that profiles tell, by their numbers."""
        return [step for step in every_step(self.steps) if isinstance(step, (Launch, HostCall))]

    @property
    def host_calls(self) -> list[HostCall]:
        """All host calls in textual order."""
        return [step for step in every_step(self.steps) if isinstance(step, HostCall)]

    def bound(self) -> list[Symbol]:
        """The symbols that get their values during a run, in textual order; both sides of a branch may bind one."""
        return list(dict.fromkeys(step.symbol for step in every_step(self.steps) if isinstance(step, (Bind, Loop))))

    def symbols(self) -> list[Symbol]:
        """The model's symbols, in order: dims of inputs, elements of inputs that shapes depend on, random numbers."""
        dims = [d for v in self.graph.inputs for d in v.shape]
        elements = [d for v in self.graph.inputs if v.content is not None for d in v.content.reshape(-1)]
        named = dict.fromkeys(d for d in (*dims, *elements) if isinstance(d, Symbol))
        sizes = dict.fromkeys(size for launch in self.launches for size in launch.sizes)
        sizes |= dict.fromkeys(size for call in self.host_calls for shape in call.shapes for size in shape)
        used = (s for size in sizes for s in sorted(symbols(size), key=str))
        bound = set(self.bound())
        random = (s for s in used if s.extent is None and s not in bound)
        return list(named | dict.fromkeys(random))

    def weight_offsets(self) -> list[int]:
        """The offset of each weight in weights.bin, in bytes; the last number is the size of the file."""
        sizes = {b.number: number(b.size) * b.dtype.itemsize for b in self.buffers if b.kind == "weight"}
        offsets = [0]
        for i in range(len(self.weights)):
            offsets.append(-(-(offsets[-1] + sizes[i]) // ALIGNMENT) * ALIGNMENT)
        return offsets


def every_step(steps: Sequence[Step]) -> Iterator[Step]:
    """All steps; those inside a branch or loop follow it."""
    for step in steps:
        yield step
        if isinstance(step, Branch):
            yield from every_step(step.then)
            yield from every_step(step.otherwise)
        elif isinstance(step, Loop):
            yield from every_step(step.body)


def map_launches(steps: Sequence[Step], change: Callable[[Launch], Launch]) -> list[Step]:
    """The steps with `change` applied to all launches, in their order."""
    out: list[Step] = []
    for step in steps:
        if isinstance(step, Launch):
            step = change(step)
        elif isinstance(step, Branch):
            then, otherwise = (tuple(map_launches(side, change)) for side in (step.then, step.otherwise))
            step = replace(step, then=then, otherwise=otherwise)
        elif isinstance(step, Loop):
            step = replace(step, body=tuple(map_launches(step.body, change)))
        out.append(step)
    return out
