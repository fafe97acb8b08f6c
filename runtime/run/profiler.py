"""A profile of a session as Chrome's trace viewer (chrome://tracing, Perfetto) reads it, as onnxruntime writes them.

In: the times that a program notes at the beginning of each step. Out: a JSON file: `[`, one event a line, `]`. A step
is one kernel, which may be many nodes of the model: its arguments name them all. `Timed` tells the seconds of steps
directly.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..device.memory import Tensor
from ..dtypes import numpy_dtype, type_name
from ..provider_names import CPU
from . import feeds
from .executable import Executable
from .program import Plan

Event = dict[str, Any]


class Run:
    """The times of one run in progress, in nanoseconds of the monotonic clock; dims: the values of the symbols."""

    __slots__ = ("begin", "dims", "thread", "times")

    def __init__(self, steps: int, dims: dict[str, int]):
        self.times = (ctypes.c_int64 * (steps + 1))()
        self.thread = threading.get_native_id()
        self.dims = dims
        self.begin = time.monotonic_ns()

    @property
    def address(self) -> int:
        return ctypes.addressof(self.times)


class Profiler:
    """Collects events; may be used from any number of threads."""

    def __init__(self, prefix: str):
        self.start_ns = time.time_ns()
        self._zero = time.monotonic_ns()
        stamp = time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(self.start_ns // 10**9))
        self._path = f"{prefix}_{stamp}_{self.start_ns // 10**6 % 1000:03}.json"
        self._events: list[Event] = []
        self._steps: list[Event] = []

    def now(self) -> int:
        return time.monotonic_ns()

    def session_event(self, name: str, begin: int) -> None:
        """An event of the whole session that ends now."""
        self._add("Session", threading.get_native_id(), name, begin, self.now(), {})

    def describe(self, notes: dict[str, Any]) -> None:
        """What is known of each step of the program before it runs."""
        operators = {name: op for name, _, op in notes.get("nodes", ()) if name}
        for index, step in enumerate(notes.get("steps", ())):
            step = step if isinstance(step, dict) else {"kernel": step}
            nodes = step.get("nodes") or [step["kernel"]]
            last = nodes[-1] if nodes[-1] in operators else f"{nodes[-1]}_{index}"
            operator = "+".join(operators.get(node, node) for node in nodes)
            self._steps.append({**step, "name": f"{last}_kernel_time", "op_name": operator, "nodes": nodes})

    def begin(self, executable: Executable, plan: Plan) -> Run:
        """Room for the times of one run."""
        names = [symbol["name"] for symbol in executable.symbols]
        return Run(int(executable.artifact.manifest.get("steps", 0)), dict(zip(names, plan.dims)))

    def end(self, run: Run, described: bool, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        """A run that ends now. described: whether its steps are those of `describe`."""
        done = self.now()
        times = list(run.times)
        first = next((each for each in times if each), run.begin)
        for index, step in enumerate(self._steps[: len(times) - 1] if described else []):
            begin, end = times[index], next((each for each in times[index + 1 :] if each), done)
            if begin:  # steps of a branch that was not taken have no time
                self._add("Node", run.thread, step["name"], begin, max(begin, end), _arguments(index, step, run))
        self._add("Session", run.thread, "SequentialExecutor::Execute", first, done, {})
        shapes = {"input_type_shape": _shapes(inputs), "output_type_shape": _shapes(outputs)}
        self._add("Session", run.thread, "model_run", run.begin, done, shapes)

    def _add(self, category: str, thread: int, name: str, begin: int, end: int, args: Event) -> None:
        at, duration = (begin - self._zero) // 1000, (end - begin) // 1000
        self._events.append(
            {"cat": category, "pid": os.getpid(), "tid": thread, "dur": duration, "ts": at, "ph": "X", "name": name,
             "args": args}
        )  # fmt: skip

    def write(self) -> str:
        """Writes the file and returns its path."""
        lines = ",\n".join(json.dumps(event) for event in self._events)
        with open(self._path, "w") as file:
            file.write(f"[\n{lines}\n]\n")
        return self._path


def _arguments(index: int, step: Event, run: Run) -> Event:
    """onnxruntime's arguments of a kernel, then ours: the kernel's name and all nodes that it computes."""
    inputs, outputs = (_known(step.get(name, ()), run.dims) for name in ("inputs", "outputs"))
    parameters = step.get("parameter_bytes", 0)
    return {
        "op_name": step["op_name"],
        "provider": CPU,
        "node_index": str(index),
        "input_type_shape": inputs,
        "output_type_shape": outputs,
        "activation_size": str(_bytes(inputs) - parameters),
        "parameter_size": str(parameters),
        "output_size": str(_bytes(outputs)),
        "thread_scheduling_stats": {"main_thread": {"thread_id": str(run.thread)}, "sub_threads": {}},
        "kernel": step["kernel"],
        "nodes": step["nodes"],
    }


def _known(shapes: Sequence[dict[str, list[Any]]], dims: dict[str, int]) -> list[dict[str, list[Any]]]:
    """With the symbols replaced by their values; what is computed from them stays an expression."""
    return [{name: [dims.get(d, d) if isinstance(d, str) else d for d in shape]} for each in shapes
            for name, shape in each.items()]  # fmt: skip


def _bytes(shapes: Sequence[dict[str, list[Any]]]) -> int:
    """Of all tensors whose shapes are numbers."""
    total = 0
    for each in shapes:
        for name, shape in each.items():
            if all(isinstance(d, int) for d in shape):
                total += math.prod(shape) * numpy_dtype(name).itemsize
    return total


def _shapes(arrays: Sequence[Tensor]) -> list[dict[str, list[int]]]:
    """[{"float": [2, 3]}]"""
    return [{(type_name(a.dtype) or "tensor(?)")[7:-1]: list(a.shape)} for a in arrays]


class Timed:
    """A model with inputs, whose runs tell the seconds of each step. dims: the values of its symbols."""

    def __init__(self, model: Executable, inputs: Mapping[str, Any]):
        fitted = feeds.fit(feeds.convert(inputs, model.inputs), model.inputs)
        self._arrays = [fitted[each.name] for each in model.inputs]
        self._program = model.program
        self.plan = model.plan(self._arrays)
        self.dims = dict(zip((each["name"] for each in model.symbols), self.plan.dims))
        self._marks = np.zeros(model.artifact.manifest["steps"] + 1, np.int64)  # the starts of the steps, and the end

    def run(self) -> np.ndarray[Any, Any]:
        """Runs once, step by step; returns the seconds of each step."""
        self._marks[:] = 0
        self._program.run(self.plan, self._arrays, profile=self._marks.ctypes.data)
        # A step that a branch skipped has no mark, and takes no time: it starts when the next one does.
        starts = np.where(self._marks == 0, self._marks[-1], self._marks)
        return np.diff(np.minimum.accumulate(starts[::-1])[::-1]) / 1e9

    def whole(self) -> float:
        """The seconds of one run."""
        start = time.perf_counter()
        self._program.run(self.plan, self._arrays)
        return time.perf_counter() - start
