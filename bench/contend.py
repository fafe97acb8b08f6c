"""`python -m bench contend [models]`: runs beside processes that keep the CPUs busy, with one thread and with two.

In: models of the zoo, or files; by default four small ones that are made here: recurrent, encoder, convolutions,
neighbours. Out: a table, with --write to bench/results, and exit code 1 where a limit is passed. The limits, of medians
of single runs: beside others, two threads take at most 1.15 times as long as one; and no longer than onnxruntime's two.

Before each run there is a pause in which threads go to sleep. Without busy neighbours there is no limit: other tables
compare the engines on an idle machine.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from .engines import Run, ort, ours, wait_until_idle
from .inputs import model_inputs
from .models import MODELS, path
from .peak import cpu_name, describe
from .tables import keep, milliseconds, ratio, table

NEIGHBOURS = (0, 1, 2, 4, 8)  # busy processes
MORE_THAN_ONE_THREAD = 1.15  # what two threads may take of the time of one
LEVEL = 12.0  # seconds at most for one number of neighbours
ENGINES = {"ours": ours, "ort": ort}


@dataclass(frozen=True)
class Row:
    """Median seconds of a model beside so many busy processes, by engine and number of threads."""

    name: str
    neighbours: int
    seconds: dict[tuple[str, int], float]

    @property
    def within(self) -> bool:
        mine = self.seconds["ours", 2]
        limit = min(self.seconds["ours", 1] * MORE_THAN_ONE_THREAD, self.seconds["ort", 2])
        return not self.neighbours or mine <= limit


class _Maker:
    """Nodes and weights of a model, as they are made."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.random = np.random.default_rng(0)

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, value: Any) -> str:
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def weight(self, *shape: int, fan_in: int = 100) -> str:
        return self.constant((self.random.standard_normal(shape) / fan_in**0.5).astype(np.float32))

    def model(self, shape: list[int], outputs: dict[str, int]) -> bytes:
        """Of one input x; outputs: types by name."""
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
        made = [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()]
        graph = helper.make_graph(self.nodes, "contend", [x], made, self.weights)
        opset = [helper.make_opsetid("", 17)]
        return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def recurrent() -> bytes:
    """Two layers of a GRU in both directions, over 32 steps."""
    m, x, size, hidden = _Maker(), "x", 64, 128
    for _ in range(2):
        weights = [m.weight(2, 3 * hidden, size), m.weight(2, 3 * hidden, hidden), m.weight(2, 6 * hidden)]
        y = m.op("GRU", x, *weights, hidden_size=hidden, direction="bidirectional", linear_before_reset=1)
        x = m.op("Reshape", m.op("Transpose", y, perm=[0, 2, 1, 3]), m.constant(np.array([0, 0, -1])))
        size = 2 * hidden
    return m.model([32, 1, 64], {x: TensorProto.FLOAT})


