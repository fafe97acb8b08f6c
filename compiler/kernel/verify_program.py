"""Verification of lowered programs: steps, buffers, and the order in which these are written and read.

In: a Program. Out: nothing, or an AssertionError that names the step.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, fields

from ..graph.conditions import Condition, Requirement, brief
from ..graph.ir import RANDOM
from ..scalar.dim import Size, Symbol, known_eq, known_le, prod, substitute, symbols
from ..scalar.dtype import BOOL, I8, I64, U8, DType
from ..scalar.expr import Expr, Load, walk
from .ir import Bind, Body, Branch, Check, Conv, Copy, HostCall, Kernel, Launch, Loop, Stage, Step, Store
from .operands import packed_operands
from .packing import READ_ON_DEVICE, READ_ON_HOST
from .program import Program
from .verify import check, verify


def verify_program(program: Program) -> None:
    """Raises AssertionError unless the program is well formed.

    Every kernel is well formed; every buffer stands for an existing input, output or weight, or is in the arena; the
    buffers of a step exist in the memory (the host's or the accelerator's) where it works, with the dtypes and sizes of
    its parameters, and weights in the packing that it reads; a buffer that is read was written before, in that memory,
    on every path, and not since in the other memory; symbols have values before their use; conditions and bound sizes
    are scalars on the host; copies are between a buffer and its twin; at the end every output is on the host.
    """
    checker = _ProgramChecker(program)
    checker.buffers()
    checker.walk(program.steps)
    for number, buffer in enumerate(program.buffers):
        if buffer.kind == "output":
            checker.reads(number, False, f"output {buffer.number}")


@dataclass
class _ProgramChecker:
    """Walks the steps of a program. current: buffers with contents; known: symbols with values."""

    program: Program
    current: set[int] = field(default_factory=set)
    known: set[Symbol] = field(default_factory=set)
    verified: set[Kernel] = field(default_factory=set)
    launches: int = 0

    def __post_init__(self) -> None:
        inputs = self.program.graph.inputs
        sizes = [d for v in inputs for d in (*v.shape, *(v.content.reshape(-1) if v.content is not None else ()))]
        self.known |= {s for d in sizes for s in symbols(d)}
        self.twins = {b.twin: n for n, b in enumerate(self.program.buffers) if b.twin is not None}
        self.current |= {n for n, b in enumerate(self.program.buffers) if b.kind in ("input", "weight")}

    # -- buffers -----------------------------------------------------------------------------------------------------

    def buffers(self) -> None:
        """Checks that buffers stand for existing inputs, outputs and weights, the accelerator's for the host's."""
        program, graph = self.program, self.program.graph
        counts = {"input": len(graph.inputs), "output": len(graph.outputs), "weight": len(program.weights)}
        for number, buffer in enumerate(program.buffers):
            where = f"buffer {number}"
            check(buffer.kind in (*counts, "arena"), where, f"is of no kind that there is, {buffer.kind!r}")
            if buffer.kind in counts:
                there = 0 <= buffer.number < counts[buffer.kind]
                check(there, where, f"there is no {buffer.kind} {buffer.number}")
            is_copy = buffer.twin is not None
            check(buffer.device == is_copy, where, "the accelerator's are copies, the host's are none")
            if buffer.twin is not None:
                known = 0 <= buffer.twin < len(program.buffers) and not program.buffers[buffer.twin].device
                check(known, where, f"is a copy of {buffer.twin}, which is no buffer of the host")

    def buffer(self, number: int, device: bool, where: str) -> None:
        """Checks that a buffer exists in that memory; weights are in both."""
        check(0 <= number < len(self.program.buffers), where, f"there is no buffer {number}")
        buffer = self.program.buffers[number]
        here = buffer.device == device or buffer.kind == "weight"
        check(here, where, f"buffer {number} is not in the memory of the {'accelerator' if device else 'host'}")

    def reads(self, number: int, device: bool, where: str) -> None:
        self.buffer(number, device, where)
        check(number in self.current, where, f"reads buffer {number}, which has no contents there")

    def writes(self, number: int, device: bool, where: str) -> None:
        self.buffer(number, device, where)
        buffer = self.program.buffers[number]
        check(buffer.kind in ("output", "arena"), where, f"writes buffer {number}, of kind {buffer.kind}")
        self.current.add(number)
        self.current -= {self.twins.get(number, number), buffer.twin} - {number}

    def scalar(self, number: int, dtype: DType, where: str) -> None:
        self.buffer(number, False, where)
        buffer = self.program.buffers[number]
        one = buffer.dtype == dtype and known_eq(buffer.size, 1) is not False  # the graph demands that it is 1
        check(one, where, f"buffer {number} is {buffer.dtype}[{brief(buffer.size)}], no {dtype} scalar")

    def sizes(self, sizes: Collection[Size], where: str) -> None:
        for size in sizes:
            unknown = {s for s in symbols(size) - self.known if s.name.partition("#")[0] != RANDOM}
            check(not unknown, where, f"{brief(size)} has symbols without values: {sorted(map(str, unknown))}")

    # -- steps -------------------------------------------------------------------------------------------------------

    def walk(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if isinstance(step, Launch):
                self.launch(step)
            elif isinstance(step, HostCall):
                self.host_call(step)
            elif isinstance(step, Copy):
                self.copy(step)
            elif isinstance(step, Bind):
                self.bind(step)
            elif isinstance(step, Check):
                where = f"check {step.number}"
                check(0 <= step.number < len(self.program.checks), where, "there is no such condition")
                condition = self.program.checks[step.number]
                check(isinstance(condition, Condition), where, "is of data: kernels tell that")
                assert isinstance(condition, Condition)
                self.sizes(condition.symbols, where)
            elif isinstance(step, Branch):
                self.branch(step)
            else:
                self.loop(step)

    def launch(self, launch: Launch) -> None:
        kind, origin = type(launch.kernel.body).__name__, ", ".join(launch.origin) or "nowhere"
        where = f"step {self.launches}, {kind} from {origin}"
        self.launches += 1
        kernel, buffers = launch.kernel, self.program.buffers
        if kernel not in self.verified:
            verify(kernel, where)
            self.verified.add(kernel)
        device = launch.device and self.program.placed
        check(len(launch.buffers) == len(kernel.params), where, "gives another number of buffers")
        check(len(launch.sizes) == len(kernel.sizes), where, "gives another number of sizes")
        self.sizes(launch.sizes, where)
        self.faults(launch, where)
        actual = dict(zip(kernel.sizes, launch.sizes))
        for number, param in zip(launch.buffers, kernel.params):
            self.buffer(number, device, where)
            buffer, needed = buffers[number], substitute(param.size, actual)
            self.sizes([buffer.size], f"{where}, the size of buffer {number}")
            same = buffer.dtype == param.dtype
            check(same, where, f"gives a buffer of {buffer.dtype} for a parameter of {param.dtype}")
            text = f"gives buffer {number} of {brief(buffer.size)} elements for a parameter of {brief(needed)}"
            check(bool(known_le(needed, buffer.size)), where, text)
        self.packed(launch, where)
        for number in _read(kernel):
            self.reads(launch.buffers[number], device, where)
        for number, param in zip(launch.buffers, kernel.params):
            if param.written:
                self.writes(number, device, where)

    def host_call(self, call: HostCall) -> None:
        where = f"host function {call.function}"
        numbers = [*call.inputs, *call.outputs]
        check(len(call.shapes) == len(numbers) == len(call.takes) + len(call.gives), where, "has other shapes or types")
        for number, shape in zip(numbers, call.shapes):
            self.sizes(shape, where)
            self.buffer(number, False, where)
            size = self.program.buffers[number].size
            check(known_eq(prod(shape), size) is True, where, f"takes {brief(size)} elements for {brief(prod(shape))}")
        for number in call.inputs:
            self.reads(number, False, where)
        for number in call.outputs:
            self.writes(number, False, where)

    def faults(self, launch: Launch, where: str) -> None:
        """Checks that each of the kernel's faults is a check of data."""
        check(len(launch.faults) == launch.kernel.faults, where, "gives another number of faults")
        for number in launch.faults:
            demand = self.program.checks[number] if 0 <= number < len(self.program.checks) else None
            check(isinstance(demand, Requirement), where, f"{number} is no check of data")

    def packed(self, launch: Launch, where: str) -> None:
        """Checks that packed weights have the packing that the kernel reads, and its side can read."""
        body, side = launch.kernel.body, "accelerator" if launch.device else "host"
        for operand in packed_operands(body):
            packing = operand.packing
            read = (READ_ON_DEVICE if launch.device else READ_ON_HOST) if self.program.scheduled else {"plain"}
            check(packing.form in read, where, f"weights packed as {packing}, which the {side} does not read")
            buffer = self.program.buffers[launch.buffers[operand.param]]
            actual = self.program.weights[buffer.number].packing if buffer.kind == "weight" else None
            check(actual == packing, where, f"reads weights packed as {actual} as {packing}")
            if isinstance(body, Conv) and not launch.device:
                read_as = I8 if body.x.dtype in (U8, I8) else body.acc
                same = buffer.dtype == read_as
                check(same, where, f"weights of {buffer.dtype} on the host, which reads them as {read_as}")

    def copy(self, step: Copy) -> None:
        """The source may have no contents after a loop without iterations; then the target has none either."""
        where = f"copy of {step.source} to {step.target}"
        for number in (step.source, step.target):
            check(0 <= number < len(self.program.buffers), where, f"there is no buffer {number}")
        source, target = self.program.buffers[step.source], self.program.buffers[step.target]
        check(source.device != target.device, where, "both are in one memory")
        check(source.twin == step.target or target.twin == step.source, where, "they are no twins")
        same = source.dtype == target.dtype and known_eq(source.size, target.size)
        check(bool(same), where, f"{source.dtype}[{brief(source.size)}] is not {target.dtype}[{brief(target.size)}]")
        self.sizes([source.size], where)
        check(target.kind in ("output", "arena"), where, f"writes buffer {step.target}, of kind {target.kind}")
        self.current -= {step.target}
        self.current |= {step.target} if step.source in self.current else set()

    def bind(self, step: Bind) -> None:
        where = f"{step.symbol} = buffer {step.buffer}"
        self.scalar(step.buffer, I64, where)
        self.reads(step.buffer, False, where)
        check(step.symbol not in self.known, where, "it has a value already")
        self.known.add(step.symbol)

    def branch(self, step: Branch) -> None:
        where = f"a branch by buffer {step.condition}"
        self.scalar(step.condition, BOOL, where)
        self.reads(step.condition, False, where)
        current, known = set(self.current), set(self.known)
        self.walk(step.then)
        taken, self.current, self.known = self.current, current, set(known)
        self.walk(step.otherwise)
        self.current &= taken
        self.known = known

    def loop(self, step: Loop) -> None:
        """Walks the body twice, since an iteration begins with what the previous one left."""
        where = f"the loop over {step.symbol}"
        check(step.symbol not in self.known, where, "it has a value already")
        self.scalar(step.count, I64, where)
        if step.trips is not None:
            self.sizes([step.trips], where)
        for number in step.rows:
            device = 0 <= number < len(self.program.buffers) and self.program.buffers[number].device
            self.buffer(number, device, where)
        before, known, launches = set(self.current), set(self.known), self.launches
        for _ in range(2):
            if step.condition is not None:
                self.scalar(step.condition, BOOL, where)
                self.reads(step.condition, False, where)
            self.launches = launches
            self.known = known | {step.symbol}
            self.walk(step.body)
        self.current &= before
        self.known = known
        for number in step.rows:  # without iterations these have no elements
            self.writes(number, self.program.buffers[number].device, where)
        self.writes(step.count, False, where)


def _read(kernel: Kernel) -> list[int]:
    """The parameters whose contents the kernel needs: those that it does not write, or reads before it writes them."""
    read = {i for i, param in enumerate(kernel.params) if not param.written}
    stored: set[int] = set()
    for values, store in _in_order(kernel.body):
        read |= {e.buffer for e in walk(*values) if isinstance(e, Load)} - stored
        if store is not None:
            read |= {store.buffer} - stored if store.combine is not None else set()
            stored.add(store.buffer)
    return sorted(read)


def _in_order(body: Body) -> Iterator[tuple[list[Expr], Store | None]]:
    """The expressions of a body in order of evaluation, and where their value is stored."""
    values = [getattr(body, f.name) for f in fields(body)]
    yield [v for v in values if isinstance(v, Expr)], None
    for stage in (s for v in values if isinstance(v, tuple) for s in v if isinstance(s, Stage)):
        yield [stage.value, *(let.value for let in stage.lets)], stage.store
