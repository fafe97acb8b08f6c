"""The kernels of a model that have something to choose.

In: a lowered program, the values of its symbols. Out: `Problem`s, each once, with the steps that run them, and for the
other steps the reason why their kernels cannot be tuned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..kernel.ir import Launch, Schedule
from ..kernel.program import Program
from ..precision import Precision
from ..scalar.dim import Symbol, evaluate
from ..schedule import default
from ..schedule.close import close
from ..target import Target
from .encoding import digest


@dataclass(frozen=True, eq=False)
class Problem:
    """A kernel for which a schedule is sought.

    launch: one of its launches, lowered and not scheduled; values: of the model's symbols; digest: of the kernel;
    sizes: the values of its formal sizes; steps: the numbers of the steps that run it."""

    launch: Launch
    values: Mapping[Symbol, int]
    digest: str
    sizes: tuple[int, ...]
    target: Target
    precision: Precision = "exact"
    steps: list[int] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return type(self.launch.kernel.body).__name__

    @property
    def nodes(self) -> str:
        """The ONNX nodes of the launch, for people."""
        return ", ".join(self.launch.origin)

    @property
    def default(self) -> Schedule:
        """The schedule that rules choose."""
        how = default(self.launch.kernel.body, self.target, self.precision)
        assert how is not None
        return how


def problems(
    program: Program, values: Mapping[str, int], target: Target, precision: Precision = "exact"
) -> tuple[list[Problem], dict[int, str]]:
    """The kernels, in the order of their first steps, and the reasons why steps are left out, by their numbers."""
    found: dict[tuple[str, tuple[int, ...]], Problem] = {}
    left_out: dict[int, str] = {}
    known = {symbol: values[symbol.name] for symbol in program.symbols() if symbol.name in values}
    for number, launch in enumerate(program.launches):
        refusal = _refusal(launch, target)
        if refusal:
            left_out[number] = refusal
            continue
        closed = close(launch)
        try:
            sizes = tuple(evaluate(size, known) for size in closed.sizes)
        except KeyError as error:
            left_out[number] = f"its size {error.args[0]} depends on data"
            continue
        key = digest(closed.kernel), sizes
        if key not in found:
            found[key] = Problem(launch, known, *key, target, precision)
        found[key].steps.append(number)
    return list(found.values()), left_out


def _refusal(launch: Launch, target: Target) -> str | None:
    """Why a launch cannot be tuned, or None."""
    if launch.device:
        return "it runs on the device"
    if default(launch.kernel.body, target) is None:
        return "there is nothing to choose"
    stages = getattr(launch.kernel.body, "stages", ())
    if any(stage.store is not None and stage.store.combine for stage in stages):
        return "it changes what other kernels have written"
    return None
