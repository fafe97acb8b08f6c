"""The names of execution providers."""

from __future__ import annotations

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
AZURE = "AzureExecutionProvider"  # of models that live elsewhere; has no part in models of our own
KNOWN = [
    "NvTensorRTRTXExecutionProvider", "TensorrtExecutionProvider", CUDA,
    "MIGraphXExecutionProvider", "OpenVINOExecutionProvider", "DnnlExecutionProvider", "VitisAIExecutionProvider",
    "QNNExecutionProvider", "NnapiExecutionProvider", "VSINPUExecutionProvider", "JsExecutionProvider",
    "CoreMLExecutionProvider", "ACLExecutionProvider", "DmlExecutionProvider", "RknpuExecutionProvider",
    "WebNNExecutionProvider", "WebGpuExecutionProvider", "XnnpackExecutionProvider", "CANNExecutionProvider",
    AZURE, CPU,
]  # fmt: skip
AVAILABLE = [AZURE, CPU]  # without a GPU, as in onnxruntime's CPU package: programs compare the list, and pass it on
