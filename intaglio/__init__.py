"""Intaglio: a graph compiler for ONNX behind onnxruntime's interface; `import intaglio as ort`.

Everything that onnxruntime exports is here under the same name, but for what docs/coming_from_onnxruntime.md lists.
What programs use rarely is imported when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .runtime import VERSION
from .runtime.api.binding import IOBinding, SessionIOBinding
from .runtime.api.metadata import ModelMetadata, NodeArg
from .runtime.api.options import RunOptions, SessionOptions
from .runtime.api.providers import get_all_providers, get_available_providers, get_device
from .runtime.api.session import InferenceSession
from .runtime.enums import ExecutionMode, ExecutionOrder, GraphOptimizationLevel, OrtDeviceVendorId
from .runtime.values.devices import OrtDevice
from .runtime.values.value import OrtValue, copy_tensors

if TYPE_CHECKING:
    from .adapters import AdapterFormat as AdapterFormat
    from .adapters import LoraAdapter as LoraAdapter
    from .model_compiler import ModelCompiler as ModelCompiler
    from .runtime.values.devices import OrtArenaCfg as OrtArenaCfg
    from .runtime.values.devices import OrtEpDevice as OrtEpDevice
    from .runtime.values.devices import OrtHardwareDevice as OrtHardwareDevice
    from .runtime.values.devices import OrtMemoryInfo as OrtMemoryInfo
    from .runtime.values.devices import get_ep_devices as get_ep_devices
    from .runtime.values.sparse import SparseTensor as SparseTensor

__version__ = version = VERSION
package_name = "intaglio"
cuda_version = ""
import_capi_exception = None  # of the import of onnxruntime's native module: there is none to fail

# Where to find what is not imported at once.
_LAZY = {
    "AdapterFormat": ".adapters",
    "LoraAdapter": ".adapters",
    "ModelCompiler": ".model_compiler",
    "OrtAllocatorType": ".runtime.enums",
    "OrtArenaCfg": ".runtime.values.devices",
    "OrtCompileApiFlags": ".runtime.enums",
    "OrtDeviceMemoryType": ".runtime.enums",
    "OrtEpAssignedNode": ".runtime.api.metadata",
    "OrtEpAssignedSubgraph": ".runtime.api.metadata",
    "OrtEpDevice": ".runtime.values.devices",
    "OrtExecutionProviderDevicePolicy": ".runtime.enums",
    "OrtExternalInitializerInfo": ".model_compiler",
    "OrtHardwareDevice": ".runtime.values.devices",
    "OrtHardwareDeviceType": ".runtime.enums",
    "OrtMemType": ".runtime.enums",
    "OrtMemoryInfo": ".runtime.values.devices",
    "OrtMemoryInfoDeviceType": ".runtime.enums",
    "OrtSparseFormat": ".runtime.enums",
    "SparseTensor": ".runtime.values.sparse",
    "TuningReport": ".tuning",
    "tune": ".tuning",
    "create_and_register_allocator": ".runtime.api.process",
    "create_and_register_allocator_v2": ".runtime.api.process",
    "disable_telemetry_events": ".runtime.api.process",
    "enable_telemetry_events": ".runtime.api.process",
    "get_build_info": ".runtime.api.process",
    "get_ep_devices": ".runtime.values.devices",
    "has_collective_ops": ".runtime.api.process",
    "preload_dlls": ".runtime.api.process",
    "print_debug_info": ".runtime.api.process",
    "register_execution_provider_library": ".runtime.api.process",
    "set_default_logger_severity": ".runtime.log",
    "set_default_logger_verbosity": ".runtime.log",
    "set_global_thread_pool_sizes": ".runtime.api.options",
    "set_seed": ".runtime.run.seeds",
    "unregister_execution_provider_library": ".runtime.api.process",
}

__all__ = [
    "ExecutionMode",
    "ExecutionOrder",
    "GraphOptimizationLevel",
    "IOBinding",
    "InferenceSession",
    "ModelMetadata",
    "NodeArg",
    "OrtDevice",
    "OrtDeviceVendorId",
    "OrtValue",
    "RunOptions",
    "SessionIOBinding",
    "SessionOptions",
    "copy_tensors",
    "get_all_providers",
    "get_available_providers",
    "get_device",
    "get_version_string",
]


def get_version_string() -> str:
    return VERSION


def __getattr__(name: str) -> Any:
    """Imports the module of a name in `_LAZY`, and a submodule such as `capi`, on first use."""
    if name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name], __name__), name)
    elif name == "capi":
        value = importlib.import_module(".capi", __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, "capi"})
