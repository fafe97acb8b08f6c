"""Loads a compiled model and runs it.

In: an artifact, or an ONNX model whose artifact is in the cache or gets compiled. Out: arrays.
It must never import onnx, jinja2, triton or torch, nor the compiler, but for the one lazy import in `api/load.py`.
"""

VERSION = "0.1.0"
