"""Three tiny models to try things with, of the names and interfaces of onnxruntime's examples."""

from __future__ import annotations

import os

__all__ = ["get_example"]


def get_example(name: str) -> str:
    """The path of `mul_1.onnx`, `sigmoid.onnx` or `logreg_iris.onnx`. Raises FileNotFoundError for other names."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name)
    if not os.path.exists(path):
        raise FileNotFoundError(f"Unable to find example '{name}'")
    return path
