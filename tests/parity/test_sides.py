"""Kernels whose weights are packed run on either side of a model for a GPU: the same numbers as onnxruntime's.

Every kind of body that is a template, as it is placed; followed by what a GPU lacks (an arcsine of doubles), with which
it stays on the host; and refused by the GPU. Triton's interpreter is the GPU.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import intaglio
from intaglio.compiler.codegen.triton.program import Device
from intaglio.compiler.kernel.ir import Launch, LoopNest

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("triton"), reason="there is no triton for this system")

SCALE = 2.0**-20
EXACT = ("CUDAExecutionProvider", {"use_tf32": "0"})
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Case:
    """A model of one operator, and the constants and the inputs that it takes.

    kind: of the step that it becomes; shapes: it is computed on the host, as shapes are."""

    kind: str
    op: str
    inputs: Mapping[str, Array]
    constants: Mapping[str, Array]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: Sequence[str] = ("y",)
    shapes: bool = False

    def of_floats(self) -> Case:
        """With floats in the place of doubles."""
        inputs, constants = (
            {name: a.astype(np.float32) if a.dtype == np.float64 else a for name, a in arrays.items()}
            for arrays in (self.inputs, self.constants)
        )
        return replace(self, inputs=inputs, constants=constants)

    def model(self, arcsine: bool) -> bytes:
        """arcsine: followed by one of doubles, into which the first output is scaled."""
        nodes = [helper.make_node(self.op, [*self.inputs, *self.constants], self.outputs, **self.attributes)]
        if arcsine:
            nodes += [
                helper.make_node("Cast", [self.outputs[0]], ["wide"], to=TensorProto.DOUBLE),
                helper.make_node("Mul", ["wide", "scale"], ["small"]),
                helper.make_node("Asin", ["small"], ["result"]),
            ]
        types = {name: helper.np_dtype_to_tensor_dtype(a.dtype) for name, a in self.inputs.items()}
        given = [helper.make_tensor_value_info(name, types[name], a.shape) for name, a in self.inputs.items()]
        plain = TensorProto.INT32 if self.op.endswith("Integer") else next(iter(types.values()))
        name, kind = ("result", TensorProto.DOUBLE) if arcsine else (self.outputs[0], plain)
        constants = {**self.constants, "scale": np.array(SCALE)}
        graph = helper.make_graph(
            nodes, "graph", given, [helper.make_tensor_value_info(name, kind, None)],
            [numpy_helper.from_array(a, name) for name, a in constants.items()],
        )  # fmt: skip
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


def _random(shape: Sequence[int], dtype: str) -> Array:
    rng = np.random.default_rng(sum(shape))
    if dtype in ("int8", "uint8"):
        return rng.integers(0, 100, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


def _conv(in_c: int, out_c: int, taps: Sequence[int], dtype: str = "float32", groups: int = 1, size: int = 9) -> Case:
    kernel = (out_c, in_c // groups, *taps)
    integer = dtype.endswith("int8")
    return Case(
        "Conv", "ConvInteger" if integer else "Conv", {"x": _random((1, in_c, *[size] * len(taps)), dtype)},
        {"w": _random(kernel, dtype)} if integer else {"w": _random(kernel, dtype), "b": _random((out_c,), dtype)},
        attributes={"group": groups, "pads": [t // 2 for t in taps] * 2},
    )  # fmt: skip


def _matmul(m: int, k: int, n: int, dtype: str = "float32") -> Case:
    op = "MatMulInteger" if dtype.endswith("int8") else "MatMul"
    return Case("Matmul", op, {"x": _random((m, k), dtype)}, {"w": _random((k, n), dtype)})


def _layer(op: str, gates: int, **attributes: Any) -> Case:
    hidden, width = 20, 12
    weights = {n: _random((1, gates * hidden, size), "float32") for n, size in (("w", width), ("r", hidden))}
    x = {"x": _random((3, 2, width), "float32")}
    return Case("Recurrent", op, x, weights, attributes={"hidden_size": hidden, **attributes})


def _attention() -> Case:
    q, k, v = (_random((1, 2, rows, 16), "float32") for rows in (7, 9, 9))
    return Case("Attention", "MultiHeadAttention", {"q": q[:, 0], "k": k[:, 0], "v": v[:, 0]}, {},
                attributes={"domain": "com.microsoft", "num_heads": 2})  # fmt: skip


CASES = {
    **{f"conv to {oc}": _conv(16, oc, (3, 3)) for oc in (8, 20, 100)},
    "conv, winograd": _conv(64, 64, (3, 3), size=14),
    "conv 1x1": replace(_conv(16, 20, (1, 1)), kind="Matmul"),
    "conv 1d": _conv(8, 20, (5,)),
    "conv 3d": _conv(4, 20, (3, 3, 3), size=5),
    "conv grouped": _conv(24, 40, (3, 3), groups=4),
    "conv grouped, narrow": _conv(16, 8, (3, 3), groups=4),
    "conv depthwise": _conv(24, 24, (3, 3), groups=24),
    "conv f16": _conv(16, 32, (3, 3), "float16"),
    "conv f16 depthwise": _conv(24, 24, (3, 3), "float16", groups=24),
    "conv of bytes": _conv(16, 20, (3, 3), "int8"),  # of unsigned ones the windows have sums, too
    "conv of bytes, depthwise": _conv(24, 24, (3, 3), "uint8", groups=24),
    "conv of bytes, few": replace(_conv(2, 3, (3, 3), "uint8", size=3), shapes=True),
    **{f"matmul to {n}": _matmul(5, 24, n) for n in (1, 20, 100)},
    "matmul f16": _matmul(5, 24, 32, "float16"),
    "matmul f64": _matmul(5, 24, 20, "float64"),
    "matmul of bytes": _matmul(5, 24, 20, "int8"),
    "attention": _attention(),
    "lstm": _layer("LSTM", 4),
    "gru": _layer("GRU", 3, linear_before_reset=1),
    "rnn": _layer("RNN", 1),
    "sort": Case("Sort", "TopK", {"x": _random((3, 50), "float32")}, {"k": np.array([7])}, outputs=("y", "places")),
}
SIDES = ("as placed", "before an arcsine", "refused")


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Mapping[bool, Path]:
    """Where kernels are refused, and where not: that is no part of a cache's keys."""
    return {refused: tmp_path_factory.mktemp("cache") for refused in (False, True)}


