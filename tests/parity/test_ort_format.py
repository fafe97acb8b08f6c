"""Files that onnxruntime writes in its own format, run by onnxruntime and by us: the same interface, the same results.

`python tests/parity/test_ort_format.py PATH` writes the model of tests/data/control.ort.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

import intaglio

MODELS = Path(__file__).resolve().parents[1] / "data"


def control(narrow: bool = False) -> onnx.ModelProto:
    """A branch and a loop with captured values; weights that are sparse, empty and, with `narrow`, of 4 bits.

    onnxruntime writes 4-bit weights, but does not read them again."""
    model = parser.parse_model("""
    <ir_version: 9, opset_import: ["" : 21], producer_name: "tests">
    control (float[N,4] x, bool flag, int64 count) => (float[N,4] y, float[N,4] z, float[4] weights, int64[K] found)
    <float[4] scale = {1, 2, 3, 4}, float half = {0.5}>
    {
      y = If (flag) <then_branch = positive () => (float[N,4] a) { b = Mul(x, scale)  a = Add(b, half) },
                     else_branch = negative () => (float[N,4] c) { d = Neg(x)  c = Sub(d, scale) }>
      z = Loop (count, , x) <body = body (int64 i, bool again, float[N,4] state) => (bool still, float[N,4] next)
          { still = Identity(again)  t = Mul(state, scale)  next = Sub(t, y) }>
      w = DequantizeLinear(steps, half)
      v = Mul(w, scale)
      weights = Add(v, few)
      ends = Shape(x)
      found = Concat<axis = 0>(none, ends)
    }""")
    if narrow:
        steps = helper.make_tensor("steps", TensorProto.INT4, [4], bytes([0xF8, 0x70]), raw=True)
    else:
        steps = numpy_helper.from_array(np.int8([-8, -1, 0, 7]), "steps")
    model.graph.initializer.extend([steps, numpy_helper.from_array(np.zeros(0, np.int64), "none")])
    few = numpy_helper.from_array(np.float32([7]), "few")
    where = numpy_helper.from_array(np.int64([2]), "few_indices")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(few, where, [4]))
    return model


def convert(model: str | bytes, path: Path, level: onnxruntime.GraphOptimizationLevel) -> bytes:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.graph_optimization_level = level
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(model, options)
    return path.read_bytes()


@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED"])
@pytest.mark.parametrize("name", ["control", "mlp", "lstm"])
def test_a_file_of_onnxruntimes(name: str, level: str, tmp_path: Path) -> None:
    model: Any = control().SerializeToString() if name == "control" else str(MODELS / f"{name}.onnx")
    path = tmp_path / f"{name}.ort"
    data = convert(model, path, getattr(onnxruntime.GraphOptimizationLevel, level))
    theirs, ours = onnxruntime.InferenceSession(path), intaglio.InferenceSession(path)
    for method in ("get_inputs", "get_outputs"):
        described = [[(a.name, a.type, a.shape) for a in getattr(s, method)()] for s in (theirs, ours)]
        assert described[0] == described[1]
    fields = ("producer_name", "graph_name", "domain", "version", "description", "custom_metadata_map")
    meta = [[getattr(s.get_modelmeta(), field) for field in fields] for s in (theirs, ours)]
    assert meta[0] == meta[1]
    random = np.random.default_rng(1)
    for flag in (True, False):
        feed: dict[str, Any] = {
            a.name: random.standard_normal([d if isinstance(d, int) else 3 for d in a.shape]).astype(np.float32)
            for a in theirs.get_inputs()
            if a.type == "tensor(float)"
        }
        if name == "control":
            feed |= {"flag": np.array(flag), "count": np.array(3)}
        for expected, found, again in zip(
            theirs.run(None, feed), ours.run(None, feed), intaglio.InferenceSession(data).run(None, feed)
        ):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(found, again)


if __name__ == "__main__":
    written = control(narrow=True).SerializeToString()
    convert(written, Path(sys.argv[1]), onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)
