"""What onnxruntime's native module exports: the exceptions and the native classes, which here are the only ones."""

from ..adapters import AdapterFormat, LoraAdapter
from ..model_compiler import ModelCompiler, OrtExternalInitializerInfo
from ..runtime import VERSION
from ..runtime.api.binding import SessionIOBinding
from ..runtime.api.metadata import ModelMetadata, NodeArg, OrtEpAssignedNode, OrtEpAssignedSubgraph
from ..runtime.api.options import RunOptions, SessionOptions, set_global_thread_pool_sizes
from ..runtime.api.process import (
    create_and_register_allocator,
    create_and_register_allocator_v2,
    disable_telemetry_events,
    enable_telemetry_events,
    get_build_info,
    has_collective_ops,
    register_execution_provider_library,
    unregister_execution_provider_library,
)
from ..runtime.api.providers import get_all_providers, get_available_providers, get_device
from ..runtime.api.session import InferenceSession
from ..runtime.enums import (
    ArenaExtendStrategy,
    ExecutionMode,
    ExecutionOrder,
    GraphOptimizationLevel,
    OrtAllocatorType,
    OrtCompileApiFlags,
    OrtCompiledModelCompatibility,
    OrtDeviceEpIncompatibilityReason,
    OrtDeviceMemoryType,
    OrtExecutionProviderDevicePolicy,
    OrtHardwareDeviceType,
    OrtMemoryInfoDeviceType,
    OrtMemType,
    OrtSparseFormat,
)
from ..runtime.errors import (
    DeviceReset,
    EngineError,
    EPFail,
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    ModelLoadCanceled,
    ModelLoaded,
    ModelRequiresCompilation,
    NoModel,
    NoSuchFile,
    NotFound,
    NotImplemented,
    RuntimeException,
)
from ..runtime.log import set_default_logger_severity, set_default_logger_verbosity
from ..runtime.run.seeds import set_seed
from ..runtime.values.devices import (
    OrtArenaCfg,
    OrtDevice,
    OrtEpDevice,
    OrtHardwareDevice,
    OrtMemoryInfo,
    get_ep_devices,
    get_hardware_devices,
)
from ..runtime.values.dlpack import is_uint8 as is_dlpack_uint8_tensor
from ..runtime.values.sparse import SparseCooView, SparseCsrView, SparseTensor
from ..runtime.values.value import OrtValue, OrtValueVector, copy_tensors
from .quantizers import (
    quantize_matmul_2bits,
    quantize_matmul_4bits,
    quantize_matmul_8bits,
    quantize_matmul_bnb4,
    quantize_qdq_matmul_4bits,
)

__all__ = [
    "AdapterFormat", "ArenaExtendStrategy", "DeviceReset", "EPFail", "EngineError", "ExecutionMode", "ExecutionOrder",
    "Fail", "GraphOptimizationLevel", "InferenceSession", "InvalidArgument", "InvalidGraph", "InvalidProtobuf",
    "LoraAdapter", "ModelCompiler", "ModelLoadCanceled", "ModelLoaded", "ModelMetadata", "ModelRequiresCompilation",
    "NoModel", "NoSuchFile", "NodeArg", "NotFound", "NotImplemented", "OrtAllocatorType", "OrtArenaCfg",
    "OrtCompileApiFlags", "OrtCompiledModelCompatibility", "OrtDevice", "OrtDeviceEpIncompatibilityReason",
    "OrtDeviceMemoryType", "OrtEpAssignedNode", "OrtEpAssignedSubgraph", "OrtEpDevice",
    "OrtExecutionProviderDevicePolicy", "OrtExternalInitializerInfo", "OrtHardwareDevice", "OrtHardwareDeviceType",
    "OrtMemType", "OrtMemoryInfo", "OrtMemoryInfoDeviceType", "OrtSparseFormat", "OrtValue", "OrtValueVector",
    "RunOptions", "RuntimeException", "SessionIOBinding", "SessionOptions", "SparseCooView", "SparseCsrView",
    "SparseTensor", "copy_tensors", "create_and_register_allocator", "create_and_register_allocator_v2",
    "disable_telemetry_events", "enable_telemetry_events", "get_all_providers", "get_available_providers",
    "get_build_info", "get_default_session_options", "get_device", "get_ep_devices", "get_hardware_devices",
    "get_version_string", "has_collective_ops", "is_dlpack_uint8_tensor", "kNextPowerOfTwo", "kSameAsRequested",
    "quantize_matmul_2bits", "quantize_matmul_4bits", "quantize_matmul_8bits", "quantize_matmul_bnb4",
    "quantize_qdq_matmul_4bits", "register_execution_provider_library", "set_default_logger_severity",
    "set_default_logger_verbosity", "set_global_thread_pool_sizes", "set_seed",
    "unregister_execution_provider_library",
]  # fmt: skip


kNextPowerOfTwo, kSameAsRequested = ArenaExtendStrategy


def get_version_string() -> str:
    return VERSION


def get_default_session_options() -> SessionOptions:
    return SessionOptions()
