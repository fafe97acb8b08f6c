"""Values that are a part of another one, in the kernel that computes it: they are read within their own bounds."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

import intaglio

SHAPE = (3, 4, 5)
RNG = np.random.default_rng(0)


def node(op: str, inputs: str, outputs: str, **attrs: object) -> NodeProto:
    return helper.make_node(op, inputs.split(), outputs.split(), **attrs)


# x -> part, of three axes or two
PARTS: dict[str, Callable[[], list[NodeProto]]] = {
    **{f"sum of axis {a}": lambda a=a: [node("ReduceSum", f"x axis{a}", "part", keepdims=0)] for a in range(3)},  # type: ignore[misc]
    **{f"place in axis {a}": lambda a=a: [  # type: ignore[misc]
        node("ArgMax", "x", "at", axis=a, keepdims=0), node("Cast", "at", "part", to=TensorProto.FLOAT),
    ] for a in range(3)},
    "sum of one row": lambda: [node("ReduceSum", "x axis2", "part", keepdims=1)],
    "softmax": lambda: [node("Softmax", "x", "part", axis=-1)],
    "softmax of columns": lambda: [node("Softmax", "x", "part", axis=1)],
    "norm": lambda: [node("LayerNormalization", "x scale", "part", axis=-1)],
    "scan": lambda: [node("CumSum", "x last", "part")],
    "product": lambda: [node("MatMul", "x square", "part")],
    "exponential twice": lambda: [node("Exp", "x", "e"), node("Softmax", "e", "s"), node("Add", "s e", "part")],
}  # fmt: skip
# part -> whole
WHOLES = ("before others", "between others", "padded at the end", "padded at both ends", "a slice")
# whole -> y
READERS: dict[str, list[NodeProto]] = {
    "times numbers": [node("Mul", "whole numbers", "y")],
    "sums": [node("Mul", "whole numbers", "scaled"), node("ReduceSum", "scaled end", "y", keepdims=0)],
}


def model(part: str, whole: str, axis: int, reader: str) -> bytes:
    made = PARTS[part]()
    shape = [3, 4, 5]
    if "axis" in part:
        del shape[int(part[-1])]
    if part == "sum of one row":
        shape[2] = 1
    axis %= len(shape)
    constants = {f"axis{a}": np.array([a]) for a in range(3)}
    constants |= {"scale": RNG.standard_normal(5).astype(np.float32), "last": np.array(2), "end": np.array([-1])}
    constants["square"] = RNG.standard_normal((5, 5)).astype(np.float32)
    other = [2 if a == axis else d for a, d in enumerate(shape)]
    constants["other"] = RNG.standard_normal(other).astype(np.float32)
    low, high = [0] * len(shape), [0] * len(shape)
    if whole in ("before others", "between others"):
        names = "other part other" if whole == "between others" else "part other"
        made.append(node("Concat", names, "whole", axis=axis))
        shape[axis] += 2 * names.count("other")
    elif whole == "a slice":
        constants |= {"from": np.array([1]), "to": np.array([100]), "of": np.array([axis])}
        made.append(node("Slice", "part from to of", "whole"))
        shape[axis] -= 1
    else:
        high[axis], low[axis] = 2, whole == "padded at both ends"
        constants["pads"] = np.array([*low, *high])
        made.append(node("Pad", "part pads", "whole"))
        shape[axis] += low[axis] + high[axis]
    constants["numbers"] = RNG.standard_normal(shape).astype(np.float32)
    graph = helper.make_graph(
        [*made, *READERS[reader]], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(a, name) for name, a in constants.items()],
    )  # fmt: skip
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    )


@pytest.mark.sample(2)
@pytest.mark.parametrize("part", PARTS)
def test_within_bounds(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTAGLIO_VERIFY", "2")
    for whole, axis, reader in itertools.product(WHOLES, range(2 if "axis" in part else 3), READERS):
        if whole == "a slice" and part == "sum of one row" and axis == 2:
            continue  # nothing would be left
        data, x = model(part, whole, axis, reader), RNG.standard_normal(SHAPE).astype(np.float32)
        (y,) = intaglio.InferenceSession(data).run(None, {"x": x})
        (expected,) = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, {"x": x})
        np.testing.assert_allclose(y, expected, 1e-4, 1e-5, err_msg=f"{whole}, axis {axis}, {reader}")
