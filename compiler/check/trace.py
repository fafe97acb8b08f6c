"""What each kernel of a compiled model has computed, beside what it should have.

In: an optimised graph, and feeds. Out: `Trace`s: the values that kernels write to memory, and those inside of kernels,
as the compiled code computes them, each with what its nodes mean for what the kernel has read: an error is that of the
kernel alone. It never changes which nodes share a kernel: values are watched (`lower.lower`) once that is decided.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...runtime.api.options import SessionOptions
from ...runtime.device import gpu
from ...runtime.run.executable import Executable
from ...runtime.store import artifact, cache
from .. import driver
from ..driver import Compilation
from ..graph.interp import bind, constant_array
from ..graph.ir import Array, Graph, Value, input_value, reachable
from ..kernel import interp
from ..kernel.ir import Launch, LoopNest, Stage
from ..kernel.program import Program
from ..lower import fuse
from ..precision import Precision
from ..scalar.dim import Symbol, evaluate, extent
from .compare import Difference, from_exact
from .exact import Known, Unable, known

POINTS = 200  # of a loop nest's outer domain at which it is interpreted


@dataclass(frozen=True)
class Traced:
    """A value that the compiled code has computed. step: of the program, that writes it. known: what it should be, for
    what the kernel has read; difference: to that. exact: what it should be in the whole graph."""

    value: Value
    step: int
    launch: Launch
    array: Array
    known: Known
    difference: Difference
    exact: Known


@dataclass
class Trace:
    """values: in the order of the steps, and inside of a kernel in that of the graph. arrays: of all that was watched,
    and of inputs and outputs. outputs: of the model."""

    unit: Compilation
    values: list[Traced]
    arrays: dict[Value, Array]
    outputs: list[Array]

    @property
    def wrong(self) -> list[Traced]:
        return [each for each in self.values if not each.difference.agrees]


@dataclass
class Meaning:
    """An optimised graph, its inputs, and what its values are. sizes: of all symbols. precision: of products."""

    graph: Graph
    feeds: Sequence[Array]
    values: dict[Value, Known]
    sizes: dict[Symbol, int]
    precision: Precision

    @classmethod
    def of(cls, graph: Graph, feeds: Sequence[Array], precision: Precision) -> Meaning:
        """Raises as `known`."""
        wanted = dict.fromkeys([*graph.outputs, *graph.bindings.values(), *in_memory(graph), *in_kernels(graph)])
        values = known(
            replace(graph, outputs=list(wanted), output_names=[""] * len(wanted)), feeds, precision=precision
        )
        sizes = bind(graph.inputs, [feed.shape for feed in feeds])
        for value, feed in zip(graph.inputs, feeds):
            if value.content is not None:
                sizes.update(zip(value.content.reshape(-1), map(int, feed.reshape(-1))))
        found = dict(zip(wanted, values))
        sizes.update((symbol, int(found[value].exact)) for symbol, value in graph.bindings.items())
        return cls(graph, feeds, found, sizes, precision)


def in_memory(graph: Graph) -> list[Value]:
    """All values that kernels write anyway."""
    return list(dict.fromkeys(value for group in fuse.run(graph) for value in fuse.stored(group)))


def in_kernels(graph: Graph, of: Value | None = None) -> list[Value]:
    """All values inside of kernels that can be watched, or those of the kernels that write the value `of`."""
    groups = (group for group in fuse.run(graph) if of is None or of in fuse.stored(group))
    return list(dict.fromkeys(value for group in groups for value in fuse.inside(group)))


def compiled(
    unit: Compilation, feeds: Sequence[Array], options: SessionOptions, watched: Sequence[Value]
) -> list[Array]:
    """Goes on from the optimised graph to a run. The outputs, and the watched values."""
    with cache.workspace() as directory:
        driver.built(driver.printed(driver.lowered(unit, watched)), directory)
        loaded = artifact.load(str(directory))
        device = gpu.open_device(loaded, {"enable_cuda_graph": "0"}) if "device" in loaded.manifest else None
        executable = Executable(loaded, options.threads(), options.float_flags(), device)
        try:
            arrays = [np.ascontiguousarray(feed) for feed in feeds]
            return [np.asarray(y) for y in executable.program.run(executable.plan(arrays), arrays)]
        finally:
            executable.program.close()


def trace(unit: Compilation, meaning: Meaning, options: SessionOptions, watched: Sequence[Value]) -> Trace:
    """Runs the optimised graph of a unit, whose outputs are distinct, and looks at the watched values."""
    graph = meaning.graph
    watched = [value for value in watched if value not in set(graph.outputs)]
    unit = replace(unit, graph=graph, program=None, seconds={})
    results = compiled(unit, meaning.feeds, options, watched)
    assert unit.program
    writers = _writers(unit.program)
    arrays = dict(zip([*graph.outputs, *watched], results, strict=True))
    have = {**dict(zip(graph.inputs, meaning.feeds)), **arrays}
    order = {node: i for i, node in enumerate(graph.nodes())}
    of_step: dict[int, list[Value]] = {}
    for value in sorted((v for v in arrays if v in writers), key=lambda v: order[v.node]):
        of_step.setdefault(writers[value][0], []).append(value)
    traced = []
    for step, values in sorted(of_step.items()):
        launch = writers[values[0]][1]
        local = _local(values, read(unit.program, launch), have, meaning)
        for value, known_here in zip(values, local):
            array, exact = arrays[value], meaning.values[value]
            traced.append(Traced(value, step, launch, array, known_here, from_exact(array, known_here), exact))
    return Trace(unit, traced, have, results[: len(graph.outputs)])


def _local(
    values: Sequence[Value], reads: Sequence[Value], have: Mapping[Value, Array], meaning: Meaning
) -> list[Known]:
    """What a kernel's values should be for what it has read; for exact inputs, if that was not watched."""
    whole = [meaning.values[value] for value in values]
    if any(value not in have for value in reads) or set(values) & set(reads):
        return whole
    cut: dict[Value, Value] = {v: input_value(f"{i}", v.shape, v.dtype) for i, v in enumerate(dict.fromkeys(reads))}
    inputs, given = list(cut.values()), [have[value] for value in cut]
    for node in list(reachable(values, within=lambda v: v not in cut)):
        if not cut.keys() >= set(node.outputs):
            cut.update(zip(node.outputs, node.with_inputs([cut.get(v, v) for v in node.inputs]).outputs))
    graph = Graph(inputs, [cut[value] for value in values], [""] * len(values))
    try:
        return known(graph, given, meaning.sizes, meaning.precision)
    except Unable:  # it reads what it does not say: an input whose elements are sizes
        return whole


