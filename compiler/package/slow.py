"""What of a model is slow, and could be changed by who makes it: reasons of steps, and a warning for each reason.

In: the steps of a program, and its model. Out: the reasons of each, which its notes keep; from all notes, texts with a
remedy, which the manifest keeps for sessions to log. It must never warn of little work, or of the compiler's choices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..frontend.load import GraphDef, Model, NodeDef
from ..kernel import cost
from ..kernel.ir import HostCall, Launch, LoopNest, Stage, Trees
from ..kernel.rebuild import expressions
from ..scalar.dim import symbols, upper_bound
from ..scalar.dtype import BY_ONNX, F64
from ..scalar.expr import Call
from ..schedule import WORK_OF_ONE_THREAD

HOST = "a Python function, one at a time in a process"
SERIAL = "writes in order, on one thread, as their positions may repeat"
DOUBLE = "arithmetic in float64, at half the speed of float32 or less"
_REMEDIES = {
    HOST: "Text, sequences, maps and operators of your own are faster outside of the model",
    SERIAL: "Where the positions are a range or a mask, Concat, Pad or Where do the same on all threads",
    DOUBLE: "Export the model in float32, if that is accurate enough",
}
_CASTS = ("cast", "cast_unsaturated")  # which are no arithmetic
_NAMED = 3  # steps that a warning names


def reasons(step: Launch | HostCall, doubles: bool) -> list[str]:
    """Why a step is slow; nothing for most. doubles: whether the model has float64 of its own."""
    if isinstance(step, HostCall):
        return [HOST]
    work = upper_bound(cost.of_launch(step).flops)
    if work is not None and work < WORK_OF_ONE_THREAD:
        return []
    return [*([SERIAL] if _is_serial(step) else []), *([DOUBLE] if doubles and _is_double(step) else [])]


def warnings(notes: Sequence[Mapping[str, Any]]) -> list[str]:
    """A text for each reason among the notes of steps: how many steps, some of their ONNX nodes, and the remedy."""
    texts = []
    for reason, remedy in _REMEDIES.items():
        slow = [note for note in notes if reason in note["slow"]]
        if slow:
            named = list(dict.fromkeys(note["nodes"][0] for note in slow if note["nodes"]))
            shown = ", ".join([*named[:_NAMED], *(["..."] if len(named) > _NAMED else [])])
            steps = f"{len(slow)} of {len(notes)} steps ({shown})"
            texts.append(f"Slow in {steps}: {reason}. {remedy}. `intaglio explain` tells what they cost.")
    return texts


def has_doubles(model: Model) -> bool:
    """Whether a model has float64 of its own; some operators compute in it whatever their types."""
    nodes = (node for function in model.functions.values() for node in function.nodes)
    return _graph_has_doubles(model.graph) or any(map(_makes_doubles, nodes))


def _graph_has_doubles(graph: GraphDef) -> bool:
    typed = (graph.inputs, graph.outputs, graph.types, graph.initializers)
    return any(each.dtype == F64 for named in typed for each in named.values()) or any(map(_makes_doubles, graph.nodes))


def _makes_doubles(node: NodeDef) -> bool:
    """Whether an attribute says so: a constant, a type to cast to, a graph."""
    for name, value in node.attrs.items():
        if isinstance(value, GraphDef) and _graph_has_doubles(value):
            return True
        named = name in ("to", "dtype") and isinstance(value, int) and BY_ONNX.get(value) == F64
        if named or getattr(value, "dtype", None) == F64:
            return True
    return False


def _is_serial(launch: Launch) -> bool:
    """Whether it is one task because it scatters."""
    body = launch.kernel.body
    return isinstance(body, LoopNest) and not body.outer and not launch.device and any(map(_scatters, body.stages))


def _scatters(stage: Stage) -> bool:
    bound = {let.symbol for let in stage.lets}
    return stage.store is not None and bool(bound & symbols(stage.store.index))


def _is_double(launch: Launch) -> bool:
    """Whether it computes in float64. Trees are summed in it whatever their type."""
    kernel = launch.kernel
    if not isinstance(kernel.body, LoopNest):
        return not isinstance(kernel.body, Trees) and any(param.dtype == F64 for param in kernel.params)
    combined = (stage.value for stage in kernel.body.stages if stage.reduce or stage.scan)
    calls = (e for e in expressions(kernel.body) if isinstance(e, Call) and e.prim not in _CASTS)
    return any(e.dtype == F64 for e in (*combined, *calls))
