"""Random ONNX models, judged by onnxruntime and by the reference evaluator of onnx: python -m tests.fuzz.differential."""
