"""Scatters with a reduction, of every type: what numpy's `ufunc.at` does, and onnxruntime where it has the type.

And where a cache may be written.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnxruntime
import pytest
from onnx import helper

import intaglio

TYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
         "float16", "float32", "float64", "bfloat16"]  # fmt: skip
UFUNCS = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}
OF_BOOLS = {"add": np.logical_or, "mul": np.logical_and, "max": np.logical_or, "min": np.logical_and}


@pytest.mark.sample(65)
@pytest.mark.parametrize("named", [False, True], ids=["sizes", "named"])
@pytest.mark.parametrize("reduction", ["none", *UFUNCS])
@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("op", ["ScatterElements", "ScatterND"])
def test_reductions(op: str, name: str, reduction: str, named: bool) -> None:
    rng = np.random.default_rng(0)
    dtype = np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
    low = 0 if dtype.kind in "ub" else -4
    x = rng.integers(low, 5 if dtype.kind != "b" else 2, (3, 4)).astype(dtype)
    u = rng.integers(low, 5 if dtype.kind != "b" else 2, (3, 6) if op == "ScatterElements" else (6,)).astype(dtype)
    if op == "ScatterElements":
        i = rng.integers(-4, 4, (3, 6))
        where = np.broadcast_to(np.arange(3)[:, None], (3, 6)), i
    else:
        i = np.stack([rng.integers(0, 3, 6), rng.integers(-4, 4, 6)], 1)
        where = i[:, 0], i[:, 1]
    if reduction == "none":  # the last of several updates of one element stays
        i = i if op == "ScatterND" else np.argsort(rng.random((3, 4)), 1)
        u = u if op == "ScatterND" else u[:, :4]
        where = where if op == "ScatterND" else (np.arange(3)[:, None], i)
    want = x.astype(np.float64) if dtype.itemsize == 2 and dtype.kind not in "iu" else x.copy()
    if reduction == "none":
        for place, value in zip(zip(*(np.broadcast_to(w, u.shape).reshape(-1) for w in where)), u.reshape(-1)):
            want[place] = value
    else:
        (OF_BOOLS if dtype.kind == "b" else UFUNCS)[reduction].at(want, where, u.astype(want.dtype))
    attrs = {"axis": 1} if op == "ScatterElements" else {}
    node = helper.make_node(op, ["x", "i", "u"], ["y"], reduction=reduction, **attrs)
    kind = helper.np_dtype_to_tensor_dtype(dtype)
    shapes = {
        n: [f"{n}{a}" if named and not (n == "i" and op == "ScatterND" and a) else d for a, d in enumerate(v.shape)]
        for n, v in (("x", x), ("i", i), ("u", u))
    }
    inputs = [helper.make_tensor_value_info(n, 7 if n == "i" else kind, s) for n, s in shapes.items()]
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("y", kind, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (y,) = intaglio.InferenceSession(model.SerializeToString()).run(None, {"x": x, "i": i, "u": u})
    assert y.dtype == dtype
    np.testing.assert_array_equal(y.astype(np.float64), want.astype(dtype).astype(np.float64))


@pytest.mark.parametrize("named", [False, True], ids=["sizes", "named"])
@pytest.mark.parametrize("first", [0, 3, 4, 5, 6, 7, 6 * 10**17 + 5, 2**63 - 1, -1, -6, -(2**63)])
@pytest.mark.parametrize("mode", ["linear", "circular"])
def test_where_a_cache_is_written(mode: str, first: int, named: bool) -> None:
    """Refused where onnxruntime refuses, else the same."""
    rng = np.random.default_rng(0)
    feeds = {
        "past": rng.standard_normal((2, 3, 6, 4), np.float32),
        "update": rng.standard_normal((2, 3, 2, 4), np.float32),
        "at": np.array([1, first]),
    }
    node = helper.make_node("TensorScatter", list(feeds), ["y"], mode=mode)
    inputs = [
        helper.make_tensor_value_info(
            n, helper.np_dtype_to_tensor_dtype(v.dtype), [f"{n}{a}" for a in range(v.ndim)] if named else v.shape
        )
        for n, v in feeds.items()
    ]
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("y", 1, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=10).SerializeToString()
    session = intaglio.InferenceSession(model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    judge = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    try:
        (want,) = judge.run(None, feeds)
    except Exception:
        with pytest.raises(Exception, match="a write index is out of the bounds"):
            session.run(None, feeds)
    else:
        np.testing.assert_array_equal(session.run(None, feeds)[0], want)
