"""The steps of a program as templates/c/steps.j2 prints them: C texts by name. `kind` chooses the text.

In: nothing; `program.py` makes them. Sizes and addresses are C expressions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, TypeAlias

Text = str  # a C expression


@dataclass(frozen=True, slots=True)
class Reservation:
    """Memory of a region, made when its size is known. block: its number among the blocks of a run; scratch: bytes that
    a thread needs of it, for each launch that does."""

    block: int
    region: int
    bytes: Text
    device: bool
    scratch: Sequence[Text] = ()


@dataclass(frozen=True, slots=True)
class Output:
    """An output whose shape is now known: the caller makes it."""

    block: int
    output: int
    shape: Sequence[Text]
    region: ClassVar[int] = 0
    device: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Known:
    """What follows when a symbol has a value: its number, the region whose sizes depend on it, and what is made.

    lower: the least value that makes sense."""

    symbol: int
    lower: int
    region: int
    blocks: Sequence[Reservation | Output]


@dataclass(frozen=True, slots=True)
class Barrier:
    kind: ClassVar[str] = "barrier"


@dataclass(frozen=True, slots=True)
class Launch:
    """A kernel on the host. extents: of its buffers in elements, then the bytes of its scratch, where accesses are
    checked; faults: statuses, for each of the kernel's faults."""

    number: int
    kernel: str
    buffers: Sequence[Text]
    faults: Sequence[int]
    extents: Sequence[Text]
    sizes: Sequence[Text]
    tasks: Text
    grain: Text
    scratch: Text
    scratch_bytes: Text
    kind: ClassVar[str] = "launch"


@dataclass(frozen=True, slots=True)
class Start:
    """A kernel on the device, whose indices have 32 bits. elements: the sizes of its buffers that are not known."""

    number: int
    kernel: int
    buffers: Sequence[Text]
    sizes: Sequence[Text]
    programs: Text
    elements: Sequence[Text]
    kind: ClassVar[str] = "start"


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy between the memories. resident: when it is left out, as the caller has it there already; "": never."""

    source: Text
    target: Text
    bytes: Text
    to_host: int
    resident: Text
    kind: ClassVar[str] = "copy"


@dataclass(frozen=True, slots=True)
class Bind:
    """A symbol gets the value of the i64 at an address."""

    value: Text
    known: Known
    kind: ClassVar[str] = "bind"


@dataclass(frozen=True, slots=True)
class Check:
    """The run fails with a status unless a condition holds."""

    condition: Text
    status: int
    kind: ClassVar[str] = "check"


@dataclass(frozen=True, slots=True)
class Branch:
    """condition: the address of a bool."""

    condition: Text
    then: Steps
    otherwise: Steps
    kind: ClassVar[str] = "branch"


@dataclass(frozen=True, slots=True)
class Loop:
    """condition, count: addresses of a bool and of an i64. The symbol that is known is the number of the iteration."""

    condition: Text | None
    trips: Text | None
    count: Text
    body: Steps
    known: Known
    kind: ClassVar[str] = "loop"


@dataclass(frozen=True, slots=True)
class Part:
    """A call of a function that has other steps."""

    name: str
    kind: ClassVar[str] = "part"


Step: TypeAlias = "Barrier | Launch | Start | Copy | Bind | Check | Branch | Loop | Part"
Steps: TypeAlias = "list[Step]"


def in_parts(steps: Steps, most: int) -> tuple[Steps, dict[str, Steps]]:
    """Steps of which no list is longer than `most`, and the lists that are parts of their own, by their names."""
    parts: dict[str, Steps] = {}

    def inside(step: Step) -> Step:
        if isinstance(step, Branch):
            return replace(step, then=cut(step.then), otherwise=cut(step.otherwise))
        return replace(step, body=cut(step.body)) if isinstance(step, Loop) else step

    def cut(steps: Steps) -> Steps:
        steps = [inside(step) for step in steps]
        while len(steps) > most:
            steps = [put_aside(steps[i : i + most]) for i in range(0, len(steps), most)]
        return steps

    def put_aside(steps: Steps) -> Step:
        name = f"part{len(parts)}"
        parts[name] = steps
        return Part(name)

    return cut(steps), parts


def every(steps: Steps) -> Iterator[Step]:
    """The steps, each before those inside of it."""
    pending = list(reversed(steps))
    while pending:
        step = pending.pop()
        yield step
        if isinstance(step, Branch):
            pending += [*reversed(step.otherwise), *reversed(step.then)]
        elif isinstance(step, Loop):
            pending += reversed(step.body)
