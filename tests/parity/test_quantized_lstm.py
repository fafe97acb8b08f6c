"""onnxruntime's LSTM of quantised weights, in all its forms."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

import intaglio
from intaglio.runtime import cpus

from .cases import CONSTANT, Array, Case, onnxruntimes, ours

RNG = np.random.default_rng(0)
# Without VNNI, onnxruntime adds two products of u8 and i8 in 16 bits, where those of whole ranges do not fit.
SATURATES = cpus.architecture() == "x86_64" and not cpus.features() & {"avx512_vnni", "avx_vnni"}
DIRECTIONS = ("forward", "reverse", "bidirectional")
ACTIVATIONS = (
    ["Tanh", "Softsign", "Relu"], ["HardSigmoid", "Affine", "LeakyRelu"], ["Sigmoid", "ScaledTanh", "Elu"],
)  # fmt: skip


def real(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def case(
    direction: str, given: str, kind: Any, per_channel: bool, attrs: dict[str, Any], constant: bool = True
) -> Case:
    """given: letters of the optional inputs: b(ias), l(engths), h, c, p(eepholes)."""
    d = 2 if direction == "bidirectional" else 1
    time, batch, features, hidden = (int(n) for n in RNG.integers(1, 7, 4))
    gates = 4 * hidden
    low, high = (-64, 64) if kind == np.int8 and SATURATES else (np.iinfo(kind).min, np.iinfo(kind).max + 1)

    def weights(rows: int) -> list[Array]:
        shape = (d, gates) if per_channel else (d,)
        scale = RNG.uniform(0.001, 0.01, shape).astype(np.float32)
        zero = np.zeros(shape, kind) if kind == np.int8 else np.broadcast_to(kind(RNG.integers(256)), shape).copy()
        return [RNG.integers(low, high, (d, rows, gates)).astype(kind), scale, zero]

    (w, w_scale, w_zero), (r, r_scale, r_zero) = weights(features), weights(hidden)
    optional: dict[str, Array] = {
        "b": real(d, 2 * gates), "l": RNG.integers(0, time + 1, batch).astype(np.int32), "h": real(d, batch, hidden),
        "c": real(d, batch, hidden), "p": real(d, 3 * hidden),
    }  # fmt: skip
    some = [optional[letter] if letter in given else None for letter in "blhcp"]
    fixed = [CONSTANT] * 12 if constant else []
    return Case(
        "DynamicQuantizeLSTM", [3 * real(time, batch, features), w, r, *some, w_scale, w_zero, r_scale, r_zero],
        {"direction": direction, "hidden_size": hidden, **attrs}, 17,
        ["symbolic", *fixed[:3], *(["symbolic"] * 4), *fixed[:4]], 3, "com.microsoft",
    )  # fmt: skip


def forms() -> Iterator[Case]:
    """Each option with every direction; the others at random."""
    for direction, kind, per_channel in itertools.product(DIRECTIONS, (np.uint8, np.int8), (False, True)):
        for given in ("", "b", "bl", "bhc", "p", "blhcp"):
            yield case(direction, given, kind, per_channel, {})
    for direction, names in itertools.product(DIRECTIONS, ACTIVATIONS):
        several = names * (2 if direction == "bidirectional" else 1)
        numbers = {"activation_alpha": [0.3] * len(several), "activation_beta": [0.7] * len(several)}
        yield case(direction, "bp", np.uint8, False, {"activations": several, **numbers})
    for direction in DIRECTIONS:
        yield case(direction, "bhc", np.uint8, True, {"clip": 0.4})
        yield case(direction, "bp", np.int8, True, {"input_forget": 1})
        yield case(direction, "blhcp", np.uint8, False, {}, constant=False)


def distance(made: list[Array] | str, wanted: list[Array] | str) -> float:
    """Largest difference of any output. A state that lies between two steps of the quantisation may be rounded to
    either, as tanh is not the same to the last bit; the steps after that then differ by a step of a state times a
    weight."""
    assert not isinstance(made, str), made
    assert not isinstance(wanted, str), wanted
    for a, b in zip(made, wanted, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
    return max((float(np.abs(a - b).max(initial=0)) for a, b in zip(made, wanted)), default=0.0)


def test_as_onnxruntime() -> None:
    """To the last digits, but for single states that are rounded the other way."""
    cases = list(forms())
    far = [(str(c), d) for c in cases if (d := distance(ours(c), onnxruntimes(c))) > 1e-4]
    assert all(d < 0.05 for _, d in far), far
    assert len(far) <= 2, far


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_compiled(direction: str) -> None:
    """What the compiled program makes is what the graph means; a batch of 0 and one step, too."""
    made = case(direction, "blhcp", np.uint8, True, {})
    session = intaglio.InferenceSession(made.model().SerializeToString())
    assert distance([np.asarray(v) for v in session.run(None, made.feeds())], ours(made)) < 0.05
    for rows in (1, 0):
        feeds = {**made.feeds(), "x0": real(1, rows, made.inputs[0].shape[2])}
        for name, i in (("x4", 4), ("x5", 5), ("x6", 6)):
            whole = np.asarray(made.inputs[i])
            feeds[name] = whole[:rows] * 0 + 1 if i == 4 else whole[:, :rows]
        assert [v.shape[-2] for v in session.run(None, feeds)] == [rows] * 3


def test_what_is_wrong_is_refused() -> None:
    for i, shape in ((1, (3, 2, 4)), (2, (1, 1, 8)), (3, (1, 3)), (8, (2,)), (11, (1, 3))):
        made = case("forward", "b", np.uint8, False, {})
        inputs = list(made.inputs)
        inputs[i] = np.zeros(shape, np.asarray(inputs[i]).dtype)
        made.inputs = inputs
        assert isinstance(ours(made), str) and isinstance(onnxruntimes(made), str), i


@pytest.mark.parametrize("weights", [QuantType.QUInt8, QuantType.QInt8])
@pytest.mark.parametrize("per_channel", [False, True])
def test_of_quantize_dynamic(tmp_path: Any, weights: Any, per_channel: bool) -> None:
    """What onnxruntime's tool makes of an LSTM."""
    features, hidden = 6, 8
    arrays = {"w": real(2, 4 * hidden, features), "r": real(2, 4 * hidden, hidden), "b": real(2, 8 * hidden)}
    node = helper.make_node("LSTM", ["x", *arrays], ["y", "h", "c"], "lstm", hidden_size=hidden,
                            direction="bidirectional")  # fmt: skip
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["t", "b", features])],
        [onnx.ValueInfoProto(name=name) for name in node.output],
        [numpy_helper.from_array(0.3 * v, k) for k, v in arrays.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    files = tmp_path / "m.onnx", tmp_path / "q.onnx"
    quantize_dynamic(*files, weight_type=weights, per_channel=per_channel, reduce_range=SATURATES)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    theirs = onnxruntime.InferenceSession(tmp_path / "q.onnx", options)
    mine = intaglio.InferenceSession(str(tmp_path / "q.onnx"))
    for shape in ((5, 2), (1, 3), (9, 1)):
        feeds = {"x": real(*shape, features)}
        assert distance([np.asarray(v) for v in mine.run(None, feeds)], theirs.run(None, feeds)) < 0.05
