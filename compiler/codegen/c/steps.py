"""The steps of a program as templates/c/steps.j2 prints them, by their `kind`; `program.py` builds them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, TypeAlias

Text = str  # a C expression


@dataclass(frozen=True, slots=True)
class Reservation:
    """The allocation of a region once its size is known.

    block: its number among the blocks of a run; scratch: the bytes of scratch that launches need for each thread."""

    block: int
    region: int
    bytes: Text
    device: bool
    scratch: Sequence[Text] = ()


@dataclass(frozen=True, slots=True)
class Output:
    """An output whose shape is now known, which the caller allocates."""

    block: int
    output: int
    shape: Sequence[Text]
    region: ClassVar[int] = 0
    device: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Known:
    """A symbol that has got its value, and what is allocated then.

    symbol: its number; lower: the least value that makes sense; region: the number of the symbol's region."""

    symbol: int
    lower: int
    region: int
    blocks: Sequence[Reservation | Output]


@dataclass(frozen=True, slots=True)
class Barrier:
    kind: ClassVar[str] = "barrier"


@dataclass(frozen=True, slots=True)
class Launch:
    """A kernel on the host.

    extents: the elements of its buffers, then the bytes of its scratch, for checks of accesses; faults: the status of
    each of the kernel's faults."""

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
    """A kernel on the device, whose indices have 32 bits; elements: the sizes of its buffers that are not constant."""

    number: int
    kernel: int
    buffers: Sequence[Text]
    sizes: Sequence[Text]
    programs: Text
    elements: Sequence[Text]
    kind: ClassVar[str] = "start"


@dataclass(frozen=True, slots=True)
class HostCall:
    """A function of the runtime: the call's number in the manifest; shapes: of all buffers, one after the other."""

    number: int
    call: int
    buffers: Sequence[Text]
    shapes: Sequence[Text]
    kind: ClassVar[str] = "host"


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy between the memories; resident: the condition that the caller's buffer is on the device, so that there is
    nothing to copy, or ""."""

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
    """condition, count: addresses of a bool and of an i64; known: the symbol of the number of the iteration."""

    condition: Text | None
    trips: Text | None
    count: Text
    body: Steps
    known: Known
    kind: ClassVar[str] = "loop"


@dataclass(frozen=True, slots=True)
class Part:
    """A call of a function with further steps."""

    name: str
    kind: ClassVar[str] = "part"


Step: TypeAlias = "Barrier | Launch | Start | HostCall | Copy | Bind | Check | Branch | Loop | Part"
Steps: TypeAlias = "list[Step]"


def in_parts(steps: Steps, most: int) -> tuple[Steps, dict[str, Steps]]:
    """Cuts lists of more than `most` steps: the steps, with calls of parts, and the parts' steps by name."""
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
    """All steps, each before those inside it."""
    pending = list(reversed(steps))
    while pending:
        step = pending.pop()
        yield step
        if isinstance(step, Branch):
            pending += [*reversed(step.otherwise), *reversed(step.then)]
        elif isinstance(step, Loop):
            pending += reversed(step.body)
