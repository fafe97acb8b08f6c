"""The last stage: the manifest, the notes, the weights and the device's code of an artifact.

In: the model, the lowered program and its sources; model.so is in the directory already. Out: the other files of
runtime/store/artifact.py. Weights are computed here from constants, and laid out as the kernels read them, one at a
time, so that only one is in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ...runtime import VERSION, errors
from ...runtime.store.artifact import DEVICE
from ..codegen.c.program import Sources
from ..codegen.triton.build import Binary
from ..codegen.triton.program import DeviceKernel
from ..frontend.inference import declared_outputs
from ..frontend.interface import overridable, values
from ..frontend.load import Model, Type
from ..graph.conditions import Condition, Requirement
from ..graph.interp import constant_array
from ..graph.ir import Graph, Value
from ..kernel import cost
from ..kernel.ir import Bind, Branch, Copy, HostCall, Launch, Loop, Scheduled
from ..kernel.program import Program, every_step
from ..plan.memory import Arena
from ..scalar.dim import LONG, Dim, Size, Symbol, substitute
from ..scalar.dtype import STRING
from ..schedule import work
from ..target import Gpu, Target
from ..tune.choose import RULES, Choice
from ..tune.encoding import encoded
from ..tune.report import described
from . import slow
from .writer import Writer

# Operators whose kernels in onnxruntime raise InvalidArgument for a wrong size; those of others raise Fail.
_INVALID_ARGUMENT = frozenset(
    ["Expand", "Gather", "GatherElements", "GatherND", "Range", "ScatterElements", "ScatterND", "Slice", "Transpose"]
)
# The same for wrong data.
_INVALID_DATA = _INVALID_ARGUMENT - {"GatherElements"}


@dataclass(frozen=True)
class DeviceCode:
    """The kernels of the device in the order of their numbers, and their binaries by the names of kernel and GPU."""

    kernels: Sequence[DeviceKernel]
    gpus: Sequence[Gpu]
    binaries: Mapping[tuple[str, str], Binary]


def write_artifact(
    model: Model,
    program: Program,
    arenas: Sequence[Arena],
    sources: Sources,
    target: Target,
    directory: Path,
    device: DeviceCode | None = None,
    told: Mapping[Scheduled, Choice] | None = None,
) -> list[str]:
    """Writes weights, notes, manifest and the device's code into `directory`. Returns warnings of what is slow."""
    with Writer(directory) as writer:
        add_weights(program, writer)
        entries = manifest(model, program)
        if device is not None:
            entries["device"] = _device(device, program, directory)
        noted = notes(model, program, arenas, sources, device is not None, told or {})
        warnings = slow.warnings(noted["steps"])
        if warnings:
            entries["slow"] = warnings
        writer.finish(entries, noted, target, VERSION)
    return warnings


def add_weights(program: Program, writer: Writer) -> None:
    """Writes the weights to where the program reads them."""
    for weight, offset in zip(program.weights, program.weight_offsets()):
        at = writer.add(weight.laid_out(constant_array(weight.value)))
        assert at == offset, "the weights are not where the program reads them"


def _device(device: DeviceCode, program: Program, directory: Path) -> dict[str, Any]:
    """The manifest's entry for the device; writes the device's code into a file of its own."""
    kernels = []
    with open(directory / DEVICE, "wb") as file:

        def add(code: bytes) -> list[int]:
            """Appends to the file; returns offset and length."""
            file.write(code)
            return [file.tell() - len(code), len(code)]

        for kernel in device.kernels:
            binaries = {}
            for gpu in device.gpus:
                binary = device.binaries.get((kernel.name, gpu.name))
                if binary is not None:
                    facts = {f.name: getattr(binary, f.name) for f in fields(binary) if f.name != "code"}
                    binaries[gpu.name] = {"at": add(binary.code), **facts}
            kernels.append(
                {
                    "name": kernel.name,
                    "arguments": list(kernel.source.arguments),
                    "source": add(kernel.source.text.encode()),
                    "binaries": binaries,
                }
            )
    steps = sum(launch.device for launch in program.launches)
    return {"gpus": [gpu.name for gpu in device.gpus], "kernels": kernels, "steps": steps, **_sides(program)}


def _is_recordable(program: Program) -> bool:
    """Whether every run gives the device the same work, without control flow: it may be recorded as a CUDA graph."""
    if any("random" in _symbol(s, program.graph.inputs) for s in program.symbols()):
        return False
    return all(isinstance(s, Copy) or (isinstance(s, Launch) and s.device) for s in program.steps)


