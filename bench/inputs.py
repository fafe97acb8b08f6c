"""Random inputs of a model: the compiler's `random_inputs`, for sessions and for model files.

The bounds of an integer input stand in the model's metadata as `range.<input>` = "low:high" (`zoo.py` writes them).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx

from intaglio.compiler.inputs import random_inputs
from intaglio.runtime.dtypes import type_name


class _FileInput(NamedTuple):
    name: str
    shape: list[int | str]
    type: str


def session_inputs(session: Any, dims: Mapping[str, int], seed: int = 0) -> dict[str, np.ndarray]:
    """`random_inputs` for a session with onnxruntime's surface."""
    return random_inputs(session.get_inputs(), dims, session.get_modelmeta().custom_metadata_map, seed)


def model_inputs(model: Path | bytes, dims: Mapping[str, int], seed: int = 0) -> dict[str, np.ndarray]:
    """`random_inputs` for a model file, or its bytes, without loading its external weights."""
    if isinstance(model, bytes):
        proto = onnx.load_from_string(model)
    else:
        proto = onnx.load(model, load_external_data=False)
    weights = {tensor.name for tensor in proto.graph.initializer}
    specs = []
    for entry in proto.graph.input:
        if entry.name not in weights:
            tensor = entry.type.tensor_type
            shape = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in tensor.shape.dim]
            dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
            specs.append(_FileInput(entry.name, shape, str(type_name(dtype))))
    return random_inputs(specs, dims, {p.key: p.value for p in proto.metadata_props}, seed)
