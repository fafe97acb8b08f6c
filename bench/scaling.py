"""`python -m bench scaling [forms]`: the compiler's time against the size of a graph, without the C compiler's.

In: forms of graphs, all of them if none is named. Out: a table of CPU seconds up to the C sources, with the exponent
of the growth between the smallest graph and the largest, and exit code 1 where one is over the budget for its nodes:
20 seconds for 10,000 nodes, 4 minutes for 100,000, and in proportion between and beyond them. Each graph is compiled
in a process of its own.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnx.helper import make_node

from .forests import forest
from .tables import table

ROOT = Path(__file__).parent.parent
BUDGETS = ((10_000, 20.0), (100_000, 240.0))  # nodes, seconds
POINTWISE = ("Tanh", "Sigmoid", "Neg", "Abs", "Sqrt")


class Builder:
    """Nodes and weights of a model that is being made; values are called by their numbers."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}
        self.random = np.random.default_rng(0)

    def add(self, op: str, *inputs: str, **attrs: object) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(make_node(op, inputs, [name], **attrs))
        return name

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = self.random.standard_normal(shape, np.float32) / 8
        return name

    def constant(self, name: str, *values: int) -> str:
        self.weights[name] = np.array(values, np.int64)
        return name

    def model(self, shape: list[int | str], *outputs: str) -> bytes:
        graph = helper.make_graph(
            self.nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(a, name) for name, a in self.weights.items()],
        )  # fmt: skip
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        return bytes(made.SerializeToString())


def chain(count: int) -> bytes:
    """Element-wise operations, one after the other."""
    build, value = Builder(), "x"
    for i in range(count):
        value = build.add(POINTWISE[i % len(POINTWISE)], value)
    return build.model(["n", 8], value)


def wide(count: int) -> bytes:
    """Element-wise operations side by side, and their sum."""
    build = Builder()
    parts = [build.add(POINTWISE[i % len(POINTWISE)], "x") for i in range(count - 1)]
    return build.model(["n", 8], build.add("Sum", *parts))


def reductions(count: int) -> bytes:
    """Softmax after softmax."""
    build, value = Builder(), "x"
    for _ in range(count):
        value = build.add("Softmax", value)
    return build.model(["n", 8], value)


