"""A profile of a session as Chrome's trace viewer (chrome://tracing, Perfetto) reads it, as onnxruntime writes them.

In: the traces of runs. Out: a JSON file: `[`, one event a line, `]`. A step is one kernel, which may be many nodes of
the model: its arguments name them all. The caller's track has runs, their steps, and in these the time in which it
waits for workers; each worker has a track of its own; a counter tells the memory of intermediate values.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from ..device.memory import Tensor
from ..dtypes import numpy_dtype, type_name
from ..provider_names import CPU
from .executable import Executable
from .program import Plan
from .trace import Recorder, Trace

Event = dict[str, Any]


class Run:
    """One run in progress. dims: the values of the symbols; arena: bytes of its intermediate values."""

    __slots__ = ("arena", "begin", "dims", "recorder", "thread")

    def __init__(self, steps: int, plan: Plan, names: Sequence[str]):
        self.recorder = Recorder(steps, plan.threads)
        self.arena = plan.arena_bytes
        self.dims = dict(zip(names, plan.dims))
        self.thread = threading.get_native_id()
        self.begin = time.monotonic_ns()

    @property
    def address(self) -> int:
        return self.recorder.address


class Profiler:
    """Collects events; may be used from any number of threads."""

    def __init__(self, prefix: str):
        self.start_ns = time.time_ns()
        self._zero = time.monotonic_ns()
        stamp = time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(self.start_ns // 10**9))
        self._path = f"{prefix}_{stamp}_{self.start_ns // 10**6 % 1000:03}.json"
        self._events: list[Event] = []
        self._steps: list[Event] = []
        self._live: dict[int, int] = {}  # bytes of the values that are alive in each step, where sizes are numbers
        self._workers: set[int] = set()

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
        sizes = [(each["bytes"], each["steps"]) for each in notes.get("memory", ())]
        if all(isinstance(size, int) for size, _ in sizes):
            change = [0] * (len(self._steps) + 1)
            for size, (first, last) in sizes:
                change[first] += size
                change[last + 1] -= size
            self._live = dict(enumerate(accumulate(change)))

    def begin(self, executable: Executable, plan: Plan) -> Run:
        """Room for the records of one run."""
        names = [symbol["name"] for symbol in executable.symbols]
        return Run(int(executable.artifact.manifest.get("steps", 0)), plan, names)

    def end(self, run: Run, described: bool, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        """A run that ends now. described: whether its steps are those of `describe`."""
        done = self.now()
        trace = run.recorder.trace()
        self._add("Session", run.thread, "model_run", run.begin, done,
                  {"input_type_shape": _shapes(inputs), "output_type_shape": _shapes(outputs)})  # fmt: skip
        self._add("Session", run.thread, "SequentialExecutor::Execute", trace.begin, trace.end, _lost(trace))
        if described:
            self._steps_of(run, trace)

    def _steps_of(self, run: Run, trace: Trace) -> None:
        """The events of each step: on the caller's track all of it, with its waits; on a worker's track its work."""
        at = trace.begin  # from where on the caller's track is free
        starts, stops = trace.start.tolist(), trace.stop.tolist()
        for index, (number, start, stop) in enumerate(zip(trace.step.tolist(), starts, stops)):
            step, work = self._steps[number], trace.work[index].tolist()
            begin = max(at, start)  # steps that run together follow each other on this track
            worked = work[0][1] or begin
            last = starts[index + 1 : index + 2] != [start]
            at = stop if last else worked
            self._count("memory", begin, {"bytes": self._live.get(number, run.arena)})
            self._add("Node", run.thread, step["name"], begin, at, _arguments(number, step, run, work))
            if last and worked < stop:
                self._add("Wait", run.thread, "barrier", worked, stop, {})
            for first, end, busy, claims, thread, core in work[1:]:
                if claims:
                    self._workers.add(thread)
                    about = {"kernel": step["kernel"], "busy_us": busy / 1000, "claims": claims, "core": core}
                    self._add("Work", thread, step["name"].removesuffix("_kernel_time"), first, end, about)
        self._count("memory", trace.end, {"bytes": 0})

    def _add(self, category: str, thread: int, name: str, begin: int, end: int, args: Event) -> None:
        """A span. Times are microseconds, with three decimals: spans within spans stay so."""
        self._event(category, thread, name, "X", begin, max(end - begin, 0), args)

    def _count(self, name: str, time: int, values: Event) -> None:
        self._event("Memory", threading.get_native_id(), name, "C", time, 0, values)

    def _event(self, category: str, thread: int, name: str, phase: str, begin: int, duration: int, args: Event) -> None:
        self._events.append(
            {"cat": category, "pid": os.getpid(), "tid": thread, "dur": duration / 1000,
             "ts": (begin - self._zero) / 1000, "ph": phase, "name": name, "args": args}
        )  # fmt: skip

    def write(self) -> str:
        """Writes the file and returns its path."""
        for number, thread in enumerate(sorted(self._workers), 1):
            self._event("Thread", thread, "thread_name", "M", self._zero, 0, {"name": f"worker {number}"})
        lines = ",\n".join(json.dumps(event) for event in self._events)
        with open(self._path, "w") as file:
            file.write(f"[\n{lines}\n]\n")
        return self._path


def _lost(trace: Trace) -> Event:
    """Tells the steps of a long loop that were not recorded."""
    return {"steps_not_recorded": trace.lost} if trace.lost else {}


def _arguments(index: int, step: Event, run: Run, work: Sequence[Sequence[int]]) -> Event:
    """onnxruntime's arguments of a kernel, then ours: the kernel's name and all nodes that it computes.

    work: of each thread, as `Trace` has it."""
    claims, core = work[0][3], work[0][5]
    main = {"thread_id": str(run.thread), "core": core, "Run": work[0][2] // 1000, "num_run": claims}
    workers = {str(thread): {"num_run": claims, "core": core} for *_, claims, thread, core in work[1:] if claims}
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
        "thread_scheduling_stats": {"main_thread": main, "sub_threads": workers},
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