@pytest.mark.sample(6)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", CASES)
def test_agrees_with_onnxruntime(
    name: str, side: str, monkeypatch: pytest.MonkeyPatch, caches: Mapping[bool, Path]
) -> None:
    case = CASES[name]
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setenv("INTAGLIO_VERIFY", "2")
    monkeypatch.setenv("INTAGLIO_CACHE_DIR", str(caches[side == "refused"]))
    if side == "refused":
        possible = Device.refusal

        def refusal(self: Device, launch: Launch) -> str | None:
            return "as the test wants" if not isinstance(launch.kernel.body, LoopNest) else possible(self, launch)

        monkeypatch.setattr(Device, "refusal", refusal)
    mine = intaglio.InferenceSession(case.model(side == "before an arcsine"), providers=[EXACT, "CPUExecutionProvider"])
    (got,) = mine.run(None, dict(case.inputs))
    wanted = reference(case, side == "before an arcsine")
    assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
    rounding = 2e-3 if any(a.dtype == np.float16 for a in case.inputs.values()) else 1e-5
    np.testing.assert_allclose(got, wanted, rtol=rounding, atol=rounding * np.abs(wanted).max())
    placed = {step["on"] == "device" for step in mine._artifact.notes()["steps"] if step["kind"] == case.kind}
    follows = case.kind in ("Recurrent", "Sort")  # the arcsine is a kernel of its own
    assert placed == {(side == "as placed" and not case.shapes) or (side == "before an arcsine" and follows)}


def reference(case: Case, arcsine: bool) -> Array:
    """onnxruntime's result. It has no convolutions of doubles (those of floats are near), nor arcsines of them."""
    doubles = any(a.dtype == np.float64 for a in case.inputs.values())
    session = onnxruntime.InferenceSession((case.of_floats() if doubles else case).model(False))
    inputs = case.of_floats().inputs if doubles else case.inputs
    (y,) = session.run(None, dict(inputs))
    return np.arcsin(y.astype(np.float64) * SCALE) if arcsine else y.astype(np.float64) if doubles else y
