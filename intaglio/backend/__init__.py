"""ONNX's backend interface on our sessions, under onnxruntime's names: `prepare`, `run`, `supports_device`."""

from .backend import is_compatible, prepare, run, supports_device

__all__ = ["is_compatible", "prepare", "run", "supports_device"]