def _sides(program: Program) -> dict[str, Any]:
    """Whether runs are recordable, and the numbers of the inputs and outputs that the host uses."""
    host = {b for launch in program.launches if not launch.device for b in launch.buffers}
    for step in every_step(program.steps):  # the host reads what decides control flow
        if isinstance(step, Bind):
            host.add(step.buffer)
        elif isinstance(step, HostCall):
            host.update(step.inputs, step.outputs)
        elif isinstance(step, Branch):
            host.add(step.condition)
        elif isinstance(step, Loop):
            host |= {step.count} if step.condition is None else {step.count, step.condition}
    buffers = [(program.buffers[b].kind, program.buffers[b].number) for b in host]
    sides = {f"host_{kind}s": sorted(n for k, n in buffers if k == kind) for kind in ("input", "output")}
    return {"straight": _is_recordable(program), **sides}


def manifest(model: Model, program: Program) -> dict[str, Any]:
    """The manifest, without the entries that Writer adds."""
    graph = program.graph
    operators = {node.name or node.op: (node.op, node.name) for node in model.graph.nodes}
    named = model.graph.dim_names()
    declared = _declared(model, graph)
    calls = [_host_call(call, operators) for call in program.host_calls]
    return {
        **({"host": calls} if calls else {}),
        **({"strings": list(graph.strings)} if graph.strings else {}),
        "inputs": [_input(v, model.graph.inputs[v.name]) for v in graph.inputs],
        "overridable": [_overridable(name, type) for name, type in overridable(model).items()],
        "outputs": [_output(n, v, graph, declared, named) for n, v in zip(graph.output_names, graph.outputs)],
        "conflicts": _conflicts(model, graph),
        "symbols": [_symbol(s, graph.inputs) for s in program.symbols()],
        "asserts": [_failure(c, operators) for c in program.conditions],
        "errors": [_failure(c, operators) for c in program.checks],
        "steps": len(program.numbered),
        "modelmeta": {
            "custom_metadata_map": model.metadata,
            "description": model.description,
            "domain": model.domain,
            "graph_description": model.graph_description,
            "graph_name": model.graph.name,
            "producer_name": model.producer,
            "version": model.model_version,
        },
    }