def _writers(program: Program) -> dict[Value, tuple[int, Launch]]:
    """The last of the top-level launches that write each value."""
    found: dict[Value, tuple[int, Launch]] = {}
    top = {id(step) for step in program.steps}
    for number, step in enumerate(program.numbered):
        if isinstance(step, Launch) and id(step) in top:
            for value in written(program, step):
                found[value] = (number, step)
    return found


def written(program: Program, launch: Launch) -> list[Value]:
    """The values of the graph that a launch writes."""
    params = zip(launch.kernel.params, launch.buffers)
    values = (program.buffers[buffer].value for param, buffer in params if param.written)
    return [value for value in values if value is not None]


def read(program: Program, launch: Launch) -> list[Value]:
    """The values of the graph that a launch reads; no weights."""
    params = zip(launch.kernel.params, launch.buffers)
    buffers = (program.buffers[buffer] for param, buffer in params if not param.written)
    return [b.value for b in buffers if b.value is not None and b.kind != "weight"]


# -- what a kernel means ---------------------------------------------------------------------------------------------


def interpreted(
    program: Program, launch: Launch, found: Trace, first: Traced, known_sizes: Mapping[Symbol, int]
) -> Difference:
    """What is wrong with a value that a launch writes, by the interpreter of kernels, for what the launch has read.

    What a long loop nest computes is looked at where the value is wrong, or else at some elements, alone."""
    buffers = [_buffer(program, number, found, first, known_sizes) for number in launch.buffers]
    sizes = [evaluate(size, known_sizes) for size in launch.sizes]
    body = launch.kernel.body
    try:
        with np.errstate(all="ignore"):
            env = {s: np.asarray(n, np.int64) for s, n in zip(launch.kernel.sizes, sizes, strict=True)}
            points = None
            if isinstance(body, LoopNest) and math.prod(_lengths(body.outer, env)) > POINTS:
                points = _points(body, env, {_param(program, launch, first.value): _mask(first)})
            if points is None:
                interp.run(launch.kernel, buffers, sizes)
            else:
                for point in points:
                    interp.run_stages(body.stages, buffers, env | point)  # type: ignore[union-attr]
    except ValueError as error:  # a demand on data that does not hold
        return Difference(np.inf, np.inf, np.inf, 1, str(error))
    return from_exact(buffers[_param(program, launch, first.value)].reshape(first.array.shape), first.known)


