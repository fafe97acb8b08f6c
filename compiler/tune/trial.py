"""Trials: one kernel with one schedule, built as a program of its own, and run on random data.

In: a `Problem`, a schedule. Out: a `Trial`, which tells the seconds of a run, and what it computes. Before the kernel
the program sweeps the second-level caches of its threads, since in a model its operands rarely are there. A `Bench` is
plain data, of which other processes may build and run trials.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime import VERSION
from ...runtime.dtypes import numpy_dtype
from ...runtime.run import program as runtime
from ...runtime.run.trace import Recorder
from ...runtime.store import artifact, cache
from ..codegen.c import toolchain
from ..codegen.c.build import build
from ..codegen.c.program import generate
from ..graph.interp import constant_array
from ..graph.ir import Graph, Value, input_value
from ..kernel.ir import Launch, Recurrent, Schedule
from ..kernel.program import Buffer, Program
from ..lower.groups import lower
from ..package.writer import Writer
from ..plan import memory
from ..precision import Precision
from ..scalar.dim import evaluate
from ..scalar.dtype import F32, DType
from ..schedule import default, schedule
from .kernels import Problem

Array = np.ndarray[Any, Any]

# The largest difference between schedules, relative to the largest result: they round differently, Winograd's most.
TOLERANCES = {"f64": 1e-10, "f32": 1e-3}
NARROW = 3e-2


@dataclass(frozen=True)
class _Operands:
    """The standalone program of a problem, not scheduled, and the values that it reads and writes."""

    program: Program
    inputs: Sequence[Value]
    outputs: Sequence[Value]

    def copy(self) -> Program:
        """The program, to be scheduled."""
        parts = {name: [*getattr(self.program, name)] for name in ("buffers", "steps", "weights")}
        return replace(self.program, **parts)  # type: ignore[arg-type]


class Bench:
    """What the trials of one problem share: their data, and what the default schedule computes of it.

    source: the program that the problem is from; threads: of each run; seed: of the data."""

    def __init__(self, problem: Problem, source: Program, threads: int, seed: int = 0) -> None:
        self.problem, self.threads, self.seed = problem, threads, seed
        self._operands = _operands(problem, source, threads)

    def __getstate__(self) -> dict[str, Any]:
        """What it was made with: each process makes the data itself."""
        return {name: self.__dict__[name] for name in ("problem", "threads", "seed", "_operands")}

    @cached_property
    def reference(self) -> tuple[Trial, list[Array]]:
        """The trial of the default schedule, and its results. Raises InvalidArgument where random data violate what the
        kernel demands of them, such as divisors that are not 0."""
        with cache.workspace() as folder:
            self.build(self.problem.default, folder)
            trial = self.load(folder)
        return trial, trial.results()

    @cached_property
    def arrays(self) -> list[Array]:
        """The inputs of the standalone program, the swept memory first."""
        body = self.problem.launch.kernel.body
        lengths = self.problem.launch.buffers[body.lengths] if isinstance(body, Recurrent) and body.lengths >= 0 else -1
        sweep, *others = self._operands.inputs
        random = np.random.default_rng(self.seed)
        made = [_aligned((_elements(sweep, self.problem),), np.float32)]
        made[0][:] = 1
        for value in others:
            count = _elements(value, self.problem)
            array = _aligned((count,), numpy_dtype(value.dtype.ort))
            array[:] = _data(value.dtype, count, random)
            if value.name == str(lengths) and isinstance(body, Recurrent):
                array[:] = evaluate(body.time, self.problem.values)
            made.append(array)
        return made

    def build(self, how: Schedule, folder: Path) -> None:
        """Writes the artifact of a trial into a workspace of the cache. Raises Fail where it does not compile.

        Needs no data: another machine with the same C compiler may do it."""
        program = self._operands.copy()
        mine = program.steps[-1]

        def choose(launch: Launch, target: Any, precision: Precision) -> Schedule | None:
            return how if launch is mine else default(launch.kernel.body, target, precision)

        target = self.problem.target
        schedule(program, target, self.problem.precision, choose=choose)
        sources = generate(program, memory.arenas(program))
        objects = cache.objects(folder)
        build(sources.files, folder / artifact.LIBRARY, toolchain.find(objects), target, objects)
        with Writer(folder) as writer:
            for weight in program.weights:
                writer.add(weight.laid_out(constant_array(weight.value)))
            writer.finish(self._manifest(program), {}, target, VERSION)

    def _manifest(self, program: Program) -> dict[str, Any]:
        """What the runtime needs to know."""
        arguments = [
            [{"name": v.name, "type": v.dtype.ort, "shape": [None]} for v in side]
            for side in (self._operands.inputs, self._operands.outputs)
        ]
        return {
            "inputs": arguments[0],
            "outputs": arguments[1],
            "symbols": [{"name": s.name, "random": True} for s in program.symbols()],
            "asserts": [],
            "errors": [{"type": "InvalidArgument", "text": "a demand on data"} for _ in program.checks],
            "modelmeta": {},
            "steps": len(program.launches),
        }

    def load(self, directory: Path) -> Trial:
        """The trial in a folder."""
        loaded = artifact.load_directory(directory)
        values = {symbol.name: value for symbol, value in self.problem.values.items()}
        return Trial(runtime.Program(loaded, self.threads), loaded.manifest, values, self.arrays)


def _operands(problem: Problem, source: Program, threads: int) -> _Operands:
    """A sweep over memory, then the launch, over buffers that are inputs and outputs."""
    launch, target = problem.launch, problem.target
    sweep = input_value("sweep", (2 * threads * target.l2.bytes // F32.itemsize,), F32)
    program = lower(Graph([sweep], [sweep + 1.0], ["swept"]))
    inputs, outputs, numbers = [sweep], list(program.graph.outputs), dict[int, int]()
    for param, original in zip(launch.kernel.params, launch.buffers):
        if original in numbers:
            continue
        numbers[original] = len(program.buffers)
        old = source.buffers[original]
        if old.kind == "weight":
            made = replace(old, number=len(program.weights))
            program.weights.append(source.weights[old.number])
        else:
            side = outputs if param.written else inputs
            kind = "output" if param.written else "input"
            made = Buffer(kind, len(side), old.dtype, old.size, name=old.name)
            side.append(input_value(str(original), (old.size,), old.dtype))
        program.buffers.append(made)
    moved = replace(launch, buffers=tuple(numbers[b] for b in launch.buffers))
    program.checks, program.steps = source.checks, [*program.steps, moved]
    program.graph = Graph(inputs, outputs, [str(i) for i in range(len(outputs))])
    return _Operands(program, inputs, outputs)


def _data(dtype: DType, count: int, random: np.random.Generator) -> Array:
    """Floats are normal; integers are 0, since they may be indices."""
    if dtype.is_float:
        return random.standard_normal(count, np.float32).astype(numpy_dtype(dtype.ort))
    if dtype.kind == "b":
        return random.integers(0, 2, count).astype(bool)
    return np.zeros(count, numpy_dtype(dtype.ort))


class Trial:
    """A built trial, with memory for its results."""

    def __init__(
        self, program: runtime.Program, manifest: Mapping[str, Any], values: Mapping[str, int], arrays: Sequence[Array]
    ) -> None:
        self._program, self._arrays = program, arrays
        self._plan = program.plan([values[each["name"]] for each in manifest["symbols"]])
        self._recorder = Recorder(manifest["steps"], self._plan.threads, alone=True)
        self._outputs = [_aligned(shape or (), dtype) for shape, dtype in self._plan.outputs]

    def run(self) -> float:
        """The seconds of the kernel in one run."""
        self._program.run_into(self._plan, self._arrays, [*self._outputs], None, self._recorder.address)
        trace = self._recorder.trace()
        return float(trace.stop[-1] - trace.start[-1]) / 1e9

    def results(self) -> list[Array]:
        """What the kernel writes, into memory that holds none of it before."""
        for output in self._outputs:
            output.view(np.uint8).fill(0xA5)
        self.run()
        return [output.copy() for output in self._outputs[1:]]


def difference(got: Sequence[Array], wanted: Sequence[Array]) -> str | None:
    """How results differ by more than rounding, or None."""
    for number, (mine, other) in enumerate(zip(got, wanted, strict=True)):
        if mine.dtype.kind in "iub":
            if not np.array_equal(mine, other):
                return f"result {number} differs"
            continue
        a, b = mine.astype(np.float64), other.astype(np.float64)
        if not np.array_equal(np.isfinite(a), np.isfinite(b)):
            return f"result {number} has NaN or infinity at other places"
        finite = np.isfinite(b)
        scale = float(np.abs(b[finite]).max(initial=0.0))
        error = float(np.abs(a[finite] - b[finite]).max(initial=0.0))
        tolerance = TOLERANCES.get({"<f8": "f64", "<f4": "f32"}.get(mine.dtype.str, ""), NARROW)
        if error > tolerance * scale:
            return f"result {number} differs by {error:.3g}, of {scale:.3g}"
    return None


def _aligned(shape: tuple[int, ...], dtype: Any) -> Array:
    """New memory like that of the values in a model: with other alignments, vectors may cross lines of the cache."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    array: Array = artifact.aligned(size).view(dtype).reshape(shape)
    return array


def _elements(value: Value, problem: Problem) -> int:
    return evaluate(value.shape[0], problem.values)