def _failure(condition: Condition | Requirement, operators: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """Class and text of the exception for a condition that does not hold, as those of onnxruntime's kernels.

    operators: origin -> operator and name of a node; without nodes of sub-graphs and functions."""
    inner = condition.origin.rpartition("/")[2]
    operator, name = operators.get(condition.origin, (inner, inner))
    invalid = operator in (_INVALID_DATA if isinstance(condition, Requirement) else _INVALID_ARGUMENT)
    kind = "InvalidArgument" if invalid else "Fail"
    text = f"{errors.WHILE_RUNNING.format(operator, name)}{condition.text}"
    return {"type": kind, "text": text.replace("{", "{{").replace("}", "}}")}


def _host_call(call: HostCall, operators: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """What the runtime knows of a host call; node: the operator and the name of the ONNX node."""
    origin = call.origin[0] if call.origin else ""
    return {
        "function": call.function, "arguments": dict(call.arguments), "takes": call.takes, "gives": call.gives,
        "ranks": [len(shape) for shape in call.shapes], "node": operators.get(origin, (origin, origin)),
    }  # fmt: skip


def _conflicts(model: Model, graph: Graph) -> list[str]:
    """Conflicts between declared and inferred shapes of the outputs, in onnxruntime's words."""
    producers = {name: node.name for node in model.graph.nodes for name in node.outputs}
    conflicts = []
    for name, value in zip(graph.output_names, graph.outputs):
        plain = name in model.graph.outputs and _is_tensor(graph, name)
        declared = model.graph.outputs[name].shape if plain else None
        for axis, (inferred, stated) in enumerate(zip(value.shape, declared or ())):
            if isinstance(inferred, int) and isinstance(stated, int) and inferred != stated:
                conflicts.append(
                    f"Node:{producers.get(name, '')} Output:{name} [ShapeInferenceError] Can't merge shape info. Both "
                    f"inferred and declared dimension have values but they differ. Inferred={inferred} "
                    f"Declared={stated} Dimension={axis}"
                )
    return conflicts


def notes(
    model: Model,
    program: Program,
    arenas: Sequence[Arena],
    sources: Sources,
    device: bool,
    told: Mapping[Scheduled, Choice],
) -> dict[str, Any]:
    """Provenance, for people: of each step the kernel, ONNX nodes, FLOPs (`operations`: those that its algorithm does;
    `rate`: the most in a second, as a multiple of f32 multiply-adds), bytes (`kept`: those of weights and inputs of the
    model, which were touched last in the run before), in the model's symbols; shapes of inputs and outputs, why fusion
    stopped there, why it is slow, and where the schedule is from (`told`), and its fields; of the model the nodes and
    their outputs; of each intermediate buffer where it lies, and the first and the last step that use it."""
    steps: list[dict[str, Any]] = []
    groups = iter(program.provenance)
    needs, doubles = _needs(program), slow.has_doubles(model)
    costs: dict[tuple[Scheduled, tuple[Size, ...], bool], _Costs] = {}  # layers are often alike
    for number, (launch, kernel) in enumerate(zip(program.numbered, sources.steps)):
        if isinstance(launch, HostCall):
            on = {"on": "host: it is a function of the runtime"} if device else {}
            steps.append({**_host_note(launch, program), "needs": needs[number], **on})
            continue
        group = next(groups, None)  # copies of constants to outputs come last, and have none
        alike = launch.scheduled, launch.sizes, launch.device
        if alike not in costs:
            costs[alike] = _costs(launch, doubles)
        known = costs[alike]
        kept = [m for b, m in zip(launch.buffers, known.touched) if program.buffers[b].kind in ("weight", "input")]
        steps.append(
            {
                "kernel": kernel,
                "kind": type(launch.kernel.body).__name__,
                "nodes": list(launch.origin),
                "buffers": [program.buffers[b].described for b in launch.buffers],
                **known.notes,
                "kept": _formula(sum(kept, start=0)),
                "inputs": [_shape(v) for v in group.reads] if group else [],
                "outputs": [_shape(group.root)] if group else [],
                "parameter_bytes": sum(_bytes(v) for v in group.reads) if group else 0,
                **_choice(told.get(launch.scheduled)),
                "needs": needs[number],
                "reasons": list(dict.fromkeys(group.reasons)) if group else [],
                **({"on": "device" if launch.device else f"host: {launch.refusal}"} if device else {}),
            }
        )
    nodes = [[node.name, node.domain, node.op] for node in model.graph.nodes]
    copies = [
        {
            "to": "device" if program.buffers[step.target].device else "host",
            "bytes": _formula(program.buffers[step.source].size * program.buffers[step.source].dtype.itemsize),
            "nodes": list(step.origin),
        }
        for step in every_step(program.steps)
        if isinstance(step, Copy)
    ]
    return {
        "steps": steps,
        "nodes": nodes,
        "values": values(model),
        "copies": copies,
        "memory": memory(program, arenas),
    }


def _needs(program: Program) -> list[list[int]]:
    """Of each step, the steps that wrote last what it reads."""
    writer: dict[int, int] = {}
    needs = []
    for number, step in enumerate(program.numbered):
        if isinstance(step, HostCall):
            reads, writes = step.inputs, step.outputs
        else:
            reads = step.buffers
            writes = tuple(b for b, p in zip(step.buffers, step.kernel.params) if p.written)
        needs.append(sorted({writer[b] for b in reads if b in writer}))
        writer.update(dict.fromkeys(writes, number))
    return needs


def memory(program: Program, arenas: Sequence[Arena]) -> list[dict[str, Any]]:
    """Of each intermediate buffer: the region of memory that it is in, its place there in bytes, and the first and the
    last step that use it."""
    return [
        {
            "buffer": f"arena {program.buffers[b].number}{' on the device' if program.buffers[b].device else ''}",
            "region": arena.region(b),
            "offset": _number(arena.offset(b)),
            "bytes": _number(program.buffers[b].size * program.buffers[b].dtype.itemsize),
            "steps": list(arena.used(b)),
        }
        for arena in arenas
        for b in sorted(arena.slot)
    ]


def _host_note(call: HostCall, program: Program) -> dict[str, Any]:
    """The note of a host call."""
    buffers = [program.buffers[b].described for b in (*call.inputs, *call.outputs)]
    return {
        "kernel": call.function, "kind": "HostCall", "nodes": list(call.origin), "buffers": buffers, "flops": "0",
        "bytes": "0", "operations": "0", "rate": 1.0, "kept": "0",
        "inputs": [], "outputs": [], "parameter_bytes": 0, "schedule": RULES, "reasons": [],
        "slow": slow.reasons(call, False),
    }  # fmt: skip


@dataclass(frozen=True)
class _Costs:
    """What a launch costs, in the model's symbols: its notes, and the bytes that it touches of each parameter."""

    notes: dict[str, Any]
    touched: Sequence[Size]


def _costs(launch: Launch, doubles: bool) -> _Costs:
    actual = dict(zip(launch.kernel.sizes, launch.sizes))
    touched = [substitute(size, actual) for size in cost.touched(launch.kernel)]
    noted = {
        "flops": _formula(substitute(cost.flops(launch.kernel.body), actual)),
        "bytes": _formula(sum(touched, start=0)),
        "operations": _formula(work.operations(launch)),
        "rate": work.rate(launch),
        "fields": _fields(launch),
        "slow": slow.reasons(launch, doubles),
    }
    return _Costs(noted, touched)


def _fields(launch: Launch) -> str:
    """The fields of a launch's schedule, in the model's symbols."""
    actual = dict(zip(launch.kernel.sizes, launch.sizes))

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(each) for name, each in value.items()}
        return _number(substitute(value, actual)) if isinstance(value, Dim) else value

    return described(plain(encoded(launch.schedule))) if launch.schedule else ""


def _choice(choice: Choice | None) -> dict[str, Any]:
    """Where a schedule is from, and its fields if it was measured."""
    if choice is None:
        return {"schedule": RULES}
    return {"schedule": choice.source, **({"measured": choice.measured} if choice.measured else {})}


def _bytes(value: Value) -> int:
    """The bytes of a constant; 0 for other values."""
    return 0 if value.data is None else value.data.size * value.dtype.itemsize


def _shape(value: Value) -> dict[str, list[int | str]]:
    """The type and shape of a value in the form of profiles, such as {"float": [2, "batch"]}."""
    return {value.dtype.ort[7:-1]: [d if isinstance(d, int) else _formula(d) for d in value.shape]}


def _number(size: Size) -> int | str:
    """A size for JSON."""
    return size if isinstance(size, int) else _formula(size)


def _formula(size: Size) -> str:
    """A size as text; "0" if the text is too long, as it may be exponentially longer than the model."""
    return "0" if isinstance(size, Dim) and size.length > LONG else str(size)


def _overridable(name: str, type: Type) -> dict[str, Any]:
    return {"name": name, "type": type.dtype.ort if type.dtype else "", "shape": list(type.shape or ())}


def _argument(name: str, value: Value, declared: Type | None, named: Set[str]) -> dict[str, Any]:
    """The NodeArg of an output: with its declared shape, else the known sizes and names of inputs' dims (`named`)."""
    if declared is not None and declared.shape is not None:
        shape = list(declared.shape)
    else:
        shape = [
            d if isinstance(d, int) else d.name if isinstance(d, Symbol) and d.name in named else None
            for d in value.shape
        ]
    rank = {} if len(shape) == value.rank else {"rank": value.rank}
    return {"name": name, "type": value.dtype.ort, "shape": shape, **rank}


def _output(name: str, value: Value, graph: Graph, declared: Mapping[str, Type], named: Set[str]) -> dict[str, Any]:
    """The NodeArg of an output. object: whether it is one, whatever its type says: a tensor of unknown rank is, too."""
    entry = _argument(name, value, declared.get(name), named)
    if name not in graph.types:
        return entry
    entry["type"] = graph.types[name]
    if not _is_tensor(graph, name):
        entry["rank"], entry["object"] = 0, True
    return entry


def _is_tensor(graph: Graph, name: str) -> bool:
    """Whether an output is a tensor of a known rank."""
    return graph.types.get(name, STRING.ort) == STRING.ort


def _input(value: Value, declared: Type) -> dict[str, Any]:
    """The NodeArg of an input: with its declared shape, where dimensions that were fixed have their sizes."""
    shape = [d if isinstance(d, int) else stated for d, stated in zip(value.shape, declared.shape or ())]
    return {"name": value.name, "type": str(declared), "shape": shape}


def _declared(model: Model, graph: Graph) -> dict[str, Type]:
    """The outputs, as declared and inferred from the inputs' dimensions, of which some may have been fixed."""
    pairs = ((v, model.graph.inputs[v.name].shape or ()) for v in graph.inputs)
    fixed = {stated: d for v, shape in pairs for stated, d in zip(shape, v.shape)
             if isinstance(stated, str) and isinstance(d, int)}  # fmt: skip
    return declared_outputs(model, fixed)


def output_shapes(model: Model, graph: Graph) -> dict[str, list[int | str | None]]:
    """The shapes in the NodeArgs of a model's outputs."""
    named, declared = model.graph.dim_names(), _declared(model, graph)
    pairs = zip(graph.output_names, graph.outputs)
    return {name: _argument(name, v, declared.get(name), named)["shape"] for name, v in pairs}


def _symbol(symbol: Symbol, inputs: list[Value]) -> dict[str, Any]:
    """Where a symbol's value comes from: dims of inputs, an element of an input, or else a random number."""
    bind = [[i, a] for i, v in enumerate(inputs) for a, d in enumerate(v.shape) if d == symbol]
    if bind:
        return {"name": symbol.name, "bind": bind, "lower": symbol.lower}
    contents = [(i, v.content.reshape(-1)) for i, v in enumerate(inputs) if v.content is not None]
    element = next(([i, p] for i, content in contents for p, d in enumerate(content) if d == symbol), None)
    return {"name": symbol.name, "element": element} if element else {"name": symbol.name, "random": True}
