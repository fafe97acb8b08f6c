"""The exception for features of valid models that the compiler does not support: `Unsupported`.

All other errors are exceptions of `runtime.errors`, under onnxruntime's names. Unsupported features are collected over
the whole model and reported at once, as one NotImplemented.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..runtime.errors import NotImplemented

MAX_LISTED = 20


class Unsupported(Exception):
    """Raised by the import of an operator; the text says what is not supported, and if possible what to do."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an ONNX node cannot be compiled. `op` is prefixed by its domain, unless that is ai.onnx."""

    node: str
    op: str
    opset: int
    text: str

    def __str__(self) -> str:
        return f"node '{self.node}' ({self.op}, opset {self.opset}): {self.text}"


def not_implemented(reasons: Sequence[Reason]) -> NotImplemented:
    """One exception that lists all `reasons`; equal ones (same operator and text) are counted, not repeated."""
    groups: dict[tuple[str, int, str], list[str]] = {}
    for r in reasons:
        groups.setdefault((r.op, r.opset, r.text), []).append(r.node)
    lines = []
    for (op, opset, text), nodes in list(groups.items())[:MAX_LISTED]:
        names = ", ".join(f"'{n}'" for n in nodes[:3]) + (f" and {len(nodes) - 3} more" if len(nodes) > 3 else "")
        lines.append(f"  {op}({opset}) at node{'s' if len(nodes) > 1 else ''} {names}: {text}")
    if len(groups) > MAX_LISTED:
        lines.append(f"  and {len(groups) - MAX_LISTED} more kinds")
    first = reasons[0]
    head = f"Could not find an implementation for {first.op}({first.opset}) node with name '{first.node}'"
    return NotImplemented("\n".join([f"{head}. What this model asks for and cannot have yet:", *lines]))
