"""`intaglio inspect`: the interface, graph, kernels and memory of a compiled model, or those of a finished artifact.

In: a compilation up to the C sources, or an artifact. Out: plain data for programs, and its text for people. It must
never compile C or run anything.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...runtime.errors import InvalidArgument
from ...runtime.store.artifact import WEIGHTS, Artifact
from ..driver import Compilation, Progress, lower_model, silent
from ..frontend.load import Type
from ..graph.ir import Value
from ..kernel.ir import Copy, HostCall, Launch
from ..kernel.program import every_step
from ..options import Options
from ..package.manifest import memory
from ..scalar.dim import Size
from ..tables import megabytes, table

Description = dict[str, Any]


def summary(unit: Compilation) -> Description:
    """The counts that `compile` prints."""
    assert unit.model and unit.program and unit.arenas and unit.sources
    counts = {
        "onnx nodes": len(unit.model.graph.nodes),
        "steps": len(unit.program.numbered),
        "kernels": len(unit.sources.kernels) + len(unit.device_kernels),
        "weights bytes": unit.program.weight_offsets()[-1],
        "arena bytes": _plain(unit.arenas[0].size),
    }
    if unit.device is None:
        return counts
    on_host = sorted({launch.refusal for launch in unit.program.launches} - {""})
    return counts | {
        "gpus": [gpu.name for gpu in unit.gpus],
        "device steps": sum(launch.device for launch in unit.program.launches),
        "device kernels": len(unit.device_kernels),
        "device arena bytes": _plain(unit.arenas[1].size),
        "on the host because of": on_host,
    }


def summary_text(counts: Mapping[str, Any]) -> str:
    text = (
        f"  {counts['onnx nodes']} ONNX nodes -> {counts['steps']} steps with {counts['kernels']} different kernels; "
        f"{megabytes(counts['weights bytes'])} of weights, {_memory(counts['arena bytes'])} for values in between"
    )
    if "gpus" not in counts:
        return text
    return (
        f"{text}\n  on {', '.join(counts['gpus'])}: {counts['device steps']} steps with {counts['device kernels']} "
        f"kernels, {_memory(counts['device arena bytes'])} for values in between"
        + "".join(f"\n  on the host: {reason}" for reason in counts["on the host because of"])
    )


def describe(unit: Compilation) -> Description:
    """Everything that is known about a model without running it. Symbolic sizes are formulas."""
    assert unit.model and unit.graph and unit.program and unit.arenas and unit.sources
    program, model = unit.program, unit.model
    return {
        "producer": f"{model.producer} {model.producer_version}".strip(),
        "opsets": {domain or "ai.onnx": version for domain, version in model.opsets.items()},
        "onnx operators": dict(Counter(node.op for node in model.graph.nodes).most_common()),
        "inputs": [_value(v.name, _kind(v, model.graph.inputs[v.name]), v.shape) for v in unit.graph.inputs],
        "outputs": [
            _value(name, unit.graph.types.get(name, v.dtype), v.shape)
            for name, v in zip(unit.graph.output_names, unit.graph.outputs)
        ],
        "target": ",".join([unit.target.name, *(gpu.name for gpu in unit.gpus)]),
        "graph operations": dict(Counter(node.op.name for node in unit.graph.nodes()).most_common()),
        **summary(unit),
        "plan": [
            {"step": number, "kernel": name, "nodes": list(step.origin), **_step(unit, step)}
            for number, (step, name) in enumerate(zip(program.numbered, unit.sources.steps))
        ],
        "copies": [
            {"from": _buffer(unit, step.source), "to": _buffer(unit, step.target), "nodes": list(step.origin)}
            for step in every_step(program.steps)
            if isinstance(step, Copy)
        ],
        "memory": memory(program, unit.arenas),
    }


def _step(unit: Compilation, step: Launch | HostCall) -> Description:
    """The kind of a step, where it runs, what it reads and writes."""
    if isinstance(step, HostCall):
        kind, device, reads, writes = "HostCall", False, list(step.inputs), list(step.outputs)
    else:
        kind, device = type(step.kernel.body).__name__, step.device
        reads, writes = ([b for b, p in zip(step.buffers, step.kernel.params) if p.written == w] for w in (False, True))
    on = "device" if device else "host"
    return {"kind": kind, "on": on, **{name: [_buffer(unit, b) for b in buffers]
                                       for name, buffers in (("reads", reads), ("writes", writes))}}  # fmt: skip


def stage_text(model: str, options: Options, name: str, progress: Progress = silent) -> str:
    """The text of the result of stage `name`, as in a dump. Raises InvalidArgument if the stage has none."""
    with tempfile.TemporaryDirectory(prefix="intaglio-") as folder:
        lower_model(model, replace(options, dump=Path(folder)), progress)
        texts = {path.stem.partition("-")[2]: path for path in sorted(Path(folder).iterdir())}
        if name not in texts:
            raise InvalidArgument(f"no stage '{name}' writes text; choose one of: {', '.join(texts)}")
        return texts[name].read_text().rstrip()


def text(description: Description) -> str:
    """The text of a `describe`, for people."""
    kinds = Counter(step["kind"] for step in description["plan"])
    lines = [
        f"made by   {description['producer'] or 'unknown'}; opsets "
        + ", ".join(f"{domain} {version}" for domain, version in description["opsets"].items()),
        f"inputs    {_values(description['inputs'])}",
        f"outputs   {_values(description['outputs'])}",
        f"ONNX      {description['onnx nodes']} nodes: {_counts(description['onnx operators'])}",
        f"graph     {_counts(description['graph operations'])}",
        f"kernels   {description['steps']} steps with {description['kernels']} different kernels: {_counts(kinds)}",
        f"weights   {megabytes(description['weights bytes'])}",
        f"memory    {_memory(description['arena bytes'])} for {len(description['memory'])} intermediate buffers",
        "",
    ]
    rows = [
        [
            str(s["step"]),
            s["kind"],
            s["kernel"],
            " ".join(s["reads"]),
            "->",
            " ".join(s["writes"]),
            ", ".join(s["nodes"]),
        ]
        for s in description["plan"]
    ]
    lines.append(table(["step", "kind", "kernel", "reads", "", "writes", "ONNX nodes"], rows, left=7))
    for copy in description["copies"]:
        lines.append(f"copied: {copy['from']} -> {copy['to']}, for {', '.join(copy['nodes'])}")
    if description["memory"]:
        rows = [
            [m["buffer"], "{}-{}".format(*m["steps"]), str(m["offset"]), str(m["bytes"])] for m in description["memory"]
        ]
        lines += ["", table(["buffer", "steps", "offset", "bytes"], rows, left=2)]
    return "\n".join(lines)


def artifact_summary(loaded: Artifact) -> Description:
    """The description of a compiled model."""
    manifest = loaded.manifest
    return {
        "compiler": manifest["compiler"],
        "architecture": manifest["architecture"],
        "features": manifest["features"],
        "inputs": [_value(each["name"], each["type"], each["shape"]) for each in manifest["inputs"]],
        "outputs": [_value(each["name"], each["type"], each["shape"]) for each in manifest["outputs"]],
        "files": {name: entry["bytes"] for name, entry in manifest["files"].items()},
        "weights bytes": manifest["files"].get(WEIGHTS, {}).get("bytes", 0),
        "notes": loaded.notes(),
    }


def artifact_text(description: Description) -> str:
    """The text of an `artifact_summary`, for people."""
    machine = f"{description['architecture']}: {' '.join(description['features'])}"
    lines = [
        f"made by   intaglio {description['compiler']} for {machine}",
        f"inputs    {_values(description['inputs'])}",
        f"outputs   {_values(description['outputs'])}",
        "files     " + ", ".join(f"{name} {megabytes(size)}" for name, size in description["files"].items()),
    ]
    return "\n".join(lines)


def _kind(value: Value, declared: Type) -> object:
    """The dtype of an input, or the ONNX type of one that is no tensor of numbers."""
    return value.dtype if declared.dtype == value.dtype and declared.kind == "tensor" else declared


def _value(name: str, kind: object, shape: Sequence[object]) -> dict[str, Any]:
    return {"name": name, "type": str(kind), "shape": [d if isinstance(d, int) else str(d) for d in shape]}


def _values(values: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{v['name']}: {v['type']}[{', '.join(map(str, v['shape']))}]" for v in values)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _buffer(unit: Compilation, number: int) -> str:
    assert unit.program
    buffer = unit.program.buffers[number]
    return f"{buffer.kind}{buffer.number}{'@device' if buffer.device else ''}"


def _plain(size: Size) -> int | str:
    """A size for JSON: a number, or the text of a formula."""
    return size if isinstance(size, int) else str(size)


def _memory(size: int | str) -> str:
    """Bytes of memory, as a number or as a formula in the model's symbols."""
    return megabytes(size) if isinstance(size, int) else f"({size}) bytes"
