"""`python -m bench narrow`: products with weights of few bits (MatMulNBits), ours against onnxruntime and the limits.

In: depth and columns of a layer, bits, block. Out: a table with a line for each number of rows and accuracy level: the
medians in turns, and the part of our time that the machine needs at least: to read the weights, or for the products.
`error` is the largest difference to float64, relative to the largest result; exit code 1 where ours is larger.
"""

from __future__ import annotations

import argparse

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from .engines import interleave, ort, ours
from .peak import cpus, describe, measure
from .tables import milliseconds, ratio, table

ROWS = (1, 16, 128, 512)
LEVELS = (0, 4)  # f32; activations may be rounded to 8 bits


def model(depth: int, columns: int, bits: int, block: int, level: int) -> tuple[bytes, np.ndarray]:
    """The model of one node, which has no zero points, and its weights [K, N]."""
    rng, blocks = np.random.default_rng(0), depth // block
    data = rng.integers(0, 256, (columns, blocks, block * bits // 8), np.uint8)
    scale = (rng.random((columns, blocks)) / (1 << bits)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node(
            "MatMulNBits", ["a", "b", "scale"], ["y"], domain="com.microsoft", K=depth, N=columns, bits=bits,
            block_size=block, accuracy_level=level,
        )], "narrow",
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, ["M", depth])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["M", columns])],
        [numpy_helper.from_array(data, "b"), numpy_helper.from_array(scale, "scale")],
    )  # fmt: skip
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    numbers = data[..., None] >> np.arange(0, 8, bits, dtype=np.uint8) & (1 << bits) - 1
    real = (numbers.reshape(columns, blocks, block) - float(1 << bits - 1)) * scale[..., None]
    made = helper.make_model(graph, opset_imports=imports, ir_version=9)
    return made.SerializeToString(), real.reshape(columns, depth).T


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench narrow", description="Time products with narrow weights.")
    parser.add_argument("--size", nargs=2, type=int, default=(4096, 4096), help="depth and columns of the weights")
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--block", type=int, default=32)
    parser.add_argument("--threads", type=int, default=cpus(), help="of both engines (default: all CPUs)")
    parser.add_argument("--rounds", type=int, default=15, help="turns that each engine gets")
    options = parser.parse_args(argv)
    (depth, columns), peak = options.size, measure(options.threads)
    models = {level: model(depth, columns, options.bits, options.block, level) for level in LEVELS}
    lines, worse = [], False
    for rows in ROWS:
        feeds = {"a": np.random.default_rng(rows).standard_normal((rows, depth)).astype(np.float32)}
        runs = {f"ours {level}": ours(data, feeds, options.threads) for level, (data, _) in models.items()}
        runs |= {f"ort {level}": ort(data, feeds, options.threads) for level, (data, _) in models.items()}
        exact = feeds["a"].astype(np.float64) @ models[0][1]
        errors = {name: np.abs(run()[0] - exact).max() / np.abs(exact).max() for name, run in runs.items()}
        seconds = interleave(runs, options.rounds)
        for level, (data, _) in models.items():
            names = f"ours {level}", f"ort {level}"
            mine, theirs = (seconds[name] for name in names)
            worse |= bool(errors[names[0]] > max(errors[names[1]], 1e-5))
            reading, products = len(data) / peak.gbytes / 1e9, 2 * rows * depth * columns / peak.gflops / 1e9
            lines.append([
                f"{rows} x {depth} x {columns}", f"{level}", milliseconds(mine), milliseconds(theirs),
                ratio(mine, theirs), f"{reading / mine:.0%}", f"{products / mine:.0%}",
                *(f"{errors[name]:.1e}" for name in names),
            ])  # fmt: skip
    print(f"# {options.bits} bits in blocks of {options.block}, {describe()}\n\n{peak}\n")
    print(table(["", "level", "ours ms", "ort ms", "ours/ort", "reading", "products", "error", "ort's error"], lines))
    return int(worse)
