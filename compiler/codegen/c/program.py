"""The program around the kernels: program.c, which walks the model's steps.

In: a scheduled program, its memory plan. Out: the C source of `intaglio_plan` and `intaglio_run` (runtime_abi.h), and
the sources of the kernels that it calls, each once. Sizes are printed in terms of `d[]`, the values of the model's
symbols.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from ...graph.conditions import Condition
from ...kernel import cost
from ...kernel.ir import Bind, Branch, Check, Copy, HostCall, Launch, Loop, Scheduled, Step
from ...kernel.program import Program
from ...plan.memory import Arena, region_numbers, region_of
from ...scalar.dim import Dim, Size, Symbol, prod, substitute
from ...schedule import WORK_OF_ONE_THREAD
from ..render import render
from . import kernels
from . import steps as printed
from .build import Source
from .expr import PRIMARY, Printer
from .holes import Prelude
from .reals import Reals
from .steps import Steps, every, in_parts

PART = 256  # steps in one C file


@dataclass(frozen=True)
class Sources:
    """The C of a model.

    program: the file with its entry points, then files with parts of its steps; kernels: the distinct ones of the host;
    steps: the name of each numbered step's kernel, or of its function."""

    program: tuple[Source, ...]
    kernels: tuple[Source, ...]
    steps: tuple[str, ...]

    @property
    def files(self) -> tuple[Source, ...]:
        return self.program + self.kernels


class OnDevice(Protocol):
    """A kernel of the accelerator: its name, its number in the manifest, and the number of programs that run it."""

    @property
    def name(self) -> str: ...
    @property
    def number(self) -> int: ...
    @property
    def programs(self) -> Size: ...


def generate(
    program: Program, arenas: tuple[Arena, Arena], device: Mapping[Scheduled, OnDevice] | None = None
) -> Sources:
    """Prints the program; arenas: of the host and the device; device: the kernels of launches that run there."""
    printer = _Program(program, arenas, device or {})
    steps, parts = in_parts(printer.steps(program.steps, _Touched()), PART)
    given, bound = len(program.symbols()), len(printer.regions)
    long = printer.long
    source = render(
        "c/program.c.j2",
        prelude=Prelude(printer.printer.functions),
        long=long,
        **_called(steps),
        asserts=[printer.condition(x) for x in program.conditions],
        arena_bytes=printer.allocated(arenas[0].size),
        device_bytes=printer.allocated(arenas[1].size),
        scratch=printer.scratch[0],
        works=Counter(printer.works),
        work_of_one_thread=WORK_OF_ONE_THREAD if not device else "INT64_MAX",
        output_dims=["-1" if region_of(d, printer.regions) else printer.text(d) for d in printer.output_dims()],
        steps=steps,
        given=given,
        bound=bound,
        blocks=len(printer.blocks),
        words=printer.words,
    )
    files = [Source("program", source)]
    for name, inside in parts.items():
        prelude = Prelude(printer.printer.functions)
        text = render("c/part.c.j2", name=name, prelude=prelude, long=long, steps=inside, **_called(inside))
        files.append(Source(name, text))
    return Sources(tuple(files), tuple(printer.kernels.values()), tuple(printer.names))


def _called(steps: Steps) -> dict[str, list[str]]:
    """The kernels and the parts that steps call, each once."""
    called = list(every(steps))
    kernels = dict.fromkeys(step.kernel for step in called if isinstance(step, printed.Launch))
    return {"kernels": list(kernels), "parts": [step.name for step in called if isinstance(step, printed.Part)]}


class _Touched:
    """The memory that steps have read and written since the last barrier."""

    def __init__(self, read: Sequence[object] = (), written: Sequence[object] = ()) -> None:
        self.read = set(read)
        self.written = set(written)

    def clash(self, reads: set[object], writes: set[object]) -> bool:
        """Whether a step with these reads and writes has to wait for a step before it."""
        return bool(self.written & (reads | writes) or self.read & writes)

    def note(self, reads: set[object], writes: set[object]) -> None:
        self.read |= reads
        self.written |= writes

    def clear(self) -> None:
        self.read, self.written = set(), set()

    def copy(self) -> _Touched:
        return _Touched(tuple(self.read), tuple(self.written))


