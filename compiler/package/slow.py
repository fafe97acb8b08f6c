"""What of a model is slow, and could be changed by who makes it: reasons of steps, and a warning for each reason.

In: the steps of a program. Out: the reasons of each, which its notes keep; from all notes, texts with a remedy, which
the manifest keeps for sessions to log. It must never warn of little work, nor of what the compiler chose itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..kernel import cost
from ..kernel.ir import HostCall, Launch, LoopNest, Stage, Trees
from ..kernel.rebuild import expressions
from ..scalar.dim import symbols, upper_bound
from ..scalar.dtype import F64
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
_NAMED = 3  # steps that a warning names


def reasons(step: Launch | HostCall) -> list[str]:
    """Why a step is slow; nothing for most."""
    if isinstance(step, HostCall):
        return [HOST]
    work = upper_bound(cost.of_launch(step).flops)
    if work is not None and work < WORK_OF_ONE_THREAD:
        return []
    return [*([SERIAL] if _is_serial(step) else []), *([DOUBLE] if _is_double(step) else [])]


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


def _is_serial(launch: Launch) -> bool:
    """Whether it is one task because it scatters."""
    body = launch.kernel.body
    return isinstance(body, LoopNest) and not body.outer and not launch.device and any(map(_scatters, body.stages))


def _scatters(stage: Stage) -> bool:
    bound = {let.symbol for let in stage.lets}
    return stage.store is not None and bool(bound & symbols(stage.store.index))


def _is_double(launch: Launch) -> bool:
    """Whether it computes float64 of float64. Trees are summed in it whatever their type."""
    kernel = launch.kernel
    if isinstance(kernel.body, Trees) or not any(param.dtype == F64 for param in kernel.params):
        return False
    if not isinstance(kernel.body, LoopNest):
        return True
    return any(isinstance(e, Call) and e.dtype == F64 for e in expressions(kernel.body))
