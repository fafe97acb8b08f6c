"""Products with weights of 2, 4 and 8 bits, which stay packed: against float64, and against onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("onnxruntime")
import onnxruntime

import intaglio
from intaglio.compiler.driver import compile_model
from intaglio.compiler.options import Options
from intaglio.runtime.api.options import SessionOptions

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(0)
ROWS = (0, 1, 2, 3, 17)
SIZES = ((70, 37), (512, 48), (16, 1), (1, 5), (97, 130))  # K, N
ROUNDING = {np.float32: 2e-6, np.float16: 2e-3}  # of a product, relative to the sum of the magnitudes


@dataclass(frozen=True)
class Case:
    """A MatMulNBits; zeros: "packed", "float" or None."""

    depth: int
    columns: int
    bits: int = 4
    block: int = 32
    zeros: str | None = None
    bias: bool = False
    dtype: Any = np.float32
    level: int = 0
    groups: str | None = None


def packed(x: Array, bits: int) -> Array:
    """Numbers of few bits [N, M] in bytes, the first ones in the lowest bits; zeros where a byte is not full."""
    whole = np.pad(x, ((0, 0), (0, -x.shape[1] % (8 // bits))))
    parts = whole.reshape(len(x), -1, 8 // bits) << np.arange(0, 8, bits, dtype=np.uint8)
    return np.bitwise_or.reduce(parts, -1).astype(np.uint8)


def model(case: Case) -> tuple[bytes, Array, Array]:
    """The model of one node with a symbolic number of rows; its weights [K, N] and bias [N] in float64."""
    blocks, n = -(-case.depth // case.block), case.columns
    q = RNG.integers(0, 1 << case.bits, (n, blocks * case.block)).astype(np.uint8)
    q[:, 0] = (1 << case.bits) - 1
    scale = (RNG.random((n, blocks)) + 0.1).astype(case.dtype)
    zero = np.full((n, blocks), float(1 << case.bits - 1))
    given: dict[str, Array] = {"b": packed(q, case.bits).reshape(n, blocks, -1), "scale": scale}
    if case.zeros == "packed":
        zero = RNG.integers(0, 1 << case.bits, (n, blocks)).astype(np.uint8)
        given["zero"] = packed(zero, case.bits)
    elif case.zeros == "float":
        zero = given["zero"] = (RNG.random((n, blocks)) * (1 << case.bits)).astype(case.dtype)
    group = np.arange(case.depth) // case.block
    if case.groups:
        given["groups"] = group = (RNG.permutation(group) if case.groups == "mixed" else group).astype(np.int32)
    bias = np.zeros(n)
    if case.bias:
        bias = given["bias"] = RNG.standard_normal(n).astype(case.dtype)
    names = [name if name in given else "" for name in ("b", "scale", "zero", "groups", "bias")]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(case.dtype))
    attrs = {"K": case.depth, "N": n, "bits": case.bits, "block_size": case.block, "accuracy_level": case.level}
    graph = helper.make_graph(
        [helper.make_node("MatMulNBits", ["a", *names], ["y"], domain="com.microsoft", **attrs)], "g",
        [helper.make_tensor_value_info("a", kind, ["M", case.depth])],
        [helper.make_tensor_value_info("y", kind, ["M", n])],
        [numpy_helper.from_array(v, name) for name, v in given.items()],
    )  # fmt: skip
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    data = helper.make_model(graph, opset_imports=imports, ir_version=9).SerializeToString()
    real = (q[:, : case.depth].astype(np.float64) - zero[:, group]) * scale[:, group].astype(np.float64)
    return data, real.T, bias.astype(np.float64)


CASES = [
    *(Case(70, 37, bits, block, zeros)
      for bits in (2, 4, 8) for block in (16, 32, 64, 128, 256) for zeros in (None, "packed", "float")),
    *(Case(*size, bits, 16, zeros) for size in SIZES for bits in (2, 4, 8) for zeros in (None, "packed")),
    *(Case(70, 37, bits, dtype=np.float16, zeros=zeros) for bits in (2, 4, 8) for zeros in (None, "packed")),
    *(Case(512, 48, level=level, bias=True) for level in (0, 1, 4)),
    *(Case(128, 37, groups=groups) for groups in ("sorted", "mixed")),
]  # fmt: skip


@pytest.mark.sample(22)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_right(case: Case) -> None:
    data, weights, bias = model(case)
    session = intaglio.InferenceSession(data)
    for rows in ROWS:
        a = RNG.standard_normal((rows, case.depth)).astype(case.dtype)
        (y,) = session.run(None, {"a": a})
        wide = a.astype(np.float64)
        magnitude = np.abs(wide) @ np.abs(weights) + np.abs(bias)
        assert y.dtype == case.dtype and y.shape == (rows, case.columns)
        assert (np.abs(y - (wide @ weights + bias)) <= ROUNDING[case.dtype] * magnitude + 1e-7).all()


@pytest.mark.parametrize(("bits", "zeros"), [(4, None), (4, "packed"), (4, "float"), (8, None), (8, "packed")])
def test_same_as_onnxruntime(bits: int, zeros: str | None) -> None:
    data, weights, _ = model(Case(96, 40, bits, zeros=zeros))
    theirs = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    for rows in ROWS[1:]:
        feeds = {"a": RNG.standard_normal((rows, 96)).astype(np.float32)}
        (made,), (wanted,) = (s.run(None, feeds) for s in (intaglio.InferenceSession(data), theirs))
        np.testing.assert_allclose(made, wanted, rtol=1e-4, atol=1e-4 * np.abs(weights).max())


@pytest.mark.parametrize("rows", [1, 2, 5, 400])
def test_the_same_bits_for_any_number_of_threads(rows: int) -> None:
    data, _, _ = model(Case(512, 700, zeros="packed"))
    a, made = RNG.standard_normal((rows, 512)).astype(np.float32), []
    for threads in range(1, 5):
        options = SessionOptions()
        options.intra_op_num_threads = threads
        made.append(intaglio.InferenceSession(data, options).run(None, {"a": a})[0])
    assert all(np.array_equal(made[0], other) for other in made)


def weight_bytes(data: bytes, folder: Path) -> int:
    """The bytes of the weights in the artifact of a model."""
    compile_model(data, Options(), folder)
    return (folder / "weights.bin").stat().st_size


def dequantized(axis: int, dtype: int, block: int, transposed: bool) -> tuple[bytes, Array]:
    """A DequantizeLinear of constants, its product with an input; the weights [K, N]."""
    depth, columns = 512, 384
    shape = (columns, depth) if transposed else (depth, columns)
    axis = 1 - axis if transposed else axis
    low, high = {
        TensorProto.UINT4: (0, 16), TensorProto.INT4: (-8, 8),
        TensorProto.UINT8: (0, 256), TensorProto.INT8: (-128, 128),
    }[dtype]  # fmt: skip
    blocks = tuple(-(-d // block) if a == axis else d for a, d in enumerate(shape)) if block else (shape[axis],)
    q, zero = (RNG.integers(low, high, s) for s in (shape, blocks))
    scale = (RNG.random(blocks) + 0.1).astype(np.float32)
    given = [
        helper.make_tensor("q", dtype, shape, q.reshape(-1)),
        helper.make_tensor("zero", dtype, blocks, zero.reshape(-1)),
        numpy_helper.from_array(scale, "scale"),
    ]  # fmt: skip
    attrs = {"axis": axis} | ({"block_size": block} if block else {})
    nodes = [helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["w"], **attrs)]
    if transposed:
        nodes.append(helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]))
    nodes.append(helper.make_node("MatMul", ["a", "t" if transposed else "w"], ["y"]))
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("a", 1, ["M", depth])],
        [helper.make_tensor_value_info("y", 1, ["M", columns])], given,
    )  # fmt: skip
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()
    if block:
        zero, scale = (np.repeat(x, block, axis)[tuple(map(slice, shape))] for x in (zero, scale))
    else:
        zero, scale = (np.expand_dims(x, 1 - axis) for x in (zero, scale))
    real = (q - zero) * scale.astype(np.float64)
    return data, real.T if transposed else real


@pytest.mark.sample(6)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("block", [0, 32, 128])
@pytest.mark.parametrize("dtype", [TensorProto.UINT4, TensorProto.INT4, TensorProto.UINT8, TensorProto.INT8])
def test_dequantized_in_blocks_of_the_sum(dtype: int, block: int, transposed: bool, tmp_path: Path) -> None:
    data, weights = dequantized(0 if block else 1, dtype, block, transposed)
    session = intaglio.InferenceSession(data)
    for rows in ROWS:
        a = RNG.standard_normal((rows, weights.shape[0])).astype(np.float32)
        (y,) = session.run(None, {"a": a})
        wide = a.astype(np.float64)
        assert (np.abs(y - wide @ weights) <= 2e-6 * (np.abs(wide) @ np.abs(weights))).all()
    assert weight_bytes(data, tmp_path) < 1.1 * len(data)


@pytest.mark.parametrize(("bits", "block"), [(2, 32), (2, 128), (4, 32), (4, 128), (8, 32), (8, 128)])
def test_the_artifact_is_as_large_as_the_model(bits: int, block: int, tmp_path: Path) -> None:
    data, _, _ = model(Case(1024, 2016, bits, block))
    assert weight_bytes(data, tmp_path) < 1.1 * len(data)