@dataclass(frozen=True)
class _Needs:
    """What a launch needs, in the model's sizes: tasks, tasks claimed at once, bytes of scratch, FLOPs."""

    tasks: Size
    grain: Size
    scratch: Size
    flops: Size


class _Long:
    """Long sizes, which become elements of the arrays s and, in double, r: computed once their symbols have values."""

    def __init__(self, regions: Mapping[Symbol, int]) -> None:
        self.regions = regions
        self.count = {"s": 0, "r": 0}
        self.assignments: dict[int, list[str]] = {}  # by region; each depends on earlier ones only

    def put_aside(self, array: str, size: Dim, text: str) -> str:
        name = f"{array}[{self.count[array]}]"
        self.count[array] += 1
        self.assignments.setdefault(region_of(size, self.regions), []).append(f"{name} = {text};")
        return name


class _Program:
    """Prints the steps of a program, and the kernels that they launch.

    blocks: the memory that is allocated during a run, by what it is for: a region on the host or the device, or an
    output. words: the most arguments of a launch.
    """

    def __init__(self, program: Program, arenas: tuple[Arena, Arena], device: Mapping[Scheduled, OnDevice]) -> None:
        self.program = program
        self.arenas = arenas
        self.device = device
        self.weights = program.weight_offsets()
        self.regions = region_numbers(program.bound())
        self.number = {s: i for i, s in enumerate([*program.symbols(), *self.regions])}
        self.long = _Long(self.regions)
        names = {s: f"d[{i}]" for s, i in self.number.items()}
        self.printer = Printer(symbols=names, put_aside=partial(self.long.put_aside, "s"))
        self.reals = Reals(names, partial(self.long.put_aside, "r"))
        self.kernels: dict[Scheduled, Source] = {}
        self.needs: dict[tuple[Scheduled, tuple[Size, ...]], _Needs] = {}  # layers are often alike
        self.names: list[str] = []
        self.works: list[str] = []
        self.scratch: list[dict[str, None]] = [{} for _ in range(len(self.regions) + 1)]
        self.blocks: dict[object, int] = {}
        self.words = 0
        self.calls = 0  # of the host, so far
        self.trips: list[Size | None] = []  # of the enclosing loops
        self.outputs = [max((region_of(d, self.regions) for d in v.shape), default=0) for v in program.graph.outputs]
        for launch in program.launches:
            if not launch.device:
                self.note(launch)

    def text(self, size: Size) -> str:
        return self.printer.size(size, PRIMARY)

    def allocated(self, size: Size) -> str:
        """The text of a number of bytes; its value is -1 if that is too large."""
        return self.text(size) if isinstance(size, int) else f"{self.reals.fits(size)} ? {self.text(size)} : -1"

    def condition(self, condition: Condition) -> str:
        left, right = self.text(condition.left), self.text(condition.right)
        holds = f"{left} <= {right}" if condition.at_most else f"{left} == {right}"
        if condition.or_one:
            holds = f"({holds} || {left} == 1)"
        if condition.of != 1:
            holds = f"({holds} || {self.text(condition.of)} <= 0)"
        sides = (condition.left, condition.right, condition.of)
        exact = [self.reals.fits(s) for s in sides if not isinstance(s, (int, Symbol))]  # does not wrap around
        return " && ".join([*exact, holds])

    def output_dims(self) -> list[Size]:
        return [d for v in self.program.graph.outputs for d in v.shape]

    # -- kernels -----------------------------------------------------------------------------------------------------

    def note(self, launch: Launch) -> None:
        """Prints the kernel of a launch, and notes the scratch memory that it needs."""
        if launch.scheduled not in self.kernels:
            self.kernels[launch.scheduled] = kernels.source(*launch.scheduled)
        need = self.needs_of(launch).scratch
        if need != 0:
            self.scratch[region_of(need, self.regions)][self.text(need)] = None

    def needs_of(self, launch: Launch) -> _Needs:
        kernel, how = launch.scheduled
        key = (launch.scheduled, launch.sizes)
        if key not in self.needs:
            formal = (
                kernels.tasks(kernel, how), kernels.grain(kernel, how), kernels.scratch_bytes(kernel, how),
                cost.flops(kernel.body),
            )  # fmt: skip
            actual = dict(zip(kernel.sizes, launch.sizes))
            self.needs[key] = _Needs(*(substitute(size, actual) for size in formal))
        return self.needs[key]

    def work(self, launch: Launch) -> str:
        """Operations of a launch; one whose number is known only during the run counts WORK_OF_ONE_THREAD."""
        times = prod(trips for trips in self.trips if trips is not None)
        flops = self.needs_of(launch).flops * times
        known = None not in self.trips and not region_of(flops, self.regions)
        return self.text(flops) if known else str(WORK_OF_ONE_THREAD)

    # -- steps -------------------------------------------------------------------------------------------------------

    def steps(self, steps: Sequence[Step], touched: _Touched) -> Steps:
        """The printed steps, with barriers between those that depend on each other."""
        out: Steps = []

        def wait_unless(free: bool) -> None:
            if not free:
                out.append(printed.Barrier())
                touched.clear()

        for step in steps:
            if isinstance(step, Launch):
                pairs = [(self.place(b), p.written) for b, p in zip(step.buffers, step.kernel.params)]
                reads, writes = {b for b, w in pairs if not w}, {b for b, w in pairs if w}
                wait_unless(not touched.clash(reads, writes))
                touched.note(reads, writes)
                out.append(self.start(step) if step.device else self.launch(step))
            elif isinstance(step, HostCall):
                wait_unless(not (touched.read or touched.written))
                out.append(self.host_call(step))
            elif isinstance(step, Copy):
                reads, writes = {self.place(step.source)}, {self.place(step.target)}
                wait_unless(not touched.clash(reads, writes))
                touched.note(reads, writes)
                out.append(self.copy(step))
            elif isinstance(step, Bind):
                wait_unless(not (touched.read or touched.written))
                out.append(printed.Bind(self.address(step.buffer), self.known(step.symbol)))
            elif isinstance(step, Check):
                checked = self.program.checks[step.number]
                assert isinstance(checked, Condition)
                out.append(printed.Check(self.condition(checked), step.number + 1))
            elif isinstance(step, Branch):
                wait_unless(not touched.clash({self.place(step.condition)}, set()))
                other = touched.copy()
                condition = self.address(step.condition)
                then, otherwise = self.steps(step.then, touched), self.steps(step.otherwise, other)
                touched.note(other.read, other.written)
                out.append(printed.Branch(condition, then, otherwise))
            else:
                wait_unless(not (touched.read or touched.written))
                out.append(self.loop(step))
        return out

    def launch(self, launch: Launch) -> printed.Launch:
        name = self.kernels[launch.scheduled].name
        needs = self.needs_of(launch)
        region = region_of(needs.scratch, self.regions)
        self.works.append(self.work(launch))
        self.names.append(name)
        buffers = [*map(self.address, launch.buffers), *(["&w->next->fault"] if launch.faults else [])]
        extents = [self.text(s) for s in (*(self.program.buffers[b].size for b in launch.buffers), needs.scratch)]
        sizes = [*map(self.text, launch.sizes)] or ["0"]
        self.words = max(self.words, len(buffers) + len(extents) + len(sizes))
        return printed.Launch(
            number=len(self.names) - 1,
            kernel=name,
            buffers=buffers,
            faults=[number + 1 for number in launch.faults],
            extents=extents,
            sizes=sizes,
            tasks=self.text(needs.tasks),
            grain=self.text(needs.grain),
            scratch=f"scratch[{region}]" if region else "w->scratch",
            scratch_bytes=f"scratch_bytes[{region}]" if region else "call->scratch_bytes",
        )

    def start(self, launch: Launch) -> printed.Start:
        """A printed launch on the device."""
        kernel = self.device[launch.scheduled]
        actual = dict(zip(launch.kernel.sizes, launch.sizes))
        elements = dict.fromkeys(substitute(p.size, actual) for p in launch.kernel.params)
        self.works.append("0")
        self.names.append(kernel.name)
        return printed.Start(
            number=len(self.names) - 1,
            kernel=kernel.number,
            buffers=[self.address(b, device=True) for b in launch.buffers],
            sizes=[self.text(s) for s in launch.sizes],
            programs=self.text(substitute(kernel.programs, actual)),
            elements=[self.text(s) for s in elements if not isinstance(s, int)],
        )

    def host_call(self, call: HostCall) -> printed.HostCall:
        self.calls += 1
        self.names.append(call.function)
        return printed.HostCall(
            number=len(self.names) - 1,
            call=self.calls - 1,
            buffers=[self.address(b) for b in (*call.inputs, *call.outputs)],
            shapes=[self.text(size) for shape in call.shapes for size in shape],
        )

    def copy(self, step: Copy) -> printed.Copy:
        """A printed copy, which is skipped if the caller has the input or output on the device."""
        source, target = self.program.buffers[step.source], self.program.buffers[step.target]
        return printed.Copy(
            source=self.address(step.source),
            target=self.address(step.target),
            bytes=self.text(source.size * source.dtype.itemsize),
            to_host=int(source.device),
            resident=self.resident(step.target if target.device else step.source),
        )

    def resident(self, number: int) -> str:
        """The condition that the original of this twin is the caller's and on the device; "" if it cannot be."""
        twin = self.program.buffers[number].twin
        if twin is None or self.program.buffers[twin].kind == "arena":
            return ""
        original = self.program.buffers[twin]
        index = original.number + (len(self.program.graph.inputs) if original.kind == "output" else 0)
        return f"call->resident && call->resident[{index}]"

    def loop(self, step: Loop) -> printed.Loop:
        """A printed loop; a barrier follows each iteration."""
        known = self.known(step.symbol)
        self.trips.append(step.trips)
        body = self.steps(step.body, _Touched())
        self.trips.pop()
        return printed.Loop(
            condition=None if step.condition is None else self.address(step.condition),
            trips=None if step.trips is None else self.text(step.trips),
            count=self.address(step.count),
            body=body,
            known=known,
        )

    def known(self, symbol: Symbol) -> printed.Known:
        """The allocations when a symbol gets its value: its region of memory, outputs whose shapes are known then."""
        number = self.regions[symbol]
        blocks: list[printed.Reservation | printed.Output] = []
        size = self.arenas[0].sizes[number]
        if self.arenas[1].sizes[number] != 0:
            at = self.block("device", number)
            there = self.allocated(self.arenas[1].sizes[number])
            blocks.append(printed.Reservation(at, number, there, device=True))
        if size != 0 or self.scratch[number]:
            at = self.block("host", number)
            here = self.allocated(size)
            blocks.append(printed.Reservation(at, number, here, device=False, scratch=list(self.scratch[number])))
        for i, value in enumerate(self.program.graph.outputs):
            if self.outputs[i] == number:
                at = self.block("output", i)
                blocks.append(printed.Output(at, i, [self.text(d) for d in value.shape]))
        return printed.Known(self.number[symbol], symbol.lower, number, blocks)

    def block(self, what: str, number: int) -> int:
        return self.blocks.setdefault((what, number), len(self.blocks))

    # -- memory ------------------------------------------------------------------------------------------------------

    def address(self, number: int, device: bool = False) -> str:
        """The address of a buffer; device: weights are those in the device's memory."""
        buffer = self.program.buffers[number]
        if buffer.kind == "arena":
            arena = self.arenas[buffer.device]
            name, region = "device" if buffer.device else "region", arena.region(number)
            start = f"{name}[{region}]" if region else "device_arena" if buffer.device else "arena"
            text = f"{start} + {self.text(arena.offset(number))}"
            resident = self.resident(number)
            return f"({resident} ? (char *){self.address(buffer.twin or 0)} : {text})" if resident else text
        if buffer.kind == "weight":
            return f"(void *)(call->{'device_' if device else ''}weights + {self.weights[buffer.number]})"
        if buffer.kind == "input":
            return f"call->inputs[{buffer.number}]"
        block = self.blocks.get((buffer.kind, buffer.number))
        if block is not None:
            return f"w->blocks[{block}].at"
        return f"call->outputs[{buffer.number}]"

    def place(self, number: int) -> object:
        """A key that two buffers share if they share memory."""
        buffer = self.program.buffers[number]
        if buffer.kind == "arena":
            return ("arena", buffer.device, self.arenas[buffer.device].slot[number])
        return (buffer.kind, buffer.number)
