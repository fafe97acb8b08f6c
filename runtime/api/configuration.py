"""Options that a model brings along, in its metadata: onnxruntime's `ort_config`.

In: the metadata of a model. Out: options set. It is looked at only where ORT_LOAD_CONFIG_FROM_MODEL is 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import variables
from ..enums import ExecutionMode, GraphOptimizationLevel
from .options import SessionOptions

_KINDS: dict[str, Any] = {
    "intra_op_num_threads": int,
    "inter_op_num_threads": int,
    "execution_mode": ExecutionMode,
    "graph_optimization_level": GraphOptimizationLevel,
    "enable_profiling": (False, True).__getitem__,
}


def wanted() -> bool:
    """Whether models may bring options. Raises RuntimeError where the variable is neither 0 nor 1."""
    value = variables.ORT_CONFIG.text() or ""
    if value not in ("", "0", "1"):
        raise _refusal(
            f"The only supported values for the environment variable {variables.ORT_CONFIG.name} are '0' and '1'. The "
            f"environment variable contained the value: {value}"
        )
    return value == "1"


def apply(metadata: Mapping[str, str], options: SessionOptions) -> None:
    """Sets the options that the metadata has. Raises RuntimeError for what is no configuration."""
    if "ort_config" not in metadata:
        return
    import json  # slow to import

    try:
        found = json.loads(metadata["ort_config"])
    except ValueError as error:
        raise _refusal(f"Json stored in the `ort_config` key cannot be parsed. Error message: {error}") from None
    for name, value in found.get("session_options", {}).items():
        if name not in _KINDS:
            continue
        if not isinstance(value, int):
            raise _refusal(f"{name} option in the model file must be an integer")
        try:
            setattr(options, name, _KINDS[name](value))
        except (ValueError, IndexError):
            kind = f"{name} option" if name == "enable_profiling" else f"{name} value in ORT config"
            of = "value for " if name == "enable_profiling" else ""
            raise _refusal(f"Unsupported {of}{kind}: {value}") from None


def _refusal(reason: str) -> RuntimeError:
    return RuntimeError(
        f"Could not finalize session options while constructing the inference session. Error Message: {reason}"
    )
