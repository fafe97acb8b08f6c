"""Counted operations against counts by hand."""

from __future__ import annotations

import pytest

pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper

from bench.flops import count_flops
from bench.inputs import model_inputs
from bench.models import SMALL_DIR


def _count(op: str, *shapes: tuple[int, ...], **attributes: object) -> int:
    inputs = [helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, shape) for i, shape in enumerate(shapes)]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    node = helper.make_node(op, [i.name for i in inputs], ["y"], **attributes)
    graph = helper.make_graph([node], "g", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    data = model.SerializeToString()
    return count_flops(data, model_inputs(data, {}))


def test_matmul_broadcasts() -> None:
    assert _count("MatMul", (5, 1, 2, 3), (7, 3, 4)) == 2 * (5 * 7 * 2 * 4) * 3


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(transposed: int) -> None:
    a = (3, 2) if transposed else (2, 3)
    assert _count("Gemm", a, (3, 4), transA=transposed) == 2 * 2 * 4 * 3


def test_grouped_conv() -> None:
    assert _count("Conv", (1, 4, 8, 8), (6, 2, 3, 3), group=2) == 2 * (6 * 6 * 6) * (2 * 3 * 3)


def test_lstm() -> None:
    # four gates of 3, from 5 inputs and 3 states, 7 steps of 2 sequences
    assert _count("LSTM", (7, 2, 5), (1, 12, 5), (1, 12, 3), hidden_size=3) == 2 * 7 * 2 * 12 * (5 + 3)


def test_no_products_no_operations() -> None:
    assert _count("Relu", (3, 3)) == 0


def test_mlp() -> None:
    model = SMALL_DIR / "mlp.onnx"
    assert count_flops(model, model_inputs(model, {"batch": 5})) == 2 * 5 * (64 * 32 + 32 * 32 + 32 * 10)
