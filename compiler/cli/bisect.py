"""`intaglio bisect`: a finding of `compiler/check/bisect.py` as text."""

from __future__ import annotations

from ..check.bisect import Finding, Step
from ..tables import shortened, table

STAGES = {
    "import": "the import: the graph is not what other engines take the model for",
    "lower": "lowering: a kernel does not mean what its nodes mean (fusion, lower/elements.py, lower/bodies.py)",
    "schedule": "the schedule: a kernel, or the packing of its weights, no longer means what it meant before",
    "print": "the code: what is printed, or what the C compiler makes of it, is not what the kernel means",
    "accuracy": "accuracy: each kernel is as right as it can be, and errors grow on the way",
    "memory": "the plan of memory, or the order of steps: with values kept apart, the outputs are right",
    "package": "the compiled model in the cache: compiled anew, the outputs are right",
}
SHOWN = 8  # kernels, those at which errors grow most


def text(found: Finding) -> str:
    lines = []
    if not found.stage:
        lines.append("nothing is wrong: all outputs are as near to float64 as roundings explain")
    else:
        lines.append(f"wrong in   {STAGES.get(found.stage, f'the pass {found.stage}: the graph after it is wrong')}")
        value = repr(found.value) if found.value else "a value without a name in the model"
        lines.append(f"at         {value}{f', of {found.operation}' if found.operation else ''}: {found.difference}")
        if found.nodes:
            step = "" if found.step is None else f" (step {found.step})"
            lines.append(f"ONNX nodes {', '.join(found.nodes)}{step}")
        if found.part:
            alone = "wrong" if found.shown else "right"
            lines.append(f"the least  {', '.join(found.part)}; compiled alone it is {alone}")
        if found.written:
            lines.append(f"written    {', '.join(found.written)}")
    lines += [f"note       {note}" for note in found.notes]
    if found.steps:
        lines += [
            "",
            "Where errors grow most (error: RMS of the difference to float64 / RMS of the value):",
            _steps(found.steps),
        ]
    lines.append(f"\n{found.seconds:.1f} s")
    return "\n".join(lines)


def _steps(steps: list[Step]) -> str:
    most = sorted(sorted(steps, key=lambda step: -step.growth)[:SHOWN], key=lambda step: step.number)
    rows = [
        [str(s.number), s.kind, shortened(", ".join(s.nodes)), f"{s.error:.2g}", f"{s.growth:.2g}", f"{s.of_bound:.2g}"]
        for s in most
    ]
    return table(["step", "kind", "ONNX nodes", "error", "growth", "of bound"], rows, left=3)