def products(count: int) -> bytes:
    """Products with a bias and an activation, four nodes each with what is added to the next."""
    build, value = Builder(), "x"
    for _ in range(count // 4):
        y = build.add("MatMul", value, build.weight(8, 8))
        value = build.add("Add", build.add("Tanh", build.add("Add", y, build.weight(8))), value)
    return build.model(["n", 8], value)


def convolutions(count: int) -> bytes:
    """Convolutions with an activation and a residual, three nodes each, over images of symbolic size."""
    build, value = Builder(), "x"
    for _ in range(count // 3):
        y = build.add("Conv", value, build.weight(4, 4, 3, 3), pads=[1, 1, 1, 1])
        value = build.add("Add", build.add("Relu", y), value)
    return build.model(["n", 4, "h", "w"], value)


def reshapes(count: int) -> bytes:
    """Shapes taken apart and put together, as exporters write them, six nodes each."""
    build, value = Builder(), "x"
    zero, one, flat = build.constant("zero", 0), build.constant("one", 1), build.constant("flat", -1)
    for _ in range(count // 6):
        shape = build.add("Shape", value)
        rows = build.add("Slice", shape, zero, one)
        to = build.add("Concat", rows, flat, axis=0)
        value = build.add("Tanh", build.add("Softmax", build.add("Reshape", value, to)))
    return build.model(["n", 8], value)


def transformer(layers: int) -> bytes:
    """A decoder of that many layers of 30 nodes, narrow ones."""
    build, value, heads, width = Builder(), "x", 2, 16
    split, merged = build.constant("split", 0, 0, heads, width // heads), build.constant("merged", 0, 0, width)
    for _ in range(layers):
        normal = build.add("LayerNormalization", value, build.weight(width), build.weight(width))
        parts = []
        for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]):
            part = build.add("Add", build.add("MatMul", normal, build.weight(width, width)), build.weight(width))
            parts.append(build.add("Transpose", build.add("Reshape", part, split), perm=perm))
        scores = build.add("Softmax", build.add("MatMul", parts[0], parts[1]))
        mixed = build.add("Transpose", build.add("MatMul", scores, parts[2]), perm=[0, 2, 1, 3])
        out = build.add("MatMul", build.add("Reshape", mixed, merged), build.weight(width, width))
        value = build.add("Add", build.add("Add", out, build.weight(width)), value)
        normal = build.add("LayerNormalization", value, build.weight(width), build.weight(width))
        inner = build.add("Add", build.add("MatMul", normal, build.weight(width, 32)), build.weight(32))
        inner = build.add("Mul", build.add("Sigmoid", inner), inner)
        value = build.add("Add", build.add("MatMul", inner, build.weight(32, width)), value)
    return build.model(["n", "t", width], value)


# Of each form how to make a graph of a size, the sizes, and what they count.
FORMS: dict[str, tuple[Callable[[int], bytes], tuple[int, ...], str]] = {
    "chain": (chain, (1_000, 10_000, 100_000), "nodes"),
    "wide": (wide, (1_000, 10_000, 100_000), "nodes"),
    "reductions": (reductions, (100, 1_000, 10_000), "nodes"),
    "products": (products, (100, 1_000, 10_000), "nodes"),
    "convolutions": (convolutions, (100, 1_000, 10_000), "nodes"),
    "reshapes": (reshapes, (100, 1_000, 10_000), "nodes"),
    "transformer": (transformer, (12, 48, 192), "layers"),
    "trees": (forest, (10, 500, 5_000), "trees"),
}


def budget(nodes: int) -> float:
    """Seconds for that many nodes: in proportion to those of the nearest budget."""
    known, seconds = next((each for each in BUDGETS if nodes <= each[0]), BUDGETS[-1])
    return seconds * max(nodes / known, 0.1)


def measured(form: str, size: int) -> tuple[float, int]:
    """CPU seconds in a fresh process, and nodes. Raises CalledProcessError where it fails."""
    command = [sys.executable, "-m", "bench.scaling", "--one", form, str(size)]
    seconds, nodes = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    return float(seconds), int(nodes)


def _one(form: str, size: int) -> tuple[float, int]:
    """In this process. The nodes are those of the graph; of a forest, which is one, the trees."""
    from intaglio.compiler.driver import lower_model
    from intaglio.compiler.options import Options

    model = FORMS[form][0](size)
    lower_model(FORMS["chain"][0](10), Options())  # what is imported and made once
    start = time.process_time()
    unit = lower_model(model, Options())
    seconds = time.process_time() - start
    assert unit.model is not None
    count = len(unit.model.graph.nodes)
    return seconds, size if count == 1 else count


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench scaling", description=__doc__)
    parser.add_argument("forms", nargs="*", help=f"some of {', '.join(FORMS)}")
    parser.add_argument("--one", nargs=2, metavar=("FORM", "SIZE"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.one:
        print(*_one(options.one[0], int(options.one[1])))
        return 0
    rows, over = [], 0
    for form in options.forms or FORMS:
        _, sizes, unit = FORMS[form]
        taken, nodes = zip(*(measured(form, size) for size in sizes))
        exponent = math.log(taken[-1] / taken[0]) / math.log(nodes[-1] / nodes[0])
        for size, count, seconds in zip(sizes, nodes, taken):
            over += seconds > budget(count)
            last = f"{exponent:.2f}" if size == sizes[-1] else ""
            rows.append([form, f"{size:,} {unit}", f"{count:,}", f"{seconds:.2f}", f"{budget(count):.1f}", last])
            print("  ".join(rows[-1]), file=sys.stderr, flush=True)
    print(table(["graph", "size", "nodes", "s", "budget", "exponent"], rows))
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
