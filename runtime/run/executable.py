"""A compiled model with what is remembered of its runs: the plan of each combination of input sizes.

In: an artifact. Out: runs on arrays that fit. A session has one executable, and one more for each set of intermediate
values that are asked for or initializers that are fed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..device.device import Device
from ..device.memory import Tensor
from ..store.artifact import Artifact
from . import feeds
from .program import Plan, Program

MAX_PLANS = 64  # combinations of input sizes that are remembered; a few hundred bytes each


class Executable:
    """`run` may be called from any number of threads at once."""

    def __init__(
        self,
        artifact: Artifact,
        threads: int,
        flags: int,
        device: Device | None = None,
        operators: Mapping[str, Callable[..., Any]] | None = None,
    ):
        manifest = artifact.manifest
        self.artifact = artifact
        self.program = Program(artifact, threads, flags, device, operators)
        self.inputs = feeds.inputs_of(manifest["inputs"])
        self.outputs: list[str] = [each["name"] for each in manifest["outputs"]]
        self.symbols = manifest["symbols"]
        self.plans: dict[Any, Plan] = {}
        # Inputs whose elements shapes depend on: their data is part of what a plan is for.
        self.shaping = sorted({each["element"][0] for each in self.symbols if "element" in each})
        self.random = any("random" in each for each in self.symbols)

    def placed(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The same inputs where the program can read them, and where sizes depend on elements, on the host."""
        return [
            t if isinstance(t, np.ndarray) else t.numpy() if i in self.shaping else self.program.placed(i, t)
            for i, t in enumerate(tensors)
        ]

    def recall(self, feed: Any) -> tuple[Plan, list[Any]] | None:
        """The plan of an earlier run and the arrays of this feed, where they need no conversion and have its sizes.

        Whatever else a feed may be, and is wrong with it, is said by `feeds`."""
        if self.random or self.shaping:
            return None
        arrays = feeds.plain(feed, self.inputs)
        if arrays is None:
            return None
        plan = self.plans.get(tuple([array.shape for array in arrays]))
        return None if plan is None else (plan, arrays)

    def plan(self, arrays: Sequence[Any]) -> Plan:
        """The plan for the shapes of these inputs, as `placed`, made when they are new. Raises InvalidArgument."""
        if self.random:  # its plans hold for one run
            return self.program.plan(feeds.bind(self.symbols, self.inputs, arrays))
        shapes: tuple[Any, ...] = tuple([array.shape for array in arrays])
        shapes += tuple([tuple(arrays[i].reshape(-1).tolist()) for i in self.shaping])
        plan = self.plans.get(shapes)
        if plan is None:
            plan = self.program.plan(feeds.bind(self.symbols, self.inputs, arrays))
            while len(self.plans) >= MAX_PLANS:
                self.plans.pop(next(iter(self.plans)), None)
            self.plans[shapes] = plan
        return plan
