"""`python -m bench ops [words]`: single operators, timed as `compare` times models.

In: words that the names of operators must contain. Out: the same table, with the share of the memory
bandwidth: inputs, weights and outputs counted once. Small operators live in the caches and can show more than
100 %. Shapes are those of BERT-base at 1, 128 and 384 tokens, of ResNet-50 and of MobileNetV2, at batch 1; ensembles of
trees have 31 leaves each, as many targets as are named, and rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .compare import Row, add_options, finish, measure_model
from .forests import forest
from .inputs import model_inputs

OPSET = 23  # the first with Attention

# Every distinct convolution of ResNet-50: channels in and out, kernel, stride, size of the input image.
RESNET50 = [
    (3, 64, 7, 2, 224),
    (64, 64, 1, 1, 56),
    (64, 64, 3, 1, 56),
    (64, 256, 1, 1, 56),
    (256, 64, 1, 1, 56),
    (256, 128, 1, 1, 56),
    (256, 512, 1, 2, 56),
    (128, 128, 3, 2, 56),
    (128, 512, 1, 1, 28),
    (512, 128, 1, 1, 28),
    (128, 128, 3, 1, 28),
    (512, 256, 1, 1, 28),
    (512, 1024, 1, 2, 28),
    (256, 256, 3, 2, 28),
    (256, 1024, 1, 1, 14),
    (1024, 256, 1, 1, 14),
    (256, 256, 3, 1, 14),
    (1024, 512, 1, 1, 14),
    (1024, 2048, 1, 2, 14),
    (512, 512, 3, 2, 14),
    (512, 2048, 1, 1, 7),
    (2048, 512, 1, 1, 7),
    (512, 512, 3, 1, 7),
]
# Of MobileNetV2: channels, stride, size of the input image. Kernel 3.
DEPTHWISE = [(32, 1, 112), (96, 2, 112), (144, 1, 56), (192, 1, 28), (384, 1, 14), (960, 1, 7)]


def models() -> Iterator[tuple[str, bytes]]:
    """(name, model) of each operator."""
    for m in (1, 128, 384):
        for k, n in ((768, 768), (768, 3072), (3072, 768)):
            yield f"matmul {m}x{k}x{n}", _model("MatMul", [(1, m, k)], [(k, n)])
    for cin, cout, kernel, stride, size in RESNET50:
        name = f"conv {kernel}x{kernel}/{stride} {cin}->{cout} at {size}"
        weights = [(cout, cin, kernel, kernel), (cout,)]
        yield name, _model("Conv", [(1, cin, size, size)], weights, **_window(kernel, stride))
    for channels, stride, size in DEPTHWISE:
        name = f"depthwise 3x3/{stride} {channels} at {size}"
        weights = [(channels, 1, 3, 3), (channels,)]
        window = _window(3, stride)
        yield name, _model("Conv", [(1, channels, size, size)], weights, group=channels, **window)
    yield (
        "maxpool 3x3/2 64 at 112",
        _model("MaxPool", [(1, 64, 112, 112)], kernel_shape=[3, 3], **_window(3, 2)),
    )
    for length in (128, 384):
        tokens, heads = (1, length, 768), (1, 12, length, 64)
        yield f"softmax 12x{length}x{length}", _model("Softmax", [(1, 12, length, length)], axis=-1)
        yield f"layernorm {length}x768", _model("LayerNormalization", [tokens], [(768,), (768,)])
        yield f"gelu {length}x3072", _model("Gelu", [(1, length, 3072)])
        yield f"add {length}x768", _model("Add", [tokens, tokens])
        yield f"transpose {length}x12x64", _model("Transpose", [(1, length, 12, 64)], perm=[0, 2, 1, 3])
        yield f"attention 12x{length}x64", _model("Attention", [heads] * 3)
    for trees, targets in ((100, 1), (10_000, 44)):
        for rows in (1, 256):
            yield f"trees {trees} for {targets} of {rows}", forest(trees, targets=targets, rows=rows)
    # Too large for the caches: memory bandwidth shows.
    yield "softmax 4096x4096", _model("Softmax", [(4096, 4096)], axis=-1)
    yield "add 16M", _model("Add", [(4096, 4096)] * 2)
    yield "transpose 4096x4096", _model("Transpose", [(4096, 4096)], perm=[1, 0])


def _window(kernel: int, stride: int) -> dict[str, Any]:
    return {"strides": [stride] * 2, "pads": [kernel // 2] * 4}


Shapes = list[tuple[int, ...]]


def _model(op: str, inputs: Shapes, weights: Shapes | None = None, **attributes: Any) -> bytes:
    """One node: float inputs of these shapes, then weights, normal with the scale of their fan-in."""
    rng = np.random.default_rng(0)
    names = [f"x{index}" for index in range(len(inputs))]
    initializers = []
    for index, shape in enumerate(weights or []):
        fan_in = shape[0] if op == "MatMul" else int(np.prod(shape[1:]))
        array = rng.standard_normal(shape, np.float32) * np.float32(fan_in**-0.5)
        initializers.append(numpy_helper.from_array(array, f"w{index}"))
    node = helper.make_node(op, [*names, *(w.name for w in initializers)], ["y"], **attributes)
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in zip(names, inputs)]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "operator", values, [output], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    return bytes(onnx.shape_inference.infer_shapes(model).SerializeToString())


def _traffic(model: bytes) -> int:
    """Bytes of the inputs, weights and outputs, all float32."""
    graph = onnx.load_from_string(model).graph
    shapes = [[dim.dim_value for dim in v.type.tensor_type.shape.dim] for v in [*graph.input, *graph.output]]
    return 4 * sum(int(np.prod(shape)) for shape in [*shapes, *(w.dims for w in graph.initializer)])


def measure_ops(words: list[str], threads: int, rounds: int) -> list[Row]:
    """Measure the operators whose names hold all the words."""
    rows = []
    for name, model in models():
        if all(word in name for word in words):
            row = measure_model(name, model, model_inputs(model, {}), threads, rounds)
            row.traffic = _traffic(model)
            rows.append(row)
    return rows


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench ops", description="Time single operators.")
    parser.add_argument("words", nargs="*", help="that the operator's name must contain")
    add_options(parser)
    options = parser.parse_args(argv)
    return finish(measure_ops(options.words, options.threads, options.rounds), options)