def _buffer(program: Program, number: int, found: Trace, first: Traced, sizes: Mapping[Symbol, int]) -> Array:
    """A buffer before the launch, flat, and free to be changed; of the value itself, what it should become."""
    buffer = program.buffers[number]
    if buffer.kind == "weight":
        weight = program.weights[buffer.number]
        return np.array(weight.laid_out(constant_array(weight.value)), copy=True).reshape(-1)
    if buffer.value is first.value:
        return first.known.rounded().reshape(-1)
    if buffer.value in found.arrays:
        return np.array(found.arrays[buffer.value], copy=True).reshape(-1)
    return np.zeros(evaluate(buffer.size, sizes), buffer.dtype.to_numpy())


def _param(program: Program, launch: Launch, value: Value) -> int:
    """The parameter in which a launch writes a value."""
    params = enumerate(zip(launch.kernel.params, launch.buffers))
    return next(i for i, (param, buffer) in params if param.written and program.buffers[buffer].value is value)


def _mask(first: Traced) -> Array:
    """The elements to look at."""
    off = np.abs(first.array.astype(np.float64) - first.known.exact.astype(np.float64))
    wrong = ~(off <= first.known.bound).reshape(-1)
    return wrong if wrong.any() else np.arange(wrong.size) % 97 == 0


def _points(
    body: LoopNest, env: Mapping[Symbol, Array], wanted: Mapping[int, Array]
) -> list[dict[Symbol, Array]] | None:
    """Points of the outer domain that write wanted elements; None if these are not to be told from the indices."""
    chosen: set[int] = set()
    shape = _lengths(body.outer, env)
    for stage in body.stages:
        if stage.store is not None and stage.store.buffer in wanted:
            try:
                index = _indices(body, stage, env)
            except KeyError:  # an index that depends on data
                return None
            hits = wanted[stage.store.buffer][index].reshape(math.prod(shape), -1).any(1)
            chosen.update(np.nonzero(hits)[0][:POINTS].tolist())
    places = (np.unravel_index(flat, shape) for flat in sorted(chosen)[:POINTS])
    return [{s: np.asarray(i, np.int64) for s, i in zip(body.outer, place)} for place in places]


def _indices(body: LoopNest, stage: Stage, env: Mapping[Symbol, Array]) -> Array:
    """The elements that a stage writes, at all points of all axes."""
    axes = (*body.outer, *stage.axes)
    lengths = _lengths(axes, env)
    grid: dict[Symbol, Any] = dict(zip(axes, np.ogrid[tuple(slice(n) for n in lengths)]))
    assert stage.store is not None
    return np.broadcast_to(interp.evaluate_size(stage.store.index, {**env, **grid}), lengths)


def _lengths(axes: Sequence[Symbol], env: Mapping[Symbol, Array]) -> tuple[int, ...]:
    return tuple(int(interp.evaluate_size(extent(s), env)) for s in axes)
