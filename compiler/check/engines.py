"""Those who can compute a model's outputs: Intaglio, onnxruntime, onnx's reference evaluator.

In: an ONNX model, a path or bytes; then feeds. Out: arrays by name, also of values inside of the model.
onnxruntime is optional; it and the evaluator are imported where they are asked for alone.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx

from ...runtime.api.options import SessionOptions
from ...runtime.api.session import InferenceSession
from ...runtime.errors import InvalidArgument

Model = str | bytes
Results = dict[str, Any]  # arrays, and what sequences and maps are in Python
Engine = Callable[[Mapping[str, Any]], Results]
ORT = "onnxruntime"


def ours(model: Model, options: SessionOptions | None = None) -> Engine:
    """The model, or an artifact of it, compiled with these options."""
    return of_session(InferenceSession(model, options))


def of_session(session: Any) -> Engine:
    """A session, ours or onnxruntime's."""
    names = [each.name for each in session.get_outputs()]
    return lambda feeds: dict(zip(names, session.run(None, dict(feeds))))


def onnxruntime(model: Model, values: Sequence[str] = ()) -> Engine:
    """onnxruntime on the CPU. values: names inside of the model that are given out as well.

    Raises InvalidArgument where it is not installed, and whatever it raises itself."""
    if importlib.util.find_spec(ORT) is None:
        raise InvalidArgument("onnxruntime is not installed")
    ort = importlib.import_module(ORT)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return of_session(ort.InferenceSession(_with_outputs(model, values), options, providers=["CPUExecutionProvider"]))


def reference(model: Model, values: Sequence[str] = ()) -> Engine:
    """onnx's reference evaluator, node by node in numpy. Raises whatever it raises itself."""
    proto = onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load(model)
    evaluator = importlib.import_module("onnx.reference").ReferenceEvaluator(proto)
    names = [*(each.name for each in proto.graph.output), *values]
    return lambda feeds: dict(zip(names, evaluator.run(names, dict(feeds))))


OTHERS: dict[str, Callable[..., Engine]] = {ORT: onnxruntime, "reference": reference}


def _with_outputs(model: Model, values: Sequence[str]) -> Model:
    if not values:
        return model
    proto = onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load(model)
    known = {each.name for each in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in values if name not in known)
    return bytes(proto.SerializeToString())
