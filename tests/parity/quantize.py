"""Quantizes a small model in all the ways there are, with whatever `onnxruntime` is: `python quantize.py FOLDER`.

Weights and inputs are multiples of 1/8, so that every sum is exact, in whatever order it is made: two engines must then
find the same ranges, to the last bit.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

folder = Path(sys.argv[1])
random = np.random.default_rng(0)


def grid(*shape: int) -> np.ndarray:
    return (random.integers(-8, 9, shape) / 8).astype(np.float32)


nodes = [
    helper.make_node("Conv", ["x", "w1", "b1"], ["c"], pads=[1, 1, 1, 1]),
    helper.make_node("Relu", ["c"], ["r"]),
    helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
    helper.make_node("Add", ["p", "a"], ["s"]),
    helper.make_node("Reshape", ["s", "shape"], ["f"]),
    helper.make_node("MatMul", ["f", "w2"], ["m"]),
    helper.make_node("Gemm", ["m", "w3", "b3"], ["y"], transB=1),
]
weights = {
    "w1": grid(4, 3, 3, 3), "b1": grid(4), "a": grid(4, 1, 1), "w2": grid(64, 16), "w3": grid(5, 16), "b3": grid(5),
    "shape": np.int64([-1, 64]),
}  # fmt: skip
graph = helper.make_graph(
    nodes,
    "net",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
    [numpy_helper.from_array(v, k) for k, v in weights.items()],
)
model = folder / "net.onnx"
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), model)


class Reader(CalibrationDataReader):
    """Four batches of two."""

    def __init__(self) -> None:
        random = np.random.default_rng(5)
        batches = (random.integers(-16, 17, (4, 2, 3, 8, 8)) / 8).astype(np.float32)
        self.feeds = iter([{"x": batch} for batch in batches])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.feeds, None)


# Weights of seven bits: without VNNI, onnxruntime adds two products in 16 bits, where those of whole ranges do not fit.
quantize_dynamic(model, folder / "dynamic.onnx", reduce_range=True)
quantize_dynamic(model, folder / "dynamic8.onnx", per_channel=True, weight_type=QuantType.QUInt8)
for form in QuantFormat:
    for method in (CalibrationMethod.MinMax, CalibrationMethod.Entropy, CalibrationMethod.Percentile):
        path = folder / f"{form.name}-{method.name}.onnx"
        per_channel = form is QuantFormat.QDQ
        options = {"calibrate_method": method, "per_channel": per_channel, "reduce_range": True}
        quantize_static(model, path, Reader(), form, **options)
print(onnxruntime.InferenceSession.__module__)
