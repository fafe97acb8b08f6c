"""Intaglio: a graph compiler for ONNX behind onnxruntime's interface; `import intaglio as ort`.

Everything that onnxruntime exports is here under the same name, but for what docs/coming_from_onnxruntime.md lists.
What programs use rarely is imported when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .runtime import VERSION
from .runtime.binding import IOBinding, SessionIOBinding
from .runtime.devices import OrtDevice
from .runtime.enums import ExecutionMode, ExecutionOrder, GraphOptimizationLevel, OrtDeviceVendorId
from .runtime.metadata import ModelMetadata, NodeArg
from .runtime.options import RunOptions, SessionOptions
from .runtime.providers import get_all_providers, get_available_providers, get_device
from .runtime.session import InferenceSession
from .runtime.value import OrtValue, copy_tensors

if TYPE_CHECKING:
    from .adapters import AdapterFormat as AdapterFormat
    from .adapters import LoraAdapter as LoraAdapter
    from .model_compiler import ModelCompiler as ModelCompiler
    from .runtime.devices import OrtArenaCfg as OrtArenaCfg
    from .runtime.devices import OrtEpDevice as OrtEpDevice
    from .runtime.devices import OrtHardwareDevice as OrtHardwareDevice
    from .runtime.devices import OrtMemoryInfo as OrtMemoryInfo
    from .runtime.devices import get_ep_devices as get_ep_devices
    from .runtime.sparse import SparseTensor as SparseTensor

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
    "OrtArenaCfg": ".runtime.devices",
    "OrtCompileApiFlags": ".runtime.enums",
    "OrtDeviceMemoryType": ".runtime.enums",
    "OrtEpAssignedNode": ".runtime.metadata",
    "OrtEpAssignedSubgraph": ".runtime.metadata",
    "OrtEpDevice": ".runtime.devices",
    "OrtExecutionProviderDevicePolicy": ".runtime.enums",
    "OrtExternalInitializerInfo": ".model_compiler",
    "OrtHardwareDevice": ".runtime.devices",
    "OrtHardwareDeviceType": ".runtime.enums",
    "OrtMemType": ".runtime.enums",
    "OrtMemoryInfo": ".runtime.devices",
    "OrtMemoryInfoDeviceType": ".runtime.enums",
    "OrtSparseFormat": ".runtime.enums",
    "SparseTensor": ".runtime.sparse",
    "create_and_register_allocator": ".runtime.environment",
    "create_and_register_allocator_v2": ".runtime.environment",
    "disable_telemetry_events": ".runtime.environment",
    "enable_telemetry_events": ".runtime.environment",
    "get_build_info": ".runtime.environment",
    "get_ep_devices": ".runtime.devices",
    "has_collective_ops": ".runtime.environment",
    "preload_dlls": ".runtime.environment",
    "print_debug_info": ".runtime.environment",
    "register_execution_provider_library": ".runtime.environment",
    "set_default_logger_severity": ".runtime.log",
    "set_default_logger_verbosity": ".runtime.log",
    "set_global_thread_pool_sizes": ".runtime.options",
    "set_seed": ".runtime.seeds",
    "unregister_execution_provider_library": ".runtime.environment",
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
