"""Placement: the copies between the memories of the host and the device.

In: a program whose launches are assigned to sides, and whose buffers are all the host's. Out: the same program with
buffers in both memories, and `Copy` steps where a value is read on the side on which it was not written.

A buffer that is used on the device gets a twin in its memory. At each point of the program it is known in which of the
two memories a buffer is valid. The host reads the values that decide control flow (sizes, conditions), and computes
small integer tensors, which usually are shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..kernel.ir import Bind, Branch, Copy, HostCall, Launch, Loop, Step
from ..kernel.program import Program, every_step
from ..scalar.dim import upper_bound

HOST, DEVICE = False, True
_SHAPE_ELEMENTS = 64  # integer buffers of at most so many elements are taken for shapes


def host_reason(launch: Launch) -> str | None:
    """The reason to run a launch on the host if it computes shapes, else None."""
    for param in launch.kernel.params:
        bound = upper_bound(param.size)
        if param.dtype.is_float or bound is None or bound > _SHAPE_ELEMENTS:
            return None
    return "integers of a few elements, as of shapes"


def place(program: Program) -> Program:
    """Places a program, in place, and returns it."""
    placer = _Placer(program)
    steps = placer.walk(program.steps)
    for number, buffer in enumerate(program.buffers):
        if buffer.kind == "output":
            placer.need(number, HOST, steps, ("output",))
    program.steps, program.placed = steps, True
    return program


@dataclass
class _State:
    """The buffers that are valid in each memory."""

    host: set[int] = field(default_factory=set)
    device: set[int] = field(default_factory=set)

    def of(self, side: bool) -> set[int]:
        return self.device if side == DEVICE else self.host

    def copy(self) -> _State:
        return _State(set(self.host), set(self.device))


class _Placer:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.twins: dict[int, int] = {}
        self.state = _State({n for n, b in enumerate(program.buffers) if b.kind == "input"})

    # -- buffers -----------------------------------------------------------------------------------------------------

    def at(self, buffer: int, side: bool) -> int:
        """The buffer, or its twin in the device's memory."""
        original = self.program.buffers[buffer]
        if side == HOST or original.kind == "weight":
            return buffer
        if buffer not in self.twins:
            number = len(self.program.buffers)
            self.program.buffers.append(replace(original, kind="arena", number=number, device=True, twin=buffer))
            self.twins[buffer] = len(self.program.buffers) - 1
        return self.twins[buffer]

    def need(self, buffer: int, side: bool, out: list[Step], origin: tuple[str, ...]) -> None:
        """Copies the buffer to `side` unless it is valid there or not written yet."""
        if self.program.buffers[buffer].kind == "weight" or buffer in self.state.of(side):
            return
        if buffer in self.state.of(not side):
            out.append(Copy(self.at(buffer, not side), self.at(buffer, side), origin))
            self.state.of(side).add(buffer)

    def wrote(self, buffer: int, side: bool) -> None:
        self.state.of(side).add(buffer)
        self.state.of(not side).discard(buffer)

    # -- steps -------------------------------------------------------------------------------------------------------

    def walk(self, steps: Sequence[Step]) -> list[Step]:
        out: list[Step] = []
        for step in steps:
            if isinstance(step, Launch):
                out.append(self.launch(step, out))
            elif isinstance(step, HostCall):
                self.host_call(step, out)
                out.append(step)
            elif isinstance(step, Bind):
                self.need(step.buffer, HOST, out, (str(step.symbol),))
                out.append(step)
            elif isinstance(step, Branch):
                out.append(self.branch(step, out))
            elif isinstance(step, Loop):
                out.append(self.loop(step, out))
            else:
                out.append(step)
        return out

    def launch(self, launch: Launch, out: list[Step]) -> Launch:
        side = launch.device
        pairs = list(zip(launch.buffers, launch.kernel.params))
        for buffer, _ in pairs:  # outputs too, as they may be written in part
            self.need(buffer, side, out, launch.origin)
        for buffer, param in pairs:
            if param.written:
                self.wrote(buffer, side)
        return replace(launch, buffers=tuple(self.at(b, side) for b in launch.buffers))

    def host_call(self, call: HostCall, out: list[Step]) -> None:
        for buffer in call.inputs:
            self.need(buffer, HOST, out, call.origin)
        for buffer in call.outputs:
            self.wrote(buffer, HOST)

    def branch(self, step: Branch, out: list[Step]) -> Branch:
        self.need(step.condition, HOST, out, ("If",))
        before = self.state
        self.state = before.copy()
        then = self.walk(step.then)
        after = self.state
        self.state = before.copy()
        otherwise = self.walk(step.otherwise)
        changed = _written(step.then) | _written(step.otherwise)
        for b in sorted(changed):  # must be valid in the same memory after both sides
            if not (after.device & self.state.device & {b} or after.host & self.state.host & {b}):
                self.need(b, HOST, otherwise, ("If",))
                after, self.state = self.state, after
                self.need(b, HOST, then, ("If",))
                after, self.state = self.state, after
        self.state = _State(after.host & self.state.host, after.device & self.state.device)
        return replace(step, then=tuple(then), otherwise=tuple(otherwise))

    def loop(self, step: Loop, out: list[Step]) -> Loop:
        """Buffers that the body writes are valid in one memory when an iteration begins: where the body leaves them."""
        carried = _written(step.body) | set(step.rows)
        outside = self.state
        trial = self._trial(step)
        side = {b: DEVICE if b in trial.device else HOST for b in carried}
        if step.condition is not None:
            side[step.condition] = HOST
            self.need(step.condition, HOST, out, ("Loop",))
        self.state = outside
        for b in sorted(_params(step.body, written=False) - carried):
            for where in (HOST, DEVICE):
                if b in trial.of(where):
                    self.need(b, where, out, ("Loop",))
        for b in sorted(carried):
            self.need(b, side[b], out, ("Loop",))
            self.state.of(not side[b]).discard(b)
        entry = self.state.copy()
        body = self.walk(step.body)
        for b in sorted(side):
            self.need(b, side[b], body, ("Loop",))
        self.state = entry
        for b in carried:
            self.wrote(b, side[b])
        self.wrote(step.count, HOST)
        return replace(step, rows=tuple(self.at(b, side[b]) for b in step.rows), body=tuple(body))

    def _trial(self, step: Loop) -> _State:
        """Places the body tentatively: the memories in which it reads its inputs, and leaves the buffers it writes."""
        self.state = self.state.copy()
        self.walk(step.body)
        return self.state


def _written(steps: Sequence[Step]) -> set[int]:
    """The buffers that the steps write, including those of inner loops."""
    loops = [step for step in every_step(steps) if isinstance(step, Loop)]
    return _params(steps, written=True).union(*({step.count, *step.rows} for step in loops))


def _params(steps: Sequence[Step], written: bool) -> set[int]:
    """The buffers that launches and host calls write, or those that they read, also inside of branches and loops."""
    inside = list(every_step(steps))
    launches = [step for step in inside if isinstance(step, Launch)]
    calls = [step.outputs if written else step.inputs for step in inside if isinstance(step, HostCall)]
    return {b for x in launches for b, p in zip(x.buffers, x.kernel.params) if p.written == written}.union(*calls)
