"""A seed in, a `Case` out."""

from __future__ import annotations

import warnings

from .judge import Rejected
from .operators import GENERATORS
from .world import Case, World, since

# Operators that graphs are mostly made of, and around which passes do most; the others come up at random, equally.
COMMON = [
    "Add", "Mul", "Sub", "Div", "Transpose", "Transpose", "Reshape", "Reshape", "Concat", "Slice", "Slice",
    "Gather", "Split", "Pad", "Expand", "Squeeze", "Unsqueeze", "MatMul", "MatMul", "Gemm", "Conv", "Softmax",
    "ReduceSum", "ReduceMean", "ReduceMax", "Where", "Cast", "Relu", "Sigmoid", "Tanh", "Exp", "TopK", "CumSum",
    "LayerNormalization", "Attention", "LSTM", "ScatterND", "If", "Loop", "Scan",
]  # fmt: skip


def grow(seed: int, tally: dict[str, int] | None = None) -> Case:
    """Raises Rejected where nothing grew. tally: counts what was rejected on the way, by its reason."""
    warnings.simplefilter("ignore")
    w = World(seed)
    names = [name for name in sorted(GENERATORS) if since(name, w.opset)]
    common = [name for name in COMMON if name in names]
    size = w.rng.choices([1, 2, 4, 8, 14, 24, 45], [12, 18, 25, 22, 12, 8, 3])[0]
    for _ in range(3 * size):
        if len([node for node in w.nodes if node.op_type != "Constant"]) >= size:
            break
        try:
            GENERATORS[w.rng.choice(common if w.chance(0.55) else names)](w)
        except Rejected as error:
            if tally is not None:
                text = str(error)[:160]
                tally[text] = tally.get(text, 0) + 1
    return w.case(seed)
