"""One node in both engines: what they compute, or the class of the error that they raise."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Union

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

import intaglio
from intaglio.compiler.frontend.importer import import_model
from intaglio.compiler.frontend.load import load_model
from intaglio.compiler.graph import interp

Array = np.ndarray[Any, Any]
Outcome = Union["list[Array]", str]  # the results, or the name of the exception
UNFIT = {"Fail", "InvalidArgument", "RuntimeException"}
ort.set_default_logger_severity(4)


def model(
    op: str, inputs: Sequence[Array | None], attrs: Mapping[str, Any], outputs: int = 1, *, domain: str = "",
    opset: int = 17, ml: int = 3, fixed: Collection[int] = (), symbolic: bool = False,
) -> tuple[bytes, dict[str, Array]]:  # fmt: skip
    """The model of one node, and its feeds. fixed: inputs that are initializers; symbolic: others have no sizes."""
    names = ["" if v is None else f"x{i}" for i, v in enumerate(inputs)]
    given = {n: (i, v) for i, (n, v) in enumerate(zip(names, inputs)) if v is not None}
    types = {n: helper.np_dtype_to_tensor_dtype(v.dtype) for n, (_, v) in given.items()}
    fed = {n: v for n, (i, v) in given.items() if i not in fixed}
    shapes: dict[str, Any] = {n: [f"{n}_{a}" for a in range(v.ndim)] if symbolic else v.shape for n, v in fed.items()}
    graph = helper.make_graph(
        [helper.make_node(op, names, [f"y{i}" for i in range(outputs)], "node", domain=domain, **attrs)], "g",
        [helper.make_tensor_value_info(n, types[n], shapes[n]) for n in fed],
        [onnx.ValueInfoProto(name=f"y{i}") for i in range(outputs)],
        [numpy_helper.from_array(v, n) for n, (i, v) in given.items() if i in fixed],
    )  # fmt: skip
    imports = [helper.make_opsetid(*each) for each in (("", opset), ("ai.onnx.ml", ml), ("com.microsoft", 1))]
    ir_version = 4 if opset < 10 else 10
    return helper.make_model(graph, opset_imports=imports, ir_version=ir_version).SerializeToString(), fed


def theirs(data: bytes, feeds: Mapping[str, Array]) -> Outcome:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return list(ort.InferenceSession(data, options).run(None, dict(feeds)))
    except Exception as e:
        return type(e).__name__


def ours(data: bytes, feeds: Mapping[str, Array], compiled: bool = False) -> Outcome:
    """By the reference interpreter, or compiled: what fails for its data does so only there."""
    try:
        if compiled:
            return list(intaglio.InferenceSession(data).run(None, dict(feeds)))
        graph = import_model(load_model(data))
        return list(interp.evaluate(graph, [feeds[v.name] for v in graph.inputs]))
    except Exception as e:
        return type(e).__name__


def assert_same(made: Outcome, wanted: Outcome, rtol: float = 1e-5, atol: float = 1e-6, off: int = 0) -> None:
    """off: by how much integers may differ.

    Sizes and attributes that do not fit are found here before the run, there by each kernel: as FAIL, INVALID_ARGUMENT
    or RUNTIME_EXCEPTION, without a rule."""
    if isinstance(made, str) or isinstance(wanted, str):
        assert isinstance(made, str) and isinstance(wanted, str), (made, wanted)
        assert made == wanted or {made, wanted} <= UNFIT, (made, wanted)
        return
    for a, b in zip(made, wanted, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape, (a.dtype, b.dtype, a.shape, b.shape)
        if a.dtype.kind in "iu":
            assert not a.size or np.abs(a.astype(np.int64) - b.astype(np.int64)).max() <= off, (a, b)
        else:
            np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)
