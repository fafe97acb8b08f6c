"""The whole compiler on one screen: an ONNX model in, an artifact out.

`lower_model` is the part that needs no C compiler; `compile_model` continues to native code. Every stage is timed,
verified if `options.verify` is set, and dumped as text into the folder `options.dump`, if any.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ..runtime.errors import NotFound
from ..runtime.store import cache, tuning
from .codegen.c import toolchain
from .codegen.c.build import build, part
from .codegen.c.program import Sources, generate
from .codegen.triton import build as triton_build
from .codegen.triton.program import Device, DeviceKernel, translate
from .frontend import export as optimized
from .frontend.importer import import_model
from .frontend.interface import adjust
from .frontend.load import Model, load_model
from .graph.conditions import Condition, conditions
from .graph.ir import Graph, Value
from .graph.text import print_graph
from .graph.verify import verify
from .kernel.ir import Scheduled
from .kernel.program import Program
from .kernel.text import print_program
from .kernel.verify_program import verify_program
from .lower import groups as lower
from .options import Options
from .package.manifest import DeviceCode, write_artifact
from .passes import PASSES, at_level
from .plan import memory, place
from .schedule import schedule
from .target import Gpu, Target, ensure_buildable, targets
from .tune.choose import Chooser, here

T = TypeVar("T")
Progress = Callable[..., None]  # (stage) at the start of each stage, (stage, done, total) within long ones

STAGES = (
    "load", "import", *(name for name, _ in PASSES), "lower", "place", "schedule", "memory", "print", "build", "gpu",
    "package",
)  # fmt: skip


@dataclass
class Compilation:
    """A compilation in progress: the result of each stage, and its time in seconds."""

    options: Options
    target: Target
    gpus: tuple[Gpu, ...]
    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)
    model: Model | None = None
    graph: Graph | None = None
    conditions: list[Condition] = field(default_factory=list)  # demands of the imported model
    program: Program | None = None
    chooser: Chooser | None = None  # of measured schedules, if there are any
    device: Device | None = None  # if there are gpus
    arenas: tuple[memory.Arena, memory.Arena] | None = None
    sources: Sources | None = None
    device_kernels: dict[Scheduled, DeviceKernel] = field(default_factory=dict)
    device_code: DeviceCode | None = None
    warnings: list[str] = field(default_factory=list)  # of what is slow

    def stage(self, name: str, work: Callable[..., T], *args: Any) -> T:
        """Runs one stage: times, verifies and dumps it."""
        self.progress(name)
        start = time.perf_counter()
        result = work(*args)
        self.seconds[name] = time.perf_counter() - start
        if isinstance(result, Graph):
            if self.options.verify:
                verify(result)
            self.dump(name, lambda: print_graph(result))
        elif isinstance(result, Program):
            if self.options.verify:
                verify_program(result)
            self.dump(name, lambda: print_program(result))
        return result

    def dump(self, name: str, text: Callable[[], str]) -> None:
        if self.options.dump is not None:
            self.options.dump.mkdir(parents=True, exist_ok=True)
            (self.options.dump / f"{STAGES.index(name):02}-{name}.txt").write_text(text())


def silent(stage: str, done: int = 0, total: int = 0) -> None:
    """Shows no progress."""


def optimized_model(model: str | bytes, options: Options, progress: Progress = silent) -> Compilation:
    """Compiles a model up to its graph after all passes. Raises as `lower_model`."""
    unit = Compilation(options, *targets(options.target), progress)
    unit.model = unit.stage("load", _load, model, options)
    unit.graph = unit.stage("import", import_model, unit.model, options.dims, dict(options.operators))
    unit.conditions = conditions(unit.graph)  # kept, even if passes remove the nodes that demand them
    for name, rewrite in at_level(options.level, options.check_data):
        unit.graph = unit.stage(name, rewrite, unit.graph)
    return unit


def lowered(unit: Compilation, watched: Sequence[Value] = ()) -> Compilation:
    """Goes on to the program, without schedules. watched: see `lower.lower`."""
    unit.device = Device(unit.options.rounding_on_gpu) if unit.gpus else None
    rounds = unit.options.rounding == "strict"
    unit.program = unit.stage("lower", lower.lower, unit.graph, unit.conditions, unit.device, rounds, watched)
    if unit.device:
        unit.program = unit.stage("place", place.place, unit.program)
    return unit


def lowered_model(model: str | bytes, options: Options, progress: Progress = silent) -> Compilation:
    """Compiles a model up to its program, without schedules. Raises as `lower_model`."""
    return lowered(optimized_model(model, options, progress))


def lower_model(model: str | bytes, options: Options, progress: Progress = silent) -> Compilation:
    """Compiles a model up to the C sources. Raises runtime.errors for invalid models and unsupported features."""
    return printed(lowered_model(model, options, progress))


def printed(unit: Compilation) -> Compilation:
    """Goes on from the lowered program to the C sources."""
    assert unit.program
    unit.chooser = _chooser(unit.options, unit.target)
    arguments = unit.program, unit.target, unit.options.rounding, unit.device, unit.chooser
    unit.program = unit.stage("schedule", schedule, *arguments)
    unit.arenas = unit.stage("memory", memory.arenas, unit.program)
    unit.device_kernels = translate(unit.program)
    unit.sources = unit.stage("print", generate, unit.program, unit.arenas, unit.device_kernels)
    return unit


def _chooser(options: Options, target: Target) -> Chooser | None:
    """Of schedules that were measured; None if there are none, or no C compiler that they could be for."""
    records = tuning.read(Path(path) for path, _ in options.tuning)
    if not records:
        return None
    try:
        return Chooser(records, here(target))
    except NotFound:
        return None


def _load(model: str | bytes, options: Options) -> Model:
    """The model with the interface of the options."""
    loaded = load_model(model, options.external_data_folder or None, options.files)
    return adjust(loaded, options.outputs, options.fed, options.tensors, options.denoted)


def write_optimized(model: str | bytes, options: Options, path: str, external: str = "", threshold: int = 1024) -> None:
    """Writes the optimised model as an ONNX file; see frontend/export.py."""
    sizes = {name: size for name, size in options.dims.items() if size >= 0}
    optimized.write(_load(model, options), path, options.level, sizes, external, threshold)


def compile_model(model: str | bytes, options: Options, directory: Path, progress: Progress = silent) -> Compilation:
    """Compiles a model (a path or the bytes of an ONNX file) and writes the artifact into the empty `directory`.

    Raises as `lower_model`, and InvalidArgument for a CPU of another architecture."""
    ensure_buildable(targets(options.target)[0])
    return built(lower_model(model, options, progress), directory)


def built(unit: Compilation, directory: Path) -> Compilation:
    """Goes on from the C sources to the artifact."""
    assert unit.model and unit.program and unit.arenas and unit.sources
    objects, progress = cache.objects(directory), unit.progress
    compiler = toolchain.find(objects).instrumented(unit.options.checked, unit.options.sanitize)
    launcher = [part("cuda")] if any(gpu.backend == "cuda" for gpu in unit.gpus) else []
    sources = [*unit.sources.files, *launcher]

    def report(done: int, total: int) -> None:
        progress("build", done, total)

    unit.stage("build", build, sources, directory / "model.so", compiler, unit.target, objects, report)
    unit.device_code = unit.stage("gpu", _device_code, unit, objects) if unit.device else None
    told = unit.chooser.told if unit.chooser else {}
    parts = unit.model, unit.program, unit.arenas, unit.sources, unit.target, directory, unit.device_code, told
    unit.warnings = unit.stage("package", write_artifact, *parts)
    return unit


def _device_code(unit: Compilation, objects: Path) -> DeviceCode:
    def report(done: int, total: int) -> None:
        unit.progress("gpu", done, total)

    kernels = list(unit.device_kernels.values())
    binaries = triton_build.build(kernels, unit.gpus, objects, report)
    return DeviceCode(kernels, unit.gpus, binaries)
