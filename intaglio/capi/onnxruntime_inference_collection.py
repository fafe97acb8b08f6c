"""The module in which onnxruntime keeps the Python classes of its interface, and functions they use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..adapters import AdapterFormat
from ..model_compiler import ModelCompiler
from ..runtime.api.binding import IOBinding
from ..runtime.api.providers import normalize
from ..runtime.api.session import InferenceSession, Session
from ..runtime.enums import OrtDeviceVendorId
from ..runtime.values.devices import OrtDevice, kind
from ..runtime.values.sparse import SparseTensor
from ..runtime.values.value import OrtValue, copy_tensors

__all__ = [
    "AdapterFormat", "IOBinding", "InferenceSession", "ModelCompiler", "OrtDevice", "OrtDeviceVendorId", "OrtValue",
    "Session", "SparseTensor", "check_and_normalize_provider_args", "copy_tensors", "get_ort_device_type",
]  # fmt: skip


def check_and_normalize_provider_args(
    providers: Sequence[Any] | None, provider_options: Sequence[dict[Any, Any]] | None, available_provider_names: Any
) -> tuple[list[str], list[dict[str, str]]]:
    """The names and the options of `providers`, in order. Raises ValueError where they are malformed."""
    chosen = normalize(providers, provider_options, available_provider_names)
    return list(chosen), list(chosen.values())


def get_ort_device_type(device_type: str) -> int:
    """onnxruntime's number of a kind of device. Raises Exception for a name that is none."""
    return kind(device_type).type
