"""The inner modules of onnxruntime that programs import, under the same names. Nothing is defined here.

As with onnxruntime, they are there without an import of their own: `ort.capi.onnxruntime_pybind11_state.Fail`.
"""

from __future__ import annotations

import importlib
from typing import Any

_MODULES = ("_pybind_state", "onnxruntime_inference_collection", "onnxruntime_pybind11_state")


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f".{name}", __name__)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
