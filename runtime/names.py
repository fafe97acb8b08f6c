"""The names of execution providers."""

from __future__ import annotations

CPU = "CPUExecutionProvider"
AZURE = "AzureExecutionProvider"  # of models that live elsewhere; has no part in models of our own
KNOWN = [
    "NvTensorRTRTXExecutionProvider", "TensorrtExecutionProvider", "CUDAExecutionProvider",
    "MIGraphXExecutionProvider", "OpenVINOExecutionProvider", "DnnlExecutionProvider", "VitisAIExecutionProvider",
    "QNNExecutionProvider", "NnapiExecutionProvider", "VSINPUExecutionProvider", "JsExecutionProvider",
    "CoreMLExecutionProvider", "ACLExecutionProvider", "DmlExecutionProvider", "RknpuExecutionProvider",
    "WebNNExecutionProvider", "WebGpuExecutionProvider", "XnnpackExecutionProvider", "CANNExecutionProvider",
    AZURE, CPU,
]  # fmt: skip
AVAILABLE = [AZURE, CPU]  # as in onnxruntime's CPU package: programs compare the list, and pass it on
