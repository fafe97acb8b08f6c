"""How much arithmetic a model asks for: the floating-point operations of its matrix products.

In: an ONNX model and feeds. Out: a number. Counted are MatMul, Gemm, Conv, the recurrent operators and
Attention of the main graph, a multiply-add as two; everything else is left out, since it is shares of an FMA
peak that are wanted. The shapes come from running the model once in onnxruntime with the operands as its
outputs: ONNX's own shape inference loses track in exported attention masks.
"""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

Shape = tuple[int, ...]


def count_flops(model: Path | bytes, feeds: dict[str, np.ndarray]) -> int:
    """Floating-point operations of one run with these feeds."""
    if isinstance(model, bytes):
        proto = onnx.load_from_string(model)
    else:
        proto = onnx.load(model, load_external_data=False)
    nodes = [node for node in proto.graph.node if node.op_type in _COUNT]
    if not nodes:
        return 0
    shapes: dict[str, Shape] = {i.name: tuple(i.dims) for i in proto.graph.initializer}
    shapes |= {name: feed.shape for name, feed in feeds.items()}
    wanted = {name for node in nodes for name in [*node.input, node.output[0]] if name} - shapes.keys()

    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(wanted))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if isinstance(model, Path):
        folder = str(model.parent)
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    for name, value in zip(sorted(wanted), session.run(None, feeds)):
        shapes[name] = value.shape
    return sum(_COUNT[node.op_type](node, [shapes.get(i, ()) for i in node.input], shapes[node.output[0]])
               for node in nodes)  # fmt: skip


def _matmul(node: onnx.NodeProto, inputs: list[Shape], output: Shape) -> int:
    return 2 * prod(output) * inputs[0][-1]


def _gemm(node: onnx.NodeProto, inputs: list[Shape], output: Shape) -> int:
    transposed = any(a.name == "transA" and a.i for a in node.attribute)
    return 2 * prod(output) * inputs[0][0 if transposed else 1]


def _conv(node: onnx.NodeProto, inputs: list[Shape], output: Shape) -> int:
    return 2 * prod(output) * prod(inputs[1][1:])  # weights [OC, IC / groups, *kernel]


def _recurrent(node: onnx.NodeProto, inputs: list[Shape], output: Shape) -> int:
    x, w, r = inputs[:3]  # [steps, batch, in], [directions, gates * hidden, in], [.., gates * hidden, hidden]
    return 2 * x[0] * x[1] * (prod(w) + prod(r))


def _attention(node: onnx.NodeProto, inputs: list[Shape], output: Shape) -> int:
    query, key, value = inputs[:3]
    if len(query) != 4:
        raise ValueError(f"counting an Attention of [batch, heads, length, size] only, not of {query}")
    return 2 * prod(query[:3]) * key[2] * (query[3] + value[3])


_COUNT = {
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Conv": _conv,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
    "Attention": _attention,
}