def encoder(layers: int = 6, width: int = 384, length: int = 64, heads: int = 12) -> bytes:
    """Layers of a transformer, of MiniLM's sizes."""
    m, x, one = _Maker(), "x", np.float32(1)

    def linear(x: str, n: int, k: int) -> str:
        return m.op("Add", m.op("MatMul", x, m.weight(n, k, fan_in=n)), m.weight(k))

    def normal(x: str) -> str:
        return m.op("LayerNormalization", x, m.constant(np.ones(width, np.float32)), m.weight(width), axis=-1)

    def split(x: str, *perm: int) -> str:
        shape = m.constant(np.array([1, length, heads, width // heads]))
        return m.op("Transpose", m.op("Reshape", x, shape), perm=perm)

    for _ in range(layers):
        q, k, v = (linear(x, width, width) for _ in range(3))
        scores = m.op("MatMul", split(q, 0, 2, 1, 3), split(k, 0, 2, 3, 1))
        p = m.op("Softmax", m.op("Mul", scores, m.constant(np.float32((heads / width) ** 0.5))), axis=-1)
        mixed = m.op("Transpose", m.op("MatMul", p, split(v, 0, 2, 1, 3)), perm=[0, 2, 1, 3])
        mixed = m.op("Reshape", mixed, m.constant(np.array([1, length, width])))
        x = normal(m.op("Add", x, linear(mixed, width, width)))
        u = linear(x, width, 4 * width)
        bent = m.op("Add", m.op("Erf", m.op("Mul", u, m.constant(np.float32(0.5**0.5)))), m.constant(one))
        x = normal(m.op("Add", x, linear(m.op("Mul", m.op("Mul", u, m.constant(one / 2)), bent), 4 * width, width)))
    return m.model([1, length, width], {x: TensorProto.FLOAT})


def convolutions() -> bytes:
    """Inverted residuals, as of MobileNetV2."""
    m, x, channels = _Maker(), "x", 3

    def conv(x: str, n: int, k: int, size: int = 1, stride: int = 1, groups: int = 1) -> str:
        weight = m.weight(k, n // groups, size, size, fan_in=n // groups * size * size)
        attributes = {"kernel_shape": [size] * 2, "strides": [stride] * 2, "pads": [size // 2] * 4, "group": groups}
        return m.op("Conv", x, weight, m.weight(k), **attributes)

    def bound(x: str) -> str:
        return m.op("Clip", x, m.constant(np.float32(0)), m.constant(np.float32(6)))

    x, channels = bound(conv(x, channels, 32, 3, 2)), 32
    for out, stride, repeats in ((16, 1, 1), (24, 2, 2), (32, 2, 3), (64, 2, 4), (96, 1, 3), (160, 2, 3)):
        for i in range(repeats):
            wide = 6 * channels
            y = bound(conv(bound(conv(x, channels, wide)), wide, wide, 3, 1 if i else stride, wide))
            y = conv(y, wide, out)
            x, channels = m.op("Add", x, y) if i else y, out
    return m.model([1, 3, 160, 160], {m.op("GlobalAveragePool", x): TensorProto.FLOAT})


def neighbours() -> bytes:
    """The five of 2000 points that are nearest to each of 16."""
    m = _Maker()
    products = m.op("Mul", m.op("MatMul", "x", m.weight(32, 2000)), m.constant(np.float32(2)))
    far = m.op("Sub", m.weight(2000), products)
    m.nodes.append(helper.make_node("TopK", [far, m.constant(np.array([5]))], ["far", "which"], largest=0, axis=-1))
    return m.model([16, 32], {"far": TensorProto.FLOAT, "which": TensorProto.INT64})


MADE = {f.__name__: f for f in (recurrent, encoder, convolutions, neighbours)}


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """So many other processes, each of which keeps a CPU busy."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        time.sleep(0.3)
        yield
    finally:
        for process in others:
            process.kill()
            process.wait()


def measure(name: str, rounds: int) -> list[Row]:
    """A row for each number of neighbours; the engines take turns."""
    model: Path | bytes = MADE[name]() if name in MADE else path(name) if name in MODELS else Path(name)
    feeds = model_inputs(model, MODELS.get(name, {}))
    runs: dict[tuple[str, int], Run] = {
        (engine, threads): make(model, feeds, threads) for engine, make in ENGINES.items() for threads in (1, 2)
    }
    rows = []
    for count in NEIGHBOURS:
        times: dict[tuple[str, int], list[float]] = {key: [] for key in runs}
        with busy(count):
            end = time.monotonic() + LEVEL
            while not times["ours", 1] or (time.monotonic() < end and len(times["ours", 1]) < rounds):
                for key, run in runs.items():
                    wait_until_idle()
                    start = time.perf_counter()
                    run()
                    times[key].append(time.perf_counter() - start)
        rows.append(Row(name, count, {key: statistics.median(each) for key, each in times.items()}))
    return rows


def format_rows(rows: list[Row]) -> str:
    """The rows as a table, in milliseconds."""
    headings = ["", "busy", "ours, 1", "ours, 2", "ort, 1", "ort, 2", "ours 2/1", "ours/ort, 2", "within"]
    lines = []
    for row in rows:
        one, two, _, theirs = each = [row.seconds[engine, threads] for engine in ENGINES for threads in (1, 2)]
        within = "yes" if row.within else "NO"
        lines.append(
            [row.name, str(row.neighbours), *map(milliseconds, each), ratio(two, one), ratio(two, theirs), within]
        )
    return table(headings, lines)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench contend", description="Runs beside busy processes.")
    parser.add_argument("models", nargs="*", default=list(MADE), help="of the zoo, or files, or of those made here")
    parser.add_argument("--rounds", type=int, default=40, help="runs of each, if they take no longer than 12 s")
    parser.add_argument("--write", action="store_true", help="write the table to bench/results")
    options = parser.parse_args(argv)
    onnxruntime.set_default_logger_severity(3)
    rows = []
    for name in options.models:
        rows += measure(name, options.rounds)
        print(format_rows(rows[-len(NEIGHBOURS) :]), flush=True)
    text = "\n\n".join(
        [
            f"# {datetime.date.today()}, runs beside busy processes, {describe()}",
            "Milliseconds, medians of single runs. The limits stand in `bench/contend.py`.",
            format_rows(rows),
        ]
    )
    if options.write:
        keep(f"contend-{cpu_name()}", text)
    print(text)
    return int(not all(row.within for row in rows))
